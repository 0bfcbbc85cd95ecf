"""An issuer of ID tokens on this machine: real keys, a discovery document and a JWK Set over real HTTP."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

DISCOVERY = "/.well-known/openid-configuration"
KEYS = "/keys"
GITHUB = "/github/"
REQUEST_TOKEN = "request-token-of-the-job"
"""What GitHub gives a job to ask for ID tokens with."""


def make_key(algorithm: str) -> Any:
    """A private key for an algorithm."""
    if algorithm.startswith("RS"):
        return rsa.generate_private_key(65537, 2048)
    if algorithm.startswith("ES"):
        return ec.generate_private_key(ec.SECP256R1() if algorithm == "ES256" else ec.SECP384R1())
    return ed25519.Ed25519PrivateKey.generate()


def publish(key: Any, algorithm: str, kid: str) -> dict[str, Any]:
    """The public part of a key as a JSON Web Key."""
    kind: Any = {"RS": RSAAlgorithm, "ES": ECAlgorithm, "Ed": OKPAlgorithm}[algorithm[:2]]
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid, "alg": algorithm, "use": "sig"}


class Issuer:
    """The issuer. `documents` are what it serves: path to status, fields and content."""

    def __init__(self) -> None:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                if self.path.startswith(GITHUB):
                    issuer.answer_github(self.path, self.headers)
                status, fields, content = issuer.documents.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **fields}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.asked: list[str] = []
        self.documents: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.keys: dict[str, tuple[Any, str]] = {}
        self.serve(DISCOVERY, {"issuer": self.url, "jwks_uri": self.url + KEYS})
        self.add_key("first", "RS256")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def serve(self, path: str, document: Any, status: int = 200, **fields: str) -> None:
        """Serve a JSON document."""
        self.documents[path] = (status, fields, json.dumps(document).encode())

    def answer_github(self, path: str, headers: Any) -> None:
        """Serve a new ID token for the audience that a job asks for, as the address that GitHub gives a job does."""
        if headers["Authorization"] == f"Bearer {REQUEST_TOKEN}":
            audience = parse_qs(urlsplit(path).query)["audience"][0]
            self.serve(path, {"count": 1, "value": self.sign(aud=audience)})
        else:
            self.serve(path, {"message": "no"}, 401)

    def add_key(self, kid: str, algorithm: str) -> None:
        """Publish one more key."""
        self.keys[kid] = (make_key(algorithm), algorithm)
        self.publish_keys()

    def rotate(self, kid: str, algorithm: str) -> None:
        """Replace all keys by another one."""
        self.keys.clear()
        self.add_key(kid, algorithm)

    def publish_keys(self, *others: Any) -> None:
        """Serve the keys, and others after them."""
        published = [publish(key, algorithm, kid) for kid, (key, algorithm) in self.keys.items()]
        self.serve(KEYS, {"keys": [*published, *others]})

    def claims(self, **changes: Any) -> dict[str, Any]:
        """The claims of a job, as GitHub has them. None removes one."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": "https://api.example.com",
            "sub": "repo:acme/website:ref:refs/heads/main",
            "repository": "acme/website",
            "ref": "refs/heads/main",
            "workflow": "build",
            "run_number": "7",
            "run_attempt": "1",
            "iat": now - 5,
            "nbf": now - 5,
            "exp": now + 300,
            "jti": f"id-{time.monotonic_ns()}",
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def sign(self, kid: str = "first", headers: dict[str, Any] | None = None, **changes: Any) -> str:
        """An ID token."""
        key, algorithm = self.keys[kid]
        return jwt.encode(self.claims(**changes), key, algorithm, headers={"kid": kid, **(headers or {})})

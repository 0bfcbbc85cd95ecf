"""What stands around the gateway in the tests of a contract: a product that notes what reaches it, operators, users."""

import http.server
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from tests.conftest import POLICIES
from tests.support.client import Answer, ask
from tests.support.command_line import read_lines, run_command, run_json
from tests.support.processes import GatewayServer


@dataclass(frozen=True)
class Received:
    """A request as it reached the product; names of fields in lower case."""

    method: str
    target: str
    fields: dict[str, str]


class Product:
    """Answers every request with the JSON it is told, and notes it."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.content: Any = {}
        product = self

        class Behaviour(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fields = {name.lower(): value for name, value in self.headers.items()}
                product.received.append(Received(self.command, self.path, fields))
                content = json.dumps(product.content).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815  # the names are the library's

            def log_message(self, format: str, *arguments: object) -> None:
                """Says nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Behaviour)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def asked(self) -> list[str]:
        """Method and target of each request."""
        return [f"{one.method} {one.target}" for one in self.received]

    def forget(self) -> "Product":
        """The product as it was at first."""
        self.received.clear()
        self.content = {}
        return self

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()


NUMBERS = itertools.count(1)


@contextmanager
def gateway_before(
    products: Mapping[str, int],
    redis_url: str,
    folder: Path,
    *,
    admin: bool = False,
    environment: dict[str, str] | None = None,
    change: Callable[[str], str] = lambda text: text,
) -> Iterator[GatewayServer]:
    """`gateway serve` with two workers, the shipped policies of the products, and the products at their ports.

    `change` makes another text of a policy's.
    """
    (folder / "policies").mkdir()
    for name in products:
        text = (POLICIES / f"{name}.toml").read_text(encoding="utf-8")
        (folder / "policies" / f"{name}.toml").write_text(change(text), encoding="utf-8")
    server = GatewayServer(
        folder,
        *("--policies", str(folder / "policies"), "--redis", redis_url, "--workers", "2"),
        *(f"--upstream={name}=http://127.0.0.1:{port}" for name, port in products.items()),
        environment=environment,
        admin=admin,
    )
    try:
        yield server.wait()
    finally:
        code = server.stop()
    assert 0 == code


@dataclass(frozen=True)
class Operator:
    """Who runs the gateway's commands for one product."""

    policy: str
    redis_url: str

    def run(self, *command: str, stdin: bytes = b"") -> Any:
        """What a command says with --json."""
        return run_json(*command, *self._where(command), stdin=stdin)

    def refused(self, *command: str) -> str:
        """What a command says that must fail."""
        result = run_command(*command, *self._where(command))
        assert 0 != result.exit_code
        return f"{result.output}{result.exception}"

    def create(self, *options: str, name: str = "") -> dict[str, Any]:
        """A new token; without a name it gets one that no other has."""
        name = name or f"CI {next(NUMBERS)}"
        created: dict[str, Any] = self.run("token", "create", "--policy", self.policy, "--name", name, *options)
        return created

    def show(self, identity: str) -> dict[str, Any]:
        """What is known of a token."""
        shown: dict[str, Any] = self.run("token", "show", identity)
        return shown

    def show_lines(self, identity: str) -> dict[str, str]:
        """What the same command shows people, with what stands beside the token."""
        command = ("token", "show", identity)
        return read_lines(*command, *self._where(command))

    def set_owner(self, owner: str, *options: str) -> None:
        """What an owner may do from now on."""
        self.run("owner", "set", owner, "--policy", self.policy, *options)

    def _where(self, command: tuple[str, ...]) -> tuple[str, ...]:
        reads_policies = command[1] not in ("show", "list", "revoke", "search")
        return (
            "--redis",
            self.redis_url,
            *(("--policies", str(POLICIES / f"{self.policy}.toml")) if reads_policies else ()),
        )


@dataclass(frozen=True)
class User:
    """Who asks the gateway for a product's resources, at its host, with the credential where the product wants it."""

    port: int
    host: str
    credential: str
    """A field name, and what stands before the token in its value."""

    def ask(self, request: str, text: str | None, *fields: tuple[str, str], content: bytes | None = None) -> Answer:
        """The answer to a request such as "GET /path"."""
        method, _, target = request.partition(" ")
        name, _, scheme = self.credential.partition(" ")
        own = [] if text is None else [(name, f"{scheme} {text}" if scheme else text)]
        return ask(self.port, method, target, host=self.host, fields=[*own, *fields], content=content)

    def status(self, request: str, text: str | None) -> int:
        """The status of the answer."""
        return self.ask(request, text).status


def dump(redis_url: str) -> list[str]:
    """Every key, field, member and value of a Redis, as text."""
    found: list[bytes] = []
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter():
            found.append(key)
            match client.type(key):
                case b"string":
                    found.append(client.get(key))
                case b"hash":
                    found += [part for pair in client.hgetall(key).items() for part in pair]
                case b"set":
                    found += client.smembers(key)
                case b"zset":
                    found += [member for member, _ in client.zrange(key, 0, -1, withscores=True)]
                case b"list":
                    found += client.lrange(key, 0, -1)
                case b"stream":
                    found += [part for _, entry in client.xrange(key) for pair in entry.items() for part in pair]
                case kind:
                    raise AssertionError(f"{key!r} is a {kind!r}")
    return [one.decode("latin-1") for one in found]

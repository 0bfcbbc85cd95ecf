"""Leak reports and alerts: a real gateway, real Redis, a receiver and an issuer of keys over real HTTP."""

import base64
import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.core.tokens.records import decode_record, encode_record
from tests.support.client import Answer, ask
from tests.support.command_line import run_command, run_json
from tests.support.issuer import Issuer
from tests.support.processes import GatewayServer, wait_until
from tests.system.conftest import Serve, mint

ADDRESS = "/-/leaks/github"
KEYS = "/meta/public_keys/secret_scanning"
EXPORT = "/api/v1/projects/website/translations/export"
KEY = b"k" * 32
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
PLACE = "https://github.com/octocat/Hello-World/blob/main/config.js"


class Receiver:
    """The operators' webhook: it verifies signatures as a library of Standard Webhooks does, and keeps the events."""

    def __init__(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                identity, time = self.headers["webhook-id"], self.headers["webhook-timestamp"]
                expected = hmac.digest(KEY, f"{identity}.{time}.".encode() + content, "sha256")
                assert f"v1,{base64.b64encode(expected).decode()}" == self.headers["webhook-signature"]
                receiver.got.append({"id": identity, **json.loads(content)})
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self.got: list[dict[str, Any]] = []
        self.status = 204
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/alerts"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def find(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.got if event["type"] == kind]

    def wait_for(self, kind: str) -> dict[str, Any]:
        """The data of the one event of this kind."""
        wait_until(lambda: self.find(kind) != [], f"there is an alert {kind}: {self.got}")
        (event,) = self.find(kind)
        data: dict[str, Any] = event["data"]
        return data


class Github:
    """Signs reports, and shows its keys."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self.keys: dict[str, EllipticCurvePrivateKey] = {}
        self.add_key("first")

    def add_key(self, identifier: str) -> None:
        self.keys[identifier] = generate_private_key(SECP256R1())
        shown = [
            {
                "key_identifier": name,
                "key": key.public_key()
                .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
                .decode(),
                "is_current": True,
            }
            for name, key in self.keys.items()
        ]
        self._issuer.serve(KEYS, {"public_keys": shown})

    def report(self, gateway: GatewayServer, *tokens: str, identifier: str = "first") -> Answer:
        content = json.dumps(
            [{"token": token, "type": "system_token", "url": PLACE, "source": "content"} for token in tokens]
        ).encode()
        signature = base64.b64encode(self.keys[identifier].sign(content, ECDSA(SHA256()))).decode()
        return send(gateway, content, identifier, signature)


def send(gateway: GatewayServer, content: bytes, identifier: str, signature: str) -> Answer:
    fields = [
        ("Content-Type", "application/json"),
        ("Github-Public-Key-Identifier", identifier),
        ("Github-Public-Key-Signature", signature),
    ]
    return ask(gateway.port, "POST", ADDRESS, fields=fields, content=content)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


@pytest.fixture
def github(issuer: Issuer) -> Github:
    return Github(issuer)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.stop()


@pytest.fixture
def gateway(serve: Serve, redis_url: str, issuer: Issuer, receiver: Receiver) -> GatewayServer:
    return start(serve, redis_url, issuer, receiver)


def start(serve: Serve, redis_url: str, issuer: Issuer, receiver: Receiver) -> GatewayServer:
    environment = {
        "GATEWAY_LEAK_KEYS_URL": issuer.url + KEYS,
        "GATEWAY_ALERTS_URL": receiver.url,
        "GATEWAY_ALERTS_SECRET": SECRET,
    }
    return serve(redis_url, "--workers", "2", environment=environment)


def labels(answer: Answer) -> list[tuple[str, str]]:
    assert 200 == answer.status, answer
    return [(one["token_hash"], one["label"]) for one in answer.json()]


def test_a_leaked_token_is_revoked_with_all_that_was_made_with_it(
    gateway: GatewayServer, github: Github, receiver: Receiver, policies: Path, redis_url: str
) -> None:
    """GitHub learns which findings are real, operators what was revoked and who goes on using it; no text is shown."""
    token = mint(redis_url, policies)
    child = run_json(
        "token", "create", "--parent", token["id"], "--name", "child", "--policies", str(policies), "--redis", redis_url
    )
    unknown = token["token"][:-1] + "x"
    answer = github.report(gateway, token["token"], unknown)
    expected = [
        (hashlib.sha256(text.encode()).hexdigest(), label)
        for text, label in ((token["token"], "true_positive"), (unknown, "false_positive"))
    ]
    assert expected == labels(answer)
    assert [401, 401] == [ask(gateway.port, "GET", EXPORT, token=one["token"]).status for one in (token, child)]

    leak = receiver.wait_for("token.leaked")
    assert (token["id"], "revoked", PLACE, "content") == (leak["token"], leak["action"], leak["url"], leak["source"])
    assert {token["id"], child["id"]} == set(leak["tokens"])
    revocation = receiver.wait_for("token.revoked")
    assert ("GitHub secret scanning", 2) == (revocation["by"], revocation["count"])
    used = receiver.wait_for("token.leaked_use")
    assert (token["id"], "127.0.0.1") == (used["token"], used["client"])
    entries = run_json("audit", "search", "--token", token["id"], "--policies", str(policies), "--redis", redis_url)
    assert "GitHub secret scanning" in json.dumps(entries)
    everything = gateway.text() + json.dumps(receiver.got) + answer.content.decode()
    assert all(text not in everything for text in (token["token"], child["token"], unknown))


def test_a_policy_may_only_be_told(
    serve: Serve, issuer: Issuer, github: Github, receiver: Receiver, policies: Path, redis_url: str
) -> None:
    """With `on_leak = "notify"` the token goes on working, and operators decide."""
    file = policies / "system.toml"
    file.write_text('on_leak = "notify"\n' + file.read_text())
    gateway = start(serve, redis_url, issuer, receiver)
    token = mint(redis_url, policies)
    assert ["true_positive"] == [label for _, label in labels(github.report(gateway, token["token"]))]
    leak = receiver.wait_for("token.leaked")
    assert ("none", None) == (leak["action"], leak.get("tokens"))
    assert 200 == ask(gateway.port, "GET", EXPORT, token=token["token"]).status


def test_only_what_github_has_signed_is_believed(
    gateway: GatewayServer, github: Github, policies: Path, redis_url: str
) -> None:
    """Not without a signature, with that of another content or another key; after a rotation the new key counts."""
    token = mint(redis_url, policies)
    content = json.dumps([{"token": token["token"], "type": "t", "url": "u", "source": "s"}]).encode()
    other = base64.b64encode(generate_private_key(SECP256R1()).sign(content, ECDSA(SHA256()))).decode()
    elsewhere = base64.b64encode(github.keys["first"].sign(b"[]", ECDSA(SHA256()))).decode()
    for identifier, signature in (("first", other), ("first", elsewhere), ("first", "?"), ("", other), ("new", other)):
        assert 401 == send(gateway, content, identifier, signature).status
    assert 200 == ask(gateway.port, "GET", EXPORT, token=token["token"]).status
    assert 405 == ask(gateway.port, "GET", ADDRESS).status


def test_a_signed_call_of_another_form_is_refused(gateway: GatewayServer, github: Github) -> None:
    """GitHub's own mistake would be a 400 that repeats nothing."""
    signature = base64.b64encode(github.keys["first"].sign(b'{"a":1}', ECDSA(SHA256()))).decode()
    answer = send(gateway, b'{"a":1}', "first", signature)
    assert (400, True) == (answer.status, "no JSON array" in answer.json()["detail"])


def test_the_example_of_github_is_verified(serve: Serve, redis_url: str, issuer: Issuer) -> None:
    """Key, content and signature of the documentation of the partner program."""
    pem = (
        "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEsz9ugWDj5jK5ELBK42ynytbo38gP\n"
        "HzZFI03Exwz8Lh/tCfL3YxwMdLjB+bMznsanlhK0RwcGP3IDb34kQDIo3Q==\n-----END PUBLIC KEY-----\n"
    )
    identifier = "f9525bf080f75b3506ca1ead061add62b8633a346606dc5fe544e29231c6ee0d"
    issuer.serve(KEYS, {"public_keys": [{"key_identifier": identifier, "key": pem, "is_current": True}]})
    gateway = serve(redis_url, environment={"GATEWAY_LEAK_KEYS_URL": issuer.url + KEYS})
    signature = "MEUCIFLZzeK++IhS+y276SRk2Pe5LfDrfvTXu6iwKKcFGCrvAiEAhHN2kDOhy2I6eGkOFmxNkOJ+L2y8oQ9A2T9GGJo6WJY="
    content = b'[{"token":"some_token","type":"some_type","url":"some_url","source":"some_source"}]'
    answer = send(gateway, content, identifier, signature)
    hashed = hashlib.sha256(b"some_token").hexdigest()
    assert [{"token_hash": hashed, "token_type": "some_type", "label": "false_positive"}] == answer.json()
    assert 401 == send(gateway, content + b" ", identifier, signature).status


def test_without_keys_or_redis_github_tries_again(serve: Serve, redis_url: str, issuer: Issuer, github: Github) -> None:
    """503 with Retry-After while the keys cannot be fetched; 404 where nobody has set it up."""
    issuer.documents.pop(KEYS)
    gateway = serve(redis_url, environment={"GATEWAY_LEAK_KEYS_URL": issuer.url + KEYS})
    answer = github.report(gateway, "x")
    assert (503, "10") == (answer.status, answer.field("retry-after"))
    assert 404 == github.report(serve(redis_url), "x").status


def test_operators_are_alerted_of_revocations_reloads_and_ends(
    gateway: GatewayServer, receiver: Receiver, policies: Path, redis_url: str
) -> None:
    """By whichever door; each once, though two workers see it. A receiver that fails is tried again."""
    receiver.status = 503
    where = ("--policies", str(policies), "--redis", redis_url)
    ending = mint(redis_url, policies, "--expires", "15d")
    token = mint(redis_url, policies)
    assert 200 == ask(gateway.port, "GET", EXPORT, token=token["token"]).status
    assert 0 == run_command("token", "revoke", token["id"], *where).exit_code
    wait_until(lambda: receiver.got != [], "the receiver was asked")
    receiver.status = 200
    wait_until(lambda: len(receiver.find("token.revoked")) >= 2, "it was asked again")
    assert 1 == len({event["id"] for event in receiver.find("token.revoked")})
    assert {token["id"]} == {event["data"]["token"] for event in receiver.find("token.revoked")}
    good = (policies / "system.toml").read_text()
    (policies / "system.toml").write_text(good.replace("upstream =", "upstraem ="))
    failed = receiver.wait_for("policies.reload_failed")
    assert any("upstraem" in mistake for mistake in failed["mistakes"])
    assert ending["token"] not in json.dumps(receiver.got)
    assert SECRET not in gateway.text()


def test_a_token_that_ends_soon_is_told_when_it_is_used(
    gateway: GatewayServer, receiver: Receiver, policies: Path, redis_url: str
) -> None:
    """One that was made for longer than two weeks, and not one that was never meant to last."""
    short, long = (mint(redis_url, policies, "--expires", expires) for expires in ("1d", "20d"))
    with redis.Redis.from_url(redis_url) as client:  # made ten days earlier
        (key,) = client.keys(f"gw1:*:token:{long['id']}")
        record = decode_record(long["id"], client.get(key))
        aged = msgspec.structs.replace(
            record, created_at=record.created_at - 864000, expires_at=(record.expires_at or 0) - 864000
        )
        client.set(key, encode_record(aged))
    for token in (short, long, long):
        assert 200 == ask(gateway.port, "GET", EXPORT, token=token["token"]).status
    data = receiver.wait_for("token.expiring")
    assert (long["id"], "CI", "website") == (data["token"], data["name"], data["project"])


def test_unverified_content_is_bounded(serve: Serve, redis_url: str, issuer: Issuer) -> None:
    """Who names no key is not read at all; of those who do, a megabyte of each."""
    gateway = serve(redis_url, environment={"GATEWAY_LEAK_KEYS_URL": issuer.url + KEYS})
    assert 401 == ask(gateway.port, "POST", ADDRESS, content=b"[]").status
    assert 413 == send(gateway, b" " * (1024 * 1024 + 1), "first", "AAAA").status


def test_whoever_sends_slowly_keeps_no_report_out(
    serve: Serve, redis_url: str, policies: Path, issuer: Issuer, github: Github
) -> None:
    """Eight calls are read at a time. GitHub's takes the place of the oldest, which is told to come back."""
    gateway = serve(redis_url, environment={"GATEWAY_LEAK_KEYS_URL": issuer.url + KEYS})
    token = mint(redis_url, policies)["token"]
    head = (
        f"POST {ADDRESS} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n"
        "Github-Public-Key-Identifier: first\r\nGithub-Public-Key-Signature: AAAA\r\nExpect: 100-continue\r\n\r\n"
    )
    slow = [socket.create_connection(("127.0.0.1", gateway.port), 30) for _ in range(8)]
    for connection in slow:
        connection.sendall(head.encode())
        assert b"HTTP/1.1 100 Continue" in connection.recv(1000)  # it is being read
    assert ["true_positive"] == [label for _, label in labels(github.report(gateway, token))]
    assert 401 == ask(gateway.port, "GET", EXPORT, token=token).status
    answer = slow[0].recv(10_000)
    assert answer.startswith(b"HTTP/1.1 503 ") and b"retry-after: 10" in answer.lower()
    for connection in slow[1:]:
        connection.sendall(b"[        ")
        assert connection.recv(10_000).startswith(b"HTTP/1.1 401 ")
    for connection in slow:
        connection.close()

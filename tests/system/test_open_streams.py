"""What is open when its token may no longer: events, WebSockets and slow downloads, on raw sockets through the gateway.

Each of them is open before and ends after; adapters/test_revocation_watch.py says when, under a clock of its own.
"""

import base64
import hashlib
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import ask
from tests.support.command_line import run_command, run_json
from tests.support.processes import GatewayServer, RedisServer, wait_until
from tests.support.raw import TIMEOUT_SECONDS, RawBackend, read_head
from tests.system.conftest import mint

POLICY = """
name = "system"
upstream = {{ url = "http://127.0.0.1:{port}", response_timeout = "30s", idle_timeout = "60s" }}
[token]
prefixes = ["sys_"]
[scopes]
read = "Read"
write = "Write"
[plans.free]
scopes = []
[plans.pro]
[[rules]]
match = "GET /api/v1/projects/{{project}}/**"
project = "{{project}}"
scopes = ["read"]
"""
EVENT = b"data: hello\n\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
FRAME = b"\x81\x05hello"
REVOKED = b"\x88\x0f\x03\xf0invalid_token"
STOPPING = b"\x88\x02\x03\xe9"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPTED = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
SIZE = 1 << 30
"""Of a download: more than all buffers on its way hold."""


def stream(connection: socket.socket) -> None:
    """A backend of streams that have no end of their own, until the gateway closes them."""
    head = read_head(connection).lower()
    if b"upgrade: websocket" in head:
        accepted = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + ACCEPTED
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n" + accepted + b"\r\n\r\n" + FRAME)
    elif b"/download" in head:
        connection.settimeout(60)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        for _ in range(SIZE >> 20):
            connection.sendall(bytes(1 << 20))
    else:
        connection.sendall(EVENTS + CHUNK)
    connection.settimeout(60)
    connection.recv(1)


class OpenStreams:
    """Three streams of one token, each with something of it received."""

    def __init__(self, stack: ExitStack, gateway: GatewayServer, token: str) -> None:
        upgrade = (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13")
        self._credential = b"Authorization: Bearer " + token.encode()
        self._port, self._stack = gateway.port, stack
        self.events, self.before = self._open(b"/events", (b"Connection: close",), until=CHUNK)
        self.websocket, opened = self._open(b"/talk", (*upgrade, b"Sec-WebSocket-Key: " + KEY), until=FRAME)
        self.download, begun = self._open(b"/download", (b"Connection: close",), until=b"\r\n\r\n")
        assert opened.startswith(b"HTTP/1.1 101 ")
        assert begun.startswith(b"HTTP/1.1 200 ")

    def _open(self, path: bytes, fields: tuple[bytes, ...], until: bytes) -> tuple[socket.socket, bytes]:
        connection = self._stack.enter_context(socket.create_connection(("127.0.0.1", self._port), TIMEOUT_SECONDS))
        line = b"GET /api/v1/projects/website" + path + b" HTTP/1.1"
        connection.sendall(b"\r\n".join((line, b"Host: a", self._credential, *fields, b"", b"")))
        received = b""
        while not received.endswith(until) and (piece := connection.recv(1)):
            received += piece
        return connection, received

    def are_open(self) -> bool:
        """Whether nothing has come on events and WebSocket, their end included."""
        for connection in (self.events, self.websocket):
            connection.settimeout(0.05)
            try:
                connection.recv(1)
            except TimeoutError:
                connection.settimeout(TIMEOUT_SECONDS)
                continue
            return False
        return True


def read_rest(connection: socket.socket, limit: int = SIZE) -> tuple[int, bytes, str]:
    """How much still comes, its last bytes, and how it ends."""
    size, last = 0, b""
    try:
        while size < limit and (piece := connection.recv(1 << 20)):
            size, last = size + len(piece), (last + piece)[-64:]
    except ConnectionResetError:
        return size, last, "reset"
    return size, last, "closed" if size < limit else "went on"


Act = Callable[["Stage", dict[str, str]], None]


class Stage:
    """A gateway in front of a backend that streams, and the commands of its operator."""

    def __init__(self, gateway: GatewayServer, policies: Path, redis_url: str, port: int) -> None:
        self.gateway = gateway
        self.policies = policies
        self.redis_url = redis_url
        self._port = port
        self.write_policy()

    def write_policy(self, **changes: str) -> None:
        text = POLICY.format(port=self._port)
        for old, new in changes.items():
            text = text.replace(old, new)
        (self.policies / "system.toml").write_text(text)

    def has_status(self, expected: int, token: str) -> bool:
        """Whether a request for an answer without content has this status."""
        return expected == ask(self.gateway.port, "HEAD", "/api/v1/projects/website/events", token=token).status

    def run(self, *arguments: str) -> None:
        where = ("--redis", self.redis_url)
        files = () if arguments[:2] == ("token", "revoke") else ("--policies", str(self.policies))
        result = run_command(*arguments, *where, *files)
        assert 0 == result.exit_code, result.output

    def mint(self, *options: str) -> dict[str, str]:
        return mint(self.redis_url, self.policies, "--plan", "pro", "--owner", "ada", *options)

    def mint_child(self, parent: dict[str, str]) -> dict[str, str]:
        where = ("--redis", self.redis_url, "--policies", str(self.policies))
        child: dict[str, str] = run_json("token", "create", "--parent", parent["id"], "--name", "actor", *where)
        return child

    def set_owner(self, *options: str) -> None:
        self.run("owner", "set", "ada", "--policy", "system", *options)


@pytest.fixture(scope="module")
def stage(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("streams")
    policies = folder / "policies"
    policies.mkdir()
    with RawBackend(stream) as backend:
        (policies / "system.toml").write_text(POLICY.format(port=backend.port))
        gateway = GatewayServer(folder, "--policies", str(policies), "--redis", redis_server.url).wait()
        try:
            yield Stage(gateway, policies, redis_server.url, backend.port)
        finally:
            gateway.stop()
    assert "Traceback" not in gateway.text()


def revoke(stage: Stage, token: dict[str, str]) -> None:
    stage.run("token", "revoke", token["id"])


def update(*options: str) -> Act:
    return lambda stage, token: stage.run("token", "update", token["id"], *options)


def rotate(stage: Stage, token: dict[str, str]) -> None:
    stage.run("token", "rotate", token["id"], "--overlap", "1s")


def change_owner(*options: str) -> Act:
    return lambda stage, _: stage.set_owner(*options)


def remove_owner(stage: Stage, _: dict[str, str]) -> None:
    stage.run("owner", "remove", "ada", "--policy", "system")


def ask_for_more(stage: Stage, _: dict[str, str]) -> None:
    stage.write_policy(**{'scopes = ["read"]': 'scopes = ["write"]'})


ACTS: dict[str, Act] = {
    "revoked": revoke,
    "expired": update("--expires", "2s"),
    "rotated": rotate,
    "disabled": update("--disable"),
    "not yet valid": update("--not-before", "1h"),
    "without the scope": update("--scope", "write"),
    "without the plan": update("--plan", "free"),
    "of a blocked owner": change_owner("--status", "blocked"),
    "of a removed owner": remove_owner,
    "of an owner without the scope": change_owner("--permission", "*=write"),
    "of an owner without the project": change_owner("--permission", "shop=read", "--without", "*"),
    "under another rule": ask_for_more,
}


@pytest.mark.parametrize("of", ["token", "parent"])
@pytest.mark.parametrize("act", ACTS)
def test_what_is_open_ends_when_its_token_may_no_longer(stage: Stage, act: str, of: str) -> None:
    """Events break off, a WebSocket gets 1008 and its end, a download that nobody takes ends short.

    So it is for a child when it is its parent that may no longer.
    """
    stage.write_policy()
    stage.set_owner("--permission", "*=read,write", "--status", "active")
    token = stage.mint("--scope", "read")
    shown = stage.mint_child(token) if of == "parent" else token
    wait_until(lambda: stage.has_status(200, shown["token"]), "the policy is served")
    with ExitStack() as stack:
        streams = OpenStreams(stack, stage.gateway, shown["token"])
        assert streams.are_open()
        ACTS[act](stage, token)
        assert (0, b"", "closed") == read_rest(streams.events)
        assert (len(REVOKED), REVOKED, "closed") == read_rest(streams.websocket)
        assert "reset" == read_rest(streams.download)[2]
    assert_ends_are_on_record(stage.gateway, shown["id"], is_by_itself=of == "token" and act in ("expired", "rotated"))


def assert_ends_are_on_record(gateway: GatewayServer, token: str, *, is_by_itself: bool) -> None:
    """Each stream of the token has one record, with the status that it began with and why the gateway ended it."""

    def cut() -> list[dict[str, Any]]:
        return [record for record in gateway.records_of(token) if record["method"] == "GET"]

    wait_until(lambda: len(cut()) == 3, "all three are on record")
    assert {"/events": 200, "/talk": 101, "/download": 200} == {
        record["path"].removeprefix("/api/v1/projects/website"): record["status"] for record in cut()
    }
    assert {"expired" if is_by_itself else "revoked"} == {record["ended"] for record in cut()}
    (reason,) = {record["reason"] for record in cut()}
    assert is_by_itself == (reason == "expired_token")


def test_a_token_that_is_used_up_keeps_what_is_open(stage: Stage) -> None:
    """Nor does a reload end it that admits it still, or what becomes of another token."""
    stage.write_policy()
    token, other = (stage.mint("--scope", "read") for _ in range(2))
    wait_until(lambda: stage.has_status(200, token["token"]), "the policy is served")
    with ExitStack() as stack:
        kept, cut = (OpenStreams(stack, stage.gateway, one["token"]) for one in (token, other))
        stage.write_policy(**{"[plans.pro]": '[plans.pro]\nquotas = { day = "1/day" }'})
        wait_until(lambda: stage.has_status(429, token["token"]), "the new rules are served, and the quota is used up")
        revoke(stage, other)
        assert (0, b"", "closed") == read_rest(cut.events)
        assert kept.are_open()

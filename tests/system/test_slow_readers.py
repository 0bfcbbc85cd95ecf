"""Clients that ask for much and take nothing: what the gateway holds for them, and what becomes of others."""

import hashlib
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.client import ask
from tests.support.processes import GatewayServer, RedisServer
from tests.support.raw import RawBackend, read_head
from tests.system.conftest import Serve, mint
from tests.system.test_cache import reply

READERS = 150
EXPORT_BYTES = 4_000_000
MAXIMUM_BYTES = 300 * 1024 * 1024
"""Of the worker, at its most; without a bound it was 700 MB here, and 2,217 MB with 500 readers."""
POLICY = """
name = "system"
upstream = "http://127.0.0.1:{backend}"
[token]
prefixes = ["sys_"]
[[rules]]
match = "GET /sets/{{set}}/export"
cache = {{ fresh = "1h" }}
[[rules]]
match = "* /**"
"""


def content_of(target: bytes) -> bytes:
    """Something else for each target."""
    line = hashlib.sha256(target).hexdigest().encode() + b"\n"
    return (line * (EXPORT_BYTES // len(line) + 1))[:EXPORT_BYTES]


@contextmanager
def backend(policies: Path) -> Iterator[None]:
    """Whose exports are long, and whose other answers are short."""

    def behave(connection: socket.socket) -> None:
        target = read_head(connection).split(b" ")[1]
        connection.sendall(reply(content_of(target) if b"/export" in target else b"short"))

    with RawBackend(behave) as running:
        (policies / "system.toml").write_text(POLICY.format(backend=running.port))
        yield


def open_reader(port: int, token: str, target: str) -> socket.socket:
    """A client that has asked, and has room for next to nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(15)
    client.connect(("127.0.0.1", port))
    client.sendall(f"GET {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    assert b"HTTP/1.1 200 OK\r\n" == client.recv(17)
    return client


def read_all(client: socket.socket) -> bytes:
    """The content of the answer, as soon as its client takes it."""
    received = bytearray()
    while (start := received.find(b"\r\n\r\n")) < 0 or len(received) < start + 4 + EXPORT_BYTES:
        piece = client.recv(1 << 20)
        assert piece, "the answer broke off"
        received += piece
    return bytes(received[start + 4 :])


def peak_bytes(gateway: GatewayServer) -> int:
    """The most that the gateway's process has had in memory."""
    status = Path(f"/proc/{gateway.popen.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


@pytest.mark.parametrize("is_stored", [True, False])
def test_clients_that_take_nothing_cost_a_bounded_amount_of_memory(
    serve: Serve, own_redis: RedisServer, policies: Path, is_stored: bool
) -> None:
    """Of exports that are stored or not, each another one; others are answered, and who reads on gets all of it."""
    with ExitStack() as open_clients, backend(policies):
        gateway = serve(own_redis.url, environment={"GATEWAY_EXPORT_LIMIT": "0"})
        token = mint(own_redis.url, policies)["token"]
        targets = [f"/sets/{number}/export" for number in range(READERS)]
        for target in targets if is_stored else []:
            assert "stored" in (ask(gateway.port, "GET", target, token=token).field("cache-status") or "")
        clients = [open_clients.enter_context(open_reader(gateway.port, token, target)) for target in targets]
        for _ in range(50):
            assert 200 == ask(gateway.port, "GET", "/api/v1/whoami", token=token).status
        assert peak_bytes(gateway) < MAXIMUM_BYTES
        for number in (0, READERS // 2, READERS - 1):
            assert content_of(targets[number].encode()) == read_all(clients[number])

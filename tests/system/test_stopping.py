"""Stops and reloads while answers are under way: what has begun goes to its end, or is cut so that it shows."""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.client import ask
from tests.support.processes import GatewayServer, free_port, is_listening, wait_until
from tests.support.raw import RawBackend, read_head, request_bytes
from tests.system.conftest import Serve, mint
from tests.system.test_bad_backends import write_policy

EVENT = b"data: 1\n\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
LAST_CHUNK = b"0\r\n\r\n"
STREAMED = b"GET /stream HTTP/1.1"
SIZE = 4 << 20
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


class Origin:
    """A backend that streams: the first half at once, the rest when it `may_end`."""

    def __init__(self, head: bytes, half: bytes) -> None:
        self.may_end = threading.Event()
        self._head = head
        self._half = half

    def __call__(self, connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(self._head + self._half)
        if self.may_end.wait(30):
            connection.sendall(self._half + (LAST_CHUNK if b"chunked" in self._head else b""))


def endless() -> Origin:
    return Origin(STREAM, CHUNK)


@contextmanager
def open_stream(gateway: GatewayServer, token: str, until: bytes) -> Iterator[socket.socket]:
    """A connection on which an answer has come up to `until`."""
    with socket.create_connection(("127.0.0.1", gateway.port), 30) as connection:
        connection.sendall(request_bytes(b"Host: a", b"Authorization: Bearer " + token.encode(), request_line=STREAMED))
        received = b""
        while until not in received and (piece := connection.recv(1)):
            received += piece
        assert received.startswith(b"HTTP/1.1 200 "), received
        yield connection


def read_rest(connection: socket.socket) -> bytes:
    """All that still comes, until the other end closes the connection in whatever way."""
    received = bytearray()
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    return bytes(received)


@WORKERS
def test_a_stop_lets_a_download_end(serve: Serve, redis_url: str, policies: Path, workers: str) -> None:
    """After SIGTERM a download comes whole and the gateway ends with code 0; who comes meanwhile is refused at once."""
    origin = Origin(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE, bytes(SIZE // 2))
    with RawBackend(origin) as backend:
        write_policy(policies, backend.port, response_timeout="30s")
        gateway = serve(redis_url, "--workers", workers)
        with open_stream(gateway, mint(redis_url, policies)["token"], b"\r\n\r\n") as download:
            gateway.send(signal.SIGTERM)
            wait_until(lambda: not is_listening(gateway.port), "a load balancer sees that the gateway stops")
            origin.may_end.set()
            assert SIZE == len(read_rest(download))
        assert 0 == gateway.popen.wait(30)
        assert "Traceback" not in gateway.text()


@WORKERS
def test_a_stop_cuts_a_stream_that_does_not_end(serve: Serve, redis_url: str, policies: Path, workers: str) -> None:
    """When GATEWAY_STOP_TIMEOUT is over, a stream is cut without its last chunk: nobody takes it for whole."""
    origin = endless()
    with RawBackend(origin) as backend:
        write_policy(policies, backend.port, response_timeout="30s")
        gateway = serve(redis_url, "--workers", workers, environment={"GATEWAY_STOP_TIMEOUT": "1"})
        with open_stream(gateway, mint(redis_url, policies)["token"], CHUNK) as events:
            gateway.send(signal.SIGTERM)
            assert b"" == read_rest(events)
        assert 0 == gateway.popen.wait(30)
        assert "Traceback" not in gateway.text()
        origin.may_end.set()


def test_a_reload_leaves_open_streams_alone(serve: Serve, redis_url: str, policies: Path) -> None:
    """A rule that admits them still, and another backend, are for what comes later."""
    origin = endless()
    other_port = free_port()
    with RawBackend(origin) as backend:
        write_policy(policies, backend.port, response_timeout="30s")
        gateway = serve(redis_url)
        token = mint(redis_url, policies)["token"]
        with open_stream(gateway, token, CHUNK) as events:
            write_policy(policies, other_port, response_timeout="30s")
            wait_until(lambda: 502 == ask(gateway.port, "HEAD", "/new", token=token).status, "the new backend is asked")
            origin.may_end.set()
            assert CHUNK + LAST_CHUNK == read_rest(events)
        assert "Traceback" not in gateway.text()


def test_a_reload_ends_streams_that_it_would_not_let_in(serve: Serve, redis_url: str, policies: Path) -> None:
    """No rule is left for this one: it breaks off, and what is served goes by the new."""
    origin = endless()
    with RawBackend(origin) as backend:
        write_policy(policies, backend.port, response_timeout="30s")
        gateway = serve(redis_url)
        token = mint(redis_url, policies)["token"]
        with open_stream(gateway, token, CHUNK) as events:
            file = policies / "system.toml"
            file.write_text(file.read_text().replace('match = "* /**"', 'match = "* /elsewhere/**"'))
            assert b"" == read_rest(events)
            assert 404 == ask(gateway.port, "GET", "/new").status
        origin.may_end.set()
        wait_until(lambda: "no_matching_rule" in gateway.text(), "the log says why")
        assert "Traceback" not in gateway.text()

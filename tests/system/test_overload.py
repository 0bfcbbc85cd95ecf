"""More requests than a worker may have at once are refused at once, and cost nothing but their refusal."""

import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from gateway.cli.serve import MAXIMUM_DESCRIPTORS
from tests.support.client import ask
from tests.support.processes import GatewayServer, wait_until
from tests.support.raw import RawBackend, read_head, request_bytes
from tests.support.relay_thread import relay_to
from tests.system.conftest import Serve, mint
from tests.system.test_bad_backends import write_policy

TWO = {"GATEWAY_MAX_REQUESTS": "2", "GATEWAY_TRUSTED_PROXIES": "127.0.0.1"}
BEGUN = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nhello"
ASKED = [
    ("X-Original-Method", "GET"),
    ("X-Original-URL", "http://any.example/a"),
    ("X-Forwarded-For", "192.0.2.1"),
]


class Backend:
    """Answers `/quick` at once; of all else the first half, and the second when it `may_end`."""

    def __init__(self) -> None:
        self.may_end = threading.Event()

    def __call__(self, connection: socket.socket) -> None:
        is_quick = read_head(connection).startswith(b"GET /quick ")
        connection.sendall(BEGUN)
        if is_quick or self.may_end.wait(30):
            connection.sendall(b"world")


@contextmanager
def two_under_way(gateway: GatewayServer, token: str) -> Iterator[list[socket.socket]]:
    """Two requests that have an answer and not all of it."""
    line = b"Authorization: Bearer " + token.encode()
    connections = [socket.create_connection(("127.0.0.1", gateway.port), 30) for _ in range(2)]
    try:
        for connection in connections:
            connection.sendall(request_bytes(b"Host: a", line, request_line=b"GET /slow HTTP/1.1"))
            received = b""
            while not received.endswith(b"hello"):
                received += connection.recv(65536)
        yield connections
    finally:
        for connection in connections:
            connection.close()


def test_what_there_is_no_room_for_is_refused(serve: Serve, redis_url: str, policies: Path) -> None:
    """503 with Retry-After, before Redis is asked; health is always answered, and room that is given back is used."""
    behave = Backend()
    with RawBackend(behave) as backend, relay_to(urlsplit(redis_url).port or 0) as relay:
        write_policy(policies, backend.port, response_timeout="30s")
        gateway = serve(f"redis://127.0.0.1:{relay.port}/0", environment=TWO)
        token = mint(redis_url, policies)["token"]
        with two_under_way(gateway, token) as connections:
            relay.round_trips.clear()
            refused = ask(gateway.port, "GET", "/quick", token=token)
            asked = ask(gateway.port, "GET", "/-/authorize/nginx", token=token, fields=ASKED)
            assert [] == relay.round_trips
            assert 503 == refused.status
            assert "1" == refused.field("retry-after")
            assert "no-store" == refused.field("cache-control")
            problem = refused.json()
            registered = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
            assert "overloaded" == problem["code"]
            assert registered == problem["type"]
            assert 403 == asked.status
            assert "503" == asked.field("x-error-status")
            assert "1" == asked.field("retry-after")
            assert [200, 200] == [ask(gateway.port, "GET", path).status for path in ("/-/health", "/-/ready")]
            taking = [ask(gateway.port, "POST", path, content=b"") for path in ("/-/token-exchange", "/-/leaks/github")]
            assert [(503, "overloaded")] * 2 == [(answer.status, answer.json()["code"]) for answer in taking]
            wait_until(
                lambda: "overloaded: 2 requests are in progress, more are refused" in gateway.text(), "the log says so"
            )
            behave.may_end.set()
            for connection in connections:
                assert b"world" == connection.recv(65536)
                assert b"" == connection.recv(65536)
        wait_until(lambda: 200 == ask(gateway.port, "GET", "/quick", token=token).status, "there is room again")
        assert 200 == ask(gateway.port, "GET", "/-/authorize/nginx", token=token, fields=ASKED).status
        wait_until(lambda: "no longer overloaded: " in gateway.text(), "the log says that it is over")


def test_who_leaves_gives_back_room(serve: Serve, redis_url: str, policies: Path) -> None:
    """A client that goes away in mid-answer makes room for another one."""
    behave = Backend()
    with RawBackend(behave) as backend:
        write_policy(policies, backend.port, response_timeout="30s")
        gateway = serve(redis_url, environment=TWO)
        token = mint(redis_url, policies)["token"]
        with two_under_way(gateway, token):
            assert 503 == ask(gateway.port, "GET", "/quick", token=token).status
        wait_until(lambda: 200 == ask(gateway.port, "GET", "/quick", token=token).status, "there is room again")
        behave.may_end.set()


def test_a_gateway_takes_all_the_connections_that_it_may_have(serve: Serve, redis_url: str) -> None:
    """The soft limit of open files, often 1,024, is raised: else connections would run out before requests do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))  # what a child process begins with
    try:
        gateway = serve(redis_url)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    line = next(
        line for line in Path(f"/proc/{gateway.popen.pid}/limits").read_text().splitlines() if "open files" in line
    )
    assert min(hard, MAXIMUM_DESCRIPTORS) == int(line.split()[3])

"""Backends that refuse, hang, close early or answer with something else than HTTP."""

import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.client import ask
from tests.support.command_line import run_json
from tests.support.processes import free_port
from tests.support.raw import RawBackend, read_head, request_bytes, send_raw
from tests.system.conftest import Share, mint

POLICY = """
name = "system"
upstream = {{ url = "http://127.0.0.1:{port}", connect_timeout = "2s", response_timeout = "{response_timeout}" }}
[token]
prefixes = ["sys_"]
[[rules]]
match = "GET /export"
cache = {{ fresh = "1m" }}
[[rules]]
match = "GET /stand-in"
cache = {{ fresh = "0s", stale_if_error = "1h" }}
[[rules]]
match = "* /**"
"""


def write_policy(policies: Path, port: int, response_timeout: str = "1s") -> None:
    (policies / "system.toml").write_text(POLICY.format(port=port, response_timeout=response_timeout))


def answering(answer: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(answer)

    return behave


@pytest.mark.parametrize("target", ["/plain", "/export"])
def test_a_backend_that_refuses_is_502(share: Share, redis_url: str, policies: Path, target: str) -> None:
    """No connection: 502 as problem details, with the token's state, and nothing to store."""
    write_policy(policies, free_port())
    gateway = share()
    answer = ask(gateway.port, "GET", target, token=mint(redis_url, policies)["token"])
    assert 502 == answer.status
    assert "upstream_unreachable" == answer.json()["code"]
    assert "no-store" == answer.field("cache-control")
    assert "1" == answer.field("retry-after")


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        (b"", "/plain"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "/plain"),
        (b"garbage\r\n\r\n", "/plain"),
        (b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", "/plain"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "/plain"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "/export"),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nok", "/plain"),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nok", "/export"),
    ],
)
def test_a_broken_answer_is_502(share: Share, redis_url: str, policies: Path, answer: bytes, target: str) -> None:
    """A broken head is 502; so is an export whose content ends early, as it is not passed on before it is whole."""
    with RawBackend(answering(answer)) as backend:
        write_policy(policies, backend.port)
        gateway = share()
        got = ask(gateway.port, "GET", target, token=mint(redis_url, policies)["token"])
        assert 502 == got.status
        assert "upstream_broken" == got.json()["code"]


@pytest.mark.parametrize("target", ["/plain", "/export"])
def test_interim_answers_pass(share: Share, redis_url: str, policies: Path, target: str) -> None:
    """102 and 103 reach clients before the answer (RFC 9110 15.2), except those of HTTP/1.0; 100 does not."""
    interim = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    )
    final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: no-store\r\n\r\nok"
    with RawBackend(answering(interim + final)) as backend:
        write_policy(policies, backend.port)
        gateway = share()
        credential = f"Authorization: Bearer {mint(redis_url, policies)['token']}".encode()
        for version, expected in ((b"1.1", [b"102", b"103", b"200"]), (b"1.0", [b"200"])):
            line = b"GET %b HTTP/%b" % (target.encode(), version)
            received = send_raw(gateway.port, request_bytes(b"Host: a", credential, request_line=line))
            assert expected == re.findall(rb"HTTP/1\.1 (\d{3}) ", received)
            assert (version == b"1.1") == (b"\r\nlink: </a>\r\nvia: 1.1 gateway\r\n\r\n" in received)


def test_an_early_answer_is_the_only_one(share: Share, redis_url: str, policies: Path) -> None:
    """The backend answers before it has all, then the client's chunk is malformed: one answer, and the end."""
    with RawBackend(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")) as backend:
        write_policy(policies, backend.port)
        gateway = share()
        token = mint(redis_url, policies)["token"]
        head = f"POST /a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
        with socket.create_connection(("127.0.0.1", gateway.port), 15) as client:
            client.sendall(head.encode() + b"5\r\nhello\r\n")
            received = b""
            while not received.endswith(b"early"):
                received += client.recv(65536)
            client.sendall(b"0x5\r\nhello\r\n0\r\n\r\n")
            while piece := client.recv(65536):
                received += piece
        assert [b"200"] == re.findall(rb"HTTP/1\.1 (\d{3}) ", received)


def test_a_backend_that_hangs_is_504(share: Share, redis_url: str, policies: Path) -> None:
    """No head within the policy's response_timeout: 504, and the backend's connection is closed."""
    is_closed = threading.Event()

    def hang(connection: socket.socket) -> None:
        read_head(connection)
        if connection.recv(1) == b"":
            is_closed.set()

    with RawBackend(hang) as backend:
        write_policy(policies, backend.port)
        gateway = share()
        answer = ask(gateway.port, "GET", "/plain", token=mint(redis_url, policies)["token"])
        assert 504 == answer.status
        assert "upstream_timeout" == answer.json()["code"]
        assert is_closed.wait(10)


def test_content_that_ends_early_never_looks_whole(share: Share, redis_url: str, policies: Path) -> None:
    """Chunked content that breaks off reaches the client without its last chunk."""

    def break_off(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")

    with RawBackend(break_off) as backend:
        write_policy(policies, backend.port)
        gateway = share()
        text = mint(redis_url, policies)["token"].encode()
        answer = send_raw(
            gateway.port,
            request_bytes(b"Host: a", b"Authorization: Bearer " + text, request_line=b"GET /plain HTTP/1.1"),
        )
        assert b"5\r\nhello\r\n" in answer
        assert not answer.endswith(b"0\r\n\r\n")
        assert "Traceback" not in gateway.text()


def test_streams_pass_as_they_come(share: Share, redis_url: str, policies: Path) -> None:
    """The first piece of a long answer is there before the backend has sent the second, and both directions stream."""
    may_go_on = threading.Event()

    def stream(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        assert may_go_on.wait(10)
        connection.sendall(b"6\r\nsecond\r\n0\r\n\r\n")

    with RawBackend(stream) as backend:
        write_policy(policies, backend.port)
        gateway = share()
        text = mint(redis_url, policies)["token"].encode()
        with socket.create_connection(("127.0.0.1", gateway.port), 10) as client:
            client.sendall(b"GET /plain HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + text + b"\r\n\r\n")
            received = b""
            while b"first" not in received:
                received += client.recv(65536)
            assert b"second" not in received
            may_go_on.set()
            while not received.endswith(b"0\r\n\r\n"):
                received += client.recv(65536)
            assert b"second" in received


def test_a_backend_that_goes_away_breaks_no_build(share: Share, redis_url: str, policies: Path) -> None:
    """The last good export is given out by every worker while the backend is gone; a revoked token gets none of it."""
    with RawBackend(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")) as backend:
        write_policy(policies, backend.port)
        gateway = share("node 1")
        token = mint(redis_url, policies)
        first = ask(gateway.port, "GET", "/stand-in", token=token["token"])
        assert 200 == first.status
        assert b"hello" == first.content
    answers = [ask(gateway.port, "GET", "/stand-in", token=token["token"]) for _ in range(6)]
    assert [(200, b"hello", first.field("etag"))] * 6 == [(a.status, a.content, a.field("etag")) for a in answers]
    assert all("; detail=stale-if-error" in (answer.field("cache-status") or "") for answer in answers)
    run_json("token", "revoke", token["id"], "--redis", redis_url)
    assert 401 == ask(gateway.port, "GET", "/stand-in", token=token["token"]).status


@pytest.mark.parametrize("is_child", [False, True])
def test_a_revoked_token_ends_its_open_streams(share: Share, redis_url: str, policies: Path, is_child: bool) -> None:
    """Its own or its child's is cut, not ended cleanly, and the backend's work with it; another token's goes on."""
    is_closed, may_go_on = threading.Event(), threading.Event()

    def stream(connection: socket.socket) -> None:
        head = read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        if b"/kept" in head:
            assert may_go_on.wait(20)
            connection.sendall(b"6\r\nsecond\r\n0\r\n\r\n")
        elif connection.recv(1) == b"":
            is_closed.set()

    def start(port: int, target: bytes, text: str) -> tuple[socket.socket, bytes]:
        client = socket.create_connection(("127.0.0.1", port), 20)
        line = b"GET " + target + b" HTTP/1.1"
        client.sendall(request_bytes(b"Host: a", b"Authorization: Bearer " + text.encode(), request_line=line))
        received = b""
        while b"first" not in received:
            received += client.recv(65536)
        return client, received

    with RawBackend(stream) as backend:
        write_policy(policies, backend.port, response_timeout="20s")
        gateway = share()
        revoked, kept = mint(redis_url, policies), mint(redis_url, policies)
        where = ("--policies", str(policies), "--redis", redis_url)
        child = run_json("token", "create", "--parent", revoked["id"], "--name", "actor", *where)
        cut, received = start(gateway.port, b"/cut", (child if is_child else revoked)["token"])
        going, also_received = start(gateway.port, b"/kept", kept["token"])
        with cut, going:
            run_json("token", "revoke", revoked["id"], "--redis", redis_url)
            while piece := cut.recv(65536):
                received += piece
            assert not received.endswith(b"0\r\n\r\n")
            assert is_closed.wait(20)
            may_go_on.set()
            while piece := going.recv(65536):
                also_received += piece
            assert also_received.endswith(b"6\r\nsecond\r\n0\r\n\r\n")
        assert "Traceback" not in gateway.text()


def test_a_client_that_leaves_ends_the_backends_work(share: Share, redis_url: str, policies: Path) -> None:
    """When the client closes in mid-stream, so does the gateway towards the backend."""
    is_closed = threading.Event()

    def stream(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        if connection.recv(1) == b"":
            is_closed.set()

    with RawBackend(stream) as backend:
        write_policy(policies, backend.port)
        gateway = share()
        text = mint(redis_url, policies)["token"].encode()
        with socket.create_connection(("127.0.0.1", gateway.port), 10) as client:
            client.sendall(b"GET /plain HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + text + b"\r\n\r\n")
            received = b""
            while b"first" not in received:
                received += client.recv(65536)
        assert is_closed.wait(10)


@pytest.mark.parametrize("request_end", [b"\r\n", b"Content-Length: 5\r\n\r\nhello"], ids=["get", "post"])
def test_a_client_that_leaves_before_the_head_ends_the_backends_work(
    share: Share, redis_url: str, policies: Path, request_end: bytes
) -> None:
    """When the client closes while the backend is silent, so does the gateway towards the backend, long before time."""
    is_asked, is_closed = threading.Event(), threading.Event()

    def think(connection: socket.socket) -> None:
        received = read_head(connection)
        while request_end.endswith(b"hello") and not received.endswith(b"hello"):
            received += connection.recv(65536)
        is_asked.set()
        if connection.recv(1) == b"":
            is_closed.set()

    with RawBackend(think) as backend:
        write_policy(policies, backend.port, response_timeout="1h")
        gateway = share()
        text = mint(redis_url, policies)["token"].encode()
        with socket.create_connection(("127.0.0.1", gateway.port), 10) as client:
            method = b"POST" if b"hello" in request_end else b"GET"
            client.sendall(method + b" /plain HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + text + b"\r\n")
            client.sendall(request_end)
            assert is_asked.wait(10)
        assert is_closed.wait(10)
        assert "Traceback" not in gateway.text()

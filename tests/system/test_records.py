"""Every request leaves one record, whatever its client does: the access log tells all that a backend was asked.

Real sockets, the gateway as a process, and a backend that answers when the test says so.
"""

import contextlib
import itertools
import json
import re
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.client import ask
from tests.support.processes import GatewayServer, RedisServer, wait_until
from tests.support.raw import TIMEOUT_SECONDS, RawBackend
from tests.system.conftest import Serve, mint

pytestmark = pytest.mark.redis

POLICY = """
name = "system"
upstream = {{ url = "http://127.0.0.1:{backend}", max_connections = 1000 }}
[token]
prefixes = ["sys_"]
[quotas]
minute = "1000000/minute"
[[rules]]
match = "* /**"
cost = {{ miss = 5, error = 0 }}
"""
REQUEST_ID = re.compile(rb"x-request-id: ([^\r]+)\r\n")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"


class Backend:
    """Writes down the id of every request whose head it gets, and answers those that are whole.

    /held/NAME is answered when NAME is let go. /stream/NAME begins then, /broken/NAME at once; both are cut off when
    NAME-end is let go.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._names = (str(number) for number in itertools.count())
        self._let_go: set[bytes] = set()
        self._changed = threading.Condition()

    def name(self) -> str:
        """A new one."""
        return next(self._names)

    def let_go(self, *names: str) -> None:
        with self._changed:
            self._let_go.update(name.encode() for name in names)
            self._changed.notify_all()

    def behave(self, connection: socket.socket) -> None:
        received = b""
        while piece := connection.recv(65536):
            received += piece
            head, is_whole, rest = received.partition(b"\r\n\r\n")
            if not is_whole:
                continue
            self.ids += [found.decode() for found in REQUEST_ID.findall(head + b"\r\n")]
            length = re.search(rb"content-length: (\d+)", head)
            while not _is_whole(head, rest, int(length[1]) if length else 0):
                piece = connection.recv(65536)
                if not piece:
                    return
                rest += piece
            received = b""
            self._answer(connection, *(head.split(b" ")[1] + b"/").split(b"/")[1:3])

    def _answer(self, connection: socket.socket, kind: bytes, name: bytes) -> None:
        if kind in (b"held", b"stream"):
            self._await(name)
        if kind not in (b"stream", b"broken"):
            connection.sendall(OK)
            return
        connection.sendall(STREAM)
        self._await(name + b"-end")
        raise ConnectionAbortedError  # closes it in mid-content

    def _await(self, name: bytes) -> None:
        with self._changed:
            self._changed.wait_for(lambda: name in self._let_go, TIMEOUT_SECONDS)


def _is_whole(head: bytes, content: bytes, length: int) -> bool:
    return content.endswith(b"0\r\n\r\n") if b"chunked" in head else len(content) >= length


@pytest.fixture(scope="module")
def backend() -> Iterator[tuple[Backend, int]]:
    """How it behaves, and its port."""
    behaviour = Backend()
    with RawBackend(behaviour.behave) as server:
        yield behaviour, server.port


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, backend: tuple[Backend, int]) -> Path:
    """The gateway's, with its policies."""
    folder = tmp_path_factory.mktemp("records")
    (folder / "policies").mkdir()
    (folder / "policies" / "system.toml").write_text(POLICY.format(backend=backend[1]))
    return folder


@pytest.fixture(scope="module")
def gateway(folder: Path, redis_server: RedisServer) -> Iterator[GatewayServer]:
    """One gateway for most of these tests; it trusts nobody."""
    options = ("--policies", str(folder / "policies"), "--redis", redis_server.url)
    server = GatewayServer(folder, *options).wait()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def token(folder: Path, redis_server: RedisServer) -> dict[str, str]:
    return mint(redis_server.url, folder / "policies")


@pytest.fixture
def name(backend: tuple[Backend, int], gateway: GatewayServer) -> Iterator[str]:
    """A name for requests of this test; they are let go and on record at its end."""
    behaviour, _ = backend
    before, name = len(behaviour.ids), behaviour.name()
    yield name
    behaviour.let_go(name, f"{name}-end")
    wait_until(lambda: set(behaviour.ids[before:]) - OTHERS <= by_id(gateway).keys(), "all are on record")


OTHERS: set[str] = set()
"""Ids of requests to gateways that a test had of its own."""


def records_of(gateway: GatewayServer) -> list[dict[str, Any]]:
    lines = gateway.access_log.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def by_id(gateway: GatewayServer) -> dict[str, dict[str, Any]]:
    return {record["request_id"]: record for record in records_of(gateway)}


def record_of(gateway: GatewayServer, path: str) -> dict[str, Any]:
    """The one record of the path."""

    def found() -> list[dict[str, Any]]:
        return [record for record in records_of(gateway) if record["path"] == path]

    wait_until(lambda: bool(found()), f"{path} is on record")
    (record,) = found()
    return record


def request(token: dict[str, str], path: str, *lines: str, method: str = "GET", content: bytes = b"") -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: a", f"Authorization: Bearer {token['token']}", *lines]
    return "\r\n".join([*head, "", ""]).encode() + content


def connect(gateway: GatewayServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), TIMEOUT_SECONDS)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@contextlib.contextmanager
def held_up(gateway: GatewayServer) -> Iterator[None]:
    """The gateway does nothing meanwhile."""
    state = Path(f"/proc/{gateway.popen.pid}/stat")
    gateway.send(signal.SIGSTOP)
    try:
        wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "it is stopped")
        yield
    finally:
        gateway.send(signal.SIGCONT)


def read_all(connection: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            received += piece
    return received


def read_to(connection: socket.socket, end: bytes) -> None:
    received = b""
    while end not in received:
        piece = connection.recv(65536)
        assert piece, received
        received += piece


Leave = Callable[[socket.socket], object]
LEAVING: dict[str, Leave] = {"close": socket.socket.close, "reset": reset}


@pytest.mark.parametrize("leave", LEAVING.values(), ids=LEAVING.keys())
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_client_that_leaves_before_its_answer_is_on_record(
    gateway: GatewayServer, backend: tuple[Backend, int], token: dict[str, str], name: str, leave: Leave, method: str
) -> None:
    """499, with the token, and all that it was charged; the backend's answer is not waited for."""
    behaviour, _ = backend
    seen = len(behaviour.ids)
    connection = connect(gateway)
    connection.sendall(request(token, f"/held/{name}", "Content-Length: 5", method=method, content=b"hello"))
    wait_until(lambda: len(behaviour.ids) > seen, "the backend has the request")
    leave(connection)
    record = record_of(gateway, f"/held/{name}")
    assert behaviour.ids[seen] == record["request_id"]
    assert {"status": 499, "ended": "client_gone", "reason": "client_gone", "token": token["id"], "cost": 5} == {
        name: record.get(name) for name in ("status", "ended", "reason", "token", "cost")
    }


@pytest.mark.parametrize("lines", [(), ("Connection: close",)])
def test_a_client_that_closes_its_own_side_is_answered(
    gateway: GatewayServer, backend: tuple[Backend, int], token: dict[str, str], name: str, lines: tuple[str, ...]
) -> None:
    """All that it asked for, in order; the connection ends after the last answer."""
    behaviour, _ = backend
    seen = len(behaviour.ids)
    with connect(gateway) as connection:
        connection.sendall(request(token, f"/held/{name}") + request(token, f"/quick/{name}", *lines))
        wait_until(lambda: len(behaviour.ids) > seen, "the backend has the request")
        connection.shutdown(socket.SHUT_WR)
        behaviour.let_go(name)
        answers = read_all(connection)
    assert 2 == answers.count(b"HTTP/1.1 200 OK\r\n")
    assert answers.endswith(b"\r\n\r\nok")
    for path in (f"/held/{name}", f"/quick/{name}"):
        record = record_of(gateway, path)
        assert (200, "complete", 2) == (record["status"], record["ended"], record["sent_bytes"])


def test_a_client_that_closed_its_own_side_is_asked_whether_it_is_there(
    gateway: GatewayServer, backend: tuple[Backend, int], token: dict[str, str], name: str
) -> None:
    """After a while, by 100 (Continue), which every client takes before its answer (RFC 9110 15.2)."""
    behaviour, _ = backend
    with connect(gateway) as connection:
        connection.sendall(request(token, f"/held/{name}"))
        connection.shutdown(socket.SHUT_WR)
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == connection.recv(65536)
        behaviour.let_go(name)
        assert read_all(connection).startswith(b"HTTP/1.1 200 OK\r\n")
    assert "complete" == record_of(gateway, f"/held/{name}")["ended"]


def test_a_quick_answer_to_nobody_is_no_answer(gateway: GatewayServer, token: dict[str, str], name: str) -> None:
    """A client that closes both sides at once looks as if it were there, until its system refuses the answer."""
    for number in range(10):
        with held_up(gateway), connect(gateway) as connection:  # so that it has closed them before it is answered
            connection.sendall(request(token, f"/quick/{name}/{number}"))
        record = record_of(gateway, f"/quick/{name}/{number}")
        assert (499, "client_gone") == (record["status"], record["ended"])


@pytest.mark.parametrize("content", [b"hel", b""])
def test_content_that_is_cut_off_is_on_record(
    gateway: GatewayServer, token: dict[str, str], name: str, content: bytes
) -> None:
    """A request that its client never finishes is not answered, and it was admitted."""
    with connect(gateway) as connection:
        connection.sendall(request(token, f"/quick/{name}", "Content-Length: 5", method="POST", content=content))
        connection.shutdown(socket.SHUT_WR)
        assert b"" == read_all(connection)
    record = record_of(gateway, f"/quick/{name}")
    assert (499, "client_gone", token["id"]) == (record["status"], record["ended"], record["token"])


def test_content_that_turns_out_to_be_malformed_is_one_record(
    gateway: GatewayServer, backend: tuple[Backend, int], token: dict[str, str], name: str
) -> None:
    """The backend saw the request under the id of the refusal; token and rule are on record with it."""
    behaviour, _ = backend
    seen = len(behaviour.ids)
    with connect(gateway) as connection:
        lines, content = ("Transfer-Encoding: chunked",), b"2\r\nhe\r\n"
        connection.sendall(request(token, f"/quick/{name}", *lines, method="POST", content=content))
        wait_until(lambda: len(behaviour.ids) > seen, "the backend has the request")
        connection.sendall(b"nonsense\r\n")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    record = record_of(gateway, f"/quick/{name}")
    assert behaviour.ids[seen] == record["request_id"]
    assert f"x-request-id: {record['request_id']}\r\n".encode() in answer
    assert (400, "malformed_request", token["id"]) == (record["status"], record["reason"], record["token"])


@pytest.mark.parametrize(
    ("sent", "status", "reason", "said"),
    [
        (b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n", 400, "malformed_request", ("GET", "/a")),
        (b"nonsense\r\n\r\n", 400, "malformed_request", ("", "")),
        (b"GET /a?q=1 HTTP/1.1\r\n\r\n", 400, "malformed_target", ("GET", "/a")),
        (b"GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_target", ("GET", "/a/../b")),
        (b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "target_too_long", ("GET", "/" + "a" * 8192)),
        (b"GET /a HTTP/1.1\r\nHost: a\r\n" + b"a: 1\r\n" * 100 + b"\r\n", 431, "head_too_large", ("GET", "/a")),
        (b"TRACE /a HTTP/1.1\r\nHost: a\r\n\r\n", 501, "unsupported", ("TRACE", "/a")),
        (b"GET /a HTTP/2.0\r\nHost: a\r\n\r\n", 505, "unknown_version", ("GET", "/a")),
        (b"GET /-/authorize/nginx HTTP/1.1\r\nHost: a\r\n\r\n", 403, "untrusted_proxy", ("GET", "/-/authorize/nginx")),
        (b"GET /-/authorize/no HTTP/1.1\r\nHost: a\r\n\r\n", 404, "no_matching_rule", ("GET", "/-/authorize/no")),
        (b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n", 401, "missing_credentials", ("GET", "/a")),
    ],
)
def test_what_is_refused_early_is_on_record(
    gateway: GatewayServer, sent: bytes, status: int, reason: str, said: tuple[str, str]
) -> None:
    """With the address, what could be read of the request, and the id that the answer has."""
    with connect(gateway) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    (identity,) = REQUEST_ID.findall(answer)
    wait_until(lambda: identity.decode() in by_id(gateway), "it is on record")
    record = by_id(gateway)[identity.decode()]
    assert (status, reason, "127.0.0.1") == (record["status"], record["reason"], record["client"])
    assert said == (record["method"], record["path"])


def test_an_overloaded_worker_records_what_it_refuses(
    serve: Serve,
    redis_server: RedisServer,
    folder: Path,
    backend: tuple[Backend, int],
    token: dict[str, str],
    name: str,
) -> None:
    """A refusal for want of room is counted like any other."""
    behaviour, _ = backend
    seen, policies = len(behaviour.ids), str(folder / "policies")
    server = serve(redis_server.url, "--policies", policies, environment={"GATEWAY_MAX_REQUESTS": "1"})
    with connect(server) as connection:
        connection.sendall(request(token, f"/held/{name}"))
        wait_until(lambda: len(behaviour.ids) > seen, "the backend has the request")
        OTHERS.update(behaviour.ids[seen:])
        refused = ask(server.port, "GET", f"/quick/{name}")
        behaviour.let_go(name)
        read_to(connection, b"ok")
    assert 503 == refused.status
    record = record_of(server, f"/quick/{name}")
    assert ("overloaded", refused.field("x-request-id")) == (record["reason"], record["request_id"])


@pytest.mark.parametrize(
    ("kind", "leaves", "ended", "error"),
    [("broken", False, "upstream_broken", "connection_lost"), ("stream", True, "client_gone", None)],
)
def test_how_a_stream_ended_is_on_record(
    gateway: GatewayServer,
    backend: tuple[Backend, int],
    token: dict[str, str],
    name: str,
    kind: str,
    leaves: bool,
    ended: str,
    error: str | None,
) -> None:
    """The record is written at the end: how it ended, how much was sent, how long it took."""
    behaviour, _ = backend
    behaviour.let_go(name)
    with connect(gateway) as connection:
        connection.sendall(request(token, f"/{kind}/{name}"))
        read_to(connection, b"hello")
        assert f"/{kind}/{name}" not in {record["path"] for record in records_of(gateway)}
        if not leaves:
            behaviour.let_go(f"{name}-end")
            read_all(connection)
    record = record_of(gateway, f"/{kind}/{name}")
    assert (200, ended, 5) == (record["status"], record["ended"], record["sent_bytes"])
    assert error == record.get("upstream_error")
    assert record["duration_seconds"] > 0


def test_what_the_stop_cuts_is_on_record(
    serve: Serve,
    redis_server: RedisServer,
    folder: Path,
    backend: tuple[Backend, int],
    token: dict[str, str],
    name: str,
) -> None:
    """A stream, and a request that was not answered yet."""
    behaviour, _ = backend
    seen, policies = len(behaviour.ids), str(folder / "policies")
    server = serve(redis_server.url, "--policies", policies, environment={"GATEWAY_STOP_TIMEOUT": "1"})
    with connect(server) as waiting, connect(server) as flowing:
        waiting.sendall(request(token, f"/held/{name}"))
        flowing.sendall(request(token, f"/broken/{name}"))
        read_to(flowing, b"hello")
        wait_until(lambda: len(behaviour.ids) == seen + 2, "the backend has both")
        OTHERS.update(behaviour.ids[seen:])
        server.send(signal.SIGTERM)
        server.popen.wait(TIMEOUT_SECONDS)
    ends = {(record["path"], record["status"], record["ended"], record.get("reason")) for record in records_of(server)}
    assert {(f"/broken/{name}", 200, "stopped", None), (f"/held/{name}", 503, "stopped", "stopped")} == ends


# -- whatever clients do

Asked = tuple[str, str, bool]
"""Method, path, and whether it has content."""
Action = tuple[str, list[Asked], int, int]
"""How the client leaves, what it asks for, how much of that it sends, and in pieces of which size."""

STOPS = (signal.SIGTERM, signal.SIGINT)

asked = st.tuples(
    st.sampled_from(["GET", "POST", "HEAD", "TRACE"]),
    st.sampled_from(["/quick/NAME", "/held/NAME", "/broken/NAME", "/stream/NAME", "/a/../b"]),
    st.booleans(),
)
actions = st.tuples(
    st.sampled_from(["close", "half-close", "reset", "half-close and close", "stay"]),
    st.lists(asked, min_size=1, max_size=3),
    st.one_of(st.integers(0, 600), st.just(1000)),
    st.sampled_from([1, 7, 100, 1000]),
)


def perform(gateway: GatewayServer, token: dict[str, str], name: str, action: Action) -> socket.socket:
    """Sends what the action says."""
    ending, wanted, most, size = action
    sent = b""
    for method, path, has_content in wanted:
        lines, content = (("Content-Length: 5",), b"hello") if has_content else ((), b"")
        sent += request(token, path.replace("NAME", name), *lines, method=method, content=content)
    connection = connect(gateway)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(ConnectionError):
        for start in range(0, min(most, len(sent)), size):
            connection.sendall(sent[start : min(start + size, most)])
        if ending.startswith("half-close"):
            connection.shutdown(socket.SHUT_WR)
    if ending == "reset":
        reset(connection)
    elif ending.endswith("close") and ending != "half-close":
        connection.close()
    return connection


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(done=st.lists(actions, min_size=1, max_size=6))
def test_what_the_backend_sees_is_on_record(
    gateway: GatewayServer, backend: tuple[Backend, int], token: dict[str, str], done: list[Action]
) -> None:
    """By id, whatever clients do: hang up at any byte, close one side, pipeline, dawdle. No id is there twice."""
    behaviour, _ = backend
    name = behaviour.name()
    connections = [perform(gateway, token, name, action) for action in done]
    behaviour.let_go(name, f"{name}-end")
    for connection in connections:
        connection.close()
    seen = set(behaviour.ids) - OTHERS
    wait_until(lambda: seen <= by_id(gateway).keys(), "all are on record")
    records = by_id(gateway)
    assert len(records_of(gateway)) == len(by_id(gateway))
    assert {token["id"]} >= {records[identity].get("token") for identity in seen}


@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(done=st.lists(actions, min_size=1, max_size=12), is_let_go=st.booleans(), number=st.sampled_from(STOPS))
def test_what_the_backend_sees_is_on_record_after_a_stop(
    redis_server: RedisServer,
    token: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    done: list[Action],
    is_let_go: bool,
    number: signal.Signals,
) -> None:
    """By id, whatever is under way when the gateway is told to stop, and whether or not it ends in time."""
    folder, behaviour = tmp_path_factory.mktemp("stopped"), Backend()
    with RawBackend(behaviour.behave) as backend:
        (folder / "system.toml").write_text(POLICY.format(backend=backend.port))
        options = ("--policies", str(folder), "--redis", redis_server.url)
        server = GatewayServer(folder, *options, environment={"GATEWAY_STOP_TIMEOUT": "1"}).wait()
        connections = [perform(server, token, str(index), action) for index, action in enumerate(done)]
        names = [name for index in range(len(done)) for name in (str(index), f"{index}-end")]
        server.send(number)
        if is_let_go:
            behaviour.let_go(*names)
        assert 0 == server.popen.wait(TIMEOUT_SECONDS)
        behaviour.let_go(*names)
        for connection in connections:
            connection.close()
    server.stop()
    assert set(behaviour.ids) <= by_id(server).keys()
    assert len(records_of(server)) == len(by_id(server))

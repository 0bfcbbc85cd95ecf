"""The admin listener takes what the public one takes, and no more: heads, content, methods; over raw sockets."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import ask
from tests.support.command_line import run_json
from tests.support.processes import GatewayServer, RedisServer
from tests.support.raw import TIMEOUT_SECONDS, request_bytes, send_raw
from tests.system.conftest import POLICY

HOST = b"Host: admin.example"
FORM = b"Content-Type: application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def gateway(
    redis_server: RedisServer, backend_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayServer]:
    """A gateway with both listeners, whose log has no traceback after the tests."""
    folder = tmp_path_factory.mktemp("admin")
    (folder / "policies").mkdir()
    (folder / "policies" / "system.toml").write_text(POLICY.format(backend=backend_port))
    options = ("--policies", str(folder / "policies"), "--redis", redis_server.url)
    server = GatewayServer(folder, *options, admin=True).wait()
    yield server
    server.stop()
    assert "Traceback" not in server.text()


@pytest.fixture
def admin(redis_url: str, gateway: GatewayServer, tmp_path: Path) -> str:
    """An admin token."""
    options = ("--redis", redis_url, "--policies", str(tmp_path))
    return str(run_json("token", "create", "--admin", "--name", "ops", *options)["token"])


def status_of(answer: bytes) -> int:
    match = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    assert match, answer[:200]
    return int(match[1])


def get(*fields: bytes, line: bytes = b"GET /sign-in HTTP/1.1") -> bytes:
    return request_bytes(HOST, *fields, request_line=line)


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        pytest.param(200, get(), id="a plain request"),
        pytest.param(200, get(b"X: " + b"x" * 60_000), id="a large head"),
        pytest.param(431, get(b"X: " + b"x" * 66_000), id="a head of more than 64 KiB"),
        pytest.param(431, get(*[b"X: y"] * 100), id="more than 100 fields"),
        pytest.param(414, get(line=b"GET /sign-in?" + b"x" * 20_000 + b" HTTP/1.1"), id="a target too long"),
        pytest.param(400, request_bytes(request_line=b"GET /sign-in HTTP/1.1"), id="no Host"),
        pytest.param(400, get(b"Host: other.example"), id="two Hosts"),
        pytest.param(400, get(b"Content-Length: 3", b"Content-Length: 4"), id="two lengths"),
        pytest.param(400, get(b"Content-Length: 3", b"Transfer-Encoding: chunked"), id="a length and chunks"),
        pytest.param(400, get(b"X : y"), id="white space before a colon"),
        pytest.param(501, get(b"Transfer-Encoding: gzip, chunked"), id="another coding"),
        pytest.param(400, get(line=b"GET sign-in HTTP/1.1"), id="no path"),
        pytest.param(400, get(line=b"GET /sign-in HTTP/1.9"), id="another version"),
        pytest.param(405, get(line=b"TRACE /sign-in HTTP/1.1"), id="a method that a page does not take"),
        pytest.param(
            413, get(b"Content-Length: 66000", FORM, line=b"POST /sign-in HTTP/1.1") + b"x" * 66_000, id="a large form"
        ),
    ],
)
def test_a_head_or_content_out_of_bounds_is_refused(gateway: GatewayServer, status: int, sent: bytes) -> None:
    """By the same numbers as on the public listener; with a date, and the connection ends."""
    answer = send_raw(gateway.admin_port, sent)
    assert status == status_of(answer)
    assert b"\r\ndate: " in answer.lower()
    if status not in (200, 405, 413):  # which are the page's own to say
        assert status == status_of(send_raw(gateway.port, sent))


def test_a_head_that_never_ends_is_cut_off(gateway: GatewayServer) -> None:
    """Whoever sends fields for ever is answered after 64 KiB, and not kept."""
    with socket.create_connection(("127.0.0.1", gateway.admin_port), TIMEOUT_SECONDS) as connection:
        connection.sendall(b"GET /sign-in HTTP/1.1\r\n" + HOST + b"\r\n")
        connection.sendall(b"X-More: y\r\n" * 40_000)
        assert 431 == status_of(connection.recv(65536))


def test_two_requests_on_one_connection_are_answered_in_order(gateway: GatewayServer) -> None:
    """Also if the second one is there before the first is answered."""
    first = b"GET /-/health HTTP/1.1\r\n" + HOST + b"\r\n\r\n"
    answer = send_raw(gateway.admin_port, first + get())
    assert 2 == answer.count(b"HTTP/1.1 200 OK")
    assert answer.index(b'"status":"ok"') < answer.index(b"<!doctype html>")


def test_health_needs_no_host(gateway: GatewayServer) -> None:
    """A load balancer asks by HTTP/1.0 and names nobody, as on the public listener."""
    for port in (gateway.port, gateway.admin_port):
        assert 200 == status_of(send_raw(port, b"GET /-/health HTTP/1.0\r\n\r\n"))


@pytest.mark.parametrize(
    "path", ["/sign-in", "/metrics", "/-/health", "/-/ready", "/api/v1/tokens", "/api/openapi.json"]
)
def test_head_is_answered_as_get_is(gateway: GatewayServer, admin: str, path: str) -> None:
    """On every address (RFC 9110 9.3.2): the same status and type, the length that GET would have, and no content."""
    got, headed = (ask(gateway.admin_port, method, path, token=admin) for method in ("GET", "HEAD"))
    assert [200, 200] == [got.status, headed.status]
    assert b"" == headed.content
    assert got.field("content-type") == headed.field("content-type")
    if path not in ("/metrics", "/-/ready"):  # which tell of the moment
        assert str(len(got.content)) == headed.field("content-length")


def test_head_of_an_unknown_address_is_404(gateway: GatewayServer) -> None:
    """And of a page behind the door it is the door."""
    assert 404 == ask(gateway.admin_port, "HEAD", "/nowhere").status
    answer = ask(gateway.admin_port, "HEAD", "/tokens")
    assert [303, "/sign-in"] == [answer.status, (answer.field("location") or "").partition("?")[0]]

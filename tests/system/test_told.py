"""What a backend is told must be what was decided: the bytes that leave, and what is stored by them."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.core.upstream.client_fields import MISLEADING, fold
from tests.support.client import ask
from tests.support.command_line import run_command
from tests.support.processes import GatewayServer, free_port, wait_until
from tests.support.raw import RawBackend, read_head, request_bytes, send_raw
from tests.system.conftest import Serve, Share, mint

POLICY = """
name = "system"
upstream = {{ url = "http://127.0.0.1:{port}"{keys} }}
[token]
prefixes = ["sys_"]
[scopes]
read = "Read"
[[rules]]
match = "GET /public/**"
public = true
[[rules]]
match = "GET /cached/**"
public = true
cache = {{ fresh = "1h" }}
[[rules]]
match = "* /**"
"""
FORGED = [b"X.Gateway.Owner: admin", b"X!Gateway!Scopes: all", b"X_Gateway_Project: other", b"x~gateway~token~id: 1"]


class Page:
    """A backend whose page names the address that it was told, and that says what no backend may say."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heads: list[bytes] = []
        self.fields = b""

    def take(self) -> list[bytes]:
        """The heads that came since the last time."""
        with self._lock:
            taken, self._heads[:] = list(self._heads), []
            return taken

    def __call__(self, connection: socket.socket) -> None:
        head = read_head(connection)
        with self._lock:
            self._heads.append(head)
        told = dict(fields_of(head))
        page = b"<a href=%b://%b/>" % (told[b"x-forwarded-proto"], told[b"x-forwarded-host"])
        start = b"HTTP/1.1 200 OK\r\nConnection: close\r\nX-Gateway-Owner: root\r\nX.Gateway.Scopes: all\r\n"
        connection.sendall(start + self.fields + b"Content-Length: %d\r\n\r\n" % len(page) + page)


def fields_of(head: bytes) -> list[tuple[bytes, bytes]]:
    lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:] if line]
    return [(name.lower(), value) for name, _, value in lines]


def identity_in(head: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in fields_of(head) if fold(name).startswith(b"xgateway")]


@pytest.fixture
def page() -> Page:
    return Page()


@pytest.fixture
def backend(page: Page) -> Iterator[RawBackend]:
    with RawBackend(page) as backend:
        yield backend


@pytest.fixture
def write(policies: Path, backend: RawBackend) -> Callable[[str], None]:
    """Writes the policy, with more keys of its backend."""

    def write(keys: str = "") -> None:
        (policies / "system.toml").write_text(POLICY.format(port=backend.port, keys=keys))

    return write


def test_identity_has_one_spelling(
    share: Share, redis_url: str, policies: Path, page: Page, write: Callable[[str], None]
) -> None:
    """With a token and without one the backend gets all identity fields from the gateway, and none from a client."""
    write("")
    gateway = share()
    created = mint(redis_url, policies)
    send_raw(gateway.port, request_bytes(b"Host: a.test", *FORGED, request_line=b"GET /public/a HTTP/1.1"))
    bearer = f"Authorization: Bearer {created['token']}".encode()
    send_raw(gateway.port, request_bytes(b"Host: a.test", bearer, *FORGED, request_line=b"GET /private HTTP/1.1"))
    names = [
        b"x-gateway-token-id",
        b"x-gateway-token-name",
        b"x-gateway-project",
        b"x-gateway-owner",
        b"x-gateway-scopes",
    ]
    told = [created["id"].encode(), b"CI", b"website", b"", b"read"]
    expected = [[(name, b"") for name in names], list(zip(names, told, strict=True))]
    assert expected == [identity_in(head) for head in page.take()]


@pytest.mark.parametrize("path", [b"/public/a", b"/cached/a"])
def test_a_backends_identity_fields_go_nowhere(
    share: Share, page: Page, write: Callable[[str], None], path: bytes
) -> None:
    """Neither to the client that it answers nor into the cache."""
    write("")
    gateway = share()
    for _ in range(2):
        answer = send_raw(gateway.port, request_bytes(b"Host: a.test", request_line=b"GET " + path + b" HTTP/1.1"))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert [] == identity_in(answer.partition(b"\r\n\r\n")[0])


def test_a_policy_names_what_may_pass(share: Share, page: Page, write: Callable[[str], None]) -> None:
    """The rest of what makes a backend see another request stays with the gateway, in every spelling."""
    write(', pass_fields = ["X-Real-IP", "X-Forwarded-Port"]')
    gateway = share()
    names = [*MISLEADING, b"x-forwarded-prefix", b"x-forwarded-port", b"x_real_ip", b"x.http.method.override"]
    lines = [name + b": forged" for name in names]
    send_raw(gateway.port, request_bytes(b"Host: a.test", *lines, request_line=b"GET /public/a HTTP/1.1"))
    (head,) = page.take()
    assert {b"x-real-ip", b"x-forwarded-port"} == {name for name, value in fields_of(head) if value == b"forged"}


def pages(gateway: GatewayServer, *requests: tuple[bytes, bytes]) -> list[bytes]:
    """The pages that clients of these hosts and schemes get."""
    answers = []
    for host, scheme in requests:
        lines = (b"Host: " + host, b"X-Forwarded-Proto: " + scheme)
        answers.append(send_raw(gateway.port, request_bytes(*lines, request_line=b"GET /cached/a HTTP/1.1")))
    return [answer.partition(b"\r\n\r\n")[2] for answer in answers]


@pytest.mark.parametrize("keys", ["", ', host = "target"'], ids=["client", "target"])
def test_what_is_stored_is_for_the_address_that_the_backend_was_told(
    share: Share, page: Page, write: Callable[[str], None], keys: str
) -> None:
    """Another port or scheme is another entry; another spelling of the same is not. It holds whatever Host is sent."""
    write(keys)
    gateway = share("trusting")
    http, https = b"http", b"https"
    asked = [
        (b"a.test:31337", http),
        (b"a.test", http),
        (b"a.test", https),
        (b"A.Test:443", https),
        (b"a.test:80", http),
    ]
    assert [
        b"<a href=http://a.test:31337/>",
        b"<a href=http://a.test/>",
        b"<a href=https://a.test/>",
        b"<a href=https://a.test/>",
        b"<a href=http://a.test/>",
    ] == pages(gateway, *asked)
    assert 3 == len(page.take())


def test_variants_are_those_that_the_backend_was_told(share: Share, page: Page, write: Callable[[str], None]) -> None:
    """A field that a client sets and that does not pass chooses none; one that the gateway sets does."""
    write(", forwarded = true")
    page.fields = b"Vary: X-Forwarded-Host, X-Forwarded-For, Forwarded, X-Gateway-Owner\r\n"
    gateway = share()

    def fetched(*lines: bytes) -> int:
        line = b"GET /cached/b HTTP/1.1"
        assert b" 200 " in send_raw(gateway.port, request_bytes(b"Host: a.test", *lines, request_line=line))
        return len(page.take())

    assert 1 == fetched()
    assert 0 == fetched(b"X-Forwarded-Host: evil.example", b"X-Forwarded-For: 198.51.100.66", b"X-Gateway-Owner: root")
    assert 0 == fetched(b"Forwarded: for=198.51.100.66;host=evil.example")
    proxied = share("trusting")
    line = b"GET /cached/b HTTP/1.1"
    for client, count in ((b"203.0.113.9", 1), (b"203.0.113.10", 1), (b"203.0.113.9", 0)):
        send_raw(proxied.port, request_bytes(b"Host: a.test", b"X-Forwarded-For: " + client, request_line=line))
        assert count == len(page.take())


@pytest.mark.parametrize("host", [b"a.test:65536", b":80", b"", b"a.test:99999999999999999999"])
def test_what_is_no_host_reaches_no_backend(
    share: Share, page: Page, write: Callable[[str], None], host: bytes
) -> None:
    """400, and nothing is looked up by it."""
    write("")
    gateway = share()
    answer = send_raw(gateway.port, request_bytes(b"Host: " + host, request_line=b"GET /cached/a HTTP/1.1"))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"malformed_target"' in answer
    assert [] == page.take()


def test_the_prefix_of_its_own_addresses_can_be_moved(
    serve: Serve, redis_url: str, page: Page, write: Callable[[str], None], policies: Path
) -> None:
    """A product that has such addresses itself gets them then, and a rule for them is no mistake any more."""
    write("")
    with (policies / "system.toml").open("a") as file:
        file.write('[[rules]]\nmatch = "GET /-/health"\npublic = true\n')
    refused = GatewayServer(policies.parent, "--policies", str(policies), "--redis", redis_url)
    wait_until(lambda: refused.popen.poll() is not None, "it ends")
    assert 2 == refused.stop()
    reached = "no request reaches 'GET /-/health': the gateway itself answers /-/health"
    assert reached in refused.text()
    gateway = serve(redis_url, environment={"GATEWAY_OWN_PREFIX": "/_gateway"})
    assert "ok" == ask(gateway.port, "GET", "/_gateway/health").json()["status"]
    assert "keys" in ask(gateway.port, "GET", "/_gateway/jwks.json").json()
    assert 401 == ask(gateway.port, "GET", "/_gateway/whoami").status
    assert 403 == ask(gateway.port, "GET", "/_gateway/authorize/caddy").status
    assert b"<a href=http://a.test/>" == ask(gateway.port, "GET", "/-/health", host="a.test").content
    assert 1 == len(page.take())
    for prefix, code in (("/-", 1), ("/_gateway", 0)):
        assert code == run_command("policy", "check", str(policies), "--own-prefix", prefix).exit_code


def test_a_prefix_that_is_none_is_refused(redis_url: str, policies: Path) -> None:
    """At the start, with what it could be."""
    server = GatewayServer(
        policies.parent, "--policies", str(policies), "--redis", redis_url, environment={"GATEWAY_OWN_PREFIX": "/a/"}
    )
    wait_until(lambda: server.popen.poll() is not None, "it ends")
    assert 2 == server.stop()
    assert "own prefix: '/a/' is no path such as /-" in server.text()


def test_an_ipv4_client_of_a_listener_for_both_families(
    redis_url: str, policies: Path, page: Page, write: Callable[[str], None]
) -> None:
    """It goes by its own address in the access log and in X-Forwarded-For, as at a listener for IPv4."""
    write("")
    port = free_port()
    options = ("--policies", str(policies), "--redis", redis_url, "--listen", f"[::]:{port}")
    gateway = GatewayServer(policies.parent, *options)
    gateway.port = port
    try:
        gateway.wait()
        send_raw(port, request_bytes(b"Host: a.test", request_line=b"GET /public/a HTTP/1.1"))
        wait_until(lambda: bool(gateway.access_log.read_text()), "the record is written")
    finally:
        gateway.stop()
    (head,) = page.take()
    assert b"127.0.0.1" == dict(fields_of(head))[b"x-forwarded-for"]
    record = json.loads(gateway.access_log.read_text().splitlines()[0])
    assert "127.0.0.1" == record["client"]

"""What comes before HTTP on the public listener: TLS whose files are renewed, and the header of a load balancer."""

import json
import shutil
import socket
import ssl
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import redis

from gateway.adapters.redis import keys
from gateway.core.usage import RECOGNITION
from tests.core.test_proxy_protocol import INET, TLVS, build
from tests.support.certificates import issue, make_authority
from tests.support.edges import Edge
from tests.support.processes import START_SECONDS, GatewayServer, wait_until
from tests.support.programs import find_program
from tests.support.raw import send_raw
from tests.system.conftest import Serve, mint

DEPLOY = Path(__file__).parents[2] / "deploy" / "fronting"
EXPORT = "/api/v1/projects/website/translations/export?lang=de"
WHOAMI = "/api/v1/whoami"
OLD = [
    (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256:AES256-SHA:ECDHE-ECDSA-AES128-SHA"),
    (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
]
"""The newest version that a client speaks, and its cipher suites, all of which the listener refuses."""
HEALTH = b"GET /-/health HTTP/1.1\r\nHost: a\r\n\r\n"
LAST_HEALTH = b"GET /-/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, two certificates of the gateway, and a client's."""
    folder = tmp_path_factory.mktemp("certificates")
    make_authority(folder)
    for name in ("first", "second"):
        issue(folder, name, "DNS:localhost,IP:127.0.0.1")
    issue(folder, "client", "DNS:client")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """The folder in which a listener's pair is renewed, with the first one in it."""
    folder = tmp_path / "tls"
    folder.mkdir()
    put(made, folder, "first")
    return folder


def put(made: Path, folder: Path, name: str, *, key_of: str = "") -> None:
    """Renew the pair as certbot does: each file is replaced by another one."""
    for suffix, whose in (("key", key_of or name), ("pem", name)):
        shutil.copy(made / f"{whose}.{suffix}", folder / f"new.{suffix}")
        (folder / f"new.{suffix}").rename(folder / f"own.{suffix}")


def options_of(folder: Path) -> tuple[str, ...]:
    return ("--tls-cert", str(folder / "own.pem"), "--tls-key", str(folder / "own.key"))


def trust(made: Path, client: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(made / "ca.pem"))
    if client:
        context.load_cert_chain(made / f"{client}.pem", made / f"{client}.key")
    return context


def connect(server: GatewayServer, context: ssl.SSLContext, first: bytes = b"") -> ssl.SSLSocket:
    """A TLS connection, behind bytes that a load balancer has sent before."""
    plain = socket.create_connection(("127.0.0.1", server.port), START_SECONDS)
    plain.sendall(first)
    return context.wrap_socket(plain, server_hostname="localhost")


def name_of(connection: ssl.SSLSocket) -> str:
    """The common name of the other end's certificate."""
    found = connection.getpeercert()
    assert found is not None
    return next(value for part in found["subject"] for name, value in part if name == "commonName")  # type: ignore[str-unpack]


def read_answer(connection: socket.socket) -> bytes:
    """A whole answer on a connection that stays open."""
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        piece = connection.recv(1)
        assert piece, received
        received += piece
    length = int(received.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    end = len(received) + length
    while len(received) < end:
        received += connection.recv(end - len(received))
    return received


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def ask_tls(server: GatewayServer, context: ssl.SSLContext, first: bytes = b"") -> bytes:
    with connect(server, context, first) as connection:
        connection.sendall(LAST_HEALTH)
        return read_all(connection)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_renewed_pair_is_taken_up_without_a_restart(
    serve: Serve, redis_url: str, made: Path, folder: Path, workers: str
) -> None:
    """A connection under way goes on with the old pair; the next one has the new one, and the log says so."""
    server = serve(redis_url, "--workers", workers, *options_of(folder))
    wait_until(lambda: "ready on https://127.0.0.1" in server.text(), server.text())
    with connect(server, trust(made)) as old:
        assert "first" == name_of(old)
        old.sendall(HEALTH)
        assert read_answer(old).startswith(b"HTTP/1.1 200 ")
        put(made, folder, "second")
        with connect(server, trust(made)) as new:
            assert "second" == name_of(new)
        old.sendall(HEALTH)
        assert read_answer(old).startswith(b"HTTP/1.1 200 ")
    wait_until(lambda: "tls: new connections use the renewed files" in server.text(), server.text())


@pytest.mark.parametrize("spoilt", ["half", "other key", "gone"])
def test_files_that_cannot_be_used_leave_the_last_good_pair(
    serve: Serve, redis_url: str, made: Path, folder: Path, spoilt: str
) -> None:
    """After a half-written file, another key, or a missing file: the log says so once, and clients notice nothing."""
    server = serve(redis_url, *options_of(folder))
    if spoilt == "half":
        text = (made / "second.pem").read_text()
        (folder / "new.pem").write_text(text[: len(text) // 2])
        (folder / "new.pem").rename(folder / "own.pem")  # in one step: an empty file would be another mistake
    elif spoilt == "gone":
        (folder / "own.key").unlink()
    else:
        put(made, folder, "second", key_of="first")
    for _ in range(3):
        with connect(server, trust(made)) as connection:
            assert "first" == name_of(connection)
    said = "the last good certificate stays until the files are right"
    wait_until(lambda: said in server.text(), server.text())
    assert 1 == server.text().count(said)
    assert str(folder / "own") in server.text()
    put(made, folder, "second")
    with connect(server, trust(made)) as connection:
        assert "second" == name_of(connection)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_only_modern_tls_is_spoken(serve: Serve, redis_url: str, made: Path, folder: Path) -> None:
    """TLS 1.2 and 1.3, with ephemeral keys and authenticated encryption; ALPN offers HTTP/1.1."""
    server = serve(redis_url, *options_of(folder))
    for version, ciphers in OLD:
        context = trust(made)
        context.set_ciphers(ciphers)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = version
        with pytest.raises(OSError, match=r"ALERT|HANDSHAKE|PROTOCOL|NO_CIPHERS|reset|EOF"):
            connect(server, context).close()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = trust(made)
        context.maximum_version = version
        context.set_alpn_protocols(["h2", "http/1.1"])
        with connect(server, context) as connection:
            assert "http/1.1" == connection.selected_alpn_protocol()
            assert (connection.cipher() or ("",))[0].startswith(("ECDHE-", "TLS_"))


def test_a_client_that_speaks_plain_http_gets_nothing(serve: Serve, redis_url: str, made: Path, folder: Path) -> None:
    """Its connection is closed, and others go on."""
    server = serve(redis_url, *options_of(folder))
    with socket.create_connection(("127.0.0.1", server.port), START_SECONDS) as connection:
        connection.sendall(LAST_HEALTH)
        with suppress(ConnectionResetError):
            assert b"HTTP" not in read_all(connection)
    assert ask_tls(server, trust(made)).startswith(b"HTTP/1.1 200 ")


def test_clients_need_a_certificate_if_their_authority_is_named(
    serve: Serve, redis_url: str, made: Path, folder: Path, tmp_path: Path
) -> None:
    """A client without one gets no answer, and neither does one with a certificate of another authority."""
    server = serve(redis_url, *options_of(folder), "--tls-client-ca", str(made / "ca.pem"))
    make_authority(tmp_path, "Other")
    issue(tmp_path, "stranger", "DNS:client")
    stranger = trust(made)
    stranger.load_cert_chain(tmp_path / "stranger.pem", tmp_path / "stranger.key")
    assert ask_tls(server, trust(made, "client")).startswith(b"HTTP/1.1 200 ")
    for context in (trust(made), stranger):
        received = b""
        with suppress(OSError):  # an alert, or a reset
            received = ask_tls(server, context)
        assert b"" == received


def test_the_backend_is_told_that_the_client_came_by_https(
    serve: Serve, redis_url: str, policies: Path, made: Path, folder: Path
) -> None:
    """Also when the request is recognised by its bytes; the same bytes over plain HTTP are another request."""
    server = serve(redis_url, *options_of(folder))
    token = mint(redis_url, policies)["token"]
    request = f"GET {WHOAMI} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    with connect(server, trust(made)) as connection:
        connection.sendall(request.encode())
        told = json.loads(read_all(connection).partition(b"\r\n\r\n")[2])
    assert ["x-forwarded-proto", "https"] in told["fields"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tls-cert", "/nowhere.pem"), "tls: /nowhere.pem: No such file or directory"),
        (("--tls-key", "/nowhere.key"), "tls: --tls-key needs --tls-cert"),
        (("--proxy-protocol-from", "10.0.0.1/8"), "proxy protocol: 10.0.0.1/8 has host bits set"),
    ],
)
def test_mistakes_prevent_the_start(tmp_path: Path, policies: Path, options: tuple[str, ...], message: str) -> None:
    """Each is named, before anything listens."""
    server = GatewayServer(tmp_path, "--policies", str(policies), "--redis", "redis://127.0.0.1:1/0", *options)
    assert 2 == server.popen.wait(START_SECONDS)
    assert message in server.text()
    server.stop()


def clients_of(server: GatewayServer) -> list[str]:
    return [record["client"] for record in server.records()]


REFUSED = f"GET {WHOAMI} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
"""A request without a token: 401, and a record with the client's address."""


@pytest.mark.parametrize("tls", [False, True])
def test_a_trusted_balancer_names_the_client(serve: Serve, redis_url: str, made: Path, folder: Path, tls: bool) -> None:
    """The address in the header is the client's, also if TLS follows; LOCAL leaves the balancer's own."""
    server = serve(redis_url, "--proxy-protocol-from", "127.0.0.1", *(options_of(folder) if tls else ()))
    headers = (build(0x21, 0x11, INET), build(0x21, 0x11, INET + TLVS), build(0x20, 0x00, b""))
    for header in headers:
        if tls:
            with connect(server, trust(made), header) as connection:
                connection.sendall(REFUSED)
                answer = read_all(connection)
        else:
            answer = send_raw(server.port, header + REFUSED)
        assert answer.startswith(b"HTTP/1.1 401 ")
    wait_until(lambda: len(server.records()) == len(headers), "the records are written")
    assert ["192.0.2.9", "192.0.2.9", "127.0.0.1"] == clients_of(server)


def test_a_header_may_come_byte_by_byte(serve: Serve, redis_url: str) -> None:
    """However the network cuts it."""
    server = serve(redis_url, "--proxy-protocol-from", "127.0.0.1")
    with socket.create_connection(("127.0.0.1", server.port), START_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in build(0x21, 0x11, INET + TLVS) + REFUSED:
            connection.sendall(bytes([byte]))
        assert read_all(connection).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("sent", [REFUSED, build(0x21, 0x12, INET) + REFUSED, build(0x21, 0x11, INET[:4]) + REFUSED])
def test_a_malformed_header_closes_the_connection(serve: Serve, redis_url: str, sent: bytes) -> None:
    """A trusted balancer that sends no header, or another one, gets no answer; the log says from where it came."""
    server = serve(redis_url, "--proxy-protocol-from", "127.0.0.1")
    with socket.create_connection(("127.0.0.1", server.port), START_SECONDS) as connection:
        connection.sendall(sent)
        with suppress(ConnectionResetError):
            assert b"" == connection.recv(65536)
    wait_until(lambda: "connection from 127.0.0.1 closed: " in server.text(), server.text())


def test_nobody_else_can_name_a_client(serve: Serve, redis_url: str) -> None:
    """Without trust a header is a malformed request, of the connection's own address."""
    server = serve(redis_url, "--proxy-protocol-from", "10.0.0.0/8")
    assert send_raw(server.port, build(0x21, 0x11, INET) + REFUSED).startswith(b"HTTP/1.1 400 ")
    wait_until(lambda: bool(server.records()), "the record is written")
    assert ["127.0.0.1"] == clients_of(server)


def test_the_client_of_the_header_is_part_of_what_is_recognised(serve: Serve, redis_url: str, policies: Path) -> None:
    """The same bytes of two clients are two requests: each record has the address of its own."""
    server = serve(redis_url, "--proxy-protocol-from", "127.0.0.1")
    token = mint(redis_url, policies)["token"]
    request = f"GET {EXPORT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    told = []
    with ExitStack() as opened:
        for last in (9, 10, 9, 10):
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", server.port), START_SECONDS))
            connection.sendall(build(0x21, 0x11, bytes([192, 0, 2, last]) + INET[4:]))
            for _ in range(3):
                connection.sendall(request)
                assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
                told.append(f"192.0.2.{last}")
    wait_until(lambda: len(server.records()) == len(told), "the records are written")
    assert told == clients_of(server)
    with redis.Redis.from_url(redis_url) as store:
        wait_until(lambda: bool(store.hget(keys.all_events(), f"{RECOGNITION}recognised")), "some were recognised")


@pytest.fixture(params=["nginx", "caddy"])
def fronting(request: pytest.FixtureRequest) -> str:
    find_program(request.param)
    name: str = request.param
    return name


@pytest.mark.proxies
def test_a_fronting_proxy_speaks_http_2_to_clients(
    serve: Serve, redis_url: str, policies: Path, made: Path, fronting: str, tmp_path: Path
) -> None:
    """The shipped file: HTTP/2 over TLS, the client's real address and scheme, the target as it came."""
    server = serve(redis_url, "--trusted-proxies", "127.0.0.1")
    token = mint(redis_url, policies)["token"]
    pair = f"tls {made}/first.pem {made}/first.key\n\tbind 127.0.0.1\n\treverse_proxy"
    here = tmp_path / "edge"
    here.mkdir()
    others = {
        "/etc/ssl/gateway/fullchain.pem": f"{made}/first.pem",
        "/etc/ssl/gateway/privkey.pem": f"{made}/first.key",
        "\n\treverse_proxy": f"\n\t{pair}",
    }
    edge = Edge(fronting, here, server.port, shipped=DEPLOY, others=others, site="api.example.com")
    try:
        command = [find_program("curl"), "--silent", "--show-error", "--http2", "--path-as-is", "--config", "-"]
        lines = (
            f'cacert = "{made}/ca.pem"',
            f'header = "Authorization: Bearer {token}"',
            'header = "X-Forwarded-For: 203.0.113.66"',
            'header = "Forwarded: for=203.0.113.67"',
            r'write-out = "\n%{http_version} %{http_code}"',
            f'url = "https://localhost:{edge.port}{WHOAMI}?a=%62&c"',
        )
        shown = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=False)
    finally:
        edge.stop()
    content, _, end = shown.stdout.rpartition("\n")
    assert "2 200" == end, shown.stderr + edge.text()
    told = json.loads(content)
    assert f"{WHOAMI}?a=%62&c" == told["target"]
    assert ["x-forwarded-proto", "https"] in told["fields"]
    assert "203.0.113" not in str(told["fields"])
    wait_until(lambda: bool(server.records()), "the record is written")
    assert ["127.0.0.1"] == clients_of(server)

"""Why a backend failed: each cause is told apart, by TLS servers that really have the fault, and said once."""

import asyncio
import logging
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.adapters.upstream.failures import BY_VERIFICATION, QUIET_SECONDS, FailureLog, find_connect_cause
from gateway.core.errors import UpstreamError, UpstreamTimeout, UpstreamUnreachable
from gateway.core.policies.model import Tls, Upstream
from gateway.core.upstream.causes import ADVICE, Cause
from tests.adapters.raw_backend import (
    OK,
    ManualClock,
    Peer,
    RawBackend,
    Script,
    always,
    fetch,
    http_upstreams,
    on_both_loops,
    once,
)

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
KEY_USAGE = "keyUsage=critical,keyCertSign,digitalSignature"
"""Python 3.13 and later want it of an authority (VERIFY_X509_STRICT, RFC 5280 4.2.1.3)."""
SETTINGS = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"
"""What a server of HTTP/2 says first (RFC 9113 3.4)."""


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def issue(folder: Path, name: str, host: str, *how: str, authority: str = "ca") -> None:
    """A certificate, `NAME.pem`, with its key, `NAME.key`."""
    openssl(folder, "req", *NEW_KEY, "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out",
            f"{name}.csr", "-addext", f"subjectAltName=DNS:{host}")  # fmt: skip
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
            "-copy_extensions", "copy", "-out", f"{name}.pem", *(how or ("-days", "2")))  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities, and certificates of servers for `localhost` that are wrong each in another way."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("ca", "other", "self"):
        openssl(folder, "req", "-x509", *NEW_KEY, "-nodes", "-days", "2", "-subj", f"/CN={name}",
                "-addext", "subjectAltName=DNS:localhost", "-addext", KEY_USAGE, "-keyout", f"{name}.key",
                "-out", f"{name}.pem")  # fmt: skip
    issue(folder, "good", "localhost")
    issue(folder, "elsewhere", "app.internal")
    issue(folder, "strange", "localhost", authority="other")
    issue(folder, "expired", "localhost", "-days", "-1")
    (folder / "chain.pem").write_text((folder / "strange.pem").read_text() + (folder / "other.pem").read_text())
    (folder / "chain.key").write_text((folder / "strange.key").read_text())
    return folder


def server_tls(folder: Path, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


async def cause_of(address: Upstream) -> Cause:
    async with http_upstreams() as upstreams:
        with pytest.raises(UpstreamError) as failed:
            await fetch(upstreams, address)
        return failed.value.cause


@on_both_loops
@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("elsewhere", Cause.CERTIFICATE_WRONG_NAME),
        ("strange", Cause.CERTIFICATE_UNKNOWN_AUTHORITY),
        ("chain", Cause.CERTIFICATE_UNKNOWN_AUTHORITY),
        ("expired", Cause.CERTIFICATE_EXPIRED),
        ("self", Cause.CERTIFICATE_SELF_SIGNED),
    ],
)
async def test_certificates(folder: Path, name: str, cause: Cause) -> None:
    """What is wrong with one is known, and the backend is sent nothing."""
    async with RawBackend(always(OK), server_tls(folder, name)) as backend:
        assert cause is await cause_of(backend.address(tls=Tls(ca=str(folder / "ca.pem"))))
        assert [] == backend.heads


@on_both_loops
async def test_a_good_certificate_is_no_cause(folder: Path) -> None:
    """The same server, with nothing wrong."""
    async with RawBackend(always(OK), server_tls(folder, "good")) as backend, http_upstreams() as upstreams:
        assert b"ok" == (await fetch(upstreams, backend.address(tls=Tls(ca=str(folder / "ca.pem")))))[1]


@on_both_loops
async def test_plain_http_at_an_https_url() -> None:
    """The first bytes of its answer are no TLS."""

    async def answer(peer: Peer) -> None:
        await peer.reader.read(1)
        peer.writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    async with RawBackend(answer) as backend:
        assert Cause.PLAIN_HTTP is await cause_of(Upstream((f"https://127.0.0.1:{backend.port}",)))


@asynccontextmanager
async def tls_server(folder: Path, arguments: list[str]) -> AsyncIterator[int]:
    """OpenSSL's own server."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    command = ["s_server", "-accept", f"127.0.0.1:{port}", "-cert", "good.pem", "-key", "good.key", *arguments]
    process = await asyncio.create_subprocess_exec(
        "openssl", *command, cwd=folder, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        await process.stdout.readuntil(b"ACCEPT")
        yield port
    finally:
        process.kill()
        await process.wait()


@on_both_loops
async def test_http_2_only_by_its_alert(folder: Path) -> None:
    """A server that is offered nothing it speaks says so while TLS is agreed on (RFC 7301 3.2)."""
    async with tls_server(folder, ["-alpn", "h2"]) as port:
        url = f"https://localhost:{port}"
        assert Cause.HTTP2_ONLY is await cause_of(Upstream((url,), tls=Tls(ca=str(folder / "ca.pem"))))


@on_both_loops
@pytest.mark.parametrize("has_tls", [True, False])
async def test_http_2_only_by_its_first_frame(folder: Path, has_tls: bool) -> None:
    """A server that goes on all the same answers in frames."""
    tls = server_tls(folder, "good") if has_tls else None
    async with RawBackend(once(SETTINGS), tls) as backend:
        assert Cause.HTTP2_ONLY is await cause_of(backend.address(tls=Tls(ca=str(folder / "ca.pem"))))


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@on_both_loops
async def test_where_there_is_no_server() -> None:
    """No address, nobody who listens, or nobody who answers to TLS in time, as plain HTTP may wait for more."""
    assert Cause.UNRESOLVABLE is await cause_of(Upstream(("http://nobody.invalid",)))
    assert Cause.UNRESOLVABLE is await cause_of(Upstream((f"http://{'a' * 64}.example",)))
    assert Cause.REFUSED is await cause_of(Upstream((f"http://127.0.0.1:{closed_port()}",)))
    assert Cause.REFUSED is await cause_of(Upstream((f"http://localhost:{closed_port()}",)))
    assert Cause.REFUSED is await cause_of(Upstream(("unix:/nowhere/app.sock",)))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        assert Cause.TLS_TIMEOUT is await cause_of(Upstream((url,), connect_timeout_seconds=0.1))


@on_both_loops
async def test_files_that_cannot_be_used_any_more(tmp_path: Path) -> None:
    """The policy's own files are at fault, and not the backend."""
    tls = Tls(ca=str(tmp_path / "gone.pem"))
    assert Cause.TLS_FAILED is await cause_of(Upstream(("https://127.0.0.1:1",), tls=tls))


@on_both_loops
@pytest.mark.parametrize(
    ("script", "cause"),
    [
        (once(b"nonsense\r\n\r\n"), Cause.BROKEN_ANSWER),
        (once(b"", end="close"), Cause.CONNECTION_LOST),
        (once(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", end="close"), Cause.CONNECTION_LOST),
    ],
)
async def test_answers_that_are_none(script: Script, cause: Cause) -> None:
    """It was reached, and did not answer as it should."""
    async with RawBackend(script) as backend:
        assert cause is await cause_of(backend.address())


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 111] Connect call failed"), "refused"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 113] No route to host"), "unreachable"),
        (TimeoutError(), "tls_timeout"),
        (OSError(113, "No route to host"), "unreachable"),
        (OSError(110, "Connection timed out"), "connect_timeout"),
        (ConnectionResetError(104, "Connection reset by peer"), "tls_failed"),
        (ValueError("something else"), "unreachable"),
        (ssl.SSLError(1, "something else"), "tls_failed"),
    ],
)
def test_what_a_test_cannot_bring_about(error: Exception, cause: str) -> None:
    """Errors of networks that are not there."""
    assert cause == find_connect_cause(error, has_tls=True)


def test_no_connection_in_time_is_another_cause_without_tls() -> None:
    """With TLS it cannot be told whether the connection was there."""
    assert Cause.CONNECT_TIMEOUT is find_connect_cause(TimeoutError(), has_tls=False)


def test_every_cause_has_its_advice() -> None:
    """In one table, and no advice is for nothing."""
    assert set(Cause) == set(ADVICE)
    assert set(BY_VERIFICATION.values()) <= set(Cause)


def test_a_failure_is_said_as_it_begins_and_as_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    """Once each, however many requests fail between; another cause is another beginning."""
    caplog.set_level(logging.WARNING)
    log = FailureLog("http://a", ManualClock())
    for _ in range(3):
        log.record_failure(UpstreamUnreachable("no connection", cause=Cause.REFUSED))
    log.record_failure(UpstreamTimeout("the backend was silent for 30 s"))
    assert Cause.RESPONSE_TIMEOUT is log.cause
    log.record_success()
    log.record_success()
    assert None is log.cause
    unnamed = UpstreamUnreachable("none in time", cause=Cause.CONNECT_TIMEOUT)
    unnamed.__cause__ = TimeoutError()
    log.record_failure(unnamed)
    assert [
        f"backend http://a: refused: {ADVICE[Cause.REFUSED]} (no connection)",
        f"backend http://a: response_timeout: {ADVICE[Cause.RESPONSE_TIMEOUT]} (the backend was silent for 30 s)",
        "backend http://a: answers again; 4 requests failed",
        f"backend http://a: connect_timeout: {ADVICE[Cause.CONNECT_TIMEOUT]} (none in time)",
    ] == caplog.messages


def test_one_that_fails_now_and_then_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Each cause is said once in a while."""
    caplog.set_level(logging.WARNING)
    clock = ManualClock()
    log = FailureLog("http://a", clock)
    for _ in range(10):
        log.record_failure(UpstreamTimeout("silent"))
        log.record_success()
    assert 2 == len(caplog.messages)
    clock.advance(QUIET_SECONDS)
    log.record_failure(UpstreamTimeout("silent"))
    assert 3 == len(caplog.messages)


@on_both_loops
async def test_a_backend_says_in_the_log_why_it_fails(caplog: pytest.LogCaptureFixture) -> None:
    """One line for many requests, and one when it is back."""
    caplog.set_level(logging.WARNING)
    clock = ManualClock()
    async with RawBackend(always(OK)) as backend, http_upstreams(clock) as upstreams:
        port = backend.port
        backend._server.close()
        address = Upstream((f"http://127.0.0.1:{port}",))
        for _ in range(3):
            with pytest.raises(UpstreamUnreachable):
                await fetch(upstreams, address)
        backend._server = await asyncio.start_server(backend._converse, "127.0.0.1", port)
        clock.advance(10)
        assert b"ok" == (await fetch(upstreams, address))[1]
    begins, ends = caplog.messages
    assert begins.startswith(f"backend http://127.0.0.1:{port}: refused: nothing listens there;")
    assert f"backend http://127.0.0.1:{port}: answers again; 3 requests failed" == ends

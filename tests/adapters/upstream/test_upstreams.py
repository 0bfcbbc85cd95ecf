"""Requests as backends see them, connections kept and lost, and backends that cannot be reached."""

import asyncio
import re
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from gateway.adapters.upstream.pool import IDLE_SECONDS
from gateway.adapters.upstream.wire import without_times
from gateway.core.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from gateway.core.policies.model import Tls, Upstream
from tests.adapters.raw_backend import (
    OK,
    Peer,
    RawBackend,
    always,
    fetch,
    http_upstreams,
    on_both_loops,
    once,
    settle,
    until,
)

TARGETS = [
    "/a%20b/%7Efoo;x=1?q=a%2Fb&z=+&e=",
    "/x//y",
    "//x",
    "/%61",
    "/%E9%20%c3%a9?x=%e9",
    "/p?",
    "/q?a|b",
    '/q?"a"',
    "/q?{a}",
    "/q?<a>",
    "/q?a^`b\\c'",
    '/p|{}"^`',
    "/p[1]?a[]=1",
    "/a/../b",
    "/a/%2e%2e/b",
    "/a/./b/%2E",
    "/a\\b",
    "/a;b:@!$&'()*+,=",
    "/?%&%zz",
    "/caf\xe9?x=\xe9",
]
METHODS = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH", "PROPFIND"]


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@on_both_loops
@pytest.mark.parametrize("prefix", ["", "/base/v1", "/b%20c/../d"])
async def test_target_byte_for_byte(prefix: str) -> None:
    """The request target is what the client sent, behind the path of the backend's URL."""
    async with RawBackend(always(OK)) as backend, http_upstreams() as upstreams:
        for target in TARGETS:
            await fetch(upstreams, backend.address(prefix), target=target)
        lines = [head.split(b"\r\n", 1)[0] for head in backend.heads]
    assert lines == [f"GET {prefix}{target} HTTP/1.1".encode("latin-1") for target in TARGETS]


@on_both_loops
async def test_nothing_is_added() -> None:
    """A request without content has its field lines as given, in order, and Host; nothing else."""
    fields = [(b"x-b", b"2"), (b"x-a", b"1"), (b"cookie", b"a=1"), (b"x-b", b"caf\xe9\tx"), (b"x-empty", b"")]
    async with RawBackend(always(OK)) as backend, http_upstreams() as upstreams:
        await fetch(upstreams, backend.address(), "DELETE", "/x", fields)
        expected = (
            b"DELETE /x HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nx-b: 2\r\nx-a: 1\r\ncookie: a=1\r\nx-b: caf\xe9\tx\r\n"
            b"x-empty: \r\n\r\n" % backend.port
        )
        assert backend.heads == [expected]


@on_both_loops
@pytest.mark.parametrize("has_length", [True, False])
async def test_content(has_length: bool) -> None:
    """Content is framed by the given Content-Length or else as chunks; an empty piece ends nothing."""
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.read_head()
        seen.append(await (peer.reader.readexactly(6) if has_length else peer.reader.readuntil(b"0\r\n\r\n")))
        peer.writer.write(OK)
        await peer.answer(OK)

    async with RawBackend(script) as backend, http_upstreams() as upstreams:
        fields = [(b"content-length", b"6")] if has_length else []
        content = pieces_of(b"abc", b"", b"de", b"f")
        assert (await fetch(upstreams, backend.address(), "POST", "/", fields, content))[1] == b"ok"
        await fetch(upstreams, backend.address())
        assert len(backend.peers) == 1
    framing = b"content-length: 6" if has_length else b"transfer-encoding: chunked"
    assert backend.heads[0].endswith(b"\r\n" + framing + b"\r\n\r\n")
    assert len(re.findall(rb"content-length|transfer-encoding", backend.heads[0])) == 1
    assert seen == [b"abcdef" if has_length else b"3\r\nabc\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n"]


@on_both_loops
async def test_empty_chunked_content() -> None:
    """Content of which nothing came is still announced and ended."""

    async def script(peer: Peer) -> None:
        assert b"transfer-encoding: chunked" in await peer.read_head()
        assert await peer.reader.readexactly(5) == b"0\r\n\r\n"
        peer.writer.write(OK)
        await peer.read_to_end()

    async with RawBackend(script) as backend, http_upstreams() as upstreams:
        assert (await fetch(upstreams, backend.address(), "POST", content=pieces_of()))[1] == b"ok"


@on_both_loops
async def test_connections_are_reused() -> None:
    """One after another share a connection; at the same time each has its own; other addresses have others."""
    async with RawBackend(always(OK)) as backend, http_upstreams() as upstreams:
        for method in ["GET", "POST", "DELETE", "PROPFIND"]:
            await fetch(upstreams, backend.address(), method)
        assert len(backend.peers) == 1
        await asyncio.gather(*(fetch(upstreams, backend.address()) for _ in range(5)))
        assert len(backend.peers) == 5
        await fetch(upstreams, backend.address("/other"))
        assert len(backend.peers) == 6


@on_both_loops
@pytest.mark.parametrize("method", METHODS)
async def test_connection_closed_while_idle(method: str) -> None:
    """A kept connection that the backend has closed is not used, whatever the method."""
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with RawBackend(once(answer, end="close")) as backend, http_upstreams() as upstreams:
        await fetch(upstreams, backend.address(), method)
        await settle()
        content = pieces_of(b"x") if method == "POST" else None
        assert (await fetch(upstreams, backend.address(), method, content=content))[0].status == 204
        assert len(backend.heads) == len(backend.peers) == 2


@on_both_loops
@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("has_content", [False, True])
async def test_connection_closed_as_the_request_leaves(method: str, has_content: bool, end: str) -> None:
    """Then the request is sent again on a new connection if that cannot do any harm, and else never."""
    may_repeat = method in {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"} and not has_content
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"

    async def script(peer: Peer) -> None:
        await peer.answer(answer)
        if peer.number == 1:
            await peer.read_head()
            if end == "reset":
                peer.reset()
        else:
            await peer.read_to_end()

    async with RawBackend(script) as backend, http_upstreams() as upstreams:
        await fetch(upstreams, backend.address())
        request = fetch(upstreams, backend.address(), method, content=pieces_of(b"x") if has_content else None)
        if may_repeat:
            assert (await request)[0].status == 204
        else:
            with pytest.raises(UpstreamBroken):
                await request
        await settle()
        assert len(backend.peers) == 1 + may_repeat
        assert len(backend.heads) == 2 + may_repeat


@on_both_loops
async def test_repeated_once_only() -> None:
    """The second attempt is on a new connection, even if others are idle, and is the last."""

    async def script(peer: Peer) -> None:
        if peer.number < 3:
            await peer.answer(OK)
        await peer.read_head()

    async with RawBackend(script) as backend, http_upstreams() as upstreams:
        await asyncio.gather(*(fetch(upstreams, backend.address()) for _ in range(2)))
        with pytest.raises(UpstreamBroken):
            await fetch(upstreams, backend.address())
        assert len(backend.peers) == 3
        assert len(backend.heads) == 4


@on_both_loops
async def test_not_repeated_after_any_byte_of_an_answer() -> None:
    """A backend that had begun to answer has seen the request."""

    async def script(peer: Peer) -> None:
        await peer.answer(OK, b"HTTP/1.1 100 Continue\r\n\r\n")

    async with RawBackend(script) as backend, http_upstreams() as upstreams:
        await fetch(upstreams, backend.address())
        with pytest.raises(UpstreamBroken):
            await fetch(upstreams, backend.address())
        assert len(backend.peers) == 1
        assert len(backend.heads) == 2


@on_both_loops
async def test_not_repeated_after_a_timeout() -> None:
    """A backend that is silent on a kept connection is not asked again."""

    async def script(peer: Peer) -> None:
        await peer.answer(OK)
        await peer.read_to_end()

    async with RawBackend(script) as backend, http_upstreams() as upstreams:
        address = backend.address(response=0.05)
        await fetch(upstreams, address)
        with pytest.raises(UpstreamTimeout):
            await fetch(upstreams, address)
        assert len(backend.peers) == 1


@on_both_loops
async def test_old_connections_are_not_used() -> None:
    """A connection idle for IDLE_SECONDS is closed instead of used, as are all that became idle before it."""
    async with RawBackend(always(OK)) as backend, http_upstreams() as upstreams:
        await asyncio.gather(*(fetch(upstreams, backend.address()) for _ in range(3)))
        for connection in upstreams._targets[without_times(backend.address())]._idle:
            connection.idle_since -= IDLE_SECONDS
        await fetch(upstreams, backend.address())
        assert len(backend.peers) == 4
        await until(lambda: all(peer.closed.is_set() for peer in backend.peers[:3]))


@on_both_loops
async def test_surplus_connections_grow_old() -> None:
    """Idle connections that a burst left behind are closed in time, though newer ones serve all requests."""
    async with RawBackend(always(OK)) as backend, http_upstreams() as upstreams:
        await asyncio.gather(*(fetch(upstreams, backend.address()) for _ in range(3)))
        idle = upstreams._targets[without_times(backend.address())]._idle
        for connection in list(idle)[:2]:
            connection.idle_since -= IDLE_SECONDS
        await fetch(upstreams, backend.address())
        assert len(backend.peers) == 3
        assert len(idle) == 1
        await until(lambda: sum(peer.closed.is_set() for peer in backend.peers) == 2)


@on_both_loops
async def test_close_closes_idle_connections() -> None:
    """After close nothing is open, and the backend knows."""
    async with RawBackend(once(OK)) as backend, http_upstreams() as upstreams:
        await asyncio.gather(*(fetch(upstreams, backend.address()) for _ in range(3)))
        await upstreams.close()
        for peer in backend.peers:
            await peer.closed.wait()


@on_both_loops
async def test_refused() -> None:
    """Nobody listens: unreachable."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = Upstream((f"http://127.0.0.1:{free.getsockname()[1]}",))
        async with http_upstreams() as upstreams:
            with pytest.raises(UpstreamUnreachable, match=re.escape(address.targets[0])):
                await fetch(upstreams, address)


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port whose backlog is full: connecting to it takes for ever."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            with suppress(BlockingIOError):
                client.connect(listener.getsockname())
        yield listener.getsockname()[1]


@on_both_loops
async def test_no_connection_in_time(deaf_port: int) -> None:
    """A backend to which no connection comes about in time is unreachable."""
    async with http_upstreams() as upstreams:
        with pytest.raises(UpstreamUnreachable, match="none in time"):
            await fetch(upstreams, Upstream((f"http://127.0.0.1:{deaf_port}",), 0.05))


@on_both_loops
async def test_cancelled_while_connecting(deaf_port: int) -> None:
    """A client that leaves while its connection is being made leaves nothing behind."""
    async with http_upstreams() as upstreams:
        request = asyncio.create_task(fetch(upstreams, Upstream((f"http://127.0.0.1:{deaf_port}",), 5.0)))
        await settle()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request


@on_both_loops
async def test_unknown_host() -> None:
    """A name that does not resolve is unreachable."""
    async with http_upstreams() as upstreams:
        with pytest.raises(UpstreamUnreachable):
            await fetch(upstreams, Upstream(("http://backend.invalid",)))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost with its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    command += f" -addext subjectAltName=DNS:localhost -keyout {key} -out {certificate}"
    subprocess.run(command.split(), check=True, capture_output=True)
    both.write_text(key.read_text() + certificate.read_text())
    return both


def server_tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@on_both_loops
async def test_untrusted_certificate(certificate: Path) -> None:
    """A backend whose certificate nobody vouches for is sent nothing."""
    async with RawBackend(always(OK), server_tls(certificate)) as backend, http_upstreams() as upstreams:
        with pytest.raises(UpstreamUnreachable, match="certificate verify failed"):
            await fetch(upstreams, backend.address())
        assert backend.heads == []


@on_both_loops
@pytest.mark.parametrize("how", ["policy", "environment"])
async def test_trusted_certificate(certificate: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that the policy's `ca` or SSL_CERT_FILE trusts will do; connections are reused as without TLS."""
    tls = Tls()
    if how == "policy":
        tls = Tls(ca=str(certificate))
    else:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with RawBackend(always(OK), server_tls(certificate)) as backend, http_upstreams() as upstreams:
        for _ in range(2):
            assert (await fetch(upstreams, backend.address(tls=tls)))[1] == b"ok"
        assert len(backend.peers) == 1


@on_both_loops
@pytest.mark.parametrize(("end", "is_whole"), [("close", True), ("reset", False)])
async def test_close_delimited_over_tls(certificate: Path, end: str, is_whole: bool) -> None:
    """Over TLS an end is an end if it was announced (RFC 9112 9.8): else an attacker could have made it."""
    tls = Tls(ca=str(certificate))
    script = once(b"HTTP/1.1 200 OK\r\n\r\nhello", end=end)
    async with RawBackend(script, server_tls(certificate)) as backend, http_upstreams() as upstreams:
        response = await upstreams.send(backend.address(tls=tls), "GET", "/", [], None)
        backend.peers[0].may_end.set()
        if isinstance(response.content, bytes):
            assert response.content == b"hello"
            assert is_whole
            return
        assert await anext(aiter(response.content)) == b"hello"
        with pytest.raises(StopAsyncIteration if is_whole else UpstreamBroken):
            await anext(aiter(response.content))

"""Departures: a client or a backend that leaves while request and response are under way."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator

import pytest

from gateway.adapters.upstream.connection import ResponseContent, UpstreamConnection
from gateway.core.errors import UpstreamBroken
from tests.adapters.raw_backend import (
    Peer,
    RawBackend,
    always,
    fetch,
    http_upstreams,
    on_both_loops,
    once,
    read_all,
    settle,
)
from tests.adapters.under_way import HALF, MEBIBYTE, ClientLeft, Upload, keep_silent, read_nothing, start


@on_both_loops
async def test_client_leaves_during_the_upload() -> None:
    """What the content raises comes out as it is; the backend sees the connection end without a last chunk."""
    received: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.read_head()
        received.append(await peer.read_to_end())

    async with RawBackend(script) as backend, http_upstreams() as upstreams:
        with pytest.raises(ClientLeft):
            await fetch(upstreams, backend.address(), "POST", content=aiter(Upload(b"abc", ClientLeft())))
        await (await backend.peer()).closed.wait()
    assert received[0] in {b"3\r\nabc\r\n", b""}


@on_both_loops
async def test_client_leaves_in_mid_answer() -> None:
    """The same after the head of the response: then the response's content raises it."""
    leave = asyncio.Event()

    class Leaving(Upload):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"abc"
            await leave.wait()
            raise ClientLeft

    async with RawBackend(once(HALF)) as backend, http_upstreams() as upstreams:
        content = await start(upstreams, backend.address(), "POST", Leaving())
        assert await anext(content) == b"hello"
        leave.set()
        with pytest.raises(ClientLeft):
            await anext(content)
        await (await backend.peer()).closed.wait()


@on_both_loops
async def test_backend_leaves_during_the_upload() -> None:
    """A backend that closes in mid-upload has given no answer; the upload ends at once, though its client waits."""

    async def script(peer: Peer) -> None:
        await peer.read_head()
        await peer.reader.readexactly(6)

    upload = Upload(b"abc", None)
    async with RawBackend(script) as backend, http_upstreams() as upstreams:
        with pytest.raises(UpstreamBroken):
            await fetch(upstreams, backend.address(), "PUT", content=aiter(upload))
        assert upload.has_ended
        assert len(backend.peers) == 1


# -- requests that are given up


@on_both_loops
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_cancelled_while_waiting_for_the_head(method: str) -> None:
    """A request that is given up before an answer closes its connection."""
    upload = Upload(b"abc") if method == "POST" else None
    async with RawBackend(keep_silent) as backend, http_upstreams() as upstreams:
        request = asyncio.create_task(start(upstreams, backend.address(), method, upload))
        peer = await backend.peer()
        await settle()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await peer.closed.wait()


@on_both_loops
@pytest.mark.parametrize("backend_reads", [True, False])
async def test_cancelled_while_uploading(backend_reads: bool) -> None:
    """So does one that is given up in mid-upload, whoever was being waited for; its content is left alone then."""
    upload = Upload(b"abc", None) if backend_reads else Upload(bytes(65536), repeats=1000)
    async with RawBackend(keep_silent if backend_reads else read_nothing) as backend, http_upstreams() as upstreams:
        request = asyncio.create_task(start(upstreams, backend.address(), "POST", upload))
        peer = await backend.peer()
        await settle()
        given = upload.given_bytes
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await settle()
        assert upload.given_bytes == given
        if backend_reads:
            await peer.closed.wait()


@on_both_loops
async def test_cancelled_in_mid_content() -> None:
    """So does one that is given up while more content is awaited, and the content stays at its end."""
    async with RawBackend(once(HALF)) as backend, http_upstreams() as upstreams:
        content = await start(upstreams, backend.address())
        assert await anext(content) == b"hello"
        request = asyncio.ensure_future(anext(content))
        await settle()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await (await backend.peer()).closed.wait()
        assert [piece async for piece in content] == []


# -- content that is left


@on_both_loops
@pytest.mark.parametrize("is_started", [True, False])
@pytest.mark.parametrize("way", ["aclose", "drop"])
@pytest.mark.parametrize("has_upload", [True, False])
async def test_content_left_early(is_started: bool, way: str, has_upload: bool) -> None:
    """Content that is closed or dropped before its end closes the connection, even if nobody ever read from it."""
    upload = Upload(b"x", None) if has_upload else None
    async with RawBackend(once(HALF)) as backend, http_upstreams() as upstreams:
        content = await start(upstreams, backend.address(), "POST" if has_upload else "GET", upload)
        if is_started:
            assert await anext(content) == b"hello"
        if way == "aclose":
            await content.aclose()
            assert upload is None or upload.has_ended
            await content.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(content)
        del content
        await (await backend.peer()).closed.wait()
        await settle()
        assert upload is None or upload.has_ended


@on_both_loops
async def test_closed_connection_is_forgotten() -> None:
    """Nothing holds a closed connection, not even its clock."""
    async with RawBackend(once(HALF)) as backend, http_upstreams() as upstreams:
        content = await start(upstreams, backend.address())
        assert isinstance(content._connection, UpstreamConnection)
        connection = weakref.ref(content._connection)
        await content.aclose()
        await settle()
        gc.collect()
        assert connection() is None


@on_both_loops
async def test_content_closed_after_its_end() -> None:
    """Closing content that was read to its end does not touch the connection, which is another request's by then."""
    size = 4 * MEBIBYTE
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    async with RawBackend(always(answer)) as backend, http_upstreams() as upstreams:
        first = await start(upstreams, backend.address())
        assert sum([len(piece) async for piece in first]) == size
        second = await start(upstreams, backend.address())
        await first.aclose()
        del first
        assert sum([len(piece) async for piece in second]) == size
        assert len(backend.peers) == 1


@on_both_loops
async def test_content_dropped_after_the_loop() -> None:
    """Content that outlives its event loop is nobody's problem."""
    async with RawBackend(once(HALF)) as backend, http_upstreams() as upstreams:
        OUTLIVING.append(await start(upstreams, backend.address()))


OUTLIVING: list[ResponseContent] = []


def test_outliving_content_is_dropped() -> None:
    """Follows the test above."""
    OUTLIVING.clear()


@on_both_loops
async def test_many_at_once() -> None:
    """A hundred clients, a third of which leave in mid-answer, get their own answers and share what is left."""
    size = 300_000

    async def script(peer: Peer) -> None:
        while True:
            target = (await peer.read_head()).split(b" ")[1]
            peer.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + target[-1:] * size)
            await peer.writer.drain()

    async def client(number: int) -> None:
        for _ in range(3):
            response = await upstreams.send(backend.address(), "GET", f"/{number % 10}", [], None)
            if number % 3 or isinstance(response.content, bytes):
                assert await read_all(response) == b"%d" % (number % 10) * size
            else:
                await anext(aiter(response.content))

    async with RawBackend(script) as backend, http_upstreams() as upstreams:
        await asyncio.gather(*(client(number) for number in range(100)))

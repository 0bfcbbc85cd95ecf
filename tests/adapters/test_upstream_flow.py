"""Time, backpressure, uploads and departures: what happens while request and response are under way."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator

import pytest

from gateway.adapters.upstream_connection import HIGH_WATER_BYTES, UpstreamConnection
from gateway.adapters.upstream_content import ResponseContent
from gateway.adapters.upstreams import HttpUpstreams
from gateway.core.errors import UpstreamBroken, UpstreamTimeout
from gateway.core.policies.upstream import Upstream
from tests.adapters.raw_backend import (
    OK,
    Arrivals,
    ManualClock,
    Peer,
    RawBackend,
    Script,
    always,
    fetch,
    http_upstreams,
    on_both_loops,
    once,
    read_all,
    settle,
    until,
)

HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
MEBIBYTE = 1024 * 1024
KERNEL_BYTES = 16 * MEBIBYTE
"""More than the kernel holds in both socket buffers of a connection."""
READ_BYTES = 256 * 1024
"""What both event loops read at once."""


class ClientLeft(Exception):
    """What the content of a request raises when its client leaves."""


class Upload:
    """A request's content that keeps count; `pieces` of None make it wait for ever."""

    def __init__(self, *pieces: bytes | Exception | None, repeats: int = 1) -> None:
        self.given_bytes = 0
        self.has_ended = False
        self.waits = asyncio.Event()
        self._pieces = pieces * repeats

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for piece in self._pieces:
                if isinstance(piece, Exception):
                    raise piece
                if piece is None:
                    self.waits.set()
                    await asyncio.Event().wait()
                else:
                    self.given_bytes += len(piece)
                    yield piece
        finally:
            self.has_ended = True


async def start(
    upstreams: HttpUpstreams, address: Upstream, method: str = "GET", upload: Upload | None = None
) -> ResponseContent:
    """The content of an answer that is not complete yet."""
    response = await upstreams.send(address, method, "/", [], aiter(upload) if upload else None)
    assert isinstance(response.content, ResponseContent)
    return response.content


async def read_nothing(peer: Peer) -> None:
    await peer.read_head()
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await peer.may_end.wait()


async def keep_silent(peer: Peer) -> None:
    await peer.read_to_end()


# -- time


@on_both_loops
async def test_no_head_in_time() -> None:
    """A backend that does not answer times out, and its connection is closed."""
    async with RawBackend(keep_silent) as backend, http_upstreams() as upstreams:
        with pytest.raises(UpstreamTimeout, match=r"silent for 0\.05 s"):
            await fetch(upstreams, backend.address(response=0.05))
        await (await backend.peer()).closed.wait()
        assert len(backend.peers) == 1


@on_both_loops
@pytest.mark.parametrize("drip", [b"x", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
async def test_trickling_head(drip: bytes) -> None:
    """The time limit is on the whole head: to send some of it, or interim responses, does not extend it."""
    clock, begun = ManualClock(), b"HTTP/1.1 103 Early Hints\r\n\r\n" if len(drip) > 1 else b"HTTP/1.1 200 OK\r\nX: "

    async def script(peer: Peer) -> None:
        await peer.answer(begun)
        await peer.read_to_end()

    async with RawBackend(script) as backend, http_upstreams(clock) as upstreams:
        with Arrivals() as arrived:
            fetching = asyncio.create_task(fetch(upstreams, backend.address(response=10)))
            await arrived.reach(len(begun))
            for number in range(1, 4):
                clock.advance(3)
                (await backend.peer()).writer.write(drip)
                await arrived.reach(len(begun) + number * len(drip))
            assert not fetching.done()
            clock.advance(1)
            with pytest.raises(UpstreamTimeout):
                await fetching


@on_both_loops
async def test_silence_in_mid_content() -> None:
    """What has arrived is given, then the silence is an error, not an end."""
    async with RawBackend(once(HALF)) as backend, http_upstreams() as upstreams:
        content = await start(upstreams, backend.address(response=0.05))
        assert await anext(content) == b"hello"
        with pytest.raises(UpstreamTimeout):
            await anext(content)
        await (await backend.peer()).closed.wait()


@on_both_loops
async def test_content_that_trickles() -> None:
    """A response may take longer than the timeout as long as something of its content comes."""
    clock = ManualClock()
    async with RawBackend(once(CHUNKED)) as backend, http_upstreams(clock) as upstreams:
        content = await start(upstreams, backend.address(response=10))
        writer = (await backend.peer()).writer
        for _ in range(5):
            writer.write(b"1\r\na\r\n")
            assert await anext(content) == b"a"
            clock.advance(9)
        writer.write(b"0\r\n\r\n")
        assert [piece async for piece in content] == []


@on_both_loops
async def test_backend_that_waits_for_the_client() -> None:
    """A client that takes longer than the timeout gets all: the backend is not to blame."""
    clock, size = ManualClock(), 4 * MEBIBYTE
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    async with RawBackend(always(answer)) as backend, http_upstreams(clock) as upstreams:
        with Arrivals() as arrived:
            content = await start(upstreams, backend.address(response=10))
            await arrived.reach(len(answer) - size + HIGH_WATER_BYTES + 1)  # no more comes before some of it is read
            received = 0
            for _ in range(2):
                clock.advance(15)
                received += len(await anext(content))
            assert received + sum([len(piece) async for piece in content]) == size


@on_both_loops
async def test_complete_content_that_waits_for_the_client() -> None:
    """Content that has arrived does not age, and its connection is kept."""
    clock = ManualClock()

    async def script(peer: Peer) -> None:
        await peer.answer(HALF)
        await peer.may_end.wait()
        peer.writer.write(b"world")
        await peer.answer(OK)

    async with RawBackend(script) as backend, http_upstreams(clock) as upstreams:
        with Arrivals() as arrived:
            content = await start(upstreams, backend.address(response=10))
            (await backend.peer()).may_end.set()
            await arrived.reach(len(HALF) + len(b"world"))
            clock.advance(15)
            assert [piece async for piece in content] == [b"helloworld"]
        assert (await fetch(upstreams, backend.address(response=10)))[1] == b"ok"
        assert len(backend.peers) == 1


@on_both_loops
async def test_timer_of_an_earlier_request() -> None:
    """Each request on a kept connection has its own time."""
    clock, asked = ManualClock(), asyncio.Semaphore(0)

    async def script(peer: Peer) -> None:
        while True:
            await peer.read_head()
            asked.release()

    async with RawBackend(script) as backend, http_upstreams(clock) as upstreams:
        for _ in range(4):
            fetching = asyncio.create_task(fetch(upstreams, backend.address(response=10)))
            await asked.acquire()
            clock.advance(3)
            assert not fetching.done()
            backend.peers[0].writer.write(OK)
            await fetching
        fetching = asyncio.create_task(fetch(upstreams, backend.address(response=10)))
        await asked.acquire()
        clock.advance(9)
        await settle()
        assert not fetching.done()
        clock.advance(1)
        with pytest.raises(UpstreamTimeout):
            await fetching
        assert len(backend.peers) == 1


@on_both_loops
async def test_stalled_upload() -> None:
    """A backend that takes nothing more of the content times out."""
    upload = Upload(bytes(65536), repeats=1000)
    async with RawBackend(read_nothing) as backend, http_upstreams() as upstreams:
        with pytest.raises(UpstreamTimeout):
            await fetch(upstreams, backend.address(response=0.1), "POST", content=aiter(upload))
        assert upload.given_bytes < KERNEL_BYTES


@on_both_loops
async def test_long_upload_with_progress() -> None:
    """An upload may take longer than the timeout while the backend takes some of it."""
    clock, size = ManualClock(), 40 * MEBIBYTE
    upload, fields = Upload(bytes(READ_BYTES), repeats=size // READ_BYTES), [(b"content-length", b"%d" % size)]

    async def script(peer: Peer) -> None:
        await peer.read_head()
        for _ in range(size // READ_BYTES):
            await peer.reader.readexactly(READ_BYTES)
            clock.advance(30 * READ_BYTES / KERNEL_BYTES)  # in the time of the limit more goes than the kernel holds
        peer.writer.write(OK)
        await peer.read_to_end()

    async with RawBackend(script) as backend, http_upstreams(clock) as upstreams:
        request = fetch(upstreams, backend.address(response=40), "PUT", "/", fields, aiter(upload))
        assert (await request)[1] == b"ok"


@on_both_loops
async def test_slow_uploading_client_is_no_timeout() -> None:
    """While the client sends nothing, the backend is not to blame; once it has all, its time runs."""
    clock, has_all = ManualClock(), asyncio.Event()

    class Slow(Upload):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for _ in range(3):
                await settle()
                clock.advance(15)
                yield b"x"

    async def script(peer: Peer) -> None:
        await peer.read_head()
        await peer.reader.readuntil(b"0\r\n\r\n")
        if peer.number == 1:
            peer.writer.write(OK)
        else:
            has_all.set()
        await peer.read_to_end()

    async with RawBackend(script) as backend, http_upstreams(clock) as upstreams:
        address = backend.address(response=10)
        assert (await fetch(upstreams, address, "POST", content=aiter(Slow())))[1] == b"ok"
        backend.peers[0].writer.close()
        await settle()
        fetching = asyncio.create_task(fetch(upstreams, address, "POST", content=aiter(Slow())))
        await has_all.wait()
        clock.advance(15)
        with pytest.raises(UpstreamTimeout):
            await fetching


# -- backpressure


@on_both_loops
async def test_download_waits_for_the_client() -> None:
    """While nobody reads, a backend can send no more than the kernel holds and a bounded amount; then all arrives."""
    size, sent = 50 * MEBIBYTE, 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            peer.writer.write(bytes(65536))
            await peer.writer.drain()
            sent += 65536
        await peer.read_to_end()

    async with RawBackend(script) as backend, http_upstreams() as upstreams:
        content = await start(upstreams, backend.address())
        await settle()
        assert 0 < sent < KERNEL_BYTES
        sizes = [len(piece) async for piece in content]
        assert sum(sizes) == size
        assert max(sizes) <= HIGH_WATER_BYTES + READ_BYTES


@on_both_loops
async def test_upload_waits_for_the_backend() -> None:
    """While the backend does not read, the client is not read from either; then all arrives."""
    size = 50 * MEBIBYTE

    async def script(peer: Peer) -> None:
        await read_nothing(peer)
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        received = 0
        while received < size:
            received += len(await peer.reader.read(READ_BYTES))
        peer.writer.write(OK)
        await peer.read_to_end()

    async with RawBackend(script) as backend, http_upstreams() as upstreams:
        upload, fields = Upload(bytes(65536), repeats=size // 65536), [(b"content-length", b"%d" % size)]
        request = asyncio.create_task(fetch(upstreams, backend.address(), "PUT", "/", fields, aiter(upload)))
        peer = await backend.peer()
        await settle()
        assert 0 < upload.given_bytes < KERNEL_BYTES
        peer.may_end.set()
        assert (await request)[1] == b"ok"
        assert upload.given_bytes == size


@on_both_loops
async def test_both_directions_at_once() -> None:
    """A response can come while the request's content is still on its way, each piece as soon as it is there."""

    async def echo(peer: Peer) -> None:
        await peer.answer(CHUNKED)
        while chunk := await peer.reader.readuntil(b"\r\n"):
            peer.writer.write(chunk + await peer.reader.readuntil(b"\r\n"))
            if chunk == b"0\r\n":
                break
        await peer.read_to_end()

    class Dialogue(Upload):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for word in (b"one", b"two", b"three"):
                yield word
                await until(lambda word=word: word in heard)  # type: ignore[misc]

    heard: list[bytes] = []
    async with RawBackend(echo) as backend, http_upstreams() as upstreams:
        content = await start(upstreams, backend.address(), "POST", Dialogue())
        async for piece in content:
            heard.append(piece)
        assert heard == [b"one", b"two", b"three"]


# -- answers that come early, uploads that break off


async def refuse_early(peer: Peer) -> None:
    await peer.answer(TOO_LARGE)
    await peer.read_to_end()


async def refuse_early_unread(peer: Peer) -> None:
    await peer.read_head()
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    peer.writer.write(TOO_LARGE)
    await peer.may_end.wait()


@on_both_loops
@pytest.mark.parametrize("script", [refuse_early, refuse_early_unread])
@pytest.mark.parametrize("upload_waits", [True, False])
async def test_early_answer(script: Script, upload_waits: bool) -> None:
    """An answer before the end of the upload is delivered, the rest is abandoned and the connection not used again."""
    upload = Upload(b"x", None) if upload_waits else Upload(bytes(65536), repeats=1000)
    async with RawBackend(script) as backend, http_upstreams() as upstreams:
        head, content = await fetch(upstreams, backend.address(), "POST", content=aiter(upload))
        assert (head.status, content) == (413, b"big")
        assert upload.has_ended or not upload_waits
        assert upload.given_bytes < 1000 * 65536
        assert (await fetch(upstreams, backend.address()))[0].status == 413
        assert len(backend.peers) == 2


@on_both_loops
async def test_early_answer_in_pieces() -> None:
    """The same where the early answer's content comes as a stream."""

    async def script(peer: Peer) -> None:
        await peer.answer(HALF)
        await peer.may_end.wait()
        peer.writer.write(b"world")
        await peer.read_to_end()

    upload = Upload(b"x", None)
    async with RawBackend(script) as backend, http_upstreams() as upstreams:
        content = await start(upstreams, backend.address(), "POST", upload)
        assert await anext(content) == b"hello"
        peer = await backend.peer()
        peer.may_end.set()
        assert [piece async for piece in content] == [b"world"]
        assert upload.has_ended
        await peer.closed.wait()


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


# -- departures


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

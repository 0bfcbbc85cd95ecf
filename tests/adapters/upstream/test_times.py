"""Time: how long a backend may take for a head, for the next piece and for the whole, and who is to blame."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from gateway.adapters.upstream.connection import HIGH_WATER_BYTES
from gateway.core.errors import UpstreamBusy, UpstreamTimeout
from tests.adapters.raw_backend import (
    OK,
    Arrivals,
    ManualClock,
    Peer,
    RawBackend,
    always,
    fetch,
    http_upstreams,
    on_both_loops,
    once,
    settle,
)
from tests.adapters.under_way import (
    CHUNKED,
    HALF,
    KERNEL_BYTES,
    MEBIBYTE,
    READ_BYTES,
    Upload,
    keep_silent,
    read_nothing,
    start,
)


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


@on_both_loops
async def test_the_whole_answer_in_time() -> None:
    """total_timeout ends an answer that keeps coming; before the head it is a time-out like any other."""
    clock = ManualClock()
    async with RawBackend(once(CHUNKED)) as backend, http_upstreams(clock) as upstreams:
        address = replace(backend.address(), total_timeout_seconds=12)
        content, writer = await start(upstreams, address), (await backend.peer()).writer
        for _ in range(2):
            clock.advance(4)
            writer.write(b"1\r\na\r\n")
            assert b"a" == await anext(content)
        clock.advance(4)
        with pytest.raises(UpstreamTimeout, match="longer than 12 s"):
            await anext(content)


@on_both_loops
@pytest.mark.parametrize(("first", "second"), [(600.0, 2.0), (2.0, 600.0)])
async def test_rules_that_differ_in_times_share_connections(first: float, second: float) -> None:
    """A kept connection takes the next request's times, shorter or longer ones; one target has one pool."""
    clock = ManualClock()

    async def script(peer: Peer) -> None:
        await peer.answer(OK, CHUNKED)
        await peer.read_to_end()

    async with RawBackend(script) as backend, http_upstreams(clock) as upstreams:
        address = backend.address(response=600.0)
        await fetch(upstreams, replace(address, idle_timeout_seconds=first))
        content = await start(upstreams, replace(address, idle_timeout_seconds=second))
        assert 1 == len(backend.peers)
        clock.advance(second / 2)
        backend.peers[0].writer.write(b"1\r\na\r\n")
        assert b"a" == await anext(content)
        for _ in range(9):
            clock.advance(second / 8)
        with pytest.raises(UpstreamTimeout, match=f"silent for {second:g} s"):
            await anext(content)


@on_both_loops
async def test_rules_that_differ_in_times_share_the_cap() -> None:
    """max_connections is of the target, whichever rule asks."""
    async with RawBackend(keep_silent) as backend, http_upstreams() as upstreams:
        address = replace(backend.address(connect=0.05), max_connections=1)
        async with asyncio.TaskGroup() as group:
            held = group.create_task(fetch(upstreams, address))
            await backend.peer()
            with pytest.raises(UpstreamBusy):
                await fetch(upstreams, replace(address, response_timeout_seconds=600.0))
            held.cancel()
        assert 1 == len(backend.peers)


@on_both_loops
async def test_silence_between_pieces_has_its_own_limit() -> None:
    """idle_timeout may be longer than the time for the head, as for events that come now and then, or shorter."""
    clock = ManualClock()
    async with RawBackend(once(CHUNKED)) as backend, http_upstreams(clock) as upstreams:
        for idle, quiet in ((60.0, 55.0), (2.0, 1.0)):
            address = replace(backend.address(), idle_timeout_seconds=idle)
            content, writer = await start(upstreams, address), backend.peers[-1].writer
            for _ in range(12):
                clock.advance(quiet / 12)
            writer.write(b"1\r\na\r\n")
            assert b"a" == await anext(content)
            for _ in range(12):
                clock.advance(idle / 12)
            with pytest.raises(UpstreamTimeout, match=f"silent for {idle:g} s"):
                await anext(content)

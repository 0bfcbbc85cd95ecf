"""Backpressure in both directions, and answers that come before the upload has ended."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.adapters.upstream.connection import HIGH_WATER_BYTES
from tests.adapters.raw_backend import OK, Peer, RawBackend, Script, fetch, http_upstreams, on_both_loops, settle, until
from tests.adapters.under_way import CHUNKED, HALF, KERNEL_BYTES, MEBIBYTE, READ_BYTES, Upload, read_nothing, start

TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"


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
        assert head.status == 413
        assert content == b"big"
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

"""What a request announces is what it sends: else the next request on the connection would begin inside of this one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from gateway.core.errors import ClientGone
from tests.adapters.raw_backend import OK, Peer, RawBackend, always, fetch, http_upstreams, on_both_loops, settle


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def answer_at_once(peer: Peer) -> None:
    """As servers do that do not look at content: what comes after the head is read when the next request is."""
    await peer.answer(OK)
    await peer.read_to_end()


@on_both_loops
@pytest.mark.parametrize("pieces", [(), (b"hel",), (b"hello!",), (b"hello", b"!")])
async def test_content_of_another_length_ends_the_connection(pieces: tuple[bytes, ...]) -> None:
    """Shorter or longer than its Content-Length: nothing follows it on that connection, and no byte is too many."""
    async with RawBackend(answer_at_once) as backend, http_upstreams() as upstreams:
        fields = [(b"content-length", b"5")]
        with suppress(ValueError):  # where the mistake is seen before the answer
            await fetch(upstreams, backend.address(), "POST", "/", fields, pieces_of(*pieces))
        assert 200 == (await fetch(upstreams, backend.address()))[0].status
        assert 2 == len(backend.peers)
        assert not any(b"!" in head for head in backend.heads)


@on_both_loops
async def test_no_content_has_no_length() -> None:
    """A request that is passed on without its content does not announce it, and its connection is used again."""
    async with RawBackend(always(OK)) as backend, http_upstreams() as upstreams:
        for length in (b"5", b"0"):
            await fetch(upstreams, backend.address(), "GET", "/", [(b"content-length", length)])
        assert 1 == len(backend.peers)
        assert [False, True] == [b"content-length: 0" in head for head in backend.heads]
        assert not any(b"content-length: 5" in head for head in backend.heads)


@on_both_loops
async def test_a_request_in_chunks_leaves_when_the_first_of_its_content_is_there() -> None:
    """Until then it may turn out to be malformed (RFC 9112 7.1): not even a connection is opened for it."""
    begins: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def content() -> AsyncIterator[bytes]:
        yield await begins
        yield b"hello"

    async def read_all(peer: Peer) -> None:
        await peer.read_head()
        assert b"5\r\nhello\r\n0\r\n\r\n" == await peer.reader.readuntil(b"0\r\n\r\n")
        peer.writer.write(OK)

    async with RawBackend(read_all) as backend, http_upstreams() as upstreams:
        answer = asyncio.create_task(fetch(upstreams, backend.address(), "POST", "/", [], content()))
        await settle()
        assert [] == backend.peers
        begins.set_result(b"")
        assert 200 == (await answer)[0].status


@on_both_loops
async def test_content_that_is_malformed_from_its_beginning_reaches_no_backend() -> None:
    """What its content raises comes out, and no connection was opened."""

    async def content() -> AsyncIterator[bytes]:
        raise ClientGone
        yield b""

    async with RawBackend(always(OK)) as backend, http_upstreams() as upstreams:
        with pytest.raises(ClientGone):
            await fetch(upstreams, backend.address(), "POST", "/", [], content())
        assert [] == backend.peers

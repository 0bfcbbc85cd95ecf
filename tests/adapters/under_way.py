"""Requests and answers that are under way: uploads that keep count, answers that have not ended."""

import asyncio
from collections.abc import AsyncIterator

from gateway.adapters.upstream.connection import ResponseContent
from gateway.adapters.upstream.pool import HttpUpstreams
from gateway.core.policies.model import Upstream
from tests.adapters.raw_backend import Peer

HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
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

"""Content of answers: taken whole where it is short enough, resumed as a stream where it is not, given up."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from gateway.core.messages import ContentStream

LONG_BYTES = 1024 * 1024
"""Content above this is put together in a thread, which lets go of the interpreter: others are answered meanwhile."""

PIECE_BYTES = 256 * 1024
"""Longer content goes out so much at a time: all others wait while it is copied."""


async def collect(content: bytes | ContentStream, limit: int) -> bytes | ContentStream:
    """All of `content`, or, where it is longer than `limit`, a stream of the same."""
    if isinstance(content, bytes):
        return content
    pieces: list[bytes] = []
    size = 0
    async for piece in content:
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            return ResumedContent(pieces, content)
    return b"".join(pieces) if size <= LONG_BYTES else await asyncio.to_thread(b"".join, pieces)


class ResumedContent:
    """Pieces that were taken from a stream, and then the rest of it."""

    def __init__(self, pieces: list[bytes], rest: ContentStream) -> None:
        self._pieces = deque(pieces)
        self._content = rest
        self._rest = aiter(rest)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return self._pieces.popleft() if self._pieces else await anext(self._rest)

    async def aclose(self) -> None:
        await self._content.aclose()


class Pieces:
    """Content that is at hand, piece by piece; others are answered in between."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        start, self._position = self._position, self._position + PIECE_BYTES
        if start >= len(self._content):
            raise StopAsyncIteration
        if start:
            await asyncio.sleep(0)
        return self._content[start : self._position]

    async def aclose(self) -> None:
        self._content = b""


async def give_up(content: bytes | ContentStream) -> None:
    """Ends the backend's work on content that nobody wants."""
    if not isinstance(content, bytes):
        await content.aclose()

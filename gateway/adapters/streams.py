"""Content of answers: collected if it is short enough, resumed as a stream otherwise, and the memory that it holds.

Shared work goes on if the client that it was begun for leaves: others wait for its result.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Hashable
from contextlib import suppress
from typing import Any, Self, TypeVar

from gateway.core.errors import GatewayError
from gateway.core.http.messages import ContentStream, Response

LONG_BYTES = 1024 * 1024
"""Content above this is joined in a thread, which releases the interpreter, so that others are answered meanwhile."""

PIECE_BYTES = 256 * 1024
"""Longer content is sent in pieces of this size: all others wait while one is copied."""


class HeldBytes:
    """The limit of long content that the answers of a worker hold; at most half of it may wait for clients.

    The other half is for content that is being read or collected, so that clients which read nothing do not keep other
    content out of the cache. Content that several answers share is counted once. Content of up to PIECE_BYTES is not
    counted: there are at most as many answers as requests in progress.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiting = 0
        self._shared: dict[Hashable, Hold] = {}

    def begin(self) -> "Hold":
        """Return an empty hold, for content that is being read or collected."""
        return Hold(self, None)

    def wait(self, key: Hashable, size: int) -> "Hold | None":
        """Return a hold on content that waits for its client, shared by all with this key, or None without room."""
        shared = self._shared.get(key)
        if shared is None:
            if self._waiting + size > self.limit // 2 or self.used + size > self.limit:
                return None
            shared = self._shared[key] = Hold(self, key)
            shared.size = size
            self.used += size
            self._waiting += size
        return shared.share()

    def change(self, hold: "Hold", size: int) -> bool:
        """Change the size of a hold, which always works for a smaller one; return whether there was room."""
        more = size - hold.size
        if more > 0 and self.used + more > self.limit:
            return False
        self.used += more
        if hold.key is not None:
            self._waiting += more
        hold.size = size
        return True

    def free(self, hold: "Hold") -> None:
        """Free all the bytes of a hold."""
        self.used -= hold.size
        if hold.key is not None:
            self._waiting -= hold.size
            del self._shared[hold.key]
        hold.size = 0


class Hold:
    """Bytes that are counted until the last holder releases them."""

    def __init__(self, held: HeldBytes, key: Hashable | None) -> None:
        self.key = key
        self.size = 0
        self.is_full = False
        """Whether there was no room for its last requested size."""
        self.holders = 0 if key is not None else 1
        self._held = held

    def share(self) -> Self:
        """Return the hold, for one more holder."""
        self.holders += 1
        return self

    def grow(self, size: int) -> bool:
        """Grow to a size; return whether there was room."""
        self.is_full = size > PIECE_BYTES and not self._held.change(self, size)
        return not self.is_full

    def release(self) -> None:
        """Remove one holder."""
        self.holders -= 1
        if self.holders == 0:
            self._held.free(self)

    def fit(self, size: int) -> None:
        """Shrink to the content's real size, if that is smaller."""
        self._held.change(self, min(size, self.size))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


async def collect(content: bytes | ContentStream, limit: int, hold: Hold | None = None) -> bytes | ContentStream:
    """Return all of `content`, or a stream of it if it is longer than `limit` or than `hold` may grow to."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, HeldContent):
        return content.take()
    pieces: list[bytes] = []
    size = 0
    async for piece in content:
        pieces.append(piece)
        size += len(piece)
        if size > limit or (hold is not None and not hold.grow(size)):
            return ResumedContent(pieces, content, hold.share() if hold is not None else None)
    return b"".join(pieces) if size <= LONG_BYTES else await asyncio.to_thread(b"".join, pieces)


class ResumedContent:
    """Pieces that were taken from a stream, and then the rest of it."""

    def __init__(self, pieces: list[bytes], rest: ContentStream, hold: Hold | None = None) -> None:
        self._pieces = deque(pieces)
        self._hold = hold
        self._content = rest
        self._rest = aiter(rest)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._pieces:
            return self._pieces.popleft()
        self._release()
        return await anext(self._rest)

    async def aclose(self) -> None:
        self._pieces.clear()
        self._release()
        await self._content.aclose()

    def _release(self) -> None:
        if self._hold is not None:
            self._hold.release()
            self._hold = None


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


class HeldContent(Pieces):
    """Content piece by piece that is counted until it is sent or closed."""

    def __init__(self, content: bytes, hold: Hold) -> None:
        super().__init__(content)
        self._hold: Hold | None = hold

    def take(self) -> bytes:
        """Return all of it, and stop counting it."""
        content = self._content
        self._release()
        return content

    async def aclose(self) -> None:
        await super().aclose()
        self._release()

    def _release(self) -> None:
        if self._hold is not None:
            self._hold.release()
            self._hold = None

    def __del__(self) -> None:  # it was neither sent nor closed
        self._release()


async def close_unread(content: bytes | ContentStream) -> None:
    """Close content that is not read, which ends the backend's work on it."""
    if not isinstance(content, bytes):
        await content.aclose()


Answer = TypeVar("Answer")


class SharedWork:
    """Answers that are being made, each in a task of its own."""

    def __init__(self) -> None:
        self._working: set[asyncio.Task[Any]] = set()

    async def do(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Return the result of the work, or raise its error; the work goes on if the caller is cancelled."""
        task = asyncio.create_task(work)
        self._keep(task)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._keep(asyncio.create_task(_drop(task)))
            raise

    async def close(self) -> None:
        """Cancel the work in progress."""
        for task in self._working:
            task.cancel()
        if self._working:
            await asyncio.wait(self._working)

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._working.add(task)
        task.add_done_callback(self._working.discard)


async def _drop(task: asyncio.Task[Any]) -> None:
    """Close the content of an answer that is not used."""
    with suppress(GatewayError):
        answer = await task
        if isinstance(answer, Response):
            await close_unread(answer.content)

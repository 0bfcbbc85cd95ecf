"""The content of exports, as it is or in a content coding: from memory, from Redis, or encoded now. See fetching.py.

What is stored is encoded once for each coding that somebody prefers, and kept beside it for all workers. Two workers
that need the same at the same moment may each do it: the bytes are the same.

Rule: long content waits for its client only within what HeldBytes allows. Beyond that it is read from Redis as the
client takes it, or the answer is MemoryFull.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

from gateway.adapters.content import PIECE_BYTES, HeldBytes, HeldContent, Hold
from gateway.adapters.protocols import Exports
from gateway.core.caching import keys
from gateway.core.caching.entries import StoredHead
from gateway.core.errors import MemoryFull
from gateway.core.messages import Response, StoredStream

HELD_BYTES = 64 * 1024 * 1024
"""What a worker may hold unless it is said otherwise: as much as of exports that it remembers."""

Build: TypeAlias = Callable[[bytes | StoredStream, bytes], Response]
"""Makes the answer of content and its coding."""


class Encoder(Protocol):
    """Content codings (RFC 9110 8.4.1)."""

    @property
    def offered(self) -> tuple[bytes, ...]:
        """The names of the codings there are, the preferred first."""
        ...

    async def encode(self, coding: bytes, content: bytes) -> bytes:
        """The content in one of the offered codings, always the same bytes for the same content."""
        ...

    async def decode(self, coding: bytes, encoded: bytes, limit: int) -> bytes | None:
        """The content in one of these codings as it is; None where it is not in it, or has more bytes than `limit`."""
        ...


class Opened(msgspec.Struct, frozen=True):
    """Content for one answer, and the hold that it has on memory. An answer must be made of it, once."""

    content: bytes | StoredStream
    coding: bytes
    hold: Hold | None = None

    def build(self, build: Build) -> Response:
        """The answer, which holds what of the content is in it until that is sent."""
        hold = self.hold
        try:
            answer = build(self.content, self.coding)
            if hold is not None and isinstance(answer.content, bytes) and len(answer.content) > PIECE_BYTES:
                hold.fit(len(answer.content))
                answer, hold = msgspec.structs.replace(answer, content=HeldContent(answer.content, hold)), None
            return answer
        finally:
            if hold is not None:
                hold.release()


class Contents:
    """Reads and encodes. A coding is one of those `offered`, or empty for the content as it is."""

    def __init__(
        self, exports: Exports, encoder: Encoder, held: HeldBytes | None = None, counts: Counter[str] | None = None
    ) -> None:
        self.offered = encoder.offered
        self.held = held or HeldBytes(HELD_BYTES)
        self._counts = Counter[str]() if counts is None else counts
        self._exports = exports
        self._encoder = encoder
        self._under_way: dict[tuple[str, bytes, bytes], asyncio.Task[bytes | None]] = {}

    def recall(self, name: str | None, head: StoredHead, coding: bytes) -> bytes | None:
        """The content if this worker has it."""
        return None if name is None else self._exports.recall(name, head.digest, coding)

    async def read(self, name: str | None, head: StoredHead, coding: bytes = b"") -> bytes | None:
        """The content of a stored export, None where it is gone."""
        if name is None:
            return None
        content = self._exports.recall(name, head.digest, coding)
        if content is not None:
            return content
        if not coding:
            return await self._exports.read(name, keys.variant_of(head), head.digest)
        return await self._find_or_encode(name, head, coding, None)

    async def open(
        self,
        name: str | None,
        head: StoredHead,
        coding: bytes,
        content: bytes | None = None,
        *,
        is_part: bool = False,
        spare: Hold | None = None,
    ) -> Opened | None:
        """The content of a stored export for one answer, None where it is gone; raises MemoryFull.

        It is `content` where that is at hand, which `spare` may be on already. An answer that is a part of it shares
        its bytes with no other.
        """
        if head.length <= PIECE_BYTES:
            whole = await self._read_or_encode(name, head, coding, content)
            return None if whole is None else Opened(whole, coding)
        hold = self.held.wait(object() if is_part else (name, head.digest, coding), head.length)
        if hold is None:
            return await self._open_stream(name, head, coding, content, spare)
        try:
            whole = await self._read_or_encode(name, head, coding, content)
        except BaseException:
            hold.release()
            raise
        if whole is None:
            hold.release()
            return None
        hold.fit(len(whole))
        return Opened(whole, coding, hold)

    async def _read_or_encode(
        self, name: str | None, head: StoredHead, coding: bytes, content: bytes | None
    ) -> bytes | None:
        if content is None:
            return await self.read(name, head, coding)
        return await self.encode(name, head, coding, content)

    async def _open_stream(
        self, name: str | None, head: StoredHead, coding: bytes, content: bytes | None, spare: Hold | None
    ) -> Opened | None:
        """The same where memory has no room for it: in the coding if it is stored so, else as it is."""
        self._counts["memory-full"] += 1
        for one in dict.fromkeys((coding, b"")) if name is not None else ():
            stream = await self._exports.open(name or "", keys.variant_of(head), head.digest, one)
            if stream is not None:
                return Opened(stream, one)
        if content is not None and spare is not None and spare.size >= len(content):
            return Opened(content, b"", spare.share())
        if content is None and self.recall(name, head, b"") is None and self.recall(name, head, coding) is None:
            return None
        raise MemoryFull("as much content waits for clients as this worker may hold")

    async def encode(self, name: str | None, head: StoredHead, coding: bytes, content: bytes) -> bytes:
        """The content that is at hand, in the coding; it is stored under the name, or nowhere."""
        if not coding:
            return content
        if name is not None:
            kept = self._exports.recall(name, head.digest, coding)
            encoded = await self._find_or_encode(name, head, coding, content) if kept is None else kept
            if encoded is not None:
                return encoded
        return await self._encoder.encode(coding, content)

    async def decode(self, coding: bytes, encoded: bytes, limit: int) -> bytes | None:
        """The content of an answer that came encoded; None where it is broken, or longer than `limit`."""
        return await self._encoder.decode(coding, encoded, limit)

    async def _find_or_encode(self, name: str, head: StoredHead, coding: bytes, content: bytes | None) -> bytes | None:
        key = (name, head.digest, coding)
        work = self._under_way.get(key)
        if work is None:  # the first to ask does it for all who come meanwhile
            work = self._under_way[key] = asyncio.create_task(self._do(name, head, coding, content))
            work.add_done_callback(lambda _: self._under_way.pop(key))
        return await asyncio.shield(work)

    async def _do(self, name: str, head: StoredHead, coding: bytes, content: bytes | None) -> bytes | None:
        variant = keys.variant_of(head)
        found = await self._exports.read(name, variant, head.digest, coding)
        if found is not None:
            return found
        content = await self.read(name, head) if content is None else content
        if content is None:
            return None
        encoded = await self._encoder.encode(coding, content)
        await self._exports.keep_encoded(name, variant, head.digest, coding, encoded)
        return encoded

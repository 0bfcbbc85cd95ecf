"""The content of exports, as it is or in a content coding: from memory, from Redis, or encoded now. See fetching.py.

What is stored is encoded once for each coding that somebody prefers, and kept beside it for all workers. Two workers
that need the same at the same moment may each do it: the bytes are the same.
"""

import asyncio
from typing import Protocol

from gateway.adapters.protocols import Exports
from gateway.core.caching import keys
from gateway.core.caching.entries import StoredHead


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


class Contents:
    """Reads and encodes. A coding is one of those `offered`, or empty for the content as it is."""

    def __init__(self, exports: Exports, encoder: Encoder) -> None:
        self.offered = encoder.offered
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

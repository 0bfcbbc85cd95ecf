"""The content of stored exports in Redis: long content in pieces, so that nobody waits for all of it to pass.

A command with 24 MiB in it holds up this worker while it is packed and sent, and Redis, so everybody, while it is read.

    name        = "content" / coding
    short       = name -> content
    long        = name "/of" -> count SP mark ; with name "/" mark "/" index -> piece, from 0
    mark        = the beginning of the SHA-256 of what the pieces are together, so those of two never mix
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Literal

import msgspec

from gateway.adapters import names
from gateway.adapters.redis_connection import RedisConnection
from gateway.adapters.redis_scripts import read_script
from gateway.adapters.redis_usage import run_each
from gateway.core.errors import ContentLost, StoreUnavailable

PIECE_BYTES = 256 * 1024
"""The most that one command carries: Redis and this worker are each busy with it for a fraction of a millisecond."""
PART_BYTES = 64 * 1024
"""What is read at once of content that is read as it is taken: a worker holds this much of it for each slow client."""
STAGED_MILLISECONDS = 60_000
"""What was staged and never became an export, as its worker died, ends after this. 32 MiB take less than a second."""
MARK_DIGITS = 16


EXPORT_SHARE = 75
"""Percent of Redis' maxmemory up to which exports are stored. The rest is kept for what cannot be done without: tokens,
revocations, counters, and what a script needs while it runs."""
EXPORT_LIMIT = 64 * 1024 * 1024
"""Bytes that one entitlement may have stored, unless it is said otherwise: what its builds pull, several times over."""


class Limits(msgspec.Struct, frozen=True):
    """How much may be stored; 0 is any number of bytes, and any share."""

    entitlement_bytes: int = EXPORT_LIMIT
    """For one entitlement; the oldest make room. Also at most an eighth of Redis' maxmemory, if the share counts."""
    share: int = EXPORT_SHARE
    """Percent of Redis' maxmemory. A Redis that has none, or does not tell (the embedded one), counts as never full."""


ANY = Limits(0, 0)


class NoRoom(Exception):
    """Content that is not stored; `outcome` says why, as what became of storing it."""

    def __init__(self, outcome: Literal["full", "large"]) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class RedisContents:
    """Reads and writes content beside its digest. Every method raises StoreUnavailable."""

    def __init__(
        self, connection: RedisConnection, piece_bytes: int = PIECE_BYTES, limits: Limits | None = None
    ) -> None:
        self.piece_bytes = piece_bytes
        self.limits = limits or Limits()
        self._connection = connection
        self._keep = read_script("exports.lua", "keep_content.lua")
        self._stage = read_script("exports.lua", "stage.lua")
        self._read_part = read_script("read_part.lua")

    async def read(self, name: str, variant: str, digest: bytes, coding: bytes) -> bytes | None:
        """The content; None where it is gone or another one by now, or was not encoded so."""
        key, field = names.content(name, variant), _field(coding)
        found, short, long = await self._get(key, "digest", field, f"{field}/of")
        if found != digest or short is not None or long is None:
            return short if found == digest else None
        count, mark = long.decode().split(" ")
        pieces = []
        for index in range(int(count)):
            found, piece = await self._get(key, "digest", _piece_field(field, mark, index))
            if found != digest or piece is None:
                return None
            pieces.append(piece)
        return await asyncio.to_thread(b"".join, pieces)  # which lets go of the interpreter

    async def open(self, name: str, variant: str, digest: bytes, coding: bytes) -> "bytes | StoredContent | None":
        """The content, if it is long as a stream that is read as it is taken; None as in `read`."""
        key, field = names.content(name, variant), _field(coding)
        found, short, long = await self._get(key, "digest", field, f"{field}/of")
        if found != digest or short is not None or long is None:
            return short if found == digest else None
        count, mark = long.decode().split(" ")
        ends = [_piece_field(field, mark, index) for index in (0, int(count) - 1)]
        first, last = await run_each(self._connection, [("HSTRLEN", key, end) for end in ends])
        if not (isinstance(first, int) and isinstance(last, int) and first and last):
            return None

        async def read_part(start: int, end: int) -> bytes | None:
            index, skipped = divmod(start, first)
            arguments = [digest, _piece_field(field, mark, index), skipped + 1, skipped + end - start]
            part: bytes | None = await self._connection.run_script(self._read_part, [key], arguments)
            return part

        return StoredContent(read_part, range((int(count) - 1) * first + last))

    async def keep_encoded(self, name: str, variant: str, digest: bytes, coding: bytes, encoded: bytes) -> None:
        """Keeps what the content with this digest was encoded to beside it, where it is still there."""
        await self._put(names.content(name, variant), digest, _field(coding), encoded, self.limits)

    async def stage(self, name: str, variant: str, digest: bytes, content: bytes) -> str:
        """Writes long content under a name of its own, which is returned; store.lua gives it that of the export.

        Empty where the export has the very same content already. Raises NoRoom.
        """
        found, *_ = await self._get(names.content(name, variant), "digest")
        if found == digest:
            return ""
        key = names.staged(name, variant, secrets.token_hex(8))
        bounds = [STAGED_MILLISECONDS, len(content), self.limits.entitlement_bytes, self.limits.share]
        refusal = await self._connection.run_script(self._stage, [key], [digest, *bounds])
        if refusal:
            raise NoRoom(refusal.decode())
        try:
            await self._put(key, digest, _field(b""), content, ANY)
        except StoreUnavailable:
            with suppress(StoreUnavailable):  # it ends by itself, and a full Redis had better not wait for that
                await self._connection.run(lambda client: client.unlink(key))
            raise
        return key

    async def _get(self, key: str, *fields: str) -> list[bytes | None]:
        found = await self._connection.run(lambda client: client.hmget(key, list(fields)))
        return [value if isinstance(value, bytes) else None for value in found]

    async def _put(self, key: str, digest: bytes, field: str, content: bytes, limits: Limits) -> None:
        bounds = [limits.entitlement_bytes, limits.share]
        if len(content) <= self.piece_bytes:
            await self._connection.run_script(self._keep, [key], [digest, field, content, *bounds])
            return
        mark = (await asyncio.to_thread(hashlib.sha256, content)).hexdigest()[:MARK_DIGITS]
        count = 0
        for count, piece in enumerate(self._cut(content), start=1):
            named = _piece_field(field, mark, count - 1)
            if not await self._connection.run_script(self._keep, [key], [digest, named, piece, *bounds]):
                return
        await self._connection.run_script(self._keep, [key], [digest, f"{field}/of", f"{count} {mark}", *bounds])

    def _cut(self, content: bytes) -> Iterator[bytes]:
        for start in range(0, len(content), self.piece_bytes):
            yield content[start : start + self.piece_bytes]


class StoredContent:
    """Content of which the bytes `wanted` are read as they are taken, a part at a time; see messages.StoredStream.

    A part may come shorter than it was asked for, where a piece ends.
    """

    def __init__(self, read_part: Callable[[int, int], Awaitable[bytes | None]], wanted: range) -> None:
        self._read_part = read_part
        self._wanted = wanted

    def __len__(self) -> int:
        return len(self._wanted)

    def __getitem__(self, part: slice) -> "StoredContent":
        return StoredContent(self._read_part, self._wanted[part])

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._wanted:
            raise StopAsyncIteration
        part = self._wanted[:PART_BYTES]
        try:
            taken = await self._read_part(part.start, part.stop)
        except StoreUnavailable as error:
            raise ContentLost(f"stored content could not be read on: {error}") from error
        if not taken:
            raise ContentLost("stored content was replaced or ended while it was sent")
        self._wanted = self._wanted[len(taken) :]
        return taken

    async def aclose(self) -> None:
        self._wanted = range(0)


def _field(coding: bytes) -> str:
    return coding.decode() or "content"


def _piece_field(field: str, mark: str, index: int) -> str:
    return f"{field}/{mark}/{index}"

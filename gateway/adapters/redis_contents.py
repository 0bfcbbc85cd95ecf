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
from collections.abc import Iterator
from contextlib import suppress

from gateway.adapters import names
from gateway.adapters.redis_connection import Client, RedisConnection
from gateway.adapters.redis_scripts import read_script
from gateway.core.errors import StoreUnavailable

PIECE_BYTES = 256 * 1024
"""The most that one command carries: Redis and this worker are each busy with it for a fraction of a millisecond."""
STAGED_MILLISECONDS = 60_000
"""What was staged and never became an export, as its worker died, ends after this. 32 MiB take less than a second."""
MARK_DIGITS = 16


class RedisContents:
    """Reads and writes content beside its digest. Every method raises StoreUnavailable."""

    def __init__(self, connection: RedisConnection, piece_bytes: int = PIECE_BYTES) -> None:
        self.piece_bytes = piece_bytes
        self._connection = connection
        self._keep = read_script("keep_content.lua")

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

    async def keep_encoded(self, name: str, variant: str, digest: bytes, coding: bytes, encoded: bytes) -> None:
        """Keeps what the content with this digest was encoded to beside it, where it is still there."""
        await self._put(names.content(name, variant), digest, _field(coding), encoded)

    async def stage(self, name: str, variant: str, digest: bytes, content: bytes) -> str:
        """Writes long content under a name of its own, which is returned; store.lua gives it that of the export.

        Empty where the export has the very same content already.
        """
        found, *_ = await self._get(names.content(name, variant), "digest")
        if found == digest:
            return ""
        key = names.staged(name, variant, secrets.token_hex(8))
        await self._connection.run(lambda client: _begin(client, key, digest))
        try:
            await self._put(key, digest, _field(b""), content)
        except StoreUnavailable:
            with suppress(StoreUnavailable):  # it ends by itself, and a full Redis had better not wait for that
                await self._connection.run(lambda client: client.unlink(key))
            raise
        return key

    async def _get(self, key: str, *fields: str) -> list[bytes | None]:
        found = await self._connection.run(lambda client: client.hmget(key, list(fields)))
        return [value if isinstance(value, bytes) else None for value in found]

    async def _put(self, key: str, digest: bytes, field: str, content: bytes) -> None:
        if len(content) <= self.piece_bytes:
            await self._connection.run_script(self._keep, [key], [digest, field, content])
            return
        mark = (await asyncio.to_thread(hashlib.sha256, content)).hexdigest()[:MARK_DIGITS]
        count = 0
        for count, piece in enumerate(self._cut(content), start=1):
            named = _piece_field(field, mark, count - 1)
            if not await self._connection.run_script(self._keep, [key], [digest, named, piece]):
                return
        await self._connection.run_script(self._keep, [key], [digest, f"{field}/of", f"{count} {mark}"])

    def _cut(self, content: bytes) -> Iterator[bytes]:
        for start in range(0, len(content), self.piece_bytes):
            yield content[start : start + self.piece_bytes]


async def _begin(client: Client, key: str, digest: bytes) -> None:
    pipeline = client.pipeline()  # a transaction: nothing is there that has no end
    pipeline.hset(key, "digest", digest)
    pipeline.pexpire(key, STAGED_MILLISECONDS)
    await pipeline.execute()


def _field(coding: bytes) -> str:
    return coding.decode() or "content"


def _piece_field(field: str, mark: str, index: int) -> str:
    return f"{field}/{mark}/{index}"

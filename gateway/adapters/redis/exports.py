"""Stored exports in Redis, with the content also in the worker's memory.

The admission brings the current heads, so content in memory is used only if a head names its digest: what another
worker stores or purges is seen at once, and a hit costs no second round trip.

The content of stored exports is in Redis, long content in pieces, so that no command blocks others for long: a command
of 24 MiB blocks this worker while it is packed and sent, and Redis, so everybody, while it is read.

    name        = "content" / coding
    short       = name -> content
    long        = name "/of" -> count SP mark ; with name "/" mark "/" index -> piece, from 0
    mark        = the beginning of the SHA-256 of the joined pieces, so that pieces of two contents never mix

Exports may have a Redis of their own: then the heads of stored exports take a second round trip, after the admission.

Rule: no answer needs this Redis. While it is away, nothing is stored, and the backends are asked.
"""

import asyncio
import hashlib
import logging
import secrets
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Literal

import msgspec

from gateway.adapters.redis import keys as redis_keys
from gateway.adapters.redis.audit import RedisAudit
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.scripts import read_script
from gateway.adapters.redis.usage import run_each
from gateway.core.cache.fetch import Stored, Storing
from gateway.core.errors import ContentLost, StoreUnavailable
from gateway.core.tokens.audit import AuditEntry, encode_entry

PIECE_BYTES = 256 * 1024
"""The most bytes of one command: it keeps Redis and this worker busy for a fraction of a millisecond."""
PART_BYTES = 64 * 1024
"""Bytes of a streamed content that are read at once: a worker holds this much of it for each slow client."""
STAGED_MILLISECONDS = 60_000
"""The life of staged content that never became an export because its worker died. 32 MiB take less than a second."""
MARK_DIGITS = 16


EXPORT_SHARE = 75
"""Percent of Redis' maxmemory up to which exports are stored.

The rest is for what the gateway cannot do without: tokens, revocations, counters, and the memory of running scripts.
"""
EXPORT_LIMIT = 64 * 1024 * 1024
"""Bytes that one entitlement may store by default: several times what its builds fetch."""


class Limits(msgspec.Struct, frozen=True):
    """The limits of what is stored; 0 means no limit."""

    entitlement_bytes: int = EXPORT_LIMIT
    """For one entitlement; the oldest are evicted. Also at most an eighth of Redis' maxmemory, if the share applies."""
    share: int = EXPORT_SHARE
    """Percent of Redis' maxmemory.

    A Redis without one, or that does not report it (the embedded one), is never full.
    """


ANY = Limits(0, 0)


class NoRoom(Exception):
    """There is no room for content; `outcome` is the outcome of storing it."""

    def __init__(self, outcome: Literal["full", "large"]) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class RedisContentStore:
    """The content of exports, stored beside its digest. Every method raises StoreUnavailable."""

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
        """Return the content, or None if it is gone, has changed, or was not encoded so."""
        key, field = redis_keys.content(name, variant), _field(coding)
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
        return await asyncio.to_thread(b"".join, pieces)  # which releases the interpreter

    async def open(self, name: str, variant: str, digest: bytes, coding: bytes) -> "bytes | StoredContent | None":
        """Return the content, long content as a stream that is read as it is taken; None as in `read`."""
        key, field = redis_keys.content(name, variant), _field(coding)
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
        """Store the encoded content beside the plain content with this digest, if that is still there."""
        await self._put(redis_keys.content(name, variant), digest, _field(coding), encoded, self.limits)

    async def stage(self, name: str, variant: str, digest: bytes, content: bytes) -> str:
        """Write long content under a temporary name and return that name; store.lua renames it to the export's.

        Return an empty name if the export has the same content already. Raise NoRoom.
        """
        found, *_ = await self._get(redis_keys.content(name, variant), "digest")
        if found == digest:
            return ""
        key = redis_keys.staged(name, variant, secrets.token_hex(8))
        bounds = [STAGED_MILLISECONDS, len(content), self.limits.entitlement_bytes, self.limits.share]
        refusal = await self._connection.run_script(self._stage, [key], [digest, *bounds])
        if refusal:
            raise NoRoom(refusal.decode())
        try:
            await self._put(key, digest, _field(b""), content, ANY)
        except StoreUnavailable:
            with suppress(StoreUnavailable):  # it expires by itself, but a full Redis needs the room now
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
    """Content whose bytes `span` are read as they are taken, one part at a time; see messages.StoredStream.

    A part may be shorter than requested, at the end of a piece.
    """

    def __init__(self, read_part: Callable[[int, int], Awaitable[bytes | None]], span: range) -> None:
        self._read_part = read_part
        self._span = span

    def __len__(self) -> int:
        return len(self._span)

    def __getitem__(self, part: slice) -> "StoredContent":
        return StoredContent(self._read_part, self._span[part])

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._span:
            raise StopAsyncIteration
        part = self._span[:PART_BYTES]
        try:
            taken = await self._read_part(part.start, part.stop)
        except StoreUnavailable as error:
            raise ContentLost(f"stored content could not be read on: {error}") from error
        if not taken:
            raise ContentLost("stored content was replaced or ended while it was sent")
        self._span = self._span[len(taken) :]
        return taken

    async def aclose(self) -> None:
        self._span = range(0)


def _field(coding: bytes) -> str:
    return coding.decode() or "content"


def _piece_field(field: str, mark: str, index: int) -> str:
    return f"{field}/{mark}/{index}"


MAXIMUM_VARIANTS = 16
"""Variants of one URI and entitlement: all their heads come with each admission. The oldest is evicted."""
PURGE_MEMORY_MILLISECONDS = 3_600_000
"""How long a purge is remembered. A fetch that takes longer stores nothing."""
PURGE_BATCH = 200
"""Exports purged in one script call: it blocks Redis for a millisecond or two."""
NO_ROOM: tuple[Stored, ...] = ("full", "large")

logger = logging.getLogger(__name__)


class RedisExports:
    """The implementation of ports.Exports.

    Memory holds at most `memory_bytes`; the least recently used are evicted. `now` sets the scripts' clock in Unix
    milliseconds, None leaves it to Redis. `counts` counts failures. The history is in the same Redis, unless another
    one is given.
    """

    def __init__(
        self,
        connection: RedisConnection,
        memory_bytes: int,
        counts: Counter[str] | None = None,
        piece_bytes: int = PIECE_BYTES,
        limits: Limits | None = None,
        history: RedisAudit | None = None,
    ) -> None:
        self.now: int | None = None
        self.counts = Counter[str]() if counts is None else counts
        self._connection = connection
        self._content_store = RedisContentStore(connection, piece_bytes, limits)
        self._memory = ContentMemory(memory_bytes)
        self._is_full = False
        self._history = history
        self._failing: set[str] = set()
        self._reading: dict[tuple[str, bytes], asyncio.Task[bytes | None]] = {}
        self._store = read_script("exports.lua", "store.lua")
        self._heads = read_script("exports.lua", "document_heads.lua")
        self._end = read_script("compare_and_set.lua")
        self._drop = read_script("exports.lua", "drop.lua")
        self._purge = read_script("exports.lua", "audit.lua", "purge.lua")

    def forget(self) -> None:
        """Empty the worker's memory; what is in Redis stays."""
        self._memory.clear()

    def recall(self, name: str, digest: bytes, coding: bytes = b"") -> bytes | None:
        """Return the content if this worker remembers it, else None."""
        return self._memory.get((name, digest + coding))

    async def read(self, name: str, variant: str, digest: bytes, coding: bytes = b"") -> bytes | None:
        """Return the content from Redis, or None if it is gone, has changed, or was not encoded so."""
        key = (name, digest + coding)
        reading = self._reading.get(key)
        if reading is None:  # the first to ask reads it for all: it can be megabytes
            reading = self._reading[key] = asyncio.create_task(self._read(name, variant, digest, coding))
            reading.add_done_callback(lambda _: self._reading.pop(key))
        return await asyncio.shield(reading)

    async def open(self, name: str, variant: str, digest: bytes, coding: bytes = b"") -> bytes | StoredContent | None:
        """Return the content, long content as a stream that is read as it is taken; None as in `read`."""
        try:
            return await self._content_store.open(name, variant, digest, coding)
        except StoreUnavailable as error:
            self._fail("read-failed", "a stored export could not be read", error)
            return None

    async def _read(self, name: str, variant: str, digest: bytes, coding: bytes) -> bytes | None:
        try:
            content = await self._content_store.read(name, variant, digest, coding)
        except StoreUnavailable as error:
            self._fail("read-failed", "a stored export could not be read", error)
            return None
        if content is not None:
            self._memory.put((name, digest + coding), content)
        return content

    async def keep_encoded(self, name: str, variant: str, digest: bytes, coding: bytes, encoded: bytes) -> None:
        """Store the encoded content in memory, and in Redis beside the content with this digest."""
        self._memory.put((name, digest + coding), encoded)
        try:
            await self._content_store.keep_encoded(name, variant, digest, coding, encoded)
        except StoreUnavailable as error:
            self._fail("store-refused", "an encoded export could not be stored", error)

    async def write(self, it: Storing) -> Stored:
        """Store head and content at one instant, unless a purge came since the fetch began; return the outcome."""
        try:
            outcome = await self._write(it)
        except NoRoom as refusal:
            outcome = refusal.outcome
            await self._end_lease(it)
        except StoreUnavailable as error:
            self._fail("store-refused", "an export could not be stored", error)
            await self._end_lease(it)
            return "refused"
        if outcome == "stored":
            self._memory.put((it.name, it.digest), it.content)
        self._log_outcome(outcome)
        return outcome

    async def _write(self, it: Storing) -> Stored:
        is_long = it.is_content_new and len(it.content) > self._content_store.piece_bytes
        staged = await self._content_store.stage(it.name, it.variant, it.digest, it.content) if is_long else ""
        is_sent = it.is_content_new and not is_long
        lease, holder = (it.leader.lease, it.leader.holder) if it.leader else ("", "")
        clock = "" if self.now is None else self.now
        arguments: list[Any] = [clock, it.began_at, it.keep_milliseconds, it.variant, it.raw_head, it.digest]
        arguments += [it.content if is_sent else b"", int(is_sent), holder]
        arguments += [MAXIMUM_VARIANTS, PURGE_MEMORY_MILLISECONDS, it.document]
        arguments += [len(it.content), self._content_store.limits.entitlement_bytes, self._content_store.limits.share]
        keys = [it.name, lease, staged, *_group_keys(it.policy, it.groups)]
        outcome, ended = await self._connection.run_script(self._store, keys, arguments)
        self.counts["made-room"] += ended
        stored: Stored = outcome.decode()
        return stored

    def _log_outcome(self, outcome: Stored) -> None:
        """Count what found no room, and log when that begins and ends."""
        if outcome == "stored":
            self._failing.clear()
        if outcome in NO_ROOM:
            self.counts[f"store-{outcome}"] += 1
        if outcome == "full" and not self._is_full:
            logger.warning(
                "redis: exports use up their share of maxmemory (%d %%); none are stored until there is room",
                self._content_store.limits.share,
            )
        elif outcome == "stored" and self._is_full:
            logger.warning("redis: exports are stored again")
        self._is_full = outcome == "full" or (self._is_full and outcome != "stored")

    async def _end_lease(self, it: Storing) -> None:
        """Let another worker fetch the export: this one cannot store what it fetched."""
        if it.leader is not None:
            with suppress(StoreUnavailable):  # then the lease expires
                await self._connection.run_script(self._end, [it.leader.lease], [it.leader.holder, "", 0])

    async def document_heads(self, name: str, policy: str, groups: Sequence[str]) -> tuple[bytes, ...]:
        """Return the heads of a document for a variant in these groups; empty if Redis is away.

        A document that was requested before a purge of one of them is removed: no variant may be made of it.
        """
        try:
            keys = [name, *(redis_keys.purged(policy, group) for group in groups)]
            return tuple(await self._connection.run_script(self._heads, keys, []))
        except StoreUnavailable as error:
            self._fail("read-failed", "what is stored of an export could not be read", error)
            return ()

    async def remove(self, name: str, variant: str = "") -> None:
        """Remove one variant of an export, or all of it if none is named."""
        try:
            await self._connection.run_script(self._drop, [name], [variant])
        except StoreUnavailable as error:
            self._fail("remove-failed", "a stored export could not be removed", error)

    def _fail(self, event: str, what: str, error: StoreUnavailable) -> None:
        """Count a failure, and log it once until an export is stored. If Redis is away, its connection logs that."""
        self.counts[event] += 1
        if what not in self._failing and not self._connection.is_circuit_open:
            self._failing.add(what)
            logger.warning("%s: %s; this is said once until an export is stored", what, error)

    async def is_seen(self, policy: str, group: str) -> bool:
        """Return whether an export of the group is stored, or the group was purged recently."""
        keys = _group_keys(policy, [group])
        return bool(await self._connection.run(lambda client: client.exists(*keys)))

    async def purge(self, policy: str, groups: Sequence[str], entry: AuditEntry | None = None) -> int:
        """Purge all exports in any of the groups, and what is being fetched for them; return how many were stored.

        Raise StoreUnavailable if Redis did not acknowledge: then some may be left, and the history says how many were
        purged.
        """
        clock = "" if self.now is None else self.now
        keys, note = _group_keys(policy, groups), b""
        if entry is not None and self._history is None:
            keys, note = [*keys, redis_keys.audit()], encode_entry(entry)
        total, has_more, noted = 0, 1, b""
        try:
            while has_more:
                arguments: list[Any] = [clock, PURGE_MEMORY_MILLISECONDS, PURGE_BATCH, note, total, noted]
                ended, has_more, noted = await self._connection.run_script(self._purge, keys, arguments)
                total += ended
        finally:
            if entry is not None and self._history is not None:
                changes = {**entry.changes, "ended": (None, total)}
                await self._history.append_purge(msgspec.structs.replace(entry, changes=changes))
        return total


class ContentMemory:
    """Content by export, and by digest and coding, within a budget of bytes."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._used = 0
        self._entries: OrderedDict[tuple[str, bytes], bytes] = OrderedDict()

    def get(self, key: tuple[str, bytes]) -> bytes | None:
        """Return the content of this key, or None."""
        content = self._entries.get(key)
        if content is not None:
            self._entries.move_to_end(key)
        return content

    def put(self, key: tuple[str, bytes], content: bytes) -> None:
        """Store the content, and evict the least recently used to make room."""
        self._used -= len(self._entries.pop(key, b""))
        if len(content) > self._budget:
            return
        self._entries[key] = content
        self._used += len(content)
        while self._used > self._budget:
            _, forgotten = self._entries.popitem(last=False)
            self._used -= len(forgotten)

    def clear(self) -> None:
        """Remove everything."""
        self._entries.clear()
        self._used = 0


def _group_keys(policy: str, groups: Sequence[str]) -> list[str]:
    return [key for name in groups for key in (redis_keys.group(policy, name), redis_keys.purged(policy, name))]


class ApartHeads:
    """The implementation of ports.Heads. `now` sets the clock of the exports' Redis as in RedisExports."""

    def __init__(self, connection: RedisConnection) -> None:
        self.now: int | None = None
        self._connection = connection
        self._find = read_script("find_heads.lua")

    async def find(self, name: str) -> tuple[int | None, tuple[bytes, ...]]:
        """Return the time of that Redis, and the heads of stored exports; None and nothing while it is away."""
        try:
            now, heads = await self._connection.run_script(self._find, [name], ["" if self.now is None else self.now])
        except StoreUnavailable:
            return None, ()
        return now, tuple(heads)

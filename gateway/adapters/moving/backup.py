"""Backups of tokens, owners and history: reading them from a Redis and bringing them back into one.

A bucket is read by one script, so its records, revocations and history are of one instant; buckets follow each other.
Redis answers nobody else while a script runs. A restore writes the revocations of a bucket together with its records,
and the marker last: until then, unknown tokens are 503.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, cast

import msgspec

from gateway.adapters.redis import keys as redis_keys
from gateway.adapters.redis.connection import Client, RedisConnection
from gateway.adapters.redis.scripts import read_script
from gateway.core.moving.backups import End, Head, InvalidBackup, Key, Line, Since, bucket_of_key, is_kept

AT_ONCE = 1000
"""Keys of one script, of those that are in no bucket; keys of a bucket that are written at once."""
REVOKED = ":revoked"
COMMANDS = ("TYPE", "XRANGE")
"""What a backup needs besides the commands of the gateway itself (redis/readiness.py)."""
BACKUP_SECONDS = 60.0
"""The most that one script may take."""


class Restored(msgspec.Struct):
    """What a restore has done, in keys."""

    written: int = 0
    present: int = 0
    """They were there already, and stayed as they were."""
    revoked: int = 0
    """Tokens of the backup that were revoked since, and are revoked again."""


class RedisBackup:
    """The backup of one Redis. All methods raise StoreUnavailable."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._read = read_script("read_keys.lua")
        self._restore = read_script("restore_keys.lua")

    async def lines(self) -> AsyncIterator[Line]:
        """Yield the lines of a backup."""
        seconds, microseconds = await self._connection.run(lambda client: client.time())
        yield Head(redis_keys.VERSION, seconds * 1000 + microseconds // 1000)
        names = await self._connection.run(_scan, BACKUP_SECONDS)
        count = 0
        for _, group in groupby(sorted(names, key=_order), bucket_of_key):
            async for key in self._read_keys(list(group)):
                count += 1
                yield key
        yield End(count)

    async def is_empty(self) -> bool:
        """Return whether this Redis has no tokens and never had any."""
        return not await self._connection.run(lambda client: client.exists(redis_keys.marker()))

    async def restore(self, keys: Iterable[Key], changed: Since) -> Restored:
        """Bring keys back, as they were after these changes. What is there already stays."""
        restored, last = Restored(), list[Key]()
        for bucket, group in groupby(keys, lambda key: bucket_of_key(key.name)):
            members = [changed.redo(key) for key in group]
            last += [key for key in members if key.name == redis_keys.marker()]
            members = [key for key in members if key.name != redis_keys.marker()]
            if bucket:
                members = _revoke(bucket, members, changed, restored)
            for start in range(0, len(members), AT_ONCE):
                await self._write(members[start : start + AT_ONCE], restored)
        await self._write(last, restored)
        return restored

    async def _read_keys(self, names: Sequence[str]) -> AsyncIterator[Key]:
        size = len(names) if bucket_of_key(names[0]) else 1  # keys of no bucket are in slots of their own
        for start in range(0, len(names), size):
            few = list(names[start : start + size])
            found = await self._connection.run_script(self._read, few, [], BACKUP_SECONDS)
            for name, (kind, value) in zip(few, found, strict=True):
                if kind != b"none":
                    yield Key(name, kind.decode(), READ[kind](value))

    async def _write(self, keys: Sequence[Key], restored: Restored) -> None:
        for _, group in groupby(keys, lambda key: bucket_of_key(key.name) or key.name):
            few = list(group)
            values = [msgspec.json.encode((key.kind, key.value, _is_record(key.name))) for key in few]
            outcomes = await self._connection.run_script(
                self._restore, [key.name for key in few], values, BACKUP_SECONDS
            )
            restored.written += sum(outcomes)
            restored.present += len(few) - sum(outcomes)


def _revoke(bucket: str, keys: list[Key], changed: Since, restored: Restored) -> list[Key]:
    """Return the keys of a bucket with all revocations of its tokens, the revocations first."""
    name = f"{redis_keys.VERSION}:{bucket}{REVOKED}"
    prefix = f"{redis_keys.VERSION}:{bucket}:token:"
    tokens = {key.name.removeprefix(prefix) for key in keys if key.name.startswith(prefix)}
    before = [member for key in keys if key.name == name for member in key.value]
    again = sorted((tokens & changed.revoked) - set(before))
    restored.revoked += len(again)
    others = [key for key in keys if key.name != name]
    members = [*before, *again]
    return [Key(name, "set", members), *others] if members else others


def _is_record(name: str) -> bool:
    """Return whether a hash is the record of an owner, or a copy of it."""
    path = name.partition(":")[2]
    path = path.partition(":")[2] if path.startswith("{") else path
    return path.startswith("owner:") and not (path.endswith(":tokens") and not bucket_of_key(name))


def _order(name: str) -> tuple[str, bool, str]:
    return bucket_of_key(name), not name.endswith(REVOKED), name


async def _scan(client: Client) -> list[str]:
    """Return the keys that are kept. What is written meanwhile may be missing."""
    names, cursor = set[str](), 0
    while True:
        cursor, found = await client.scan(cursor, match=f"{redis_keys.VERSION}:*", count=1000)
        names.update(name for name in _texts(cast(list[bytes], found)) if is_kept(name))
        if cursor == 0:
            return sorted(names)


def _texts(value: Sequence[bytes]) -> list[str]:
    return [part.decode() for part in value]


def _pairs(value: Sequence[bytes]) -> dict[str, str]:
    texts = _texts(value)
    return dict(zip(texts[::2], texts[1::2], strict=True))


READ: dict[bytes, Callable[[Any], Any]] = {
    b"string": lambda value: value.decode(),
    b"set": lambda value: sorted(_texts(value)),
    b"hash": _pairs,
    b"stream": lambda value: [(identity.decode(), _texts(fields)) for identity, fields in value],
}
"""Reads the value of a key, by its type."""


def check_lines(lines: Iterable[Line]) -> Head:
    """Return the first line of a whole backup. Raise InvalidBackup for any other."""
    head, count, is_whole = None, 0, False
    for number, line in enumerate(lines, start=1):
        if (number == 1) != isinstance(line, Head) or is_whole:
            raise InvalidBackup(f"line {number} is not at its place: a backup begins with its head and ends with `end`")
        if isinstance(line, Head):
            head = line
        elif isinstance(line, End):
            is_whole = True
            if line.keys != count:
                raise InvalidBackup(f"the backup says that it has {line.keys} keys, and has {count}: it is damaged")
        else:
            count += 1
    if head is None or not is_whole:
        raise InvalidBackup("the backup is not whole: its last line is missing. Take another one")
    if head.layout != redis_keys.VERSION:
        raise InvalidBackup(f"the backup is of the layout {head.layout}, and this gateway has {redis_keys.VERSION}")
    return head

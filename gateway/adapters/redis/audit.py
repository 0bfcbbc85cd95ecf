"""The history of changes in Redis streams: one for each bucket of tokens, one for owners, one for refused changes.

An entry is in the slot of what it is about, so that one script writes both. A reader merges the streams by time.

What alerts keep is here, too: they are made of the history.
"""

from typing import Any

from gateway.adapters.redis import keys
from gateway.adapters.redis.connection import Client, RedisConnection
from gateway.adapters.redis.scripts import RedisWrites, read_script
from gateway.core.tokens.audit import AuditEntry, AuditQuery, decode_entry, encode_entry, id_or_nothing

AT_ONCE = 200
"""Entries of each stream that are read in one call."""
AT_FIRST = 8
"""Entries of each stream in the first call if there are many streams: they include the newest, unless few match."""
ALERT_SECONDS = 86400
"""Seconds for which an alert is not sent again."""
_Place = tuple[int, int, str]
"""Milliseconds and count of a stream's id, and the stream: no two entries have the same."""


class RedisAudit:
    """The implementation of admin_ports.Audit."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._writes = RedisWrites(connection)

    async def append_entry(self, entry: AuditEntry) -> None:
        """Append an entry about a refused change."""
        await self._append(keys.refusals(), entry)

    async def append_purge(self, entry: AuditEntry) -> None:
        """Append the entry of a purge in another Redis."""
        await self._append(keys.audit(), entry)

    async def _append(self, stream: str, entry: AuditEntry) -> None:
        words = ("MAXLEN", "~", keys.AUDIT_LENGTH, "*", "entry", encode_entry(entry).decode())
        await self._writes.run(("XADD", stream, *words))

    async def search(self, query: AuditQuery, limit: int, before: str = "") -> list[AuditEntry]:
        """Return the newest entries that match.

        The streams are read backwards in turn, until nothing older can match.
        """
        found: dict[_Place, AuditEntry] = {}
        end = _parse_place(before) if before else None
        upper = "+" if end is None else f"{end[0]}-{end[1]}"
        if query.until is not None and (end is None or query.until * 1000 <= end[0]):
            upper = f"({query.until * 1000}-0"
        lower = "-" if query.since is None else f"{max(0, query.since) * 1000}-0"
        if query.until is not None and query.until <= 0:
            return []
        pending = dict.fromkeys(_streams(query), upper)
        count = AT_FIRST if len(pending) > AT_FIRST else AT_ONCE
        while pending:
            pieces = await self._read(pending, lower, count)
            horizon: _Place = (0, 0, "")
            for stream, entries in pieces.items():
                for identity, fields in entries:
                    place = (*_parse_id(identity), _tag(stream))
                    if end is None or place < end:
                        entry = decode_entry(fields[b"entry"], _format_place(place), place[0] / 1000)
                        if query.matches(entry):
                            found[place] = entry
                if len(entries) < count:
                    del pending[stream]
                else:
                    pending[stream] = f"({entries[-1][0].decode()}"
                    horizon = max(horizon, (*_parse_id(entries[-1][0]), _tag(stream)))
            count = AT_ONCE
            if sum(place >= horizon for place in found) >= limit:
                break
        return [found[place] for place in sorted(found, reverse=True)[:limit]]

    async def _read(self, pending: dict[str, str], lower: str, count: int) -> dict[str, list[Any]]:
        async def read(client: Client) -> list[Any]:
            async with client.pipeline(transaction=False) as pipeline:
                for stream, upper in pending.items():
                    pipeline.execute_command("XREVRANGE", stream, upper, lower, "COUNT", count)
                return await pipeline.execute()

        return dict(zip(pending, await self._connection.run(read), strict=True))


class RedisAlertMarks:
    """The implementation of management.alerting.AlertMarks."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._writes = RedisWrites(connection)
        self._compare_and_set = read_script("compare_and_set.lua")

    async def claim_alert(self, identity: str) -> bool:
        """Return whether nobody else sends the alert."""
        (taken,) = await self._writes.run(("SET", keys.alert(identity), "1", "NX", "EX", ALERT_SECONDS))
        return taken is not None

    async def take_window(self, now: int, least: int) -> tuple[int, int] | None:
        """Return the seconds of the history that this process reads. The first look of all only sets the beginning."""
        name = keys.alert_window()
        raw: Any = await self._connection.run(lambda client: client.get(name))
        if raw is None:
            await self._writes.run(("SET", name, now, "NX"))
            return None
        since = int(raw)
        if now - since < least:
            return None
        kept = 10 * 365 * 86400 * 1000
        is_ours = await self._connection.run_script(self._compare_and_set, [name], [raw, str(now), kept])
        return (since, now) if is_ours else None

    async def mark_leaked(self, identity: str) -> None:
        await self._writes.run(("SADD", keys.leaked(), identity))

    async def is_leaked(self, identity: str) -> bool:
        return bool(await self._connection.run(lambda client: client.sismember(keys.leaked(), identity)))


def _streams(query: AuditQuery) -> list[str]:
    """Return the streams that can have the entries: the history of one token is in few of them."""
    token = id_or_nothing(query.target or "")
    return [keys.audit(token), keys.audit(), keys.refusals()] if token else keys.audits()


def _tag(stream: str) -> str:
    """Return a short name of a stream: the bucket's, or the last part of its own."""
    return stream.partition("{")[2][:2] or stream.rpartition(":")[2]


def _parse_id(identity: bytes) -> tuple[int, int]:
    milliseconds, _, count = identity.partition(b"-")
    return int(milliseconds), int(count)


def _format_place(place: _Place) -> str:
    return f"{place[0]}-{place[1]}-{place[2]}"


def _parse_place(text: str) -> _Place:
    """Return the place of an entry's id. Raise ValueError if it is malformed."""
    milliseconds, count, tag = text.split("-")
    return int(milliseconds), int(count), tag

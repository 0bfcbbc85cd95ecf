"""Administration of token records, off the path of requests."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, groupby
from typing import Any

from gateway.adapters import names
from gateway.adapters.redis_connection import Client, RedisConnection
from gateway.adapters.redis_owners import RedisOwners
from gateway.adapters.redis_scripts import read_facts, read_script, read_token, read_windows
from gateway.core.addresses import client_network
from gateway.core.audit import AuditEntry, encode_entry
from gateway.core.decision import Asked, Facts
from gateway.core.errors import ChangeRefused
from gateway.core.explanation import Standing
from gateway.core.policies.rules import Rule
from gateway.core.records import TokenRecord, decode_record, encode_record, newest_first
from gateway.core.tokens import ID_LENGTH, bucket_of, token_id

_ABSENT = b""
AT_ONCE = 1000
"""Tokens that are asked for and read in one go: others who wait for this process wait for milliseconds."""
LOOKED_AT_ONCE = 128
"""Tokens in one script that looks at them: Redis serves nobody else for about a millisecond."""


class RedisTokens:
    """See protocols.Tokens."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self.owners = RedisOwners(connection)
        self._replace = read_script("audit.lua", "records.lua", "replace.lua")
        self._rotate = read_script("audit.lua", "records.lua", "rotate.lua")
        self._standing = read_script("quotas.lua", "charging.lua", "tokens.lua", "standing.lua")
        self._revoke = read_script("audit.lua", "revoke.lua")

    async def create(self, record: TokenRecord, entry: AuditEntry | None = None) -> None:
        identity = token_id(record.digest)
        await self._index(record)
        await self.owners.bring(record)
        outcome = await self._put(_ABSENT, record, entry)
        if outcome < 0:
            raise ChangeRefused(f"token {identity} was revoked, for good: mint another one")
        if outcome == 0:
            raise ChangeRefused(f"token {identity} exists already")

    async def find(self, identity: str) -> TokenRecord | None:
        """The record of an id."""
        raw = await self._connection.run(lambda client: client.get(names.token(identity)))
        return decode_record(identity, raw) if raw else None

    async def find_all(self, policy: str | None, project: str | None, owner: str | None) -> list[TokenRecord]:
        """The records that agree with what is given, newest first."""
        records = await self.find_each(await self._identities(policy, project, owner))
        wanted = [
            record
            for record in records
            if policy in (None, record.policy) and project in (None, record.project) and owner in (None, record.owner)
        ]
        listed = newest_first(wanted)
        await asyncio.sleep(0)  # sorting many takes as long as reading a piece
        return listed

    async def find_each(self, identities: Sequence[str]) -> list[TokenRecord]:
        """The records of the ids, as far as they are there."""
        ask = _asking("MGET", lambda bucket: map(names.token, bucket))
        raws = await self._ask_buckets(identities, ask)
        records: list[TokenRecord] = []
        for start in range(0, len(identities), AT_ONCE):
            few = identities[start : start + AT_ONCE]
            records += [decode_record(identity, raws[identity]) for identity in few if raws[identity]]
            await asyncio.sleep(0)
        return records

    async def children(self, identity: str) -> list[TokenRecord]:
        """The children of a token, newest first."""
        members: Any = await self._connection.run(lambda client: client.smembers(names.children(identity)))
        return newest_first(await self.find_each(sorted(member.decode() for member in members)))

    async def made_with(self, identities: Sequence[str], most: int | None = None) -> set[str]:
        """See admin_protocols.Tokens."""
        keys = [name(identity) for identity in identities for name in (names.made, names.children)]
        commands = [("SMEMBERS", key) if most is None else ("SRANDMEMBER", key, str(most)) for key in keys]
        made = set[str]()
        for start in range(0, len(commands), AT_ONCE):
            few = await self._connection.run(partial(_pipeline, commands=commands[start : start + AT_ONCE]))
            made.update(member.decode() for members in few for member in members)
            if most is not None and len(made) >= most:
                break
        return made

    async def replace(self, old: TokenRecord, new: TokenRecord, entry: AuditEntry | None = None) -> bool:
        """Puts `new` in the place of `old`; False when another change came first or the token is revoked."""
        return await self._put(encode_record(old), new, entry) == 1

    async def rotate(
        self, old: TokenRecord, new: TokenRecord, successor: TokenRecord, entry: AuditEntry | None = None
    ) -> bool:
        """Both records change together or not at all."""
        identity, successor_id = token_id(old.digest), token_id(successor.digest)
        if bucket_of(identity) != bucket_of(successor_id):
            raise ValueError("a successor is in its predecessor's bucket")
        await self._index(successor)
        keys = [names.token(identity), names.token(successor_id), names.revoked(identity), names.audit(identity)]
        records = [
            identity,
            encode_record(old),
            encode_record(new),
            successor_id,
            encode_record(successor),
            _note(entry),
        ]
        outcome: int = await self._connection.run_script(self._rotate, keys, records)
        return outcome == 1

    async def projects(self, policy: str) -> dict[str, int]:
        """The projects that are listed, and how many tokens each list has."""
        found = [
            name.decode() for name in await self._connection.run(lambda one: _scan(one, names.all_projects(policy)))
        ]
        counts = await self._connection.run(lambda client: _pipeline(client, [("HLEN", name) for name in found]))
        return {names.project_of_list(policy, name): count for name, count in zip(found, counts, strict=True)}

    async def is_seen(self, policy: str | None, project: str | None = None, owner: str | None = None) -> bool:
        """See admin_protocols.Tokens. What is named in full is looked up; else all names are looked through."""
        for pattern in names.traces(policy, project, owner):
            if await self._connection.run(partial(_has_key, pattern=pattern)):
                return True
        return False

    async def revoke(self, identity: str, entry: AuditEntry | None = None) -> None:
        """Ends a token for good: one command, so there is no moment in between."""
        await self.revoke_each([identity], entry)

    async def revoke_each(self, identities: Sequence[str], entry: AuditEntry | None = None) -> list[str]:
        """See admin_protocols.Tokens."""
        revoked: list[str] = []
        for _, bucket in groupby(sorted(identities), bucket_of):
            meant = list(bucket)
            for few in (meant[start : start + LOOKED_AT_ONCE] for start in range(0, len(meant), LOOKED_AT_ONCE)):
                revoked += await self._revoke_in_bucket(few, ["alone", "", "", _note(entry)])
        return revoked

    async def revoke_lineage(self, identity: str, entry: AuditEntry | None = None) -> list[str]:
        """One script: a lineage is in one bucket."""
        return await self._revoke_in_bucket([identity], ["", "", "", _note(entry)])

    async def revoke_all(
        self, policy: str, project: str | None, owner: str | None, entry: AuditEntry | None = None
    ) -> list[str]:
        """A token is listed before it is there, so the index has all that exist; records say which are really meant."""
        bound_to = ["project", policy, project] if project else ["owner", policy, owner or ""]
        meant: list[str | bytes] = [*bound_to, _note(entry)]
        revoked: list[str] = []
        for _, bucket in groupby(sorted(await self._identities(policy, project, owner)), bucket_of):
            revoked += await self._revoke_in_bucket(list(bucket), meant)
        return revoked

    async def _revoke_in_bucket(self, identities: list[str], meant: list[str | bytes]) -> list[str]:
        keys = [names.revoked(identities[0]), names.audit(identities[0])]
        revoked = await self._connection.run_script(self._revoke, keys, [*meant, *identities])
        return [identity.decode() for identity in revoked]

    async def are_revoked(self, identities: Sequence[str]) -> list[bool]:
        """Whether each of the tokens is revoked."""
        ask = _asking("SMISMEMBER", lambda bucket: [names.revoked(bucket[0]), *bucket])
        answers = await self._ask_buckets(identities, ask)
        return [answers[identity] == 1 for identity in identities]

    async def standing(self, identity: str, rule: Rule | None, project: str, address: str = "") -> Standing | None:
        """One script that only reads."""
        arguments = [rule.terms if rule else b"", project, client_network(address)]
        now, found = await self._connection.run_script(self._standing, [names.token(identity)], arguments)
        raw, is_revoked, told, *states = found
        if not raw:
            return None
        record, kin = read_token(identity, raw, told, rule.policy if rule else None)
        windows = read_windows(rule, record, states, now) if rule else ()
        return Standing(now, record, is_revoked == 1, windows, project, kin)

    async def find_facts(self, asked: Sequence[Asked]) -> list[Facts]:
        """What an admission would find for each, its quotas aside: nothing is charged.

        Each bucket is asked by itself: ten thousand tokens are 256 short scripts.
        """
        found = dict[int, Facts]()
        in_order = sorted(range(len(asked)), key=lambda number: asked[number].digest)
        for _, bucket in groupby(in_order, lambda number: bucket_of(asked[number].digest)):
            numbers = list(bucket)
            for few in (numbers[start : start + LOOKED_AT_ONCE] for start in range(0, len(numbers), LOOKED_AT_ONCE)):
                keys = [names.token(token_id(asked[number].digest)) for number in few]
                arguments = list(chain.from_iterable(("", asked[number].project, "") for number in few))
                now, *replies = await self._connection.run_script(self._standing, keys, arguments)
                for number, (raw, is_revoked, told) in zip(few, replies, strict=True):
                    found[number] = read_facts(asked[number], now, (raw, is_revoked, 1, b"", told))
        return [found[number] for number in range(len(asked))]

    async def now(self) -> int:
        """Unix seconds by Redis' clock."""
        seconds, _ = await self._connection.run(lambda client: client.time())
        return int(seconds)

    async def _identities(self, policy: str | None, project: str | None, owner: str | None) -> list[str]:
        """The ids that an index lists; all there are, in a scan of everything, where none is named."""
        if policy is not None and (project or owner):
            index = names.project_tokens(policy, project) if project else names.owner_tokens(policy, owner or "")
            (members,) = await self._connection.run(lambda client: _pipeline(client, [("HKEYS", index)]))
            return sorted(member.decode() for member in members)
        keys = await self._connection.run(lambda client: _scan(client, names.all_tokens()))
        return [key[-ID_LENGTH:].decode() for key in keys]

    async def _index(self, record: TokenRecord) -> None:
        """Lists a token before it is there: an entry without a record does no harm, the reverse hides a token."""
        entries: list[Sequence[str]] = [("SET", names.marker(), "1")]
        entries += [("HSET", index, token_id(record.digest), "") for index in names.indexes(record)]
        if record.parent:
            entries.append(("SADD", names.children(record.parent), token_id(record.digest)))
        if record.made_by:
            entries.append(("SADD", names.made(record.made_by), token_id(record.digest)))
        await self._connection.run(lambda client: _pipeline(client, entries))

    async def _put(self, old: bytes, new: TokenRecord, entry: AuditEntry | None) -> int:
        identity = token_id(new.digest)
        keys = [names.token(identity), names.revoked(identity), names.audit(identity)]
        arguments = [identity, old, encode_record(new), _note(entry)]
        outcome: int = await self._connection.run_script(self._replace, keys, arguments)
        return outcome

    async def _ask_buckets(self, identities: Sequence[str], ask: "_Ask") -> dict[str, Any]:
        """Each id's answer to a command that takes a bucket's ids at once, in pieces.

        Ten thousand tokens are some 265 commands.
        """
        ordered, told = sorted(set(identities)), dict[str, Any]()
        for start in range(0, len(ordered), AT_ONCE):
            buckets = [list(bucket) for _, bucket in groupby(ordered[start : start + AT_ONCE], bucket_of)]
            answers = await self._connection.run(partial(_pipeline, commands=[ask(bucket) for bucket in buckets]))
            told.update(zip(chain.from_iterable(buckets), chain.from_iterable(answers), strict=True))
        return told


def _note(entry: AuditEntry | None) -> bytes:
    return encode_entry(entry) if entry else b""


_Ask = Callable[[list[str]], Sequence[str]]


def _asking(command: str, arguments: Callable[[list[str]], Iterable[str]]) -> _Ask:
    return lambda bucket: (command, *arguments(bucket))


async def _pipeline(client: Client, commands: Sequence[Sequence[str]]) -> list[Any]:
    async with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute()


async def _has_key(client: Client, pattern: str) -> bool:
    """Whether there is a key that the pattern matches."""
    if "*" not in pattern and "\\" not in pattern:
        return bool(await client.exists(pattern))
    cursor = 0
    while True:
        cursor, keys = await client.scan(cursor, match=pattern, count=1000)
        if keys or cursor == 0:
            return bool(keys)


async def _scan(client: Client, pattern: str) -> list[bytes]:
    found, cursor = set[Any](), 0
    while True:
        cursor, keys = await client.scan(cursor, match=pattern, count=1000)
        found.update(keys)
        if cursor == 0:
            return sorted(found)

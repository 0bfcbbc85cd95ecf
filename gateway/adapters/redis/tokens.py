"""Administration of token records, off the path of requests.

Owners have one record each, and a copy of it in every bucket that holds tokens of the owner.

An admission reads the copy of its own bucket, so it stays in one slot; a change writes 256 copies at most, however many
tokens there are. A creation lists the token first and reads the owner's record then; a change of an owner writes the
record first and reads the list then. So if both happen at once, one sees the other's work, and a copy never overwrites
a newer one.

Names and numbers of tokens are in indexes of their own: they span buckets, so no script has both index and record.

A claim says which token has a name and since when: "<id>:<ms>". It is made before the record is written, and only if
the claim before is the one that was read; so if several want a name at once, one gets it. A claim without a record
counts for as long as a creation can take.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from itertools import chain, groupby
from typing import Any

import msgspec

from gateway.adapters.redis import keys as redis_keys
from gateway.adapters.redis.connection import Client, RedisConnection, refused
from gateway.adapters.redis.scripts import (
    EMPTY_STORE,
    LOST,
    RedisWrites,
    Write,
    read_facts,
    read_script,
    read_token,
    read_windows,
)
from gateway.adapters.redis.usage import run_each
from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest
from gateway.core.admission.explanation import Inspection
from gateway.core.errors import ChangeRefused, MaybeUndone, NotKept, StoreUnavailable
from gateway.core.http.client_address import client_network
from gateway.core.policies.model import Policy, Rule
from gateway.core.tokens.audit import AuditEntry, encode_entry
from gateway.core.tokens.idempotency import GRACE_SECONDS, KEPT_SECONDS, KeyClaim
from gateway.core.tokens.owners import OwnerRecord, decode_owner, encode_owner
from gateway.core.tokens.records import TokenRecord, decode_record, encode_record, newest_first
from gateway.core.tokens.text import ID_LENGTH, bucket_of, token_id

FIELDS_AT_ONCE = 10_000
"""Fields written in one script: it blocks Redis for some milliseconds. Copies of forty projects are one script."""


class RedisOwners:
    """The implementation of admin_ports.Owners."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._writes = RedisWrites(connection)
        self._put = read_script("audit.lua", "owner.lua")

    async def find(self, policy: str, owner: str) -> OwnerRecord | None:
        """Return the owner's record, or None."""
        fields: Any = await self._connection.run(lambda client: client.hgetall(redis_keys.owner(policy, owner)))
        return decode_owner({name.decode(): value.decode() for name, value in fields.items()}) if fields else None

    async def find_each(self, owners: Collection[tuple[str, str]]) -> dict[tuple[str, str], OwnerRecord]:
        """Return the records of owners, each named by its policy and its name, that have one."""
        ordered, found = sorted(owners), dict[tuple[str, str], OwnerRecord]()
        for start in range(0, len(ordered), AT_ONCE):
            asked = ordered[start : start + AT_ONCE]
            commands = [("HGETALL", redis_keys.owner(*owner)) for owner in asked]
            for owner, fields in zip(
                asked, await self._connection.run(partial(_pipeline, commands=commands)), strict=True
            ):
                if fields:
                    found[owner] = decode_owner({name.decode(): value.decode() for name, value in fields.items()})
        return found

    async def find_all(self, policy: str) -> dict[str, OwnerRecord]:
        """Return the records of a policy's owners, by name."""
        members: Any = await self._connection.run(lambda client: client.smembers(redis_keys.owners(policy)))
        found = {owner: await self.find(policy, owner) for owner in sorted(member.decode() for member in members)}
        return {owner: record for owner, record in found.items() if record}

    async def plans(self, owners: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Return the plans of the owners that have one. Each call asks for FIELDS_AT_ONCE owners."""
        named, found = list(owners), dict[tuple[str, str], str]()
        for start in range(0, len(named), FIELDS_AT_ONCE):
            few = named[start : start + FIELDS_AT_ONCE]
            plans = await self._connection.run(partial(_ask_plans, few))
            found |= {owner: plan.decode() for owner, plan in zip(few, plans, strict=True) if plan}
        return found

    async def replace(
        self, policy: str, owner: str, old: OwnerRecord | None, new: OwnerRecord, entry: AuditEntry | None = None
    ) -> bool:
        """Replace `old` by `new`. Return False if another change came first."""
        await self._writes.run(("SADD", redis_keys.owners(policy), owner))
        expected = old.version if old else 0
        is_written = await self._write([redis_keys.owner(policy, owner)], str(expected), new, entry)
        if not is_written and await self.find(policy, owner) != new:  # else it was sent twice, and done the first time
            return False
        tokens: Any = await self._connection.run(lambda client: client.hkeys(redis_keys.owner_tokens(policy, owner)))
        buckets = sorted({bucket_of(token.decode()) for token in tokens})
        at_once = max(1, FIELDS_AT_ONCE // len(encode_owner(new)))
        for start in range(0, len(buckets), at_once):
            copies = [redis_keys.owner_copy(bucket, policy, owner) for bucket in buckets[start : start + at_once]]
            await self._write(copies, "", new)
        return True

    async def bring(self, tokens: Sequence[TokenRecord]) -> None:
        """Copy the owners' records to the tokens' buckets. The tokens are listed already, but not yet written."""
        owners = {(token.policy, token.owner) for token in tokens if token.owner}
        found = await self.find_each(owners)
        copies = {
            redis_keys.owner_copy(bucket_of(token.digest), token.policy, token.owner): (token.policy, token.owner)
            for token in tokens
        }
        for copy, owner in copies.items():
            if owner in found:
                await self._write([copy], "", found[owner])

    async def _write(self, keys: list[str], expected: str, record: OwnerRecord, entry: AuditEntry | None = None) -> int:
        """Write the record and return whether it was written; `entry` goes to the history with it.

        Copies have no entry.
        """
        fields = [part for pair in encode_owner(record).items() for part in pair]
        history, note = ([redis_keys.audit()], encode_entry(entry)) if entry else ([], b"")
        arguments = [expected, record.version, note, *fields]
        written: int = await self._connection.run_script(self._put, [*keys, *history], arguments)
        return written


async def _ask_plans(owners: Iterable[tuple[str, str]], client: Client) -> list[bytes | None]:
    async with client.pipeline(transaction=False) as pipeline:
        for policy, owner in owners:
            pipeline.hget(redis_keys.owner(policy, owner), "plan")
        plans: list[bytes | None] = await pipeline.execute()
        return plans


_ABSENT = b""
AT_ONCE = 1000
"""Tokens that are read in one call: they delay others in this process by milliseconds."""
DISK_SECONDS = 3.0
"""Seconds for Redis to write a change to disk. With `appendfsync everysec` it takes one, and longer on a busy disk."""
KEPT_AFTER_END_SECONDS = 86400
"""For how long the record of a job's token is kept after its end: others are kept for ever, but jobs are many."""
LOOKED_AT_ONCE = 128
"""Tokens in one script that reads them: it blocks Redis for about a millisecond."""


class RedisTokens:
    """The implementation of admin_ports.Tokens."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._writes = RedisWrites(connection)
        self.owners = RedisOwners(connection)
        self._replace = read_script("audit.lua", "records.lua", "replace.lua")
        self._rotate = read_script("audit.lua", "records.lua", "rotate.lua")
        self._inspect = read_script("quotas.lua", "charging.lua", "tokens.lua", "inspect.lua")
        self._revoke = read_script("audit.lua", "revoke.lua")
        self._exchange = read_script("audit.lua", "exchange.lua")

    async def create(self, record: TokenRecord, entry: AuditEntry | None = None) -> None:
        await self._index([record])
        await self.owners.bring([record])
        _check_created(record, *await self._put([(_ABSENT, record, entry)]))

    async def create_each(self, created: Sequence[tuple[TokenRecord, AuditEntry]]) -> list[ChangeRefused | None]:
        """Add records as `create` does, many at once; return for each why it was refused, or None."""
        records = [record for record, _ in created]
        await self._index(records)
        await self.owners.bring(records)
        ordered = sorted(range(len(created)), key=lambda number: records[number].digest)
        refusals: list[ChangeRefused | None] = [None] * len(created)
        for _, bucket in groupby(ordered, lambda number: bucket_of(records[number].digest)):
            numbers = list(bucket)
            outcomes = await self._put([(_ABSENT, *created[number]) for number in numbers])
            for number, outcome in zip(numbers, outcomes, strict=True):
                try:
                    _check_created(records[number], outcome)
                except ChangeRefused as refused:
                    refusals[number] = refused
        return refusals

    async def exchange(self, record: TokenRecord, entry: AuditEntry, proof: str, proof_seconds: int, now: int) -> bool:
        """Add the token of a job once for its ID token, and forget those of the lineage whose records are gone.

        Raise StoreUnavailable if the store has lost its data: it does not know which ID tokens were exchanged, and no
        job may say in an operator's place that it is meant to be empty.
        """
        if record.expires_at is None:
            raise ValueError("the token of a job has an end")
        await self._list([record])
        await self.owners.bring([record])
        identity, gone_at = record.identity, record.expires_at + KEPT_AFTER_END_SECONDS
        keys = [
            redis_keys.exchanged(proof),
            redis_keys.token(identity),
            redis_keys.audit(identity),
            redis_keys.job_tokens(record.lineage),
        ]
        listed = msgspec.json.encode((identity, record.policy, record.project, record.owner))
        milliseconds = [proof_seconds * 1000, (gone_at - now) * 1000]
        arguments = [identity, encode_record(record), encode_entry(entry), *milliseconds, listed, gone_at, now]
        is_new, *gone = await self._connection.run_script(self._exchange, keys, arguments)
        await self._unlist([*gone] if is_new == 1 else [listed])
        if is_new == LOST:
            raise StoreUnavailable(EMPTY_STORE)
        return bool(is_new)

    async def _unlist(self, listed: Sequence[bytes]) -> None:
        """Remove tokens of jobs from the lists of their projects and owners."""
        writes: list[Write] = []
        for identity, policy, project, owner in map(_job_decoder.decode, listed):
            writes += [("HDEL", index, identity) for index in redis_keys.indexes(policy, project, owner)]
        if writes:
            await self._writes.run(*writes)

    async def find(self, identity: str) -> TokenRecord | None:
        """Return the record of an id, or None."""
        raw = await self._connection.run(lambda client: client.get(redis_keys.token(identity)))
        return decode_record(identity, raw) if raw else None

    async def find_all(self, policy: str | None, project: str | None, owner: str | None) -> list[TokenRecord]:
        """Return the records that match the given values, newest first."""
        records = await self.find_each(await self._identities(policy, project, owner))
        matching = [
            record
            for record in records
            if policy in (None, record.policy) and project in (None, record.project) and owner in (None, record.owner)
        ]
        listed = newest_first(matching)
        await asyncio.sleep(0)  # sorting many takes as long as reading a piece
        return listed

    async def find_each(self, identities: Sequence[str]) -> list[TokenRecord]:
        """Return the records of the ids that exist."""
        ask = _asking("MGET", lambda bucket: map(redis_keys.token, bucket))
        raws = await self._ask_buckets(identities, ask)
        records: list[TokenRecord] = []
        for start in range(0, len(identities), AT_ONCE):
            few = identities[start : start + AT_ONCE]
            records += [decode_record(identity, raws[identity]) for identity in few if raws[identity]]
            await asyncio.sleep(0)
        return records

    async def children(self, identity: str) -> list[TokenRecord]:
        """Return the children of a token, newest first."""
        members: Any = await self._connection.run(lambda client: client.smembers(redis_keys.children(identity)))
        return newest_first(await self.find_each(sorted(member.decode() for member in members)))

    async def made_with(self, identities: Sequence[str], most: int | None = None) -> set[str]:
        """Return the ids of the tokens created with these; see admin_ports.Tokens."""
        keys = [name(identity) for identity in identities for name in (redis_keys.made, redis_keys.children)]
        commands = [("SMEMBERS", key) if most is None else ("SRANDMEMBER", key, str(most)) for key in keys]
        made = set[str]()
        for start in range(0, len(commands), AT_ONCE):
            few = await self._connection.run(partial(_pipeline, commands=commands[start : start + AT_ONCE]))
            made.update(member.decode() for members in few for member in members)
            if most is not None and len(made) >= most:
                break
        return made

    async def replace(self, old: TokenRecord, new: TokenRecord, entry: AuditEntry | None = None) -> bool:
        """Replace `old` by `new`. Return False if another change came first or the token is revoked."""
        return await self._put([(encode_record(old), new, entry)]) == [1]

    async def rotate(
        self, old: TokenRecord, new: TokenRecord, successor: TokenRecord, entry: AuditEntry | None = None
    ) -> bool:
        """Replace both records, or none. Return False if another change came first.

        Raise ValueError if the successor is not in the bucket of its predecessor.
        """
        identity, successor_id = token_id(old.digest), token_id(successor.digest)
        if bucket_of(identity) != bucket_of(successor_id):
            raise ValueError("a successor is in its predecessor's bucket")
        await self._index([successor])
        keys = [
            redis_keys.token(identity),
            redis_keys.token(successor_id),
            redis_keys.revoked(identity),
            redis_keys.audit(identity),
        ]
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
        """Return the projects that are listed, and how many tokens each list has."""
        found = [
            name.decode()
            for name in await self._connection.run(lambda one: _scan(one, redis_keys.all_projects(policy)))
        ]
        counts = await self._connection.run(lambda client: _pipeline(client, [("HLEN", name) for name in found]))
        return {redis_keys.project_of_list(policy, name): count for name, count in zip(found, counts, strict=True)}

    async def is_seen(self, policy: str | None, project: str | None = None, owner: str | None = None) -> bool:
        """Return whether any trace of the names exists; see admin_ports.Tokens.

        A name that is given in full is looked up; otherwise all keys are scanned.
        """
        for pattern in redis_keys.traces(policy, project, owner):
            if await self._connection.run(partial(_has_key, pattern=pattern)):
                return True
        return False

    async def revoke(self, identity: str, entry: AuditEntry | None = None) -> None:
        """Revoke a token for good, in one command, so that there is no moment in between."""
        await self.revoke_each([identity], entry)

    async def revoke_each(self, identities: Sequence[str], entry: AuditEntry | None = None) -> list[str]:
        """Revoke the tokens and return those that were not revoked before; see admin_ports.Tokens."""
        revoked: list[str] = []
        for _, bucket in groupby(sorted(identities), bucket_of):
            meant = list(bucket)
            for few in (meant[start : start + LOOKED_AT_ONCE] for start in range(0, len(meant), LOOKED_AT_ONCE)):
                revoked += await self._revoke_in_bucket(few, ["alone", "", "", _note(entry)])
        return revoked

    async def revoke_lineage(self, identity: str, entry: AuditEntry | None = None) -> list[str]:
        """Revoke a lineage in one script, as it is in one bucket."""
        return await self._revoke_in_bucket([identity], ["", "", "", _note(entry)])

    async def revoke_all(
        self, policy: str, project: str | None, owner: str | None, entry: AuditEntry | None = None
    ) -> list[str]:
        """Revoke all tokens of a project or an owner, and return their ids.

        A token is listed before it is written, so the index has all that exist; the records decide which really match.
        """
        bound_to = ["project", policy, project] if project else ["owner", policy, owner or ""]
        meant: list[str | bytes] = [*bound_to, _note(entry)]
        revoked: list[str] = []
        for _, bucket in groupby(sorted(await self._identities(policy, project, owner)), bucket_of):
            revoked += await self._revoke_in_bucket(list(bucket), meant)
        return revoked

    async def _revoke_in_bucket(self, identities: list[str], meant: list[str | bytes]) -> list[str]:
        keys = [redis_keys.revoked(identities[0]), redis_keys.audit(identities[0])]
        revoked = await self._connection.run_script(self._revoke, keys, [*meant, *identities])
        return [identity.decode() for identity in revoked]

    async def server(self) -> str:
        """Return the name of this run of the server (`run_id`); see admin_ports.Tokens."""
        return _run_of(*await run_each(self._connection, [_WHICH_SERVER]))

    async def keep(self, server: str) -> None:
        """Wait until Redis' disk has all changes; see admin_ports.Tokens. It writes a mark, then sends WAITAOF.

        Whatever was acknowledged before stands before that mark in the append-only file, from any connection, if the
        same `server` confirms it. Raise NotKept if the disk takes too long, or if another server answers.
        """
        (fsync,) = await run_each(self._connection, [("CONFIG GET", "appendfsync")])  # managed servers refuse it
        is_left_to_system = isinstance(fsync, dict) and fsync.get("appendfsync") == "no"
        (key, _), milliseconds = redis_keys.ready(), int(DISK_SECONDS * 1000)
        mark = self._writes.as_command(("SADD", key, "kept"), ("DEL", key))
        waiting = [] if is_left_to_system else [mark, ("WAITAOF", 1, 0, milliseconds)]
        *waited, who = await run_each(self._connection, [*waiting, _WHICH_SERVER], DISK_SECONDS)
        if server != _run_of(who):
            raise MaybeUndone
        if not waited or isinstance(waited[1], Exception):
            return
        written, kept = waited
        if isinstance(written, Exception):
            raise refused(written) from written
        if not kept[0]:
            raise NotKept(DISK_SECONDS)

    async def are_revoked(self, identities: Sequence[str]) -> list[bool]:
        """Return whether each of the tokens is revoked."""
        ask = _asking("SMISMEMBER", lambda bucket: [redis_keys.revoked(bucket[0]), *bucket])
        answers = await self._ask_buckets(identities, ask)
        return [answers[identity] == 1 for identity in identities]

    async def inspect(self, identity: str, rule: Rule | None, project: str, address: str = "") -> Inspection | None:
        """Return what Redis knows of a token, or None, with one script that only reads."""
        arguments = [rule.script_rule if rule else b"", project, client_network(address)]
        now, found = await self._connection.run_script(self._inspect, [redis_keys.token(identity)], arguments)
        raw, is_revoked, told, *states = found
        if not raw:
            return None
        record, restrictions = read_token(identity, raw, told, rule.policy if rule else None)
        windows = read_windows(rule, record, states, now) if rule else ()
        return Inspection(now, record, is_revoked == 1, windows, restrictions)

    async def find_facts(self, asked: Sequence[AdmissionRequest]) -> list[AdmissionFacts]:
        """Return what an admission would find for each, without the quotas: nothing is charged.

        Each bucket is asked by itself: ten thousand tokens are 256 short scripts.
        """
        found = dict[int, AdmissionFacts]()
        in_order = sorted(range(len(asked)), key=lambda number: asked[number].digest)
        for _, bucket in groupby(in_order, lambda number: bucket_of(asked[number].digest)):
            numbers = list(bucket)
            for few in (numbers[start : start + LOOKED_AT_ONCE] for start in range(0, len(numbers), LOOKED_AT_ONCE)):
                keys = [redis_keys.token(token_id(asked[number].digest)) for number in few]
                arguments = list(chain.from_iterable(("", asked[number].project, "") for number in few))
                now, *replies = await self._connection.run_script(self._inspect, keys, arguments)
                for number, (raw, is_revoked, told) in zip(few, replies, strict=True):
                    found[number] = read_facts(asked[number], now, (raw, is_revoked, 1, b"", told))
        return [found[number] for number in range(len(asked))]

    async def now(self) -> int:
        """Return Unix seconds by Redis' clock."""
        seconds, _ = await self._connection.run(lambda client: client.time())
        return int(seconds)

    async def _identities(self, policy: str | None, project: str | None, owner: str | None) -> list[str]:
        """Return the ids that an index lists, or all ids, by a scan, if no index is named."""
        if policy is not None and (project or owner):
            index = (
                redis_keys.project_tokens(policy, project) if project else redis_keys.owner_tokens(policy, owner or "")
            )
            (members,) = await self._connection.run(lambda client: _pipeline(client, [("HKEYS", index)]))
            return sorted(member.decode() for member in members)
        keys = await self._connection.run(lambda client: _scan(client, redis_keys.all_tokens()))
        return [key[-ID_LENGTH:].decode() for key in keys]

    async def _index(self, records: Sequence[TokenRecord]) -> None:
        """List tokens before they are written: an entry without a record does no harm, the reverse hides a token."""
        await self._writes.run(("SET", redis_keys.marker(), "1"))
        await self._list(records)

    async def _list(self, records: Sequence[TokenRecord]) -> None:
        """List tokens, without a word on whether the store is meant to have them."""
        entries: list[Write] = []
        for record in records:
            lists = redis_keys.indexes(record.policy, record.project, record.owner)
            entries += [("HSET", index, record.identity, "") for index in lists]
            if record.parent:
                entries.append(("SADD", redis_keys.children(record.parent), record.identity))
            if record.made_by:
                entries.append(("SADD", redis_keys.made(record.made_by), record.identity))
        for start in range(0, len(entries), AT_ONCE):
            await self._writes.run(*entries[start : start + AT_ONCE])

    async def _put(self, changes: Sequence[tuple[bytes, TokenRecord, AuditEntry | None]]) -> list[int]:
        """Run the script that replaces records of one bucket: old one, new one, and entry of the history of each."""
        identities = [new.identity for _, new, _ in changes]
        keys = [redis_keys.revoked(identities[0]), redis_keys.audit(identities[0]), *map(redis_keys.token, identities)]
        arguments = [
            word for old, new, entry in changes for word in (new.identity, old, encode_record(new), _note(entry))
        ]
        outcomes: list[int] = await self._connection.run_script(self._replace, keys, arguments)
        return outcomes

    async def _ask_buckets(self, identities: Sequence[str], ask: "_Ask") -> dict[str, Any]:
        """Return each id's answer to a command that takes the ids of one bucket.

        Ten thousand tokens are some 265 commands.
        """
        ordered, told = sorted(set(identities)), dict[str, Any]()
        for start in range(0, len(ordered), AT_ONCE):
            buckets = [list(bucket) for _, bucket in groupby(ordered[start : start + AT_ONCE], bucket_of)]
            answers = await self._connection.run(partial(_pipeline, commands=[ask(bucket) for bucket in buckets]))
            told.update(zip(chain.from_iterable(buckets), chain.from_iterable(answers), strict=True))
        return told


def _check_created(record: TokenRecord, outcome: int) -> None:
    """Raise ChangeRefused if the script has not created the record."""
    if outcome < 0:
        raise ChangeRefused(f"token {record.identity} was revoked, for good: mint another one")
    if outcome == 0:
        raise ChangeRefused(f"token {record.identity} exists already")


_WHICH_SERVER = ("INFO", "server")


def _run_of(answer: Any) -> str:
    """Return which run of a server gave the answer, or nothing if it may not tell."""
    return str(answer.get("run_id", "")) if isinstance(answer, dict) else ""


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
    """Return whether a key matches the pattern."""
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


_job_decoder = msgspec.json.Decoder(tuple[str, str, str, str])

GRACE_MILLISECONDS = 60_000
"""How long a name is kept for a token that is about to be created or renamed."""


class RedisClaims:
    """The implementation of admin_ports.Claims."""

    def __init__(self, connection: RedisConnection, tokens: RedisTokens) -> None:
        self._connection = connection
        self._tokens = tokens
        self._writes = RedisWrites(connection)
        self._claim = read_script("claim.lua")
        self._compare_and_set = read_script("compare_and_set.lua")

    async def claim_name(self, policy: Policy, record: TokenRecord) -> str | None:
        """Claim the name for the record, and return the claim, or None if another token has the name.

        If the policy wants no unique names, the claim is empty.
        """
        if not policy.has_unique_names:
            return ""
        seen = await self.find_claim(policy, record)
        seconds, microseconds = await self._connection.run(lambda client: client.time())
        now = seconds * 1000 + microseconds // 1000
        if seen and not await self._is_free(seen, record, now):
            return None
        claim = f"{record.identity}:{now}"
        there = [] if seen else await self._names_given(policy, record)
        if record.name in there[::2]:
            return None
        is_ours = await self._connection.run_script(
            self._claim, [_index(policy, record)], [record.name, seen, claim, *there]
        )
        return claim if is_ours or await self.find_claim(policy, record) == claim else None

    async def find_claim(self, policy: Policy, record: TokenRecord) -> str:
        if not policy.has_unique_names:
            return ""
        index = _index(policy, record)
        raw: Any = await self._connection.run(lambda client: client.hget(index, record.name))
        return raw.decode() if raw else ""

    async def release_name(self, policy: Policy, record: TokenRecord, claim: str) -> None:
        if claim:
            await self._connection.run_script(self._claim, [_index(policy, record)], [record.name, claim, ""])

    async def give_number(self, policy: Policy, record: TokenRecord) -> TokenRecord:
        if not policy.has_numbers:
            return record
        index = redis_keys.token_numbers(policy.name)
        (number,) = await self._writes.run(("HINCRBY", index, "", 1))
        await self._writes.run(("HSET", index, number, record.identity))
        return msgspec.structs.replace(record, number=number)

    async def claim_key(self, key: str, fingerprint: str, identity: str) -> KeyClaim:
        name, (now, _) = redis_keys.idempotency(key), await self._connection.run(lambda client: client.time())
        ours = f"{fingerprint}:{identity}:{now}"
        await self._writes.run(("SET", name, ours, "NX", "EX", KEPT_SECONDS))
        raw: Any = await self._connection.run(lambda client: client.get(name))
        if raw is None or raw.decode() == ours:
            return KeyClaim("ours")
        asked, made, since = raw.decode().split(":")
        if asked != fingerprint:
            return KeyClaim("mismatch")
        if await self._tokens.find(made) is not None:
            return KeyClaim("theirs", made)
        if now - int(since) >= GRACE_SECONDS and await self._connection.run_script(
            self._compare_and_set, [name], [raw, ours, KEPT_SECONDS * 1000]
        ):
            return KeyClaim("ours")
        return KeyClaim("pending")

    async def release_key(self, key: str, fingerprint: str, identity: str) -> None:
        name = redis_keys.idempotency(key)
        raw: Any = await self._connection.run(lambda client: client.get(name))
        if raw and raw.decode().startswith(f"{fingerprint}:{identity}:"):
            await self._connection.run_script(self._compare_and_set, [name], [raw, "", 0])

    async def find_number(self, policy: str, number: int) -> TokenRecord | None:
        raw: Any = await self._connection.run(lambda client: client.hget(redis_keys.token_numbers(policy), str(number)))
        record = await self._tokens.find(raw.decode()) if raw else None
        return record if record and (record.policy, record.number) == (policy, number) else None

    async def _is_free(self, seen: str, record: TokenRecord, now: int) -> bool:
        """Return whether a claimed name is free: its token's lineage has ended, or has another name by now."""
        holder, _, since = seen.partition(":")
        is_fresh = now - int(since) < GRACE_MILLISECONDS
        if holder == record.identity:
            return True
        lineage = await self._successors(holder)
        if record.identity in lineage:
            return True
        if not lineage:
            return not is_fresh
        revoked = await self._tokens.are_revoked(list(lineage))
        live = [one for one, is_revoked in zip(lineage.values(), revoked, strict=True) if not is_revoked]
        return not any(one.name == record.name for one in live) and not (live and is_fresh)

    async def _successors(self, identity: str) -> dict[str, TokenRecord]:
        """Return the token and all that it was rotated to, by id."""
        lineage: dict[str, TokenRecord] = {}
        while identity and (found := await self._tokens.find(identity)):
            lineage[identity] = found
            identity = found.successor
        return lineage

    async def _names_given(self, policy: Policy, record: TokenRecord) -> list[str]:
        """Return names and claims of existing tokens if the policy has only now begun to want unique names."""
        index = _index(policy, record)
        if await self._connection.run(lambda client: client.exists(index)):
            return []
        project = record.project if policy.bound_to == "project" else None
        owner = record.owner if policy.bound_to == "owner" else None
        records = await self._tokens.find_all(policy.name, project, owner)
        revoked = await self._tokens.are_revoked([one.identity for one in records])
        live = [one for one, is_revoked in zip(records, revoked, strict=True) if not is_revoked]
        return [part for one in live if one.identity != record.identity for part in (one.name, f"{one.identity}:0")]


def _index(policy: Policy, record: TokenRecord) -> str:
    return redis_keys.token_names(policy.name, policy.binding(record.project, record.owner))

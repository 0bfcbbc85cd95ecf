"""Administration of token records, off the path of requests."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from gateway.adapters import names
from gateway.adapters.redis_connection import Client, RedisConnection
from gateway.adapters.redis_scripts import read_script, read_windows
from gateway.core.addresses import client_network
from gateway.core.errors import ChangeRefused
from gateway.core.explanation import Standing
from gateway.core.policies.rules import Rule
from gateway.core.records import TokenRecord, decode_record, encode_record
from gateway.core.tokens import bucket_of, token_id

_ABSENT = b""


class RedisTokens:
    """See protocols.Tokens."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._replace = read_script("replace.lua")
        self._rotate = read_script("rotate.lua")
        self._standing = read_script("quotas.lua", "charging.lua", "standing.lua")
        self._revoke = read_script("revoke.lua")

    async def create(self, record: TokenRecord) -> None:
        identity = token_id(record.digest)
        await self._index(record)
        outcome = await self._put(_ABSENT, record)
        if outcome < 0:
            raise ChangeRefused(f"token {identity} was revoked, for good: mint another one")
        if outcome == 0:
            raise ChangeRefused(f"token {identity} exists already")

    async def find(self, identity: str) -> TokenRecord | None:
        """The record of an id."""
        raw = await self._connection.run(lambda client: client.get(names.token(identity)))
        return decode_record(raw) if raw else None

    async def find_all(self, policy: str | None, project: str | None, owner: str | None) -> list[TokenRecord]:
        """The records that agree with what is given, newest first."""
        keys = await self._keys(policy, project, owner)
        raws = await self._connection.run(lambda client: _pipeline(client, [("GET", key) for key in keys]))
        records = [decode_record(raw) for raw in raws if raw]
        wanted = [
            record
            for record in records
            if policy in (None, record.policy) and project in (None, record.project) and owner in (None, record.owner)
        ]
        return sorted(wanted, key=lambda record: (-record.created_at, record.name))

    async def replace(self, old: TokenRecord, new: TokenRecord) -> bool:
        """Puts `new` in the place of `old`; False when another change came first or the token is revoked."""
        return await self._put(encode_record(old), new) == 1

    async def rotate(self, old: TokenRecord, new: TokenRecord, successor: TokenRecord) -> bool:
        """Both records change together or not at all."""
        identity, successor_id = token_id(old.digest), token_id(successor.digest)
        if bucket_of(identity) != bucket_of(successor_id):
            raise ValueError("a successor is in its predecessor's bucket")
        await self._index(successor)
        keys = [names.token(identity), names.token(successor_id), names.revoked(identity)]
        records = [identity, encode_record(old), encode_record(new), successor_id, encode_record(successor)]
        outcome: int = await self._connection.run_script(self._rotate, keys, records)
        return outcome == 1

    async def revoke(self, identity: str) -> None:
        """Ends a token for good: one command, so there is no moment in between."""
        await self._connection.run(lambda client: client.sadd(names.revoked(identity), identity))

    async def revoke_lineage(self, identity: str) -> list[str]:
        """One script: a lineage is in one bucket."""
        return await self._revoke_in_bucket([identity], ["", "", ""])

    async def revoke_all(self, policy: str, project: str | None, owner: str | None) -> list[str]:
        """A token is listed before it is there, so the index has all that exist; records say which are really meant."""
        bound_to, index = ["owner", policy, owner or ""], names.owner(policy, owner or "")
        if project:
            bound_to, index = ["project", policy, project], names.project(policy, project)
        (members,) = await self._connection.run(lambda client: _pipeline(client, [("SMEMBERS", index)]))
        revoked: list[str] = []
        for _, bucket in groupby(sorted(member.decode() for member in members), bucket_of):
            revoked += await self._revoke_in_bucket(list(bucket), bound_to)
        return revoked

    async def _revoke_in_bucket(self, identities: list[str], bound_to: list[str]) -> list[str]:
        keys = [names.revoked(identities[0])]
        revoked = await self._connection.run_script(self._revoke, keys, [*bound_to, *identities])
        return [identity.decode() for identity in revoked]

    async def are_revoked(self, identities: Sequence[str]) -> list[bool]:
        """Whether each of the tokens is revoked."""
        answers = await self._connection.run(
            lambda client: _pipeline(client, [("SISMEMBER", names.revoked(one), one) for one in identities])
        )
        return [answer == 1 for answer in answers]

    async def last_uses(self, identities: Sequence[str]) -> list[int | None]:
        """The last use of each token in Unix seconds."""
        answers = await self._connection.run(
            lambda client: _pipeline(client, [("ZSCORE", names.last_used(one), one) for one in identities])
        )
        return [None if answer is None else int(float(answer)) for answer in answers]

    async def standing(self, identity: str, rule: Rule | None, address: str = "") -> Standing | None:
        """One script that only reads."""
        arguments = [rule.terms if rule else b"", client_network(address)]
        found = await self._connection.run_script(self._standing, [names.token(identity)], arguments)
        now, raw, is_revoked, *states = found
        if not raw:
            return None
        record = decode_record(raw)
        windows = read_windows(rule, record, states, now) if rule else ()
        return Standing(now, record, is_revoked == 1, windows)

    async def now(self) -> int:
        """Unix seconds by Redis' clock."""
        seconds, _ = await self._connection.run(lambda client: client.time())
        return int(seconds)

    async def _keys(self, policy: str | None, project: str | None, owner: str | None) -> list[str]:
        if policy and project:
            return await self._members(names.project(policy, project))
        if policy and owner:
            return await self._members(names.owner(policy, owner))
        return sorted({key.decode() for key in await self._connection.run(_scan)})

    async def _members(self, index: str) -> list[str]:
        (members,) = await self._connection.run(lambda client: _pipeline(client, [("SMEMBERS", index)]))
        return [names.token(member.decode()) for member in members]

    async def _index(self, record: TokenRecord) -> None:
        """Lists a token before it is there: an entry without a record does no harm, the reverse hides a token."""
        entries = [("SADD", index, token_id(record.digest)) for index in names.indexes(record)]
        await self._connection.run(lambda client: _pipeline(client, entries))

    async def _put(self, old: bytes, new: TokenRecord) -> int:
        identity = token_id(new.digest)
        keys = [names.token(identity), names.revoked(identity)]
        outcome: int = await self._connection.run_script(self._replace, keys, [identity, old, encode_record(new)])
        return outcome


async def _pipeline(client: Client, commands: Sequence[tuple[str, ...]]) -> list[Any]:
    async with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute()


async def _scan(client: Client) -> list[bytes]:
    return [key async for key in client.scan_iter(match=names.all_tokens(), count=1000)]

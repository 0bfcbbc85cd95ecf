"""Owners in Redis: one record each, and a copy of it in every bucket that holds tokens of the owner.

An admission reads the copy of its own bucket, so it stays in one slot; a change writes 256 copies at most, however many
tokens there are. Whoever makes a token lists it first and reads the owner's record then; whoever changes an owner
writes the record first and reads the list then. So of the two at once one sees the other's work, and a copy is never
written over a newer one.
"""

from collections.abc import Collection, Iterable
from functools import partial
from typing import Any

from gateway.adapters import names
from gateway.adapters.redis_connection import Client, RedisConnection
from gateway.adapters.redis_scripts import read_script
from gateway.core.audit import AuditEntry, encode_entry
from gateway.core.owners import OwnerRecord, decode_owner, encode_owner
from gateway.core.records import TokenRecord
from gateway.core.tokens import bucket_of, token_id

FIELDS_AT_ONCE = 10_000
"""Written in one script: Redis serves nobody else for some milliseconds. Copies of forty projects are one script."""


class RedisOwners:
    """See protocols.Owners."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._put = read_script("audit.lua", "owner.lua")

    async def find(self, policy: str, owner: str) -> OwnerRecord | None:
        """The owner's record."""
        fields: Any = await self._connection.run(lambda client: client.hgetall(names.owner(policy, owner)))
        return decode_owner({name.decode(): value.decode() for name, value in fields.items()}) if fields else None

    async def find_all(self, policy: str) -> dict[str, OwnerRecord]:
        """The records of a policy's owners, by name."""
        members: Any = await self._connection.run(lambda client: client.smembers(names.owners(policy)))
        found = {owner: await self.find(policy, owner) for owner in sorted(member.decode() for member in members)}
        return {owner: record for owner, record in found.items() if record}

    async def plans(self, owners: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """A question for each ten thousand of them."""
        named, found = list(owners), dict[tuple[str, str], str]()
        for start in range(0, len(named), FIELDS_AT_ONCE):
            few = named[start : start + FIELDS_AT_ONCE]
            plans = await self._connection.run(partial(_ask_plans, few))
            found |= {owner: plan.decode() for owner, plan in zip(few, plans, strict=True) if plan}
        return found

    async def replace(
        self, policy: str, owner: str, old: OwnerRecord | None, new: OwnerRecord, entry: AuditEntry | None = None
    ) -> bool:
        """Puts `new` in the place of `old`; False when another change came first."""
        await self._connection.run(lambda client: client.sadd(names.owners(policy), owner))
        expected = old.version if old else 0
        is_written = await self._write([names.owner(policy, owner)], str(expected), new, entry)
        if not is_written and await self.find(policy, owner) != new:  # else it was sent twice, and the first time done
            return False
        tokens: Any = await self._connection.run(lambda client: client.hkeys(names.owner_tokens(policy, owner)))
        buckets = sorted({bucket_of(token.decode()) for token in tokens})
        at_once = max(1, FIELDS_AT_ONCE // len(encode_owner(new)))
        for start in range(0, len(buckets), at_once):
            copies = [names.owner_copy(bucket, policy, owner) for bucket in buckets[start : start + at_once]]
            await self._write(copies, "", new)
        return True

    async def bring(self, token: TokenRecord) -> None:
        """Copies the owner's record to where the token is; the token is listed already and not yet there."""
        record = await self.find(token.policy, token.owner) if token.owner else None
        if record is not None:
            copy = names.owner_copy(token_id(token.digest), token.policy, token.owner)
            await self._write([copy], "", record)

    async def _write(self, keys: list[str], expected: str, record: OwnerRecord, entry: AuditEntry | None = None) -> int:
        """`entry` goes to the history with what is written; copies are no change of their own."""
        fields = [part for pair in encode_owner(record).items() for part in pair]
        history, note = ([names.audit()], encode_entry(entry)) if entry else ([], b"")
        arguments = [expected, record.version, note, *fields]
        written: int = await self._connection.run_script(self._put, [*keys, *history], arguments)
        return written


async def _ask_plans(owners: Iterable[tuple[str, str]], client: Client) -> list[bytes | None]:
    async with client.pipeline(transaction=False) as pipeline:
        for policy, owner in owners:
            pipeline.hget(names.owner(policy, owner), "plan")
        plans: list[bytes | None] = await pipeline.execute()
        return plans

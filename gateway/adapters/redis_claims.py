"""Names and numbers of tokens, in indexes of their own: they span buckets, so no script has both index and record.

A claim says who has the name and since when: "<id>:<ms>". It is made before the record is written, and each is made
against what was seen of the one before; so of several who want a name at once, one gets it. A claim without a record
counts for as long as a creation can take.
"""

from typing import Any

import msgspec

from gateway.adapters import names
from gateway.adapters.redis_connection import RedisConnection
from gateway.adapters.redis_scripts import read_script
from gateway.adapters.redis_tokens import RedisTokens
from gateway.core.idempotency import GRACE_SECONDS, KEPT_SECONDS, KeyClaim
from gateway.core.policies.rules import Policy
from gateway.core.records import TokenRecord

GRACE_MILLISECONDS = 60_000
"""How long a name is kept for who is about to create its token or to give its own another name."""


class RedisClaims:
    """See admin_protocols.Claims."""

    def __init__(self, connection: RedisConnection, tokens: RedisTokens) -> None:
        self._connection = connection
        self._tokens = tokens
        self._claim = read_script("claim.lua")
        self._compare_and_set = read_script("compare_and_set.lua")

    async def claim_name(self, policy: Policy, record: TokenRecord) -> str | None:
        """One claim, made once."""
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
        index = names.token_numbers(policy.name)
        number: Any = await self._connection.run(lambda client: client.hincrby(index, "", 1))
        await self._connection.run(lambda client: client.hset(index, str(number), record.identity))
        return msgspec.structs.replace(record, number=number)

    async def claim_key(self, key: str, fingerprint: str, identity: str) -> KeyClaim:
        name, (now, _) = names.idempotency(key), await self._connection.run(lambda client: client.time())
        ours = f"{fingerprint}:{identity}:{now}"
        await self._connection.run(lambda client: client.set(name, ours, nx=True, ex=KEPT_SECONDS))
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
        name = names.idempotency(key)
        raw: Any = await self._connection.run(lambda client: client.get(name))
        if raw and raw.decode().startswith(f"{fingerprint}:{identity}:"):
            await self._connection.run_script(self._compare_and_set, [name], [raw, "", 0])

    async def find_number(self, policy: str, number: int) -> TokenRecord | None:
        raw: Any = await self._connection.run(lambda client: client.hget(names.token_numbers(policy), str(number)))
        record = await self._tokens.find(raw.decode()) if raw else None
        return record if record and (record.policy, record.number) == (policy, number) else None

    async def _is_free(self, seen: str, record: TokenRecord, now: int) -> bool:
        """Whether the name that a claim is for can be had: its token's lineage is over, or has another name by now."""
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
        """The token and all that it was rotated to."""
        lineage: dict[str, TokenRecord] = {}
        while identity and (found := await self._tokens.find(identity)):
            lineage[identity] = found
            identity = found.successor
        return lineage

    async def _names_given(self, policy: Policy, record: TokenRecord) -> list[str]:
        """Names and claims of the tokens there are, where the policy has begun only now to want unique names."""
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
    return names.token_names(policy.name, policy.binding(record.project, record.owner))

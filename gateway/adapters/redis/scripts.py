"""The Lua scripts as they are sent to Redis, and what their answers have in common.

Other commands write little: to lists of tokens and owners, claims, sessions, the history of refused changes.

Rule: whatever changes tokens, or signs in somebody who has to, goes through a script. While Redis is full of less
important data, it refuses plain commands (OOM).
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from gateway.adapters.redis import keys as redis_keys
from gateway.adapters.redis.connection import RedisConnection, Script
from gateway.core.admission.decision import NO_RESTRICTIONS, AdmissionFacts, AdmissionRequest, Restrictions
from gateway.core.errors import StoreUnavailable
from gateway.core.policies.model import Policy, Rule
from gateway.core.quotas.model import Window, effective_quotas
from gateway.core.tokens.lifecycle import bound_by
from gateway.core.tokens.owners import OwnerStanding, bind_plan
from gateway.core.tokens.records import TokenRecord, decode_record
from gateway.core.tokens.text import token_id

REFUSED_WHEN_FULL = {"store.lua", "stage.lua", "keep_content.lua", "count.lua"}
"""Scripts that Redis refuses (OOM) while it holds more than its maxmemory.

They add exports and usage, which are large and not essential. All others run: they admit, revoke, change tokens or free
memory, and add little.
"""

LOST = -1
"""Replaces the revocation flag of an unknown token if the store has no marker."""
EMPTY_STORE = (
    "Redis holds no tokens: it has lost its data, or is new. Restore it, or create the first token, "
    "or run `gateway redis init` to say that it is meant to be empty"
)


def read_script(*parts: str) -> Script:
    """Return one script of the files `parts` of scripts/, after the names, positions and clock that they use."""
    return Script(_read_source(*parts), runs_when_full=parts[-1] not in REFUSED_WHEN_FULL)


@cache
def _read_source(*parts: str) -> str:
    folder = files("gateway.adapters.scripts")
    return redis_keys.lua_prelude() + "".join(folder.joinpath(part).read_text() for part in ("clock.lua", *parts))


def read_facts(asked: AdmissionRequest, now: int, reply: Sequence[Any]) -> AdmissionFacts:
    """Return what scripts/admit.lua has found for one admission.

    Raise StoreUnavailable if the store has lost its data.
    """
    raw, revoked, charged, stored_heads, told, *states = reply
    if revoked == LOST:
        raise StoreUnavailable(EMPTY_STORE)
    policy = asked.rule.policy
    record, restrictions = read_token(token_id(asked.digest), raw, told, policy) if raw else (None, NO_RESTRICTIONS)
    if record is not None and (record.digest != asked.digest or record.policy != policy.name):
        record = None
    windows = read_windows(asked.rule, record, states, now)
    is_charged = charged == 1
    return AdmissionFacts(
        request=asked,
        now=now,
        record=record,
        is_revoked=revoked == 1,
        is_charged=is_charged,
        windows=windows,
        stored_heads=tuple(stored_heads),
        restrictions=restrictions,
        cost=asked.rule.cost.reserved if is_charged else 0,
        exists=raw != b"",
        reply=reply if asked.keeps_reply else (),
    )


def read_token(
    identity: str, raw: bytes, told: Sequence[Any], policy: Policy | None
) -> tuple[TokenRecord, Restrictions]:
    """Return a token's record, bound by its parent and with the plan that counts, and its restrictions.

    `told` is what scripts/tokens.lua found. `policy` determines the plan that counts; a token of another policy keeps
    its own.
    """
    record, restrictions = decode_record(identity, raw), NO_RESTRICTIONS
    if told:
        status, scopes, raw_parent, is_revoked, plan = told
        held = None if scopes is None else scopes.decode()
        owner = OwnerStanding(status.decode(), held, plan.decode()) if status else None
        parent = decode_record(record.parent, raw_parent) if raw_parent else None
        record, restrictions = (
            bound_by(parent, record) if parent else record,
            Restrictions(owner, parent, is_revoked == 1),
        )
    if policy is not None and policy.name != record.policy:
        return record, restrictions
    owners = restrictions.owner.plan if restrictions.owner else ""
    return bind_plan(record, policy, owners) if owners or not record.plan else record, restrictions


def read_windows(rule: Rule, record: TokenRecord | None, states: Sequence[Any], now: int) -> tuple[Window, ...]:
    """Return the windows of a request from what scripts/charging.lua appends to a reply, which may be nothing."""
    allotment = rule.allotment_of(record) if states else None
    if allotment is None:
        return ()
    quotas = allotment.quotas
    if record is not None and record.overrides:
        quotas = effective_quotas(quotas, record.overrides, now)
    if len(states) == 2 * len(quotas):  # all quotas were charged
        return tuple([Window(quota, states[2 * index], states[2 * index + 1]) for index, quota in enumerate(quotas)])
    waits: Sequence[int | None] = states[2 * len(quotas) :]
    return tuple(
        [Window(quota, states[2 * index], states[2 * index + 1], waits[index]) for index, quota in enumerate(quotas)]
    )


Write = Sequence[str | int]
"""A command, its key, and its other arguments."""


class RedisWrites:
    """Writes in one script, all or none. They raise StoreUnavailable."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._script = read_script("write.lua")

    async def run(self, *writes: Write) -> list[Any]:
        """Run the commands and return their answers."""
        keys, arguments = _split(writes)
        answers: list[Any] = await self._connection.run_script(self._script, keys, arguments)
        return answers

    def as_command(self, *writes: Write) -> Sequence[Any]:
        """Return the writes as one command, for a caller that sends others after it on the same connection."""
        keys, arguments = _split(writes)
        return ("EVAL", self._script.source, len(keys), *keys, *arguments)


def _split(writes: Sequence[Write]) -> tuple[list[str], list[bytes]]:
    keys = [str(key) for _, key, *_ in writes]
    return keys, [msgspec.json.encode([str(word) for word in (command, *rest)]) for command, _, *rest in writes]

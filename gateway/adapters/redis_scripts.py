"""The Lua scripts as they are sent to Redis, and what is common to their answers."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from gateway.adapters import names
from gateway.adapters.redis_connection import Script
from gateway.core.children import bound_by
from gateway.core.decision import NO_KIN, Asked, Facts, Kin
from gateway.core.errors import StoreUnavailable
from gateway.core.owners import OwnerStanding, bind_plan
from gateway.core.policies.rules import Policy, Rule
from gateway.core.quotas import Window, effective_quotas
from gateway.core.records import TokenRecord, decode_record
from gateway.core.tokens import token_id

REFUSED_WHEN_FULL = {"store.lua", "keep_content.lua", "count.lua"}
"""Scripts that Redis refuses (OOM) while it holds more than its maxmemory: they add exports and usage, which are many
and can be done without. All others run: they admit, revoke, change tokens or free memory, and add little."""

LOST = -1
"""Said in the place of whether an unknown token is revoked, where the store has no marker."""
EMPTY_STORE = (
    "Redis holds no tokens: it has lost its data, or is new. Restore it, or create the first token, "
    "or run `gateway redis init` to say that it is meant to be empty"
)


def read_script(*parts: str) -> Script:
    """Return one script of the files `parts` of scripts/, behind the names, positions and clock that they use."""
    folder = files("gateway.adapters.scripts")
    source = names.lua_prelude() + "".join(folder.joinpath(part).read_text() for part in ("clock.lua", *parts))
    return Script(source, runs_when_full=parts[-1] not in REFUSED_WHEN_FULL)


def read_facts(asked: Asked, now: int, reply: Sequence[Any]) -> Facts:
    """Return what scripts/admit.lua has found for one admission; StoreUnavailable where the store has lost its data."""
    raw, revoked, charged, stored_heads, told, *states = reply
    if revoked == LOST:
        raise StoreUnavailable(EMPTY_STORE)
    policy = asked.rule.policy
    record, kin = read_token(token_id(asked.digest), raw, told, policy) if raw else (None, NO_KIN)
    if record is not None and (record.digest != asked.digest or record.policy != policy.name):
        record = None
    windows = read_windows(asked.rule, record, states, now)
    is_charged = charged == 1
    return Facts(
        now=now,
        record=record,
        is_revoked=revoked == 1,
        is_charged=is_charged,
        windows=windows,
        stored_heads=tuple(stored_heads),
        project=asked.project,
        kin=kin,
        address=asked.address,
        export_key=asked.export_key,
        lease=asked.lease if is_charged else "",
        cost=asked.rule.cost.reserved if is_charged else 0,
        exists=raw != b"",
    )


def read_token(identity: str, raw: bytes, told: Sequence[Any], policy: Policy | None) -> tuple[TokenRecord, Kin]:
    """A token's record, with its parent's limits and the plan that counts, and what scripts/tokens.lua has told of kin.

    `policy` says which plan counts; a token of another one keeps its own.
    """
    record, kin = decode_record(identity, raw), NO_KIN
    if told:
        status, scopes, raw_parent, is_revoked, plan = told
        held = None if scopes is None else scopes.decode()
        owner = OwnerStanding(status.decode(), held, plan.decode()) if status else None
        parent = decode_record(record.parent, raw_parent) if raw_parent else None
        record, kin = bound_by(parent, record) if parent else record, Kin(owner, parent, is_revoked == 1)
    if policy is not None and policy.name != record.policy:
        return record, kin
    return bind_plan(record, policy, kin.owner.plan if kin.owner else ""), kin


def read_windows(rule: Rule, record: TokenRecord | None, states: Sequence[Any], now: int) -> tuple[Window, ...]:
    """The windows of a request from what scripts/charging.lua appends to a reply; none where it appended nothing."""
    allotment = rule.allotment_of(record) if states else None
    if allotment is None:
        return ()
    quotas = effective_quotas(allotment.quotas, record.overrides if record else (), now)
    if len(states) == 2 * len(quotas):  # all that there is was charged
        return tuple([Window(quota, states[2 * index], states[2 * index + 1]) for index, quota in enumerate(quotas)])
    waits: Sequence[int | None] = states[2 * len(quotas) :]
    return tuple(
        [Window(quota, states[2 * index], states[2 * index + 1], waits[index]) for index, quota in enumerate(quotas)]
    )

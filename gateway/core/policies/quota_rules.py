"""Quotas as policies write them: their grammar, who has which, and the mistakes of their meaning.

The grammar is that of the library `limits` ("100/minute", "5 per 2 hours", "1/second; 100/minute"), and so are the
names of the algorithms. It is written down again here, as importing it would cost each command a tenth of its time; a
test holds the one to the other. A request has the quotas of the policy, of its token's plan and of its rule. Without a
token, under a public rule, it has those of the policy and of the rule that are per address, and no others.
"""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

import msgspec

from gateway.core.costs import Cost, Outcome
from gateway.core.policies.document import RuleTable
from gateway.core.policies.drafts import Draft, why_unbound
from gateway.core.policies.quota_tables import CostTable, QuotaTable
from gateway.core.policies.reading import Mistake, path_to
from gateway.core.policies.rules import NO_PLAN, Allotment, Policy
from gateway.core.quotas import LEASE_SECONDS, MAXIMUM_NUMBER, PARTITIONS, Algorithm, Quota
from gateway.core.ratelimits import build_ratelimit_policy

QUOTA_NAME = re.compile(r"[a-z][a-z0-9_-]*")
"""A name that is valid as a String and as a Token of RFC 9651: the draft may still move from one to the other."""
MAXIMUM_LOGGED = 100_000
"""Limit of a moving window: it keeps every request for as long, up to 3 MB a token."""

_SEPARATOR = re.compile("[,;|]")
_LIMIT = re.compile(r"\s*([0-9]+)\s*(?:/|per)\s*([0-9]+)?\s*([a-z]+)\s*", re.IGNORECASE)
_DAY = 86400
GRANULARITIES = {"second": 1, "minute": 60, "hour": 3600, "day": _DAY, "month": 30 * _DAY, "year": 360 * _DAY}
"""Seconds of each unit of time."""


class Limit(NamedTuple):
    """One limit of a policy entry."""

    amount: int
    seconds: int
    granularity: str


def parse_limits(text: str) -> list[Limit]:
    """Return the limits of a text such as "1/second; 100 per 2 minutes"; ValueError for anything else."""
    limits = []
    for part in _SEPARATOR.split(text):
        match = _LIMIT.fullmatch(part)
        granularity = match[3].lower().removesuffix("s") if match else ""
        if match is None or granularity not in GRANULARITIES:
            raise ValueError(f"{part!r} is not a limit")
        multiple = int(match[2] or 1) or 1
        limits.append(Limit(int(match[1]), multiple * GRANULARITIES[granularity], granularity))
    return limits


def parse_quotas(
    name: str, text: str, algorithm: Algorithm = "fixed-window", burst: int | None = None
) -> tuple[Quota, ...]:
    """The quotas of one policy entry; ValueError says what is wrong.

    Several limits in one text are told apart by their granularity: "1/second; 100/minute" under the name `pull` is
    `pull-second` and `pull-minute`.
    """
    _check_name(name)
    try:
        limits = parse_limits(text)
    except ValueError as error:
        raise ValueError(
            f'{text!r} is not a rate limit: write a number, "/" or "per", and second, minute, hour, day, month '
            'or year, such as "100/minute"'
        ) from error
    if any(max(limit.amount, limit.seconds) > MAXIMUM_NUMBER for limit in limits):
        raise ValueError(f"{text!r} is too much to count: neither number nor window may be above {MAXIMUM_NUMBER}")
    names = [name] if len(limits) == 1 else [f"{name}-{limit.granularity}" for limit in limits]
    if len(set(names)) < len(names):
        raise ValueError(f"{text!r} limits the same granularity twice: give each limit its own name")
    quotas = tuple(Quota(n, one.amount, one.seconds, algorithm) for n, one in zip(names, limits, strict=True))
    if algorithm == "token-bucket":
        return tuple(_fill_bucket(quota, burst, len(quotas)) for quota in quotas)
    if burst is not None:
        raise ValueError(f"burst is for token-bucket only, this is {algorithm}")
    if algorithm == "moving-window" and any(quota.limit > MAXIMUM_LOGGED for quota in quotas):
        raise ValueError(
            f"a moving window keeps every request, so its limit may not be above {MAXIMUM_LOGGED}: "
            "take sliding-window-counter"
        )
    return quotas


def _check_name(name: str) -> None:
    if QUOTA_NAME.fullmatch(name) is None:
        raise ValueError(f"the quota name {name!r} must match [a-z][a-z0-9_-]*")


def _fill_bucket(quota: Quota, burst: int | None, count: int) -> Quota:
    if burst is not None and count > 1:
        raise ValueError("burst is for one limit: give each limit its own name")
    if quota.limit == 0:
        raise ValueError("a token bucket that never fills admits nothing: its limit must be above 0")
    filled = msgspec.structs.replace(quota, burst=quota.limit if burst is None else burst)
    if filled.policy_window_seconds > MAXIMUM_NUMBER:
        raise ValueError(f"a burst of {burst} takes too long to fill at this limit: above {MAXIMUM_NUMBER} seconds")
    return filled


def compile_quotas(
    draft: Draft, table: Mapping[str, str | QuotaTable], path: str, allotted_by: str = ""
) -> dict[str, Quota]:
    """The quotas of one table by name; `allotted_by` is the pattern of the rule that they are for, if it is one."""
    bound_to, quotas = draft.document.token.bound_to, dict[str, Quota]()
    for name, entry in table.items():
        one = QuotaTable(limit=entry) if isinstance(entry, str) else entry
        if one.per in ("owner", "project") and one.per != bound_to:
            draft.mistakes.append(Mistake(f"{path_to(path, name)}.per", why_unbound(bound_to, one.per)))
        for quota in draft.attempt(path_to(path, name), partial(_parse_entry, name, one)) or ():
            if quota.name in quotas:
                draft.mistakes.append(Mistake(path_to(path, name), f"another quota is named {quota.name!r} already"))
            quotas[quota.name] = msgspec.structs.replace(quota, per=one.per, is_shadow=one.shadow, rule=allotted_by)
    return quotas


def _parse_entry(name: str, entry: QuotaTable) -> tuple[Quota, ...]:
    if (entry.limit is None) == (entry.concurrent is None):
        raise ValueError("write one of limit and concurrent")
    if entry.limit is not None:
        return parse_quotas(name, entry.limit, entry.algorithm or "fixed-window", entry.burst)
    if entry.algorithm is not None or entry.burst is not None:
        raise ValueError("concurrent counts the requests in flight: it has no algorithm and no burst")
    _check_name(name)
    return (Quota(name, entry.concurrent or 0, LEASE_SECONDS, "concurrent"),)


def compile_cost(table: int | CostTable) -> Cost:
    """An outcome of which nothing is said costs what a miss does."""
    if isinstance(table, int):
        return Cost(table)
    units = {outcome: getattr(table, outcome) for outcome in Outcome}
    by_outcome = {outcome: table.miss if said is None else said for outcome, said in units.items()}
    reported_by = table.reported_by.lower().encode() if table.reported_by else None
    return Cost(max(by_outcome.values()), by_outcome, reported_by)


def compile_rule_quotas(draft: Draft) -> tuple[Quota, ...]:
    """The quotas that are for one rule each, of all rules."""
    tables = enumerate(draft.document.rules)
    paths = ((f"{path_to('$.rules', index)}.quotas", table) for index, table in tables)
    return tuple(q for path, table in paths for q in compile_quotas(draft, table.quotas, path, table.match).values())


def allot(quotas: Iterable[Quota]) -> Allotment:
    """What a request has, one partition after the other: that is the order of the script's answer."""
    ordered = tuple(sorted(quotas, key=lambda quota: PARTITIONS.index(quota.per)))
    return Allotment(ordered, build_ratelimit_policy(ordered))


def allot_for_rule(draft: Draft, policy: Policy, table: RuleTable, path: str, pattern: str) -> dict[str, Allotment]:
    """The quotas of a rule's requests by plan; of a public rule only those that count addresses."""
    own = [quota for quota in policy.rule_quotas if quota.rule == pattern]
    _check_own(draft, policy, table, own, path)
    if table.public:
        return {NO_PLAN: allot([*(quota for quota in policy.quotas if quota.per == "address"), *own])}
    return {name: allot([*plan.quotas, *own]) for name, plan in policy.plans.items()}


def check_cost(draft: Draft, allotments: Iterable[Allotment], reserved: int, path: str) -> None:
    """Notes each quota that a request's cost can never fit into."""
    quotas = dict.fromkeys(quota for allotment in allotments for quota in allotment.quotas if not quota.is_shadow)
    for quota in quotas:
        if 0 < quota.capacity < quota.units_of(reserved):
            message = f"{reserved} never fits into the quota {quota.name!r} of {quota.capacity}"
            draft.mistakes.append(Mistake(f"{path}.cost", message))


def _check_own(draft: Draft, policy: Policy, table: RuleTable, own: Iterable[Quota], path: str) -> None:
    known = {quota.name for quotas in (policy.quotas, *(p.quotas for p in policy.plans.values())) for quota in quotas}
    for quota in own:
        name, other = quota.name, next(one for one in policy.rule_quotas if one.name == quota.name)
        if name in known:
            message = f"a quota of all rules is named {name!r} already"
        elif msgspec.structs.replace(other, rule=quota.rule) != quota:
            message = f"{name!r} means another quota in the rule {other.rule!r}: give one of them another name"
        elif table.public and quota.per != "address":
            message = 'a public rule asks for no token, so its requests can only be counted per = "address"'
        else:
            continue
        draft.mistakes.append(Mistake(path_to(f"{path}.quotas", name), message))

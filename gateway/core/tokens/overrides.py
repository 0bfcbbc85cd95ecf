"""Overrides: limits of one token's own, which replace its plan's; each has an end, a reason and an author.

An override holds for one quota as the policy has it now. If the policy changes the quota's window or algorithm, the
override no longer holds: it was meant for something else.
"""

from collections.abc import Iterable

import msgspec

from gateway.core.errors import ChangeRefused
from gateway.core.policies.compile_rules import parse_quotas
from gateway.core.policies.model import Policy
from gateway.core.policies.reading import unknown_name
from gateway.core.policies.schema import MAXIMUM_CONCURRENT
from gateway.core.quotas.algorithms import ALGORITHMS
from gateway.core.quotas.model import Override, Quota
from gateway.core.tokens.records import TokenRecord

MAXIMUM_REASON_LENGTH = 255
MAXIMUM_AUTHOR_LENGTH = 128


class OverrideRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of an override that a caller requests; times are in Unix seconds."""

    limit: str
    """A number, or a limit of the quota's window in the grammar of `limits`: "1000/minute"."""
    burst: int | None
    """The burst of a token bucket; if None, the burst that the policy gives."""
    until: int
    reason: str
    author: str


def override_quota(
    policy: Policy, record: TokenRecord, name: str, request: OverrideRequest, now: int, plan: str | None = None
) -> TokenRecord:
    """Return the record with the quota overridden. Raise ChangeRefused if that is not possible.

    `now` is in Unix seconds; `plan` is the plan that counts, if that is not the record's.
    """
    if record.parent:
        raise ChangeRefused(f"a child has the limits of its parent: override those of token {record.parent}")
    if request.until <= now:
        raise ChangeRefused("the override would have ended already")
    _check_text("a reason", request.reason, MAXIMUM_REASON_LENGTH)
    _check_text("an author", request.author, MAXIMUM_AUTHOR_LENGTH)
    made = []
    for quota in _own_quotas(policy, record.plan if plan is None else plan, name):
        limit, capacity = _read_limit(quota, request)
        made.append(Override(quota.counter, limit, capacity, request.until, request.reason, request.author, set_at=now))
    kept = without_ended(record.overrides, now, {override.counter for override in made})
    return msgspec.structs.replace(record, overrides=(*kept, *made))


def remove_override(policy: Policy, record: TokenRecord, name: str, now: int, plan: str | None = None) -> TokenRecord:
    """Return the record without its overrides of the quota. Raise ChangeRefused if it has none.

    `now` is in Unix seconds.
    """
    counters = {quota.counter for quota in _own_quotas(policy, record.plan if plan is None else plan, name)}
    held = without_ended(record.overrides, now, set())
    kept = without_ended(record.overrides, now, counters)
    if kept == held:
        raise ChangeRefused(f"the token has no override of {name}")
    return msgspec.structs.replace(record, overrides=kept)


def without_ended(overrides: Iterable[Override], now: int, counters: set[str]) -> tuple[Override, ...]:
    """Return the overrides that still hold at `now`, Unix seconds, except those of `counters`."""
    return tuple(one for one in overrides if now < one.until and one.counter not in counters)


def _own_quotas(policy: Policy, plan: str, name: str) -> list[Quota]:
    """Return a token's quotas of a name: one, or one for each rule that has its own.

    Raise ChangeRefused if there is none, or if tokens cannot have their own limit of it.
    """
    known = policy.quotas_of(plan)
    named = [quota for quota in known if quota.name == name]
    if not named:
        raise ChangeRefused(unknown_name("quota", name, dict.fromkeys(quota.name for quota in known)))
    if named[0].per != "token":
        raise ChangeRefused(f"the quota {name} is counted per {named[0].per}: one token cannot have its own limit")
    return named


def _read_limit(quota: Quota, request: OverrideRequest) -> tuple[int, int]:
    """Return limit and capacity, within the bounds of a policy's limits. Raise ChangeRefused for others."""
    text, is_number = request.limit, request.limit.isascii() and request.limit.isdigit()
    if quota.is_concurrency:
        if request.burst is not None or not is_number or not 1 <= int(text[:12]) <= MAXIMUM_CONCURRENT:
            raise ChangeRefused(
                f"{quota.name} counts requests in flight: write a number from 1 to {MAXIMUM_CONCURRENT}"
            )
        return int(text), int(text)
    written = f"{text} per {quota.window_seconds} second" if is_number else text
    burst = quota.burst if ALGORITHMS[quota.algorithm].has_burst and request.burst is None else request.burst
    try:
        (parsed,) = parse_quotas(quota.name, written, quota.algorithm, burst)
    except ValueError as error:
        raise ChangeRefused(str(error)) from error
    if parsed.window_seconds != quota.window_seconds:
        message = (
            f"{quota.name} is counted in windows of {quota.window_seconds} s, {text} has {parsed.window_seconds} s"
        )
        raise ChangeRefused(message)
    return parsed.limit, parsed.capacity


def _check_text(what: str, text: str, maximum: int) -> None:
    if not text or len(text) > maximum or not text.isprintable():
        raise ChangeRefused(f"{what} has 1 to {maximum} characters and no control characters")

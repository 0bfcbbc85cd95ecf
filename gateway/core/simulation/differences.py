"""What a set of policies changes for whom, in words: the difference of two sets as they were compiled.

Compared is what the files mean, not how they are written: comments, order and another spelling of the same change
nothing. What has no words of its own is named by its key.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from gateway.core.policies.model import Plan, Policy, PolicySet, Rule
from gateway.core.quotas.model import CONCURRENT, FIXED_WINDOW, Quota

T = TypeVar("T")


class Difference(msgspec.Struct, frozen=True):
    """One thing that changes."""

    policy: str
    what: str
    """Whom or what it is about: `rule GET /export`, `plan pro`, `quota minute`; empty for the policy as a whole."""
    words: str
    """How it changes."""
    old: Quota | None = None
    """The quota that changes, as it was: for the evidence of a log."""
    new: Quota | None = None


def list_differences(old: PolicySet, new: PolicySet) -> list[Difference]:
    """Return all differences, by policy; empty if the sets mean the same."""
    found = list[Difference]()
    for name, before, after in _pairs(old.policies, new.policies):
        if before is None or after is None:
            found.append(Difference(name, "", "is new" if before is None else "is gone: its requests get 404"))
            continue
        rules = (
            {rule.pattern.text: rule for rule in old.rules_of(name)},
            {r.pattern.text: r for r in new.rules_of(name)},
        )
        for what, words in (*_policy_words(before, after), *_scope_words(before, after), *_rule_words(*rules)):
            found.append(Difference(name, what, words))
        found += _quota_differences(before, after)
    return found


def _policy_words(old: Policy, new: Policy) -> Iterator[tuple[str, str]]:
    for key, read in POLICY_KEYS.items():
        before, after = read(old), read(new)
        if before != after:
            yield "", f"{key}: {_say(before)} becomes {_say(after)}"
    for key, hidden in POLICY_TABLES.items():
        if hidden(old) != hidden(new):
            yield "", f"{key} changes"


POLICY_KEYS: Mapping[str, Callable[[Policy], Any]] = {
    "hosts": lambda policy: policy.hosts,
    "token.prefixes": lambda policy: policy.token_format.prefixes,
    "token.credential": lambda policy: [f"{one.scheme} in {one.field.decode()}" for one in policy.credentials],
    "token.bound_to": lambda policy: policy.bound_to,
    "token.known_owners": lambda policy: policy.has_known_owners,
    "token.own_plans": lambda policy: policy.has_own_plans,
    "token.unique_names": lambda policy: policy.has_unique_names,
    "token.parent_scope": lambda policy: policy.parent_scope,
    "token.sign_in_scope": lambda policy: policy.sign_in_scope,
}
"""Keys whose values may be shown."""
POLICY_TABLES: Mapping[str, Callable[[Policy], Any]] = {
    "upstream": lambda policy: policy.upstream,
    "management": lambda policy: policy.management,
    "errors": lambda policy: policy.errors,
    "bundles": lambda policy: policy.bundles,
}
"""Tables that are only named: they are large, or may hold a secret."""


def _scope_words(old: Policy, new: Policy) -> Iterator[tuple[str, str]]:
    for name, before, after in _pairs(old.scopes, new.scopes):
        if before is None or after is None:
            yield f"scope {name}", "is new" if before is None else "is gone: nobody holds it any more"
            continue
        grants = (old.scope_grants[name], new.scope_grants[name])
        if grants[0] != grants[1]:
            yield f"scope {name}", f"granted by {_say(sorted(grants[0]))}, becomes granted by {_say(sorted(grants[1]))}"
    for name, first, then in _pairs(old.plans, new.plans):
        if first is None or then is None:
            gone = "is gone: its tokens are refused with 403 (insufficient_plan)"
            yield f"plan {name}", "is new" if first is None else gone
        elif first.held != then.held:
            was, becomes = _covered(old, first), _covered(new, then)
            less, more = sorted(was - becomes), sorted(becomes - was)
            words = [f"no longer covers {_say(less)}"] * bool(less) + [f"now covers {_say(more)}"] * bool(more)
            if words:
                yield f"plan {name}", "; ".join(words)


def _covered(policy: Policy, plan: Plan) -> set[str]:
    return set(policy.scopes) if plan.held is None else set(plan.held)


def _rule_words(old: Mapping[str, Rule], new: Mapping[str, Rule]) -> Iterator[tuple[str, str]]:
    for text, before, after in _pairs(old, new):
        if before is None or after is None:
            yield f"rule {text}", "is new" if before is None else "is gone: another rule takes its requests, or 404"
            continue
        for key, read in RULE_KEYS.items():
            was, becomes = read(before), read(after)
            if was != becomes:
                yield f"rule {text}", f"{key}: {_say(was)} becomes {_say(becomes)}"
        for key, read in RULE_TABLES.items():
            if read(before) != read(after):
                yield f"rule {text}", f"{key} changes"


RULE_KEYS: Mapping[str, Callable[[Rule], Any]] = {
    "scopes": lambda rule: rule.scopes,
    "public": lambda rule: rule.is_public,
    "cost": lambda rule: rule.cost.by_outcome or rule.cost.reserved,
    "manage": lambda rule: rule.manage,
    "etag": lambda rule: rule.etag,
}
RULE_TABLES: Mapping[str, Callable[[Rule], Any]] = {
    "cache": lambda rule: rule.cache,
    "variants": lambda rule: rule.variants,
    "project": lambda rule: rule.project_segment,
    "its time-outs": lambda rule: msgspec.structs.replace(rule.upstream, targets=()),
}


def _quota_differences(old: Policy, new: Policy) -> Iterator[Difference]:
    """Yield the quotas that change, once for all plans that have the same, else for each plan."""
    found: dict[tuple[str, Quota | None, Quota | None], list[str]] = {}
    for plan in sorted(old.plans.keys() & new.plans.keys()):
        pairs = _pairs(_by_name(old.quotas_of(plan)), _by_name(new.quotas_of(plan)))
        for name, before, after in pairs:
            if before != after:
                found.setdefault((name, before, after), []).append(plan)
    shared = len(old.plans.keys() & new.plans.keys())
    for (name, before, after), plans in found.items():
        whose = "" if len(plans) == shared else f"plan{'s' * (len(plans) > 1)} {', '.join(plans)}: "
        yield Difference(new.name, f"{whose}quota {name}", _say_change(before, after), before, after)


def _by_name(quotas: Iterable[Quota]) -> dict[str, Quota]:
    return {f"{quota.name} of {quota.rule}" if quota.rule else quota.name: quota for quota in quotas}


def _say_change(before: Quota | None, after: Quota | None) -> str:
    if before is None or after is None:
        return f"is new: {describe(after)}" if after else "is gone: nothing limits what it limited"
    return f"{describe(before)} becomes {describe(after)}"


def describe(quota: Quota) -> str:
    """Return a quota in words: `100 in 60 s per project, in shadow`."""
    if quota.algorithm == CONCURRENT:
        words = f"{quota.limit:,} at once"
    else:
        words = f"{quota.limit:,} in {quota.window_seconds:,} s"
        words += "" if quota.algorithm == FIXED_WINDOW else f" ({quota.algorithm})"
    words += "" if quota.burst is None else f", {quota.burst:,} at once"
    words += "" if quota.per == "token" else f", per {quota.per}"
    return words + (", in shadow" if quota.is_shadow else "")


def _pairs(old: Mapping[str, T], new: Mapping[str, T]) -> Iterator[tuple[str, T | None, T | None]]:
    for name in sorted({*old, *new}):
        yield name, old.get(name), new.get(name)


def _say(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    if isinstance(value, list | tuple | frozenset):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if value not in ("", None) else "none"

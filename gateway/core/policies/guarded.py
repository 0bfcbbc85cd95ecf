"""Rules for an app that guards its own handlers: the handler says which scopes it needs, the policy everything else.

If a rule of the policy matches the request, its quotas, costs, cache and scopes hold, and the handler's scopes are
needed too. If none matches, or only a public one, a rule with the policy's general quotas is used.
"""

from collections.abc import Sequence

import msgspec

from gateway.core.policies.compile_rules import allot
from gateway.core.policies.matching import Pattern
from gateway.core.policies.model import Policy, PolicySet, Rule
from gateway.core.policies.script_rules import encode_script_rule
from gateway.core.quotas.costs import Cost


def build_rule(policy: Policy, pattern: Pattern, cost: int) -> Rule:
    """Build a rule that no file has: it needs a valid token, and has the quotas of the token's plan."""
    allotments = {name: allot(plan.quotas) for name, plan in policy.plans.items()}
    quotas = [quota for one in allotments.values() for quota in one.quotas]
    rule = Rule(
        policy=policy,
        pattern=pattern,
        scopes=(),
        granting=(),
        permitted_plans=frozenset(policy.plans),
        cost=Cost(cost),
        cache=None,
        upstream=policy.upstream,
        allotments=allotments,
        has_leases=any(quota.is_concurrency for quota in quotas),
        counts_addresses=any(quota.per == "address" for quota in quotas),
    )
    return msgspec.structs.replace(rule, script_rule=encode_script_rule(rule))


def require(rule: Rule, needed: Sequence[str]) -> Rule:
    """Return the rule with more scopes.

    No token holds a scope that the policy does not know: a reload may have removed it.
    """
    policy = rule.policy
    scopes = tuple(dict.fromkeys((*rule.scopes, *needed)))
    stricter = msgspec.structs.replace(
        rule,
        scopes=scopes,
        granting=tuple(policy.scope_grants.get(scope, frozenset[str]()) for scope in scopes),
        permitted_plans=frozenset(name for name, plan in policy.plans.items() if plan.covers(scopes)),
    )
    return msgspec.structs.replace(stricter, script_rule=encode_script_rule(stricter))


class GuardedRules:
    """The rules of one policy set for one app, each built once."""

    def __init__(self, policies: PolicySet, policy: str) -> None:
        self.policies = policies
        self._policy = policies.policies.get(policy)
        self._made: dict[tuple[str, str, tuple[str, ...]], Rule] = {}
        self._stand_ins: dict[str, Rule] = {}

    def find(
        self, host: str, method: str, segments: tuple[str, ...], route: str, needed: Sequence[str] | None
    ) -> Rule | None:
        """Return the rule of a request to `route`, whose handler needs a token with these scopes; None means no token.

        Raise LookupError if a handler needs a token, and the app's policy is not loaded.
        """
        written = self.policies.match(host, method, segments)
        if needed is None:
            return written
        base = written if written is not None and not written.is_public else self._stand_in(f"{method} {route}")
        key = (base.policy.name, base.pattern.text, tuple(needed))
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = require(base, needed)
        return made

    def _stand_in(self, text: str) -> Rule:
        if self._policy is None:
            raise LookupError("the policy of this app is not among those that are loaded")
        stand_in = self._stand_ins.get(text)
        if stand_in is None:
            pattern = Pattern(text, (), (), matches_below=False)
            stand_in = self._stand_ins[text] = build_rule(self._policy, pattern, cost=1)
        return stand_in

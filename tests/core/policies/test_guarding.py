"""What a request needs whose handler has a guard, with a rule of the policy and without."""

import json

import pytest
from msgspec.structs import replace

from gateway.core.admission.decision import Authorized, Refused, Verdict, decide
from gateway.core.http.reasons import Reason
from gateway.core.policies.guarded import GuardedRules
from gateway.core.policies.model import Rule
from tests.core.samples import RECORD, SHOP, facts_for, load

PUBLIC = '\n[[rules]]\nmatch = "GET /published"\npublic = true\n'
RULES = SHOP.replace("[errors]", PUBLIC + "[errors]")


def find(method: str, path: str, needed: list[str] | None, guarded: GuardedRules | None = None) -> Rule | None:
    guarded = guarded or GuardedRules(load(RULES), "shop")
    return guarded.find("any.example", method, tuple(path.split("/")[1:]), path, needed)


def ask(rule: Rule, scopes: str = "read") -> Verdict:
    return decide(facts_for(rule, replace(RECORD, scopes=scopes)))


def test_without_a_guard_the_policys_rule_is_what_counts() -> None:
    """And where there is none either, the request is none of the gateway's business."""
    rule = find("GET", "/items/1", None)
    assert rule is not None
    assert "GET /items/{item}" == rule.pattern.text
    assert ("read",) == rule.scopes
    assert find("GET", "/elsewhere", None) is None


def test_a_guard_adds_to_a_rule() -> None:
    """Its scopes are needed with the rule's own; quotas, cost and cache stay the rule's."""
    rule = find("POST", "/items", ["admin"])
    assert rule is not None
    assert ("write", "admin") == rule.scopes
    assert 10 == rule.cost.reserved
    assert frozenset({"all"}) == rule.permitted_plans
    assert ["admin"] in json.loads(rule.script_rule)["needed"]
    cached = find("GET", "/items/1", ["write"])
    assert cached is not None
    assert cached.cache is not None
    assert Reason.INSUFFICIENT_SCOPE == decide_reason(cached)


def decide_reason(rule: Rule, scopes: str = "read") -> Reason | None:
    verdict = ask(rule, scopes)
    return verdict.reason if isinstance(verdict, Refused) else None


def test_a_guard_alone_has_the_quotas_of_the_plan() -> None:
    """Where no rule matches, and where a public one does: a guard is never without a token."""
    for path in ("/elsewhere", "/published"):
        rule = find("GET", path, [])
        assert rule is not None
        assert not rule.is_public
        assert ["minute", "day"] == [quota.name for quota in rule.allotments["pro"].quotas]
        assert f"GET {path}" == rule.pattern.text
        assert 1 == rule.cost.reserved
        assert None is rule.cache
        assert isinstance(ask(rule, ""), Authorized)


def test_a_scope_that_is_gone_is_held_by_nobody() -> None:
    """A reload may remove what a handler asks for: then nobody passes."""
    rule = find("GET", "/elsewhere", ["gone"])
    assert rule is not None
    assert Reason.INSUFFICIENT_SCOPE == decide_reason(rule, "read write admin")


def test_a_policy_that_is_gone_lets_nobody_pass() -> None:
    """The error is the gateway's, and no handler is asked."""
    guarded = GuardedRules(load(RULES), "other")
    with pytest.raises(LookupError, match="not among those"):
        find("GET", "/elsewhere", [], guarded)


def test_rules_are_made_once() -> None:
    """The same handler's requests share one rule, and with it what is remembered of it."""
    guarded = GuardedRules(load(RULES), "shop")
    for path in ("/elsewhere", "/items/1"):
        assert find("GET", path, ["read"], guarded) is find("GET", path, ["read"], guarded)
        assert find("GET", path, ["read"], guarded) is not find("GET", path, ["write"], guarded)

"""Explain why a request with a token would pass or not: the checks of a request in order, each with what it found.

The checks are those of core/admission/decision.py, run over facts that were read without charging anything.
"""

from collections.abc import Sequence

import msgspec

from gateway.core.admission.decision import (
    NO_RESTRICTIONS,
    PERMISSION_CHECKS,
    TOKEN_CHECKS,
    AdmissionFacts,
    AdmissionRequest,
    Restrictions,
    lacking_scopes,
    scope_grantors,
)
from gateway.core.http.fields import build_timestamp
from gateway.core.http.reasons import Reason
from gateway.core.http.targets import parse_path
from gateway.core.policies.model import PolicySet, Rule
from gateway.core.quotas.model import Window, exceeded
from gateway.core.tokens.changes import state_of
from gateway.core.tokens.records import TokenRecord

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""The methods that are tried to find out which ones a path takes."""

CHECKS = {
    Reason.MALFORMED_TARGET: "the path is unambiguous",
    Reason.NO_MATCHING_RULE: "a rule matches",
    Reason.REVOKED_TOKEN: "it is not revoked",
    Reason.UNKNOWN_TOKEN: "it is a token of the rule's policy",
    Reason.PARENT_ENDED: "its parent, if it has one, works",
    Reason.DISABLED_TOKEN: "it is enabled",
    Reason.NOT_YET_VALID_TOKEN: "it has begun",
    Reason.EXPIRED_TOKEN: "it has not ended",
    Reason.OWNER_BLOCKED: "its owner is active",
    Reason.OTHER_PROJECT: "it and its owner are of the project that the request is about",
    Reason.INSUFFICIENT_SCOPE: "it, its owner and its parent hold the scopes of the rule",
    Reason.INSUFFICIENT_PLAN: "its plan covers the scopes of the rule",
    Reason.QUOTA_EXCEEDED: "its quotas have room",
}
"""What each check asks; if it fails, the request is refused for that reason."""


class Check(msgspec.Struct, frozen=True):
    """One check and its result; the note is empty if there is nothing to add."""

    reason: Reason
    check: str
    passes: bool
    note: str = ""


class Inspection(msgspec.Struct, frozen=True):
    """The facts that Redis had about a token at one instant, for any request. `now` is Unix time in milliseconds."""

    now: int
    record: TokenRecord
    is_revoked: bool
    windows: tuple[Window, ...]
    """The state of the quotas of its plan; empty if the rule is of another policy."""
    restrictions: Restrictions = NO_RESTRICTIONS


def match_request(policies: PolicySet, host: str, method: str, path: str) -> tuple[Rule | None, list[Check]]:
    """Return the rule of a request, and the checks that led to it."""
    segments = parse_path(path)
    if segments is None:
        return None, [_check(Reason.MALFORMED_TARGET, passes=False)]
    rule = policies.match(host, method, segments)
    note = f"{rule.pattern.text} of {rule.policy.name}" if rule else _why_none(policies, host, method, segments)
    return rule, [_check(Reason.MALFORMED_TARGET), _check(Reason.NO_MATCHING_RULE, rule is not None, note)]


def project_of(rule: Rule | None, path: str) -> str:
    """Return the project that a path names under its rule; empty without a rule, or if the rule binds no project."""
    return rule.project_of(parse_path(path) or ()) if rule else ""


def build_facts(request: AdmissionRequest, inspection: Inspection) -> AdmissionFacts:
    """Return what the admission of the request would find, as if it were charged if there is room."""
    rule = request.rule
    return AdmissionFacts(
        request=request,
        now=inspection.now,
        record=inspection.record if inspection.record.policy == rule.policy.name else None,
        is_revoked=inspection.is_revoked,
        is_charged=not exceeded(inspection.windows, rule.cost.reserved),
        windows=inspection.windows,
        stored_heads=(),
        restrictions=inspection.restrictions,
    )


def explain_decision(request: AdmissionRequest, inspection: Inspection) -> list[Check]:
    """Return every check of a decision in order; if it is no token of the policy, the later ones are left out.

    A public rule asks for no token and so checks none.
    """
    if request.rule.is_public:
        return []
    facts = build_facts(request, inspection)
    found = [(Reason.REVOKED_TOKEN, facts.is_revoked), (Reason.UNKNOWN_TOKEN, facts.record is None)]
    if facts.record is not None:
        found += [(reason, fails(facts.record, facts)) for reason, fails in (*TOKEN_CHECKS, *PERMISSION_CHECKS)]
    return [
        _check(reason, not is_failed, _note(reason, inspection.record, facts) if is_failed else "")
        for reason, is_failed in found
    ]


def first_failure(checks: Sequence[Check]) -> Reason | None:
    """Return the reason for which the request would be refused, or None if it would pass."""
    return next((check.reason for check in checks if not check.passes), None)


def _check(reason: Reason, passes: bool = True, note: str = "") -> Check:
    return Check(reason, CHECKS[reason], passes, note)


def _why_none(policies: PolicySet, host: str, method: str, segments: tuple[str, ...]) -> str:
    """Explain why no rule matches: another method would, another host would, or no rule has this path."""
    methods = [other for other in METHODS if policies.match(host, other, segments)]
    if methods:
        return f"none for {method}; the path takes {', '.join(methods)}"
    hosts = sorted(
        other
        for policy in policies.policies.values()
        for other in policy.hosts
        if policies.match(other, method, segments)
    )
    if hosts:
        return f"none on {host or 'an unnamed host'}; one does on {', '.join(hosts)}"
    return "none has this path"


def _parent_state(facts: AdmissionFacts) -> str:
    parent, is_revoked = facts.restrictions.parent, facts.restrictions.is_parent_revoked
    return "gone" if parent is None else state_of(parent, is_revoked, facts.now // 1000)


def _note(reason: Reason, record: TokenRecord, facts: AdmissionFacts) -> str:
    """Return what an operator needs to know about a check that failed."""
    rule, named = facts.request.rule, facts.request.project
    policy = rule.policy
    if reason is Reason.UNKNOWN_TOKEN:
        return f"the rule is of the policy {policy.name}, the token of {record.policy}"
    if reason is Reason.NOT_YET_VALID_TOKEN and record.not_before is not None:
        return f"it begins {build_timestamp(record.not_before).decode()}"
    if reason is Reason.EXPIRED_TOKEN and record.expires_at is not None:
        return f"it ended {build_timestamp(record.expires_at).decode()}"
    if reason is Reason.PARENT_ENDED:
        return f"the parent {record.parent} is {_parent_state(facts)}"
    if reason is Reason.OWNER_BLOCKED and facts.restrictions.owner is not None:
        return f"the owner {record.owner} is {facts.restrictions.owner.status}"
    if reason is Reason.OTHER_PROJECT:
        if record.project and named not in ("", record.project):
            return f"the token is for {record.project}, the request for {named}"
        return f"the owner {record.owner} has no part in {named or record.project}"
    if reason is Reason.INSUFFICIENT_SCOPE:
        grantors = [(grantor, lacking_scopes(rule, scopes)) for grantor, scopes in scope_grantors(record, facts)]
        return "; ".join(f"{grantor} lacks {', '.join(lacking)}" for grantor, lacking in grantors if lacking)
    if reason is Reason.INSUFFICIENT_PLAN:
        is_owners = facts.restrictions.owner is not None and facts.restrictions.owner.plan == record.plan
        named = f"{record.plan!r}{f' of the owner {record.owner}' if is_owners else ''}"
        plan = policy.plans.get(record.plan)
        if plan is None:
            return f"the policy has no plan {named}"
        return f"the plan {named} lacks {', '.join(s for s in rule.scopes if s not in (plan.held or ()))}"
    if reason is Reason.QUOTA_EXCEEDED:
        over = exceeded(facts.windows, rule.cost.reserved)
        return f"{', '.join(window.quota.name for window in over)} has no room for {rule.cost.reserved}"
    return ""

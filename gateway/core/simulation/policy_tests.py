"""The tests that a policy file has for itself: requests, repeated and after a while, and the status they get.

The decision is the one of production; quotas are counted by the reference model, from nothing, with a clock that stands
still and jumps by `after`.
"""

from collections.abc import Iterator, Sequence

import msgspec

from gateway.core.admission.decision import (
    NO_RESTRICTIONS,
    AdmissionFacts,
    AdmissionRequest,
    Refused,
    Restrictions,
    decide,
)
from gateway.core.http.problems import PROBLEMS
from gateway.core.http.reasons import Reason
from gateway.core.http.targets import parse_path
from gateway.core.policies.matching import METHOD
from gateway.core.policies.model import Policy, PolicySet, Rule
from gateway.core.policies.reading import Mistake, path_to, unknown_name
from gateway.core.policies.schema import PolicyDocument, TestTable
from gateway.core.quotas.algorithms import State
from gateway.core.quotas.charging import charge, refund, release
from gateway.core.quotas.costs import Outcome
from gateway.core.quotas.model import parse_duration
from gateway.core.tokens.owners import OwnerStanding
from gateway.core.tokens.records import TokenRecord
from gateway.core.variants.model import InvalidOptions
from gateway.core.variants.options import parse_variant

PASSES = 200
"""The status a policy's test expects of a request that would be passed on."""
BEGINNING = 1_800_000_000_000
"""The moment of a test's first request, in Unix milliseconds: the same each time."""
_NAMED = ("scopes", "parent_scopes")


def failed_tests(document: PolicyDocument, policies: PolicySet) -> Iterator[Mistake]:
    """Yield a mistake for each of the document's tests whose request gets another status than it expects."""
    policy = policies.policies[document.name]
    for index, test in enumerate(document.tests):
        path = path_to("$.tests", index)
        mistakes = list(_find_mistakes(test, policy, path))
        if mistakes:
            yield from mistakes
            continue
        outcome = _outcome(test, policy, policies)
        status = PROBLEMS[outcome].status if outcome else PASSES
        if status != test.expect:
            yield Mistake(path, f"{_describe(test)} gets {status} ({outcome or 'passes'}), expected {test.expect}")


def _describe(test: TestTable) -> str:
    often = f", {test.requests} times" if test.requests > 1 else ""
    return f"{test.request!r}{often}{f', and once more after {test.after}' if test.after else ''}"


def _find_mistakes(test: TestTable, policy: Policy, path: str) -> Iterator[Mistake]:
    """Yield the plans and scopes that the policy does not have, and a duration that is none."""
    owner = test.owner
    for place, plan in ((f"{path}.plan", test.plan), (f"{path}.owner.plan", owner.plan if owner else "")):
        if plan and plan not in policy.plans:
            yield Mistake(place, unknown_name("plan", plan, policy.plans))
    named = [(f"{path}.{name}", getattr(test, name)) for name in _NAMED]
    for place, scopes in (*named, (f"{path}.owner.scopes", owner.scopes if owner else None)):
        for position, scope in enumerate(scopes or ()):
            if scope not in policy.scope_names:
                yield Mistake(path_to(place, position), unknown_name("scope", scope, policy.scope_names))
    if test.after is not None:
        try:
            parse_duration(test.after)
        except ValueError as error:
            yield Mistake(f"{path}.after", str(error))


def _outcome(test: TestTable, policy: Policy, policies: PolicySet) -> Reason | None:
    """Return the reason why the tested request is refused, the last of them; None if it passes."""
    method, _, target = test.request.partition(" ")
    path, _, query = target.partition("?")
    segments = parse_path(path)
    if segments is None or METHOD.fullmatch(method) is None:
        return Reason.MALFORMED_TARGET
    host = test.host if test.host is not None else policy.hosts[0] if policy.hosts else ""
    rule = policies.match(host, method, segments)
    if rule is None or (rule.policy is not policy and test.host is None):
        return Reason.NO_MATCHING_RULE
    if not test.token and not rule.is_public:
        return Reason.MISSING_CREDENTIALS
    if rule.policy is not policy and not rule.is_public:
        return Reason.UNKNOWN_TOKEN  # a token of one policy is unknown to the others
    refused = _decide_all(test, rule, rule.project_of(segments))
    if refused is not None:
        return refused
    invalid = parse_variant(rule.variants, query, segments) if rule.variants else None
    if not isinstance(invalid, InvalidOptions):
        return None
    return Reason.NO_MATCHING_RULE if invalid.in_path else Reason.INVALID_OPTION


def _decide_all(test: TestTable, rule: Rule, project: str) -> Reason | None:
    """Return the reason of the last request, None if it passes: each is decided and counted after the one before."""
    facts = _facts(rule, test, project)
    allotment = rule.allotment_of(None if rule.is_public else facts.record)
    quotas = allotment.quotas if allotment else ()
    states: Sequence[State | None] = (None,) * len(quotas)
    moments = [BEGINNING] * test.requests
    if test.after is not None:
        moments.append(BEGINNING + parse_duration(test.after) * 1000)
    reason: Reason | None = None
    for now in moments:
        room = charge(quotas, states, rule.cost.reserved, now, "lease")
        found = msgspec.structs.replace(facts, now=now, is_charged=room.is_charged, windows=room.windows)
        verdict = decide(found)
        reason = verdict.reason if isinstance(verdict, Refused) else None
        if reason is None:
            units = rule.cost.reserved - _cost(test, rule)
            states = release(refund(quotas, room.states, units, now, now) if units else room.states, "lease")
    return reason


def _cost(test: TestTable, rule: Rule) -> int:
    if test.outcome is None or rule.cost.by_outcome is None:
        return rule.cost.reserved
    return rule.cost.by_outcome[Outcome(test.outcome)]


def _facts(rule: Rule, test: TestTable, asked_project: str) -> AdmissionFacts:
    policy, owner = rule.policy, test.owner
    every = " ".join(policy.scopes)
    scopes = every if test.scopes is None else policy.own_scopes(test.scopes)
    plan = policy.plan_of(test.plan or "", owner.plan if owner else "")
    named = ("owner" if owner else "", "parent" if test.parent_scopes is not None else "")
    record = TokenRecord(0, "", policy.name, True, None, None, scopes, plan, "", "", named[0], "", "", 0)
    record = msgspec.structs.replace(record, project=test.project or "", parent=named[1])
    restrictions = NO_RESTRICTIONS
    if owner is not None or test.parent_scopes is not None:
        held = None if owner is None else every if owner.scopes is None else policy.own_scopes(owner.scopes)
        standing = None if owner is None else OwnerStanding(owner.status, held, owner.plan)
        parent = None
        if test.parent_scopes is not None:
            parent = msgspec.structs.replace(record, scopes=policy.own_scopes(test.parent_scopes), parent="")
        restrictions = Restrictions(standing, parent)
    request = AdmissionRequest(rule, project=asked_project)
    return AdmissionFacts(request, BEGINNING, record, False, True, (), (), restrictions)

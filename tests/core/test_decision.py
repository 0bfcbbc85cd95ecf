"""The verdict: the first check that fails names the reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.admission.decision import (
    PERMISSION_CHECKS,
    TOKEN_CHECKS,
    AdmissionFacts,
    AdmissionRequest,
    Authorized,
    Refused,
    Restrictions,
    Verdict,
    decide,
    effective_scopes,
    ends_at,
)
from gateway.core.http.reasons import Reason
from gateway.core.policies.model import Rule
from gateway.core.quotas.model import Quota, Window
from gateway.core.tokens.owners import OwnerStanding
from gateway.core.tokens.records import TokenRecord
from tests.core.samples import NOW, NOW_MILLISECONDS, RECORD, facts_for, find_rule

READ = find_rule("GET", "items", "1")
WRITE = find_rule("POST", "items")
FULL = Window(Quota("minute", 100, 60), 95, NOW_MILLISECONDS + 1)
ROOMY = Window(Quota("day", 1000, 86400), 5, NOW_MILLISECONDS + 1)
GOOD = facts_for(READ)

records = st.builds(
    replace,
    st.just(RECORD),
    is_active=st.booleans(),
    not_before=st.none() | st.integers(NOW - 2, NOW + 2),
    expires_at=st.none() | st.integers(NOW - 2, NOW + 2),
    scopes=st.sampled_from(["", "read", "write", "admin", "read write", "readwrite"]),
    plan=st.sampled_from(["free", "pro", "all", "gone", ""]),
    project=st.sampled_from(["website", ""]),
    parent=st.sampled_from(["", "", "cd" * 12]),
)
restrictions = st.builds(
    Restrictions,
    owner=st.none()
    | st.builds(
        OwnerStanding,
        status=st.sampled_from(["active", "active", "active", "blocked", "removed"]),
        scopes=st.sampled_from([None, "", "read", "write", "admin"]),
    ),
    parent=st.none() | records,
    is_parent_revoked=st.booleans(),
)
random_facts = st.builds(
    AdmissionFacts,
    request=st.builds(AdmissionRequest, rule=st.just(READ), project=st.sampled_from(["", "website", "shop"])),
    now=st.integers(NOW_MILLISECONDS - 1500, NOW_MILLISECONDS + 1500),
    record=st.none() | records,
    is_revoked=st.booleans(),
    is_charged=st.booleans(),
    windows=st.lists(st.sampled_from([FULL, ROOMY]), unique=True).map(tuple),
    stored_heads=st.just(()),
    restrictions=restrictions,
)


def name_reason(needs: str, facts: AdmissionFacts) -> Reason | None:
    """The documented order, written down a second time and as plainly as can be."""
    record = facts.record
    if facts.is_revoked:
        return Reason.REVOKED_TOKEN
    if record is None:
        return Reason.UNKNOWN_TOKEN
    if record.parent and has_ended(facts.restrictions, facts.now):
        return Reason.PARENT_ENDED
    if not record.is_active:
        return Reason.DISABLED_TOKEN
    if record.not_before is not None and facts.now < 1000 * record.not_before:
        return Reason.NOT_YET_VALID_TOKEN
    if record.expires_at is not None and facts.now >= 1000 * record.expires_at:
        return Reason.EXPIRED_TOKEN
    return name_lack(needs, facts, record)


def has_ended(restrictions: Restrictions, now: int) -> bool:
    parent = restrictions.parent
    if parent is None or restrictions.is_parent_revoked or not parent.is_active:
        return True
    return (parent.not_before or 0) * 1000 > now or now >= 1000 * (parent.expires_at or 2 * NOW)


def name_lack(needs: str, facts: AdmissionFacts, record: TokenRecord) -> Reason | None:
    owner, parent = facts.restrictions.owner, facts.restrictions.parent
    if owner and owner.status != "active":
        return Reason.OWNER_BLOCKED
    if facts.request.project not in ("", "website") and record.project == "website":
        return Reason.OTHER_PROJECT
    if owner and owner.scopes is None and (facts.request.project or record.project):
        return Reason.OTHER_PROJECT
    implied = {"read": {"read"}, "write": {"read", "write"}, "admin": {"read", "write", "admin"}}
    for held in (record.scopes, owner.scopes or "" if owner else None, parent.scopes if parent else None):
        if held is not None and not any(needs in implied.get(scope, ()) for scope in held.split()):
            return Reason.INSUFFICIENT_SCOPE
    if needs not in {"free": {"read"}, "pro": {"read", "write"}, "all": {"read", "write"}}.get(record.plan, ()):
        return Reason.INSUFFICIENT_PLAN
    return None if facts.is_charged else Reason.QUOTA_EXCEEDED


def reason_of(facts: AdmissionFacts, rule_name: str = "read") -> Reason | None:
    verdict = decide_under({"read": READ, "write": WRITE}[rule_name], facts)
    return verdict.reason if isinstance(verdict, Refused) else None


def decide_under(rule: Rule, facts: AdmissionFacts) -> Verdict:
    return decide(replace(facts, request=replace(facts.request, rule=rule)))


@given(random_facts, st.sampled_from(["read", "write"]))
def test_the_reason_is_the_first_that_applies(facts: AdmissionFacts, needs: str) -> None:
    """Whatever the facts, the reason is the first in the documented order, and none where all checks pass."""
    assert name_reason(needs, facts) == reason_of(facts, needs)


@given(random_facts, st.sampled_from([{"is_revoked": True}, {"record": None}, {"is_charged": False}]))
def test_no_further_reason_to_refuse_lets_anybody_in(facts: AdmissionFacts, worse: dict[str, bool | None]) -> None:
    """A request that is refused is still refused when the facts become worse."""
    for rule in (READ, WRITE):
        if isinstance(decide_under(rule, facts), Refused):
            assert isinstance(decide_under(rule, replace(facts, **worse)), Refused)


def test_the_order_of_the_checks_is_the_documented_one() -> None:
    """Behind revoked and unknown tokens, the tables hold every reason once, in the order in which answers are given."""
    expected = [
        Reason.PARENT_ENDED,
        Reason.DISABLED_TOKEN,
        Reason.NOT_YET_VALID_TOKEN,
        Reason.EXPIRED_TOKEN,
        Reason.OWNER_BLOCKED,
        Reason.OTHER_PROJECT,
        Reason.INSUFFICIENT_SCOPE,
        Reason.INSUFFICIENT_PLAN,
        Reason.QUOTA_EXCEEDED,
    ]
    assert expected == [reason for reason, _ in (*TOKEN_CHECKS, *PERMISSION_CHECKS)]


def test_a_good_token_is_allowed_in_its_own_name() -> None:
    """The verdict carries the record of the token that was let in."""
    assert Authorized(READ, GOOD) == decide(GOOD)


@given(random_facts)
def test_facts_are_told_of_authenticated_tokens_only(facts: AdmissionFacts) -> None:
    """A refusal that says nothing about its holder carries no facts, so no answer can give any away."""
    for rule in (READ, WRITE):
        asked = replace(facts, request=replace(facts.request, rule=rule))
        verdict = decide(asked)
        if isinstance(verdict, Refused):
            is_authenticated = verdict.reason in {reason for reason, _ in PERMISSION_CHECKS}
            assert (asked if is_authenticated else None) == verdict.facts


def test_the_windows_without_room_for_the_cost_are_named() -> None:
    """A refusal over a quota names the windows that had no room for the rule's cost, and no others."""
    verdict = decide_under(WRITE, replace(GOOD, is_charged=False, windows=(FULL, ROOMY)))
    assert isinstance(verdict, Refused)
    assert (Reason.QUOTA_EXCEEDED, ("minute",)) == (verdict.reason, verdict.violated_policies)


@pytest.mark.parametrize(
    ("milliseconds", "reason"),
    [(-1, Reason.NOT_YET_VALID_TOKEN), (0, None), (999, None), (1000, Reason.EXPIRED_TOKEN)],
)
def test_a_token_works_from_its_first_to_before_its_last_second(milliseconds: int, reason: Reason | None) -> None:
    """The first second counts, the second of expiry does not."""
    record = replace(RECORD, not_before=NOW, expires_at=NOW + 1)
    assert reason == reason_of(replace(GOOD, now=NOW_MILLISECONDS + milliseconds, record=record))


@pytest.mark.parametrize("scopes", ["", "rea", "readwrite", "READ", " "])
def test_a_scope_is_compared_whole(scopes: str) -> None:
    """Parts of a scope's name, or its name in capitals, grant nothing."""
    assert Reason.INSUFFICIENT_SCOPE == reason_of(replace(GOOD, record=replace(RECORD, scopes=scopes)))


def test_a_plan_bounds_what_the_scopes_allow() -> None:
    """A token that holds a scope may use it as far as its plan goes."""
    record = replace(RECORD, scopes="write", plan="free")
    assert None is reason_of(replace(GOOD, record=record), "read")
    assert Reason.INSUFFICIENT_PLAN == reason_of(replace(GOOD, record=record), "write")


@pytest.mark.parametrize(
    ("plan", "grantors", "expected"),
    [
        ("pro", [], "read write"),
        ("all", [], "admin"),
        ("all", ["admin"], "admin read write"),
        ("all", ["write"], "read write"),
        ("all", ["write", "read"], "read"),
        ("free", ["write"], "read"),
        ("pro", ["write", ""], ""),
    ],
)
def test_effective_scopes_are_those_of_every_grantor(plan: str, grantors: list[str], expected: str) -> None:
    """What token, owner and parent all hold, by itself or by implication, and the plan covers."""
    owner, parent = [*grantors, None, None][:2]
    record = replace(RECORD, scopes="admin", plan=plan)
    restrictions = Restrictions(
        None if owner is None else OwnerStanding("active", owner),
        None if parent is None else replace(RECORD, scopes=parent),
    )
    assert expected == effective_scopes(READ, replace(GOOD, record=record, restrictions=restrictions))


def test_a_child_ends_with_its_parent_or_before() -> None:
    """The earlier of the two ends is told; none where neither has one."""
    for own, other, expected in ((None, None, None), (7, None, 7), (None, 8, 8), (7, 8, 7), (9, 8, 8)):
        facts = replace(
            GOOD,
            record=replace(RECORD, expires_at=own),
            restrictions=Restrictions(parent=replace(RECORD, expires_at=other)),
        )
        assert expected == ends_at(facts)


def test_a_plan_that_the_policy_no_longer_has_permits_nothing() -> None:
    """After a plan was removed from the policy its tokens are refused, and have no quotas to tell of."""
    facts = replace(GOOD, record=replace(RECORD, plan="gone"))
    assert Reason.INSUFFICIENT_PLAN == reason_of(facts)
    assert None is READ.allotment_of(facts.record)


def test_a_token_has_the_quotas_of_its_plan() -> None:
    """And those of the policy, joined."""
    allotment = READ.allotment_of(GOOD.record)
    assert allotment is not None
    assert ["minute", "day"] == [quota.name for quota in allotment.quotas]


def test_without_a_token_there_is_no_plan() -> None:
    """A public rule's requests come in nobody's name, so under no plan."""
    nobody = replace(GOOD, record=None)
    assert None is READ.allotment_of(None)
    verdict = decide_under(replace(READ, is_public=True), nobody)
    assert isinstance(verdict, Authorized)
    assert None is verdict.facts.record


def test_a_public_rule_refuses_only_who_is_over_a_quota() -> None:
    """There is nothing else to be checked, and what is over is told."""
    window = replace(FULL, quota=replace(FULL.quota, per="address"), used=100)
    over = replace(GOOD, record=None, is_charged=False, windows=(window,))
    verdict = decide_under(replace(READ, is_public=True), over)
    assert isinstance(verdict, Refused)
    assert (Reason.QUOTA_EXCEEDED, ("minute",)) == (verdict.reason, verdict.violated_policies)

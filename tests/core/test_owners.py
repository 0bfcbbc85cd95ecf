"""Owners: what they hold where, and what they may grant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.errors import ChangeRefused
from gateway.core.policies.model import Policy
from gateway.core.tokens.changes import Bounds, TokenChange, TokenRequest, make_record, update_record
from gateway.core.tokens.owners import (
    OwnerChange,
    OwnerRecord,
    OwnerStatus,
    change_owner,
    decode_owner,
    encode_owner,
    grantable_scopes,
    standing_in,
)
from tests.core.samples import NOW, RECORD, SHOP, load, load_shop

POLICY = load_shop()
ADA = OwnerRecord(OwnerStatus.ACTIVE, {"website": "write", "shop": ""}, 3)
REQUEST = TokenRequest(name="CI", project="website", owner="ada")


@given(
    st.builds(OwnerRecord, permissions=st.dictionaries(st.text(), st.sampled_from(["", "read", "read write"]))),
)
def test_an_owner_is_read_back(record: OwnerRecord) -> None:
    """Whatever its projects are called: `status`, `version`, the empty name."""
    assert record == decode_owner(encode_owner(record))
    named = replace(record, permissions={"status": "read", "version": "", "in:x": "write", "": "read"})
    assert named == decode_owner(encode_owner(named))


@pytest.mark.parametrize(
    ("permissions", "project", "expected"),
    [
        ({"website": "read"}, "website", "read"),
        ({"website": "read"}, "shop", None),
        ({"website": "read", "*": "write"}, "website", "read"),
        ({"website": "read", "*": "write"}, "shop", "write"),
        ({"website": "", "*": "write"}, "website", ""),
        ({"website": "read"}, "", None),
        ({"": "read"}, "", "read"),
        ({"": "read"}, "website", None),
        ({"*": "read"}, "", "read"),
        ({}, "website", None),
    ],
)
def test_a_project_has_its_own_permissions_or_those_of_all(
    permissions: dict[str, str], project: str, expected: str | None
) -> None:
    """Under its own name first, then under `*`, then none; outside of projects is the empty name."""
    assert expected == standing_in(replace(ADA, permissions=permissions), project).scopes


def test_what_is_not_named_stays() -> None:
    """A change sets, adds and takes away single projects, and counts the version up."""
    change = OwnerChange(permissions={"shop": ("write", "read"), "new": ()}, without=("website",))
    assert OwnerRecord(OwnerStatus.ACTIVE, {"shop": "write read", "new": ""}, 4) == change_owner(
        POLICY, "ada", ADA, change
    )
    blocked = change_owner(POLICY, "ada", ADA, OwnerChange(status=OwnerStatus.BLOCKED))
    assert replace(ADA, status=OwnerStatus.BLOCKED, version=4) == blocked
    assert OwnerStatus.BLOCKED is change_owner(POLICY, "ada", blocked, change).status


def test_a_new_owner_keeps_what_its_tokens_could_do() -> None:
    """Blocking one that had no record bounds nothing but that; naming permissions gives it these and no others."""
    blocked = change_owner(POLICY, "ada", None, OwnerChange(status=OwnerStatus.BLOCKED))
    assert OwnerRecord(OwnerStatus.BLOCKED, {"*": "admin read write"}, 1) == blocked
    named = change_owner(POLICY, "ada", None, OwnerChange(permissions={"website": ("read",)}))
    assert OwnerRecord(OwnerStatus.ACTIVE, {"website": "read"}, 1) == named


def test_a_removed_owner_that_is_set_is_active_again() -> None:
    """With the permissions that it had."""
    removed = change_owner(POLICY, "ada", ADA, OwnerChange(status=OwnerStatus.REMOVED))
    assert replace(ADA, version=5) == change_owner(POLICY, "ada", removed, OwnerChange())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (OwnerChange(permissions={"website": ("raed",)}), "unknown scope 'raed': did you mean 'read'?"),
        (OwnerChange(permissions={"x" * 129: ()}), "at most 128 characters"),
        (OwnerChange(permissions={"a\nb": ()}), "no control characters"),
        (OwnerChange(without=("sop",)), "has no permissions under 'sop': there are 'shop', 'website'"),
    ],
)
def test_what_cannot_be_changed_is_said(change: OwnerChange, message: str) -> None:
    """Unknown scopes and projects, and ids that could not be shown."""
    with pytest.raises(ChangeRefused, match=message):
        change_owner(POLICY, "ada", ADA, change)


def test_an_owner_has_an_id() -> None:
    """The empty id is that of tokens without an owner."""
    with pytest.raises(ChangeRefused, match="needs an id"):
        change_owner(POLICY, "", None, OwnerChange())


@pytest.mark.parametrize(
    ("record", "project", "expected"),
    [
        (None, "website", {"read", "write", "admin"}),
        (ADA, "website", {"read", "write"}),
        (ADA, "shop", set()),
        (ADA, "", {"read", "write"}),
        (replace(ADA, permissions={"*": "read"}), "anything", {"read"}),
    ],
)
def test_an_owner_grants_what_it_holds(record: OwnerRecord | None, project: str, expected: set[str]) -> None:
    """Implied scopes included; for a token of all projects whatever it holds in any; a mere name grants everything."""
    assert expected == grantable_scopes(POLICY, "ada", record, project)


@pytest.mark.parametrize(
    ("record", "project", "message"),
    [
        (replace(ADA, status=OwnerStatus.BLOCKED), "website", "ada is blocked"),
        (replace(ADA, status=OwnerStatus.REMOVED), "", "ada is removed"),
        (ADA, "elsewhere", "ada has no part in elsewhere"),
    ],
)
def test_an_owner_that_could_use_no_token_grants_none(record: OwnerRecord, project: str, message: str) -> None:
    """Blocked, removed, or not of the project."""
    with pytest.raises(ChangeRefused, match=message):
        make_record(POLICY, replace(REQUEST, project=project or "website"), "ab" * 32, "", NOW, record)


def test_a_new_token_holds_what_its_owner_may_grant() -> None:
    """All of it where no scope is named, and never a scope more."""
    made = make_record(POLICY, REQUEST, "ab" * 32, "", NOW, ADA)
    assert "read write" == made.scopes
    with pytest.raises(ChangeRefused, match="the owner ada may not grant 'admin': it has read, write"):
        make_record(POLICY, replace(REQUEST, scopes=("admin",)), "ab" * 32, "", NOW, ADA)


def test_a_change_grants_no_more_than_the_owner_has() -> None:
    """Scopes that are named are checked against the owner; other changes are not."""
    record = replace(RECORD, owner="ada")
    blocked = Bounds(replace(ADA, status=OwnerStatus.BLOCKED))
    assert "new" == update_record(POLICY, record, TokenChange(name="new"), NOW, blocked).name
    for bounds, message in ((blocked, "is blocked"), (Bounds(ADA), "may not grant 'admin'")):
        with pytest.raises(ChangeRefused, match=message):
            update_record(POLICY, record, TokenChange(scopes=("admin",)), NOW, bounds)


@pytest.mark.parametrize(("owner", "told"), [("ada", "ada"), ("", "one")])
def test_a_policy_may_have_tokens_of_known_owners_only(owner: str, told: str) -> None:
    """Whoever is only a name gets none, whatever scopes are asked for, and neither does nobody."""
    policy = load(SHOP.replace('["shp_"],', '["shp_"], known_owners = true,')).policies["shop"]
    for scopes in ((), ("read",)):
        request = replace(REQUEST, owner=owner, scopes=scopes)
        with pytest.raises(ChangeRefused, match=f"shop has tokens of known owners only: tell of {told} with"):
            make_record(policy, request, "ab" * 32, "shp_", NOW)
    assert "ada" == make_record(policy, REQUEST, "ab" * 32, "shp_", NOW, ADA).owner


def test_a_scope_that_no_plan_includes_cannot_be_given() -> None:
    """It is there for requests to be refused by it; a token that seems to hold it would only mislead."""
    plans = {name: replace(plan, held=frozenset({"read"})) for name, plan in POLICY.plans.items()}
    policy = replace(POLICY, plans=plans)
    assert {"read"} == grantable_scopes(policy, "", None, "website") == grantable_scopes(policy, "ada", ADA, "website")
    with pytest.raises(ChangeRefused, match="the policy shop may not grant 'write': it has read"):
        make_record(policy, replace(REQUEST, owner="", scopes=("write",)), "0" * 64, "shown", NOW)


def test_a_plan_is_set_kept_and_taken_away() -> None:
    """It stays while nothing is said of it; one that the policy does not have is refused with the nearest."""
    first = change_owner(POLICY, "ada", None, OwnerChange(plan="pro"))
    assert ("pro", {"*": "admin read write"}) == (first.plan, first.permissions)
    kept = change_owner(POLICY, "ada", first, OwnerChange(status=OwnerStatus.BLOCKED))
    assert "pro" == kept.plan
    assert "" == change_owner(POLICY, "ada", kept, OwnerChange(plan="")).plan
    for record in (first, kept):
        assert record == decode_owner(encode_owner(record))
    with pytest.raises(ChangeRefused, match="unknown plan 'pra': did you mean 'pro'"):
        change_owner(POLICY, "ada", first, OwnerChange(plan="pra"))
    bare = load(SHOP.split("[plans.free]")[0] + '[[rules]]\nmatch = "GET /"\n').policies["shop"]
    with pytest.raises(ChangeRefused, match="unknown plan 'pro': known are none"):
        change_owner(bare, "ada", None, OwnerChange(plan="pro"))


OWN_PLANS = load(SHOP.replace("token = { prefixes", "token = { own_plans = true, prefixes")).policies["shop"]
OF_PRO = replace(ADA, permissions={"*": "admin"}, plan="pro")


@pytest.mark.parametrize(
    ("policy", "own", "owners", "expected"),
    [
        (POLICY, "free", "", "free"),
        (POLICY, "free", "pro", "pro"),
        (POLICY, "", "pro", "pro"),
        (POLICY, "", "", "free"),
        (OWN_PLANS, "all", "pro", "all"),
        (OWN_PLANS, "", "pro", "pro"),
        (OWN_PLANS, "", "", "free"),
    ],
)
def test_one_plan_counts(policy: Policy, own: str, owners: str, expected: str) -> None:
    """The owner's before the token's, but where tokens may have their own; the first where there is neither."""
    assert expected == policy.plan_of(own, owners)


@pytest.mark.parametrize(
    ("policy", "asked", "owner", "expected"),
    [
        (POLICY, None, None, "free"),
        (POLICY, "pro", None, "pro"),
        (POLICY, None, OF_PRO, "free"),
        (POLICY, "pro", OF_PRO, "free"),
        (OWN_PLANS, None, OF_PRO, ""),
        (OWN_PLANS, "pro", OF_PRO, ""),
        (OWN_PLANS, "all", OF_PRO, "all"),
        (OWN_PLANS, None, None, ""),
    ],
)
def test_a_new_token_has_a_plan_of_its_own_where_it_may(
    policy: Policy, asked: str | None, owner: OwnerRecord | None, expected: str
) -> None:
    """Who names the plan of the account names none of the token's own: it goes with the account."""
    record = make_record(policy, replace(REQUEST, plan=asked), "0" * 64, "", NOW, owner)
    assert expected == record.plan
    if asked is not None:
        changed = update_record(policy, replace(RECORD, plan="free"), TokenChange(plan=asked), NOW, Bounds(owner))
        assert expected == changed.plan


def test_a_plan_that_could_not_count_is_refused() -> None:
    """Where the account's plan is that of all its tokens, another one is refused with what to do; so is an unknown."""
    wanted = (
        "the owner ada has the plan pro, and so have its tokens: .*`gateway owner set ada --plan`.*own_plans = true"
    )
    with pytest.raises(ChangeRefused, match=wanted):
        make_record(POLICY, replace(REQUEST, plan="all"), "0" * 64, "", NOW, OF_PRO)
    with pytest.raises(ChangeRefused, match=wanted):
        update_record(POLICY, replace(RECORD, owner="ada"), TokenChange(plan="free"), NOW, Bounds(OF_PRO))
    for policy in (POLICY, OWN_PLANS):
        with pytest.raises(ChangeRefused, match="unknown plan 'gold'"):
            make_record(policy, replace(REQUEST, plan="gold"), "0" * 64, "", NOW)
    with pytest.raises(ChangeRefused, match="unknown plan ''"):
        update_record(POLICY, RECORD, TokenChange(plan=""), NOW)
    assert "" == update_record(OWN_PLANS, replace(RECORD, plan="all"), TokenChange(plan=""), NOW, Bounds(OF_PRO)).plan

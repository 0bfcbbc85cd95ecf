"""Who may see and give what."""

import msgspec
import pytest

from gateway.core.pages.permissions import (
    EVERYTHING,
    AccessScope,
    as_given,
    excess_grants,
    excess_grants_of_rotation,
    find_access,
    grantable,
    why_none,
)
from gateway.core.tokens.changes import TokenChange, TokenRequest
from gateway.core.tokens.owners import OwnerRecord, OwnerStatus
from tests.support.policies import make_record, small_policies

POLICIES = small_policies().policies
POLICY = POLICIES["small"]
NOW = 1_800_000_000


def test_a_tokens_holder_reaches_what_it_is_bound_to() -> None:
    """The tokens of its project, and of no other project or policy."""
    access = find_access(make_record(project="website"), POLICIES)
    assert AccessScope("small", "website", None) == access
    assert [True, False, False] == [
        access.covers(record)
        for record in (
            make_record("sml_b", project="website"),
            make_record("sml_b", project="app"),
            make_record("sml_b", project="website", policy="other"),
        )
    ]


def test_a_token_of_no_policy_or_bound_to_nothing_reaches_nothing() -> None:
    """It opens no page."""
    assert find_access(make_record(policy="gone"), POLICIES) is None
    assert find_access(make_record(project=""), POLICIES) is None


def test_reach_is_only_ever_narrowed() -> None:
    """By what lies within it; anything else is out of access."""
    access = AccessScope("small", "website", None)
    assert access == access.narrowed("small", "website", None)
    assert AccessScope("small", "website", "ada") == access.narrowed(None, None, "ada")
    assert None is access.narrowed("other", None, None)
    assert None is access.narrowed("small", "app", None)
    assert AccessScope("small", "app", None) == EVERYTHING.narrowed("small", "app", None)


def test_nobody_gives_a_scope_that_he_lacks() -> None:
    """Implied scopes can be given; an operator gives any."""
    writer, reader = make_record(scopes="write"), make_record(scopes="read")
    assert {"read", "write"} == grantable(POLICY, writer) == grantable(POLICY, None)
    assert {"read"} == grantable(POLICY, reader)
    wanted = TokenRequest(name="x", project="website", scopes=("read", "write"))
    assert ["", ""] == [excess_grants(POLICY, giver, wanted) for giver in (writer, None)]
    assert "does not hold write" in excess_grants(POLICY, reader, wanted)


@pytest.mark.parametrize(("ends", "is_refused"), [(NOW, False), (NOW - 1, False), (NOW + 1, True), (None, True)])
def test_nothing_is_given_for_longer_than_one_has_it(ends: int | None, is_refused: bool) -> None:
    """Neither a later end nor none."""
    giver = make_record(expires_at=NOW)
    wanted = TokenRequest(name="x", project="website", scopes=("read",), expires_at=ends)
    assert is_refused == bool(excess_grants(POLICY, giver, wanted))


def test_what_a_token_has_already_is_not_given_again() -> None:
    """A form that sends back what there is asks for nothing."""
    giver, old = make_record(scopes="read", expires_at=NOW), make_record("sml_b", scopes="read write", expires_at=None)
    same = TokenChange(name="renamed", scopes=("read", "write"), expires_at=None)
    assert "" == excess_grants(POLICY, giver, same, old)
    assert excess_grants(POLICY, giver, same, make_record("sml_b", scopes="read"))


def test_what_is_made_stays_bound_to_its_maker() -> None:
    """His plan, and his owner: backends are told that one, and his permissions go on counting."""
    wanted = TokenRequest(name="x", project="website", owner="bob", plan="open", scopes=("read",))
    for owner in ("ada", ""):
        given = as_given(make_record(plan="free", owner=owner), wanted)
        assert "free" == given.plan
        assert owner == given.owner
    assert wanted == as_given(None, wanted)


def test_nothing_is_given_that_the_owner_lacks() -> None:
    """Of an owner with a record what he holds in any project; each request bounds it further."""
    owner = OwnerRecord(OwnerStatus.ACTIVE, {"app": "read"}, 1)
    assert {"read"} == grantable(POLICY, None, owner) == grantable(POLICY, make_record(scopes="write"), owner)
    assert frozenset() == grantable(POLICY, None, OwnerRecord(OwnerStatus.ACTIVE, {}, 1))


def test_making_tokens_needs_what_making_children_needs() -> None:
    """Where the policy names a scope for that; an operator needs none."""
    asking = msgspec.structs.replace(POLICY, parent_scope="write")
    assert why_none(asking, make_record(scopes="read"))
    assert "" == why_none(asking, make_record(scopes="write"))
    assert "" == why_none(asking, None)
    assert "" == why_none(POLICY, make_record(scopes="read"))


def test_a_rotation_gives_away_no_more_than_one_has() -> None:
    """The successor's text is shown: so it must not hold more, last longer or be somebody else's."""
    giver = make_record(scopes="read", expires_at=NOW, owner="ada")
    assert "" == excess_grants_of_rotation(POLICY, giver, giver)
    assert "" == excess_grants_of_rotation(
        POLICY, giver, make_record("sml_b", scopes="read", expires_at=NOW, owner="ada")
    )
    assert "" == excess_grants_of_rotation(POLICY, None, make_record("sml_b", scopes="write", owner="bob"))
    for changes in ({"scopes": "write"}, {"expires_at": None}, {"owner": "bob"}, {"owner": ""}, {"plan": "pro"}):
        record = make_record("sml_b", **{"scopes": "read", "expires_at": NOW, "owner": "ada", **changes})
        assert excess_grants_of_rotation(POLICY, giver, record)
    assert excess_grants_of_rotation(
        POLICY, make_record(scopes="read"), make_record("sml_b", scopes="read", owner="bob")
    )

"""What a token may do with others under a product's own paths."""

import json

import pytest
from msgspec.structs import replace

from gateway.core.errors import ChangeRefused, NameTaken, NotGrantable
from gateway.core.policies.model import DEFAULT_MAPPING
from gateway.core.tokens.changes import TokenState
from gateway.core.tokens.product_api import (
    build_change,
    build_request,
    build_token,
    may_manage,
    parse_token_fields,
    refuse,
)
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.views import TokenView
from tests.core.samples import NOW, RECORD, load_shop

SHOP = load_shop()


def view(record: TokenRecord = RECORD, state: TokenState = TokenState.ACTIVE) -> TokenView:
    return TokenView(record, state, state is TokenState.REVOKED, record)


def test_a_token_manages_those_of_its_project() -> None:
    """Not those of another project or policy, nor revoked ones; expired and disabled ones it does."""
    assert may_manage(SHOP, RECORD, "website", view())
    assert may_manage(SHOP, RECORD, "website", view(replace(RECORD, owner="another"), TokenState.EXPIRED))
    assert not may_manage(SHOP, RECORD, "website", view(replace(RECORD, project="another")))
    assert not may_manage(SHOP, RECORD, "website", view(replace(RECORD, policy="another")))
    assert not may_manage(SHOP, RECORD, "website", view(state=TokenState.REVOKED))


def test_where_the_policy_binds_to_owners_it_manages_its_owners() -> None:
    """Of any project, unless it is for one itself: then of that one."""
    policy, account_wide = replace(SHOP, bound_to="owner"), replace(RECORD, project="")
    assert may_manage(policy, account_wide, "", view())
    assert not may_manage(policy, account_wide, "", view(replace(RECORD, owner="another")))
    assert may_manage(policy, RECORD, "", view())
    assert not may_manage(policy, RECORD, "", view(account_wide))


def test_a_new_token_has_the_owner_and_the_plan_of_the_one_that_asks() -> None:
    """And without scopes all that this effectively has."""
    request = build_request(SHOP, RECORD, "read", "website", {"name": "x"})
    assert "acme" == request.owner
    assert "pro" == request.plan
    assert ("read",) == request.scopes
    assert "website" == request.project
    assert None is request.expires_at


def test_the_scope_to_sign_in_with_is_asked_for_by_name() -> None:
    """Also under a product's own paths: what is made without scopes has all others of the one that asks."""
    policy = replace(SHOP, sign_in_scope="write")
    held = "read write"
    assert ("read",) == build_request(policy, RECORD, held, "website", {"name": "x"}).scopes
    named = {"name": "x", "scopes": ("write",)}
    assert ("write",) == build_request(policy, RECORD, held, "website", named).scopes


def test_what_a_scope_implies_may_be_given() -> None:
    """Who holds writing gives reading; nobody gives administering but who holds it; unknown scopes are core's."""
    assert ("read",) == build_request(SHOP, RECORD, "write", "website", {"name": "x", "scopes": ("read",)}).scopes
    with pytest.raises(NotGrantable):
        build_request(SHOP, RECORD, "write", "website", {"name": "x", "scopes": ("admin",)})
    assert ("raed",) == build_request(SHOP, RECORD, "read", "website", {"name": "x", "scopes": ("raed",)}).scopes


def test_a_child_makes_and_changes_nothing() -> None:
    """What it made would outlive its parent."""
    child = replace(RECORD, parent="cd" * 12)
    with pytest.raises(NotGrantable):
        build_request(SHOP, child, "read", "website", {"name": "x"})
    with pytest.raises(NotGrantable):
        build_change(SHOP, child, "read", RECORD, {"name": "x"})


@pytest.mark.parametrize("field", ["plan", "owner", "project", "id", "token", "created_at", "shown", "digest"])
def test_what_is_not_the_clients_to_say_cannot_be_asked_for(field: str) -> None:
    """It is an unknown field, like any other."""
    with pytest.raises(ChangeRefused, match="unknown field"):
        parse_token_fields(DEFAULT_MAPPING, json.dumps({"name": "x", field: "x"}).encode())


def test_a_byte_order_mark_is_no_part_of_a_call() -> None:
    """RFC 8259 8.1: readers may pass over it."""
    assert {"name": "x"} == parse_token_fields(DEFAULT_MAPPING, b'\xef\xbb\xbf{"name": "x"}')


def test_times_may_be_written_as_iso_8601_knows_them() -> None:
    """With an offset, without one in UTC, or as a date; null is no end."""
    for text, expected in (
        ("2027-01-15T08:00:00Z", NOW),
        ("2027-01-15T09:00:00+01:00", NOW),
        ("2027-01-15T08:00:00", NOW),
        ("2027-01-15T08:00:00.999Z", NOW),
        ("2027-01-15", NOW - 8 * 3600),
        (None, None),
    ):
        assert {"expires_at": expected} == parse_token_fields(
            DEFAULT_MAPPING, json.dumps({"expires_at": text}).encode()
        )


def test_without_a_mapping_our_own_names_and_problem_details_are_told() -> None:
    """All fields, absent ones null; the text only where it is given; refusals with their code."""
    told = build_token(DEFAULT_MAPPING, view())
    assert "token" not in told
    assert "website" == told["project"]
    assert None is told["expires_at"]
    assert "2027-01-14T08:00:00Z" == told["created_at"]
    assert ["read", "write"] == told["scopes"]
    assert "shp_x" == build_token(DEFAULT_MAPPING, view(), "shp_x")["token"]
    answer = refuse(SHOP, NameTaken("it is taken"), "request-1")
    assert isinstance(answer.content, bytes)
    problem = json.loads(answer.content)
    assert 409 == answer.head.status
    assert "name_taken" == problem["code"]
    assert "it is taken" == problem["detail"]
    assert "request-1" == problem["request_id"]

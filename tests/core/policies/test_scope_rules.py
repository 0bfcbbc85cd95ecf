"""Scopes under their own names and others, grouped and bundled as pages show them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest, Authorized, decide
from gateway.core.errors import ChangeRefused
from gateway.core.policies.model import Policy
from gateway.core.tokens.changes import TokenChange, TokenRequest, make_record, update_record
from gateway.core.tokens.owners import OwnerChange, OwnerRecord, OwnerStatus, change_owner
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.scopes import Bundle, Scope
from tests.core.samples import NOW, load

STUDIO = load(
    """
name = "studio"
upstream = "http://127.0.0.1:9001"
token = { prefixes = ["stu_"] }

[scopes]
"projects:read" = { description = "Read", aliases = ["project:read", "view"] }
"projects:write" = { description = "Write", implies = ["project:read"], category = "Changes", aliases = ["edit"] }
admin = "All"

[plans.free]
scopes = ["edit"]
[plans.pro]

[bundles.plugin]
description = "The plugin"
scopes = ["edit", "projects:write", "view"]

[[rules]]
match = "GET /projects"
scopes = ["view", "project:read"]

[[tests]]
request = "GET /projects"
scopes = ["edit"]
expect = 200

[[tests]]
request = "GET /projects"
scopes = ["admin"]
expect = 403
"""
)
POLICY: Policy = STUDIO.policies["studio"]


def make(*scopes: str, owner: OwnerRecord | None = None) -> TokenRecord:
    request = TokenRequest(name="CI", project="website", owner="ada" if owner else "", scopes=scopes)
    return make_record(POLICY, request, "ab" * 32, "stu_abcd", NOW, owner)


def test_a_scope_has_a_category_to_be_grouped_by() -> None:
    """The policy's own word; else what the name has before its first colon; a name without one has none."""
    assert {"projects:read": "projects", "projects:write": "Changes", "admin": ""} == {
        name: scope.category for name, scope in POLICY.scopes.items()
    }


def test_a_bundle_names_scopes_by_their_own_names() -> None:
    """Each once, in the order of the file."""
    assert {"plugin": Bundle("The plugin", ("projects:write", "projects:read"))} == POLICY.bundles


def test_aliases_in_the_file_mean_the_scope() -> None:
    """In rules, plans and implications: what requests meet has own names only."""
    rule = STUDIO.match("", "GET", ("projects",))
    assert rule is not None
    assert ("projects:read",) == rule.scopes
    assert Scope("Write", ("projects:read",), "Changes", ("edit",)) == POLICY.scopes["projects:write"]
    assert frozenset({"projects:read", "projects:write"}) == POLICY.plans["free"].held


def test_a_token_is_stored_under_own_names() -> None:
    """However its scopes are named when it is made or changed, and each once."""
    assert "projects:read projects:write" == make("view", "project:read", "edit").scopes
    assert "projects:write" == update_record(POLICY, make("view"), TokenChange(scopes=("edit",)), NOW).scopes


def test_an_owner_is_stored_under_own_names() -> None:
    """And a token of his may be asked for by either name, but for no more than he holds."""
    owner = change_owner(POLICY, "ada", None, OwnerChange(permissions={"website": ("view", "projects:read")}))
    assert OwnerRecord(OwnerStatus.ACTIVE, {"website": "projects:read"}, 1) == owner
    assert "projects:read" == make("view", owner=owner).scopes
    with pytest.raises(ChangeRefused, match="the owner ada may not grant 'projects:write'"):
        make("edit", owner=owner)


def test_an_unknown_scope_is_told_with_the_nearest_name() -> None:
    """Be it an alias."""
    with pytest.raises(ChangeRefused, match="unknown scope 'project:raed': did you mean 'project:read'"):
        make("project:raed")
    with pytest.raises(ChangeRefused, match="unknown scope 'vew': did you mean 'view'"):
        change_owner(POLICY, "ada", None, OwnerChange(permissions={"*": ("vew",)}))


@pytest.mark.parametrize("plan", ["free", "pro"])
def test_a_token_from_before_a_scope_was_renamed_goes_on(plan: str) -> None:
    """What it holds under the old name, now an alias, it holds; backends are told the scope's own name."""
    rule = STUDIO.match("", "GET", ("projects",))
    assert rule is not None
    for held in ("project:read", "view", "edit"):
        record = TokenRecord(0, "ab" * 32, "studio", True, None, None, held, plan, "ab" * 12, "", "", "CI", "", NOW)
        facts = AdmissionFacts(AdmissionRequest(rule), NOW * 1000, record, False, True, (), ())
        assert isinstance(decide(facts), Authorized)
    assert "projects:read" in POLICY.effective_scopes(["view"], plan).split()
    assert [{"projects:read", "projects:write", "edit", "project:read", "view"}] == [
        set(granting) for granting in json.loads(rule.script_rule)["needed"]
    ]


@given(st.lists(st.sampled_from(sorted(POLICY.scope_names))))
def test_own_names_are_all_that_is_left_of_any_names(named: list[str]) -> None:
    """Each once and in the order given, the same when they are read again, and none that was not meant."""
    held = POLICY.own_scopes(named).split()
    assert list(dict.fromkeys(POLICY.scope_names[name] for name in named)) == held
    assert set(held) <= POLICY.scopes.keys()
    assert POLICY.own_scopes(held).split() == held

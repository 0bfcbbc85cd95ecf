"""Child tokens: what a parent hands on, and what never is more than its own."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest, Authorized, Restrictions, decide
from gateway.core.errors import ChangeRefused
from gateway.core.tokens.changes import Bounds, TokenChange, TokenRequest, TokenState, state_of, update_record
from gateway.core.tokens.lifecycle import Rotation, bound_by, make_child, rotate_record
from gateway.core.tokens.owners import OwnerRecord, OwnerStatus
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import bucket_of, digest, token_id
from tests.core.samples import NOW, RECORD, SHOP, find_rule, load, load_shop

POLICY = load_shop()
PARENT = replace(RECORD, expires_at=NOW + 86400)
OWNER = OwnerRecord(OwnerStatus.ACTIVE, {"website": "write", "*": ""}, 1)
READ, WRITE = find_rule("GET", "items", "1"), find_rule("POST", "items")


def draws() -> Iterator[bytes]:
    number = 0
    while True:
        number += 1
        yield number.to_bytes(64, "big")


def make(parent: TokenRecord = PARENT, state: TokenState = TokenState.ACTIVE, **wanted: Any) -> TokenRecord:
    owner = wanted.pop("by", None)
    request = TokenRequest(**{"name": "actor", **wanted})
    return make_child(POLICY, parent, state, owner, request, draws(), b"", NOW)[1]


def test_a_child_is_of_its_parents_kind() -> None:
    """Policy, project, owner, plan and lineage are the parent's, and so is the bucket; name and text are its own."""
    text, child = make_child(
        POLICY, PARENT, TokenState.ACTIVE, None, TokenRequest(name="actor", scopes=("read",)), draws(), b"pepper", NOW
    )
    same = ("policy", "project", "owner", "plan", "lineage")
    assert [getattr(PARENT, name) for name in same] == [getattr(child, name) for name in same]
    assert bucket_of(PARENT.digest) == bucket_of(child.digest)
    assert digest(text, b"pepper") == child.digest
    assert "actor" == child.name
    assert "read" == child.scopes
    assert token_id(PARENT.digest) == child.parent
    assert NOW == child.created_at
    assert text.startswith(child.shown)


def test_a_child_of_a_rotated_token_has_no_predecessor() -> None:
    """It is nobody's successor, though its parent is; nor was it used, though its parent was."""
    rotated = replace(PARENT, predecessor="cd" * 12, lineage="ab" + "cd" * 11, last_use=NOW)
    child = make(rotated)
    assert "" == child.predecessor
    assert "" == child.successor
    assert rotated.lineage == child.lineage
    assert 0 == child.last_use


def test_a_child_gets_all_there_is_where_nothing_is_named() -> None:
    """What its parent effectively has: not what the owner or the plan lacks; and the parent's end."""
    assert "read write" == make().scopes
    assert PARENT.expires_at == make().expires_at
    assert "read" == make(replace(PARENT, plan="free")).scopes
    assert "read" == make(by=replace(OWNER, permissions={"website": "read"})).scopes
    assert None is make(replace(PARENT, expires_at=None)).expires_at


@pytest.mark.parametrize(
    ("parent", "state", "wanted", "message"),
    [
        (PARENT, TokenState.ACTIVE, {"scopes": ("admin",)}, "the parent abab.* may not grant 'admin': it has read, w"),
        (PARENT, TokenState.ACTIVE, {"scopes": ("raed",)}, "unknown scope 'raed': did you mean 'read'"),
        (PARENT, TokenState.ACTIVE, {"expires_at": NOW + 86401}, "a child ends with its parent, 20.*Z, or before"),
        (PARENT, TokenState.ACTIVE, {"expires_at": NOW}, "would have ended already"),
        (PARENT, TokenState.ACTIVE, {"name": ""}, "needs a name"),
        (PARENT, TokenState.ACTIVE, {"project": "other"}, "a child has the project of its parent, website"),
        (PARENT, TokenState.ACTIVE, {"plan": "all"}, "a child has the plan of its parent, pro"),
        (PARENT, TokenState.ACTIVE, {"owner": "ada"}, "a child has the owner of its parent, acme"),
        (replace(PARENT, parent="cd" * 12), TokenState.ACTIVE, {}, "a child has no children"),
        (PARENT, TokenState.REVOKED, {}, "is revoked: its children would be refused"),
        (PARENT, TokenState.EXPIRED, {}, "is expired"),
        (PARENT, TokenState.DISABLED, {}, "is disabled"),
        (PARENT, TokenState.ACTIVE, {"by": replace(OWNER, status=OwnerStatus.BLOCKED)}, "acme is blocked"),
        (PARENT, TokenState.ACTIVE, {"by": replace(OWNER, permissions={})}, "acme has no part in website"),
    ],
)
def test_what_a_parent_may_not_hand_on_is_said(
    parent: TokenRecord, state: TokenState, wanted: dict[str, Any], message: str
) -> None:
    """More scopes, a later end, another kind, grandchildren, and children of a token that does not work."""
    with pytest.raises(ChangeRefused, match=message):
        make(parent, state, **wanted)


STUDIO = load(
    SHOP.replace('["shp_"],', '["shp_"], parent_scope = "hand_on",').replace(
        "[scopes]",
        """[scopes]
hand_on = { description = "Make children", aliases = ["children"] }
all = { description = "Everything", implies = ["read", "hand_on"] }
""",
    )
).policies["shop"]


@pytest.mark.parametrize(
    ("scopes", "owner", "plan", "lacks"),
    [
        ("hand_on read", None, "all", False),
        ("children read", None, "all", False),
        ("all", None, "all", False),
        ("admin read write", None, "all", True),
        ("hand_on read", None, "pro", True),
        ("hand_on read", replace(OWNER, permissions={"website": "hand_on read"}), "all", False),
        ("hand_on read", replace(OWNER, permissions={"website": "read", "other": "hand_on"}), "all", True),
    ],
)
def test_a_parent_needs_the_scope_that_the_policy_asks_of_parents(
    scopes: str, owner: OwnerRecord | None, plan: str, lacks: bool
) -> None:
    """Effectively: its own, its owner's and its plan's; and the child does not get it unless it is named."""
    parent = replace(PARENT, scopes=scopes, plan=plan)
    arguments = (STUDIO, parent, TokenState.ACTIVE, owner)
    if lacks:
        with pytest.raises(ChangeRefused, match=r"token abab.* may have no children: it lacks 'hand_on' at the moment"):
            make_child(*arguments, TokenRequest(name="actor"), draws(), b"", NOW)
        return
    held = make_child(*arguments, TokenRequest(name="actor"), draws(), b"", NOW)[1].scopes.split()
    assert "read" in held
    assert "hand_on" not in held
    named = TokenRequest(name="actor", scopes=("children", "read"))
    assert "hand_on read" == make_child(*arguments, named, draws(), b"", NOW)[1].scopes


def test_a_token_makes_children_of_itself_only() -> None:
    """Not of another one, be it its owner's, its successor or its parent; an operator makes them of any."""
    identity, request = token_id(PARENT.digest), TokenRequest(name="actor")
    for maker in ("", identity):
        child = make_child(POLICY, PARENT, TokenState.ACTIVE, None, request, draws(), b"", NOW, maker)[1]
        assert identity == child.parent
    for maker in ("cd" * 12, token_id(child.digest)):
        with pytest.raises(ChangeRefused, match=f"token {maker} may make children of itself only"):
            make_child(POLICY, PARENT, TokenState.ACTIVE, None, request, draws(), b"", NOW, maker)


def test_a_child_cannot_be_changed_beyond_its_parent() -> None:
    """Neither its scopes nor its end nor its plan; other changes pass."""
    child, bounds = make(scopes=("read",)), Bounds(None, PARENT)
    changes = (TokenChange(scopes=("admin",)), TokenChange(expires_at=None), TokenChange(expires_at=NOW + 86401))
    for change in (*changes, TokenChange(plan="all")):
        with pytest.raises(ChangeRefused):
            update_record(POLICY, child, change, NOW, bounds)
    assert "read write" == update_record(POLICY, child, TokenChange(scopes=("read", "write")), NOW, bounds).scopes


def test_a_child_is_rotated_to_a_child() -> None:
    """Of the same parent, and no later than it."""
    child, bounds = make(scopes=("read",)), Bounds(None, PARENT)
    for expires_at in (None, NOW + 86401):
        with pytest.raises(ChangeRefused, match="ends with its parent"):
            rotation = Rotation(overlap_seconds=0, expires_at=expires_at)
            rotate_record(POLICY, child, TokenState.ACTIVE, rotation, draws(), b"p", NOW, bounds)
    rotated = rotate_record(
        POLICY, child, TokenState.ACTIVE, Rotation(overlap_seconds=0), draws(), b"p", NOW, bounds
    ).successor
    assert child.parent == rotated.parent
    assert child.lineage == rotated.lineage
    assert child.expires_at == rotated.expires_at


def test_a_child_is_what_its_parent_is() -> None:
    """Where the parent does not work its state is the child's; a child's own revocation comes first."""
    child = make()
    for state in TokenState:
        assert state is state_of(child, False, NOW, state)
        assert TokenState.REVOKED is state_of(child, True, NOW, state)
    assert TokenState.DISABLED is state_of(replace(child, is_active=False), False, NOW, TokenState.ACTIVE)


scopes = st.lists(st.sampled_from(["read", "write", "admin"]), unique=True).map(lambda held: " ".join(sorted(held)))
ends = st.none() | st.integers(NOW - 2, NOW + 2)


@given(scopes, scopes, ends, ends, st.sampled_from(["free", "pro", "all"]), st.booleans(), st.booleans())
def test_a_child_never_does_what_its_parent_may_not(
    own: str, held: str, own_end: int | None, end: int | None, plan: str, is_active: bool, is_revoked: bool
) -> None:
    """Whatever the two records say: a request that passes with the child passes with its parent."""
    parent = replace(RECORD, scopes=held, expires_at=end, plan=plan, is_active=is_active)
    child = bound_by(parent, replace(RECORD, scopes=own, expires_at=own_end, plan="all", parent="ab" * 12))
    for request in (AdmissionRequest(READ), AdmissionRequest(WRITE)):
        restrictions = Restrictions(parent=parent, is_parent_revoked=is_revoked)
        as_child = AdmissionFacts(request, NOW * 1000, child, False, True, (), (), restrictions=restrictions)
        as_parent = AdmissionFacts(request, NOW * 1000, parent, is_revoked, True, (), ())
        if isinstance(decide(as_child), Authorized):
            assert isinstance(decide(as_parent), Authorized)


def test_a_child_gets_no_scope_to_sign_in_with_unasked() -> None:
    """Nor the one to make children: both are given by name."""
    policy = replace(STUDIO, sign_in_scope="write")
    parent = replace(PARENT, scopes="hand_on read write", plan="all")
    request = TokenRequest(name="actor")
    assert "read" == make_child(policy, parent, TokenState.ACTIVE, None, request, draws(), b"", NOW)[1].scopes

"""Scopes and what they imply."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.scopes import Scope, granting, implied_by, lacking

NAMES = ["a", "b", "c", "d", "e"]
definitions = st.dictionaries(
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(NAMES), max_size=3).map(lambda names: Scope("", tuple(names))),
)
CHAIN = {"read": Scope(""), "write": Scope("", ("read",)), "admin": Scope("", ("write",))}


def test_a_scope_implies_over_any_number_of_steps() -> None:
    """What a scope implies, and what that implies, is all held."""
    assert {"admin", "write", "read"} == implied_by("admin", CHAIN)


def test_a_scope_is_granted_by_itself_and_all_that_imply_it() -> None:
    """For a required scope any scope that leads to it will do."""
    expected = {
        "read": frozenset({"read", "write", "admin"}),
        "write": frozenset({"write", "admin"}),
        "admin": frozenset({"admin"}),
    }
    assert expected == granting(CHAIN)


def test_a_circle_of_implications_ends() -> None:
    """Scopes that imply each other grant each other."""
    circle = {"a": Scope("", ("b",)), "b": Scope("", ("a",))}
    assert {"a": frozenset("ab"), "b": frozenset("ab")} == granting(circle)


@given(definitions)
def test_granting_is_the_inverse_of_implying(scopes: dict[str, Scope]) -> None:
    """One scope grants another exactly if the other is among what it implies."""
    grants = granting(scopes)
    assert {(a, b) for a in scopes for b in implied_by(a, scopes)} == {(a, b) for b in grants for a in grants[b]}


@given(definitions, st.data())
def test_holding_more_never_lacks_more(scopes: dict[str, Scope], data: st.DataObject) -> None:
    """Another scope held can only shorten the list of what is lacking."""
    names = st.lists(st.sampled_from(sorted(scopes)), max_size=4) if scopes else st.just(list[str]())
    required, held, more = data.draw(names), data.draw(names), data.draw(names)
    grants = granting(scopes)
    assert set(lacking(required, held + more, grants)) <= set(lacking(required, held, grants))


def test_what_is_lacking_keeps_its_order() -> None:
    """The scopes that are lacking come in the order in which they are required."""
    assert ["admin", "write"] == lacking(["admin", "read", "write"], ["read"], granting(CHAIN))

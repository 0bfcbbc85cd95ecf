"""Scopes and what they imply."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.tokens.scopes import Scope, granting, implied_by

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

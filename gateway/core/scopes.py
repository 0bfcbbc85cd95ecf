"""Scopes: a token holds some, a rule requires some, and one scope can imply others."""

from collections.abc import Mapping

import msgspec


class Scope(msgspec.Struct, frozen=True):
    """A scope that a policy defines."""

    description: str
    implies: tuple[str, ...] = ()


def granting(scopes: Mapping[str, Scope]) -> dict[str, frozenset[str]]:
    """For each scope, all scopes that grant it: itself and whatever implies it, over any number of steps."""
    grants: dict[str, set[str]] = {name: set() for name in scopes}
    for name in scopes:
        for implied in implied_by(name, scopes):
            grants[implied].add(name)
    return {name: frozenset(by) for name, by in grants.items()}


def implied_by(name: str, scopes: Mapping[str, Scope]) -> set[str]:
    """The scope `name` and everything it implies."""
    seen: set[str] = set()
    pending = [name]
    while pending:
        scope = pending.pop()
        if scope not in seen and scope in scopes:
            seen.add(scope)
            pending.extend(scopes[scope].implies)
    return seen

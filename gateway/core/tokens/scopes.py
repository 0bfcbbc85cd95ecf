"""Scopes: a token holds some, a rule requires some, and one scope can imply others.

A scope may have aliases. A request may name a scope by an alias; what is stored is the scope's own name. A token that
still holds an alias, from before the scope was renamed, holds the scope. So a scope is renamed without a walk over all
tokens, and nothing that reads scopes of a record needs to know aliases, but what grants them.
"""

from collections.abc import Mapping

import msgspec


class Scope(msgspec.Struct, frozen=True):
    """A scope that a policy defines."""

    description: str
    implies: tuple[str, ...] = ()
    category: str = ""
    """The category in which pages group it; empty for none."""
    aliases: tuple[str, ...] = ()


class Bundle(msgspec.Struct, frozen=True):
    """Scopes that are often needed together."""

    description: str
    scopes: tuple[str, ...]


def granting(scopes: Mapping[str, Scope]) -> dict[str, frozenset[str]]:
    """Return for each scope all that grants it: itself, what implies it over any number of steps, and their aliases."""
    grants: dict[str, set[str]] = {name: set() for name in scopes}
    for name, scope in scopes.items():
        for implied in implied_by(name, scopes):
            grants[implied].update((name, *scope.aliases))
    return {name: frozenset(by) for name, by in grants.items()}


def implied_by(name: str, scopes: Mapping[str, Scope]) -> set[str]:
    """Return the scope `name` and everything it implies."""
    seen: set[str] = set()
    pending = [name]
    while pending:
        scope = pending.pop()
        if scope not in seen and scope in scopes:
            seen.add(scope)
            pending.extend(scopes[scope].implies)
    return seen

"""Turns what a policy says of scopes into what tokens and rules hold, every name an own name.

Rule: a name means one scope. An alias can be neither a scope of its own nor an alias of two.
"""

from collections.abc import Iterable, Mapping

from gateway.core.policies.drafts import Draft
from gateway.core.policies.reading import Mistake, path_to
from gateway.core.policies.scope_tables import ScopeTable
from gateway.core.scopes import Bundle, Scope


def compile_names(draft: Draft) -> dict[str, str]:
    """Every name that a scope goes by, to its own name; an alias that is taken is a mistake."""
    scopes = draft.document.scopes
    names = {name: name for name in scopes}
    for name, table in scopes.items():
        for index, alias in enumerate([] if isinstance(table, str) else table.aliases):
            if alias in names:
                taken = "a scope itself" if alias in scopes else f"an alias of {names[alias]!r} already"
                path = path_to(path_to("$.scopes", name) + ".aliases", index)
                draft.mistakes.append(Mistake(path, f"{alias!r} is {taken}"))
            else:
                names[alias] = name
    return names


def compile_scopes(draft: Draft, names: Mapping[str, str]) -> dict[str, Scope]:
    """The policy's scopes by their own names."""
    compiled = {}
    for name, text_or_table in draft.document.scopes.items():
        table = ScopeTable(description=text_or_table) if isinstance(text_or_table, str) else text_or_table
        category, colon, _ = name.partition(":")
        compiled[name] = Scope(
            table.description,
            own_names(draft, table.implies, names, path_to("$.scopes", name) + ".implies"),
            table.category or (category if colon else ""),
            tuple(table.aliases),
        )
    return compiled


def compile_bundles(draft: Draft, names: Mapping[str, str]) -> dict[str, Bundle]:
    """The policy's bundles by name."""
    return {
        name: Bundle(table.description, own_names(draft, table.scopes, names, path_to("$.bundles", name) + ".scopes"))
        for name, table in draft.document.bundles.items()
    }


def own_names(draft: Draft, named: Iterable[str], names: Mapping[str, str], path: str) -> tuple[str, ...]:
    """The scopes that are `named`, each once and by its own name; what is not known is a mistake and left out."""
    listed = list(named)
    draft.check_names("scope", listed, names, path)
    return tuple(dict.fromkeys(names[name] for name in listed if name in names))

"""Compiles how tokens are managed under a product's own paths."""

from collections.abc import Mapping

import msgspec

from gateway.core.policies.dialects import FIELDS, NAMED, OWN, STATUSES, Dialect, Refusal
from gateway.core.policies.document import RuleTable
from gateway.core.policies.drafts import Draft
from gateway.core.policies.matching import Pattern
from gateway.core.policies.reading import Mistake, path_to, unknown_name


def compile_dialect(draft: Draft) -> Dialect:
    """The dialect of the document."""
    table = draft.document.management
    if table is None:
        return OWN
    _check_names(draft, "field", table.fields, dict.fromkeys(FIELDS), "$.management.fields")
    _check_names(draft, "code", table.errors, STATUSES, "$.management.errors")
    for index, name in enumerate(table.integers):
        if name not in FIELDS:
            path = path_to("$.management.integers", index)
            draft.mistakes.append(Mistake(path, unknown_name("field", name, dict.fromkeys(FIELDS))))
    if len(set(table.fields.values())) < len(table.fields):
        draft.mistakes.append(Mistake("$.management.fields", "two fields have the same name"))
    return Dialect(
        fields=table.fields or OWN.fields,
        integers=frozenset(table.integers),
        refusals={
            code: Refusal(refusal.status, msgspec.json.encode(refusal.content))
            for code, refusal in table.errors.items()
        },
    )


def find_token(draft: Draft, pattern: Pattern, table: RuleTable, path: str) -> int | None:
    """Where in the path of a rule that manages the token stands that it is about."""
    parameter, mistake = table.token, None
    if table.manage is None:
        mistake = "only a rule with manage is about a token in its path" if parameter else None
    elif table.public or table.cache or table.variants or table.etag:
        mistake = "a rule with manage is answered by the gateway: it can be neither public, cached nor shaped"
    elif (parameter is None) != (table.manage not in NAMED):
        mistake = f"manage = {table.manage!r} names {'its' if table.manage in NAMED else 'no'} token in the path"
    elif table.manage != "child" and draft.document.token.bound_to == "none":
        mistake = f"manage = {table.manage!r} is about tokens of one project or owner: these are bound to neither"
    elif parameter is not None and parameter not in pattern.segments:
        mistake = f"the path of {pattern.text!r} has no parameter {parameter}"
    if mistake is not None:
        draft.mistakes.append(Mistake(f"{path}.manage" if parameter is None else f"{path}.token", mistake))
        return None
    return None if parameter is None else pattern.segments.index(parameter)


def _check_names(draft: Draft, kind: str, named: Mapping[str, object], known: Mapping[str, object], path: str) -> None:
    for name in named:
        if name not in known:
            draft.mistakes.append(Mistake(path_to(path, name), unknown_name(kind, name, known)))

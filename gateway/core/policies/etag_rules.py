"""A rule's `etag` table, ready to be made tags by."""

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from gateway.core.etags.ignoring import BY_VALUE, TagRule, parse_ignored, split_pointer
from gateway.core.policies.document import RuleTable
from gateway.core.policies.reading import path_to

Made = TypeVar("Made")


class Attempt(Protocol):
    """Makes something; a ValueError becomes a mistake at a path, and None."""

    def __call__(self, path: str, make: Callable[[], Made]) -> Made | None: ...


def compile_tag_rule(table: RuleTable, path: str, attempt: Attempt) -> TagRule:
    """How the rule at `path` makes its tags."""
    if table.etag is None:
        return BY_VALUE
    path = f"{path}.etag"
    attempt(path, partial(_check_use, table))
    found: defaultdict[str, list[str]] = defaultdict(list)
    for index, text in enumerate(table.etag.ignore):
        kind, name = attempt(path_to(f"{path}.ignore", index), partial(parse_ignored, text)) or ("", "")
        found[kind].append(name)
    return TagRule(
        replaces=table.etag.replace,
        pointers=tuple(map(split_pointer, found["pointer"])),
        columns=frozenset(found["column"]),
        lines=tuple(text.encode() for text in found["line"]),
        elements=frozenset(found["element"]),
        attributes=frozenset(found["attribute"]),
    )


def _check_use(table: RuleTable) -> None:
    if table.cache is None:
        raise ValueError("only what is cached gets a tag here: give the rule a cache table too")

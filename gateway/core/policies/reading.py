"""Read a policy file's text and find every mistake of its shape, not only the first.

msgspec stops at the first error, so a table that does not convert is checked key by key.
"""

import difflib
import functools
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

import msgspec

from gateway.core.policies.schema import PolicyDocument

_INNER_PATH = re.compile(r" - at `[^`]*`$")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


Place: TypeAlias = tuple[str | int, ...]
"""Keys and indexes from the top of the file."""


class Mistake(msgspec.Struct, frozen=True):
    """A mistake in a policy file: where (a JSON path from `$`), and what."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def read_document(text: str) -> tuple[PolicyDocument | None, list[Mistake]]:
    """Return the document of the TOML `text`, and all mistakes of its syntax and shape.

    With mistakes, the document is what can be read without the wrong parts, so that its meaning can be checked in the
    same run; it is None if too little is left.
    """
    try:
        tables = tomllib.loads(text.removeprefix("\ufeff"))  # a byte order mark, as some editors write it
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits and as many brackets
        return None, [Mistake("$", f"not TOML: {error}")]
    with suppress(msgspec.ValidationError):
        return msgspec.convert(tables, PolicyDocument), []
    found = list(_mistakes(tables, PolicyDocument, ()))
    mistakes = [Mistake(functools.reduce(path_to, place, "$"), message) for place, message in found]
    if any(place[:1] in ((), ("scopes",), ("plans",)) for place, _ in found):
        return None, mistakes  # other parts refer to these by name: without them every such name would look wrong
    if any(isinstance(place[-1], int) for place, _ in found):
        return None, mistakes  # without an item, those after it would be reported under wrong indexes
    # The deepest first, so that none is removed together with its parent.
    for place in sorted({place for place, _ in found}, key=len, reverse=True):
        _remove(tables, place)
    try:
        return msgspec.convert(tables, PolicyDocument), mistakes
    except msgspec.ValidationError:
        return None, mistakes


def path_to(path: str, key: str | int) -> str:
    """Return the JSON path of `key` inside `path`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if _BARE_KEY.fullmatch(key) else f"{path}[{key!r}]"


def unknown_name(kind: str, name: str, known: Mapping[str, object] | list[str]) -> str:
    """Return the message for a name that is not among `known`, with the nearest one that is."""
    near = difflib.get_close_matches(name, list(known), n=1)
    if near:
        return f"unknown {kind} {name!r}: did you mean {near[0]!r}?"
    return f"unknown {kind} {name!r}: known are {', '.join(sorted(known)) or 'none'}"


def _mistakes(value: object, kind: Any, place: Place) -> Iterator[tuple[Place, str]]:
    table = _table_type(kind)
    if table is not None and isinstance(value, dict):
        yield from _mistakes_of_table(value, table, place)
        return
    origin, arguments = get_origin(_bare(kind)), get_args(_bare(kind))
    parts = typing.cast("dict[str, object] | list[object]", value)
    if isinstance(parts, dict) and origin is dict:
        for key, item in parts.items():
            yield from _leaf_mistakes(key, arguments[0], (*place, key))
            yield from _mistakes(item, arguments[1], (*place, key))
    elif isinstance(parts, list) and origin is list and parts:
        for index, item in enumerate(parts):
            yield from _mistakes(item, arguments[0], (*place, index))
    else:
        yield from _leaf_mistakes(value, kind, place)


def _mistakes_of_table(
    value: dict[str, object], table: type[msgspec.Struct], place: Place
) -> Iterator[tuple[Place, str]]:
    hints = get_type_hints(table, include_extras=True)
    fields = {field.encode_name: field for field in msgspec.structs.fields(table)}
    for key, item in value.items():
        if key not in fields:
            yield (*place, key), unknown_name("key", key, fields)
        else:
            yield from _mistakes(item, hints[fields[key].name], (*place, key))
    for key, field in fields.items():
        if field.required and key not in value:
            yield place, f"the key {key!r} is missing"


def _leaf_mistakes(value: object, kind: Any, place: Place) -> Iterator[tuple[Place, str]]:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        form = _form(kind) if isinstance(value, str) else None
        yield place, f"{value!r} is not {form}" if form else _INNER_PATH.sub("", str(error))


def _form(kind: Any) -> str | None:
    """Return what texts of the kind look like, in words, which are easier to read than a regular expression."""
    for part in (kind, *get_args(kind)):
        for meta in getattr(part, "__metadata__", ()):
            if meta.pattern and meta.description:
                return str(meta.description[0].lower() + meta.description[1:])
    return None


def _remove(tables: dict[str, Any], place: Place) -> None:
    *way, last = place
    container: Any = tables
    for key in way:
        container = container[key]
    del container[last]


def _table_type(kind: Any) -> type[msgspec.Struct] | None:
    """Return the table among the alternatives of `kind`, or None."""
    kind = _bare(kind)
    alternatives = get_args(kind) if get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    for alternative in map(_bare, alternatives):
        if isinstance(alternative, type) and issubclass(alternative, msgspec.Struct):
            return alternative
    return None


def _bare(kind: Any) -> Any:
    """Return `kind` without its annotations and, if only one alternative is left then, without `None`."""
    if get_origin(kind) is typing.Annotated:
        return _bare(get_args(kind)[0])
    if get_origin(kind) in (typing.Union, types.UnionType):
        others = [part for part in get_args(kind) if part is not type(None)]
        if len(others) == 1:
            return _bare(others[0])
    return kind

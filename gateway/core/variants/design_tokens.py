"""Design tokens: as the backend gives them, in the mode that a variant wants, aliases resolved.

A document is a list of tokens whose names have dots, or a tree of groups in the Design Tokens Community Group's format
(Format Module 2025.10; `$extensions.mode` has a token's values by mode). Values are in that format or, shorter, as CSS
writes them: token_values.py. Names keep that format's rules whatever the variant: no segment is empty, begins with `$`
or has a brace in it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from gateway.core.errors import BrokenDocument
from gateway.core.variants.documents import MAXIMUM_LOOSE_BYTES, read_document
from gateway.core.variants.model import (
    MAXIMUM_SEGMENTS,
    DocumentForm,
    InvalidOptions,
    Variant,
    find_repeated,
    refuse_unknown,
)
from gateway.core.variants.token_values import TYPES, Aliases, normalize

MAXIMUM_ALIASES = 64
"""Steps from a token to the value that it stands for. A design system has three or four."""
MAXIMUM_PARTS = 100_000
"""Tokens, and items of their lists: an alias of twenty bytes may stand for a list of many."""
ROOT = "$root"
"""The name of a token that is its group's own value (Format Module 2025.10)."""


class DesignToken(msgspec.Struct, frozen=True):
    """One design decision under its name."""

    name: str
    """Dots make groups: `color.text.link`."""
    value: Any
    """As the Community Group's format writes it or as CSS does: "#1f5fd6", "16px"; "{color.blue}" is an alias."""
    type: str | None = None
    """A type of the Community Group's format; an alias need not have one."""
    modes: dict[str, Any] = {}
    """Mode to the value there, where it is another."""
    description: str | None = None


class DesignTokensDocument(msgspec.Struct, frozen=True):
    """The canonical document of a product's design tokens. Fields that are not named here are left alone."""

    tokens: list[DesignToken] | dict[str, Any]
    """A list, or a tree of groups as the Community Group's format has it."""
    modes: list[str] = []
    """The first is the one that is given where none is asked for."""


class ResolvedToken(msgspec.Struct, frozen=True):
    """A token with its plain value in one mode, as the Community Group's format writes it."""

    name: str
    type: str
    value: Any
    description: str | None


def select_tokens(content: bytes, form: DocumentForm, variant: Variant) -> tuple[ResolvedToken, ...] | InvalidOptions:
    """The tokens of the document in `content` as they are in the variant's mode, by name; raises BrokenDocument."""
    document = read_document(content, DesignTokensDocument, form.names, MAXIMUM_LOOSE_BYTES)
    refused = refuse_unknown(form, "mode", () if variant.mode is None else (variant.mode,), document.modes)
    if refused is not None:
        return refused
    mode = variant.mode if variant.mode is not None else next(iter(document.modes), None)
    tokens = _list_tokens(document, form)
    repeated = find_repeated((token.name, place) for place, token in tokens.items())
    if repeated:
        raise BrokenDocument(repeated[2], f"the token {repeated[0]!r} is also {repeated[1]}")
    resolution = _Resolution({token.name: (place, token) for place, token in tokens.items()}, mode)
    return tuple(_bounded(resolution.resolve(name) for name in sorted(resolution.tokens)))


class _Resolution(Aliases):
    """Tokens by name, and those whose value in the mode is known already: each is worked out once."""

    def __init__(self, tokens: Mapping[str, tuple[str, DesignToken]], mode: str | None) -> None:
        self.tokens = tokens
        self._mode = mode
        self._resolved: dict[str, ResolvedToken] = {}
        self._under_way: list[str] = []

    def resolve(self, name: str) -> ResolvedToken:
        """The token of that name, which there is."""
        if name not in self._resolved:
            self._under_way.append(name)
            self._resolved[name] = self._work_out(*self.tokens[name])
            self._under_way.pop()
        return self._resolved[name]

    def follow(self, name: str, place: str) -> tuple[str, Any]:
        """Type and value of the token that an alias at `place` names."""
        if name not in self.tokens:
            raise BrokenDocument(place, f"an alias to {name!r}, which there is not")
        if name in self._under_way:
            cycle = [*self._under_way[self._under_way.index(name) :], name]
            raise BrokenDocument(place, f"aliases in a circle: {' -> '.join(cycle[-MAXIMUM_SEGMENTS:])}")
        if len(self._under_way) > MAXIMUM_ALIASES:
            raise BrokenDocument(place, f"more than {MAXIMUM_ALIASES} aliases one after the other")
        target = self.resolve(name)
        return target.type, target.value

    def _work_out(self, place: str, token: DesignToken) -> ResolvedToken:
        kind, value = token.type, token.value
        if self._mode is not None and self._mode in token.modes:
            if kind is None:  # an alias in the other modes: then that says what the token is
                kind, _ = normalize(None, value, place, self)
            value = token.modes[self._mode]
        kind, plain = normalize(kind, value, place, self)
        return ResolvedToken(token.name, kind, plain, token.description)


def _bounded(tokens: Iterator[ResolvedToken]) -> Iterator[ResolvedToken]:
    total = 0
    for token in tokens:
        total += len(token.value) if isinstance(token.value, list) else 1
        if total > MAXIMUM_PARTS:
            raise BrokenDocument("$", f"it has more than {MAXIMUM_PARTS} tokens and items of their lists")
        yield token


def _list_tokens(document: DesignTokensDocument, form: DocumentForm) -> dict[str, DesignToken]:
    """Each token under its place in the document, its type in our words."""
    root = f"$.{dict(form.names).get('tokens', 'tokens')}"
    if isinstance(document.tokens, list):
        found = {f"{root}[{position}]": token for position, token in enumerate(document.tokens)}
    else:
        found = dict(_walk(document.tokens, (), None, root))
    types = dict(form.types)
    for place, token in found.items():
        _check_name(token.name, place)
        kind = types.get(token.type, token.type) if token.type is not None else None
        if kind is not None and kind not in TYPES:
            raise BrokenDocument(place, f"the type {kind!r} is not one of {', '.join(TYPES)}")
        if kind != token.type:
            found[place] = msgspec.structs.replace(token, type=kind)
    return found


def _walk(
    group: Mapping[str, Any], way: tuple[str, ...], inherited: str | None, place: str
) -> Iterator[tuple[str, DesignToken]]:
    """The tokens of a group and of those in it; a group's `$type` is that of its tokens."""
    if len(way) >= MAXIMUM_SEGMENTS:
        raise BrokenDocument(place, f"groups may be {MAXIMUM_SEGMENTS} deep")
    group_type = _text(group, "$type", place) or inherited
    for name, member in group.items():
        if name.startswith("$") and name != ROOT:
            continue
        here = f"{place}.{name}"
        if not isinstance(member, dict):
            raise BrokenDocument(here, "neither a group nor a token: a token is an object with $value")
        if "." in name:
            raise BrokenDocument(here, "a name in a tree of groups has no dot")
        if "$value" not in member:
            yield from _walk(member, (*way, name), group_type, here)
            continue
        # A group's type is not an alias's: that is of the type of the token that it names.
        value, own_type = member["$value"], _text(member, "$type", here)
        is_alias = isinstance(value, str) and value.startswith("{")
        kind = own_type or (None if is_alias else group_type)
        modes = _object(_object(member, "$extensions", here), "mode", f"{here}.$extensions")
        yield here, DesignToken(".".join((*way, name)), value, kind, modes, _text(member, "$description", here))


def _text(member: Mapping[str, Any], name: str, place: str) -> str | None:
    value = member.get(name)
    if value is None or isinstance(value, str):
        return value
    raise BrokenDocument(f"{place}.{name}", "not a text")


def _object(member: Mapping[str, Any], name: str, place: str) -> dict[str, Any]:
    value = member.get(name)
    if value is None or isinstance(value, dict):
        return value or {}
    raise BrokenDocument(f"{place}.{name}", "not an object")


def _check_name(name: str, place: str) -> None:
    segments = name.split(".")
    if len(segments) > MAXIMUM_SEGMENTS or len(name) > 1000:
        raise BrokenDocument(place, f"a name may have 1000 characters in {MAXIMUM_SEGMENTS} segments")
    for segment in segments[:-1] if segments[-1] == ROOT else segments:
        if not segment or segment.startswith("$") or not {"{", "}"}.isdisjoint(segment):
            raise BrokenDocument(place, f"the name {name!r} has a segment that is empty, begins with $ or has a brace")

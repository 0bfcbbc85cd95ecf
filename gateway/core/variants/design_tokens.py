"""Design tokens: as the backend gives them, in the mode of a variant, with aliases resolved.

A document is a list of tokens whose names have dots, or a tree of groups in the Design Tokens Community Group's format
(Format Module 2025.10; `$extensions.mode` has a token's values by mode): token_trees.py. Values are in that format or,
shorter, as CSS writes them: token_values.py. Names follow that format's rules whatever the variant: no segment is
empty, begins with `$` or has a brace in it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from gateway.core.errors import BrokenDocument
from gateway.core.variants.documents import MAXIMUM_LOOSE_BYTES, read_document
from gateway.core.variants.model import (
    MAXIMUM_SEGMENTS,
    NAMED,
    CodeNames,
    DocumentForm,
    InvalidOptions,
    Report,
    Variant,
    raise_broken,
    refuse_unknown,
)
from gateway.core.variants.token_trees import (
    MAXIMUM_ALIASES,
    ROOT,
    VALUE,
    DesignToken,
    TokenTree,
    parse_pointer,
)
from gateway.core.variants.token_values import TYPES, Aliases, normalize

MAXIMUM_PARTS = 100_000
"""Tokens, and items of their lists: an alias of twenty bytes may stand for a list of many."""


class DesignTokensDocument(msgspec.Struct, frozen=True):
    """The canonical document of a product's design tokens. Fields that are not named here are ignored."""

    tokens: list[DesignToken] | dict[str, Any]
    """A list, or a tree of groups as the Community Group's format has it."""
    modes: list[str] = []
    """The first one is the default. Absent: the modes that tokens have values for, and none of them is the default."""


class ResolvedToken(msgspec.Struct, frozen=True):
    """A token with its plain value in one mode, as the Community Group's format writes it."""

    name: str
    type: str
    value: Any
    description: str | None = None
    deprecated: bool | str | None = None
    extensions: dict[str, Any] | None = None


class ResolvedTokens(msgspec.Struct, frozen=True):
    """The part of a document that a variant uses: its tokens by name, and the properties of its groups."""

    tokens: tuple[ResolvedToken, ...]
    groups: Mapping[str, Mapping[str, Any]] = {}
    """The properties of each group; the root group has no name."""
    code: CodeNames = CodeNames()


class ReadTokens(msgspec.Struct, frozen=True):
    """A document's tokens before any alias is resolved: each with its place, by name."""

    tokens: dict[str, tuple[str, DesignToken]]
    groups: Mapping[str, Mapping[str, Any]]
    modes: tuple[str, ...]
    """All modes of the document."""
    default_mode: str | None


def select_tokens(content: bytes, form: DocumentForm, variant: Variant) -> ResolvedTokens | InvalidOptions:
    """Return the tokens of the document in `content`, sorted by name, in the variant's mode. Raise BrokenDocument."""
    read = read_tokens(
        read_document(content, DesignTokensDocument, form.names, MAXIMUM_LOOSE_BYTES), form, raise_broken
    )
    refused = refuse_unknown(form, "mode", () if variant.mode is None else (variant.mode,), read.modes)
    if refused is not None:
        return refused
    resolution = Resolution(read.tokens, variant.mode if variant.mode is not None else read.default_mode)
    resolved = tuple(_bounded(resolution.resolve(name) for name in sorted(resolution.tokens)))
    return ResolvedTokens(resolved, read.groups, form.code)


def find_token_mistakes(document: DesignTokensDocument, form: DocumentForm, report: Report) -> None:
    """Report all that is wrong with the tokens of a document, in every mode."""
    read = read_tokens(document, form, report)
    for mode in dict.fromkeys((None, *read.modes)):
        resolution = Resolution(read.tokens, mode)
        for name in sorted(read.tokens):
            try:
                resolution.resolve(name)
            except BrokenDocument as broken:
                report(broken)


def read_tokens(document: DesignTokensDocument, form: DocumentForm, report: Report) -> ReadTokens:
    """Return the tokens of a document, except those with mistakes, which go to `report`; it may raise them."""
    names = dict(form.names)
    root = f"$.{names.get('tokens', 'tokens')}"
    groups: Mapping[str, Mapping[str, Any]] = {}
    if isinstance(document.tokens, list):
        listed: Iterable[tuple[str, DesignToken]] = (
            (f"{root}[{position}]", token) for position, token in enumerate(document.tokens)
        )
        modes_at = names.get("tokens.modes", "modes")
    else:
        tree = TokenTree(document.tokens, root, report)
        listed, groups, modes_at = tree.list_tokens(), tree.properties, "$extensions.mode"
    types, tokens, modes = dict(form.types), dict[str, tuple[str, DesignToken]](), dict.fromkeys(document.modes)
    for mode in modes:
        _check_mode(mode, f"$.{names.get('modes', 'modes')}", report)
    for place, token in listed:
        for mode in token.modes:
            if document.modes and mode not in document.modes:
                problem = f"the document does not list this mode; it has {', '.join(document.modes)}"
                report(BrokenDocument(f"{place}.{modes_at}.{mode}", problem))
            elif mode not in modes:
                _check_mode(mode, f"{place}.{modes_at}", report)
                modes[mode] = None
        if token.name in tokens:
            report(BrokenDocument(place, f"the token {token.name!r} is also {tokens[token.name][0]}"))
            continue
        try:
            tokens[token.name] = place, _check_token(token, place, types)
        except BrokenDocument as broken:
            report(broken)
    return ReadTokens(tokens, groups, tuple(modes), next(iter(document.modes), None))


class Resolution(Aliases):
    """Tokens by name, and those whose value in the mode is already known: each is resolved once."""

    def __init__(self, tokens: Mapping[str, tuple[str, DesignToken]], mode: str | None) -> None:
        self.tokens = tokens
        self._mode = mode
        self._resolved: dict[str, ResolvedToken] = {}
        self._under_way: list[str] = []

    def resolve(self, name: str) -> ResolvedToken:
        """Return the token of that name, which must exist."""
        if name not in self._resolved:
            self._under_way.append(name)
            try:
                self._resolved[name] = self._work_out(*self.tokens[name])
            finally:
                self._under_way.pop()
        return self._resolved[name]

    def follow(self, name: str, place: str) -> tuple[str, Any]:
        """Return type and value of the token that an alias at `place` names.

        Raise BrokenDocument if it cannot be resolved.
        """
        if name not in self.tokens:
            raise BrokenDocument(place, f"an alias to {name!r}, which there is not")
        if name in self._under_way:
            cycle = [*self._under_way[self._under_way.index(name) :], name]
            raise BrokenDocument(place, f"aliases in a circle: {' -> '.join(cycle[-MAXIMUM_SEGMENTS:])}")
        if len(self._under_way) > MAXIMUM_ALIASES:
            raise BrokenDocument(place, f"more than {MAXIMUM_ALIASES} aliases one after the other")
        target = self.resolve(name)
        return target.type, target.value

    def point(self, pointer: Any, place: str) -> tuple[str | None, Any]:
        """Return the value that a JSON Pointer at `place` leads to, and its type if it is a whole token's.

        Raise BrokenDocument if it leads to no value.
        """
        steps = parse_pointer(pointer)
        if steps is None:
            raise BrokenDocument(place, "$ref is no JSON Pointer, such as #/color/blue or #/color/blue/$value/alpha")
        end = steps.index(VALUE) if VALUE in steps else len(steps)
        name, parts = ".".join(steps[:end]), steps[end + 1 :]
        if name not in self.tokens or any("." in step for step in steps[:end]):
            raise BrokenDocument(place, f"$ref leads to {pointer!r}, where no token and no part of a value is")
        kind, value = self.follow(name, place)
        for part in parts:
            if isinstance(value, dict) and part in value:
                value = value[part]
            elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            else:
                raise BrokenDocument(place, f"$ref leads to {pointer!r}, but the value of {name!r} has no {part!r}")
        return (None if parts else kind), value

    def _work_out(self, place: str, token: DesignToken) -> ResolvedToken:
        kind, value = token.type, token.value
        if self._mode is not None and self._mode in token.modes:
            if kind is None:  # the value of the other modes is an alias: its target has the type
                kind, _ = normalize(None, value, place, self)
            value = token.modes[self._mode]
        kind, plain = normalize(kind, value, place, self)
        return ResolvedToken(token.name, kind, plain, token.description, token.deprecated, token.extensions)


def _bounded(tokens: Iterator[ResolvedToken]) -> Iterator[ResolvedToken]:
    total = 0
    for token in tokens:
        total += len(token.value) if isinstance(token.value, list) else 1
        if total > MAXIMUM_PARTS:
            raise BrokenDocument("$", f"it has more than {MAXIMUM_PARTS} tokens and items of their lists")
        yield token


def _check_token(token: DesignToken, place: str, types: Mapping[str, str]) -> DesignToken:
    """Return the token with its type in our words. Raise BrokenDocument for a bad name or type."""
    _check_name(token.name, place)
    kind = types.get(token.type, token.type) if token.type is not None else None
    if kind is not None and kind not in TYPES:
        raise BrokenDocument(place, f"the type {kind!r} is not one of {', '.join(TYPES)}")
    return token if kind == token.type else msgspec.structs.replace(token, type=kind)


def _check_mode(mode: str, place: str, report: Report) -> None:
    if NAMED.fullmatch(mode) is None:
        problem = f"no request can ask for the mode {mode!r}: 1 to 128 characters can, none of them a control character"
        report(BrokenDocument(place, problem))


_PLAIN_NAME = re.compile(r"[^.{}$][^.{}]*(?:\.[^.{}$][^.{}]*){0,7}")
"""What most names are, told at once."""


def _check_name(name: str, place: str) -> None:
    if len(name) <= 1000 and _PLAIN_NAME.fullmatch(name):
        return
    segments = name.split(".")
    if len(segments) > MAXIMUM_SEGMENTS or len(name) > 1000:
        raise BrokenDocument(place, f"a name may have 1000 characters in {MAXIMUM_SEGMENTS} segments")
    for segment in segments[:-1] if segments[-1] == ROOT else segments:
        if not segment or segment.startswith("$") or not {"{", "}"}.isdisjoint(segment):
            raise BrokenDocument(place, f"the name {name!r} has a segment that is empty, begins with $ or has a brace")

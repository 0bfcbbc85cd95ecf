"""A tree of groups in the Community Group's format (Format Module 2025.10), and its tokens.

Rule 1: nothing disappears. A member that is no token, no group and no property that the module defines is a mistake.
Rule 2: a group that extends another one lies over it, as one layer over the next. If several layers have a member of
one name, the first layer's counts; groups of one name are joined, and a token replaces all that is under it (6.4).
Rule 3: a place is where a member stands in the document, even if another group inherits it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

from gateway.core.errors import BrokenDocument
from gateway.core.variants.model import MAXIMUM_SEGMENTS, Report

MAXIMUM_ALIASES = 64
"""Steps from a token to its value. A design system has three or four."""
MAXIMUM_MEMBERS = 100_000
"""Tokens and groups: a few lines of `$extends` may stand for many."""
ROOT = "$root"
"""The name of a token that is its group's own value (Format Module 2025.10)."""
VALUE = "$value"
REFERENCE = "$ref"

ALIAS = re.compile(r"\{([^{}]+)\}")

_SHARED = ("$type", "$description", "$deprecated", "$extensions", REFERENCE)
_OF_TOKENS = frozenset({VALUE, *_SHARED})
_OF_GROUPS = frozenset({ROOT, "$extends", *_SHARED})
_BROKEN_ESCAPE = re.compile(r"~(?![01])")

Path = tuple[str, ...]


class DesignToken(msgspec.Struct, frozen=True):
    """One design decision under its name."""

    name: str
    """Dots make groups: `color.text.link`."""
    value: Any
    """As the Community Group's format or CSS writes it: "#1f5fd6", "16px"; "{color.blue}" is an alias."""
    type: str | None = None
    """A type of the Community Group's format; an alias need not have one."""
    modes: dict[str, Any] = {}
    """Mode to the value in it, if that differs."""
    description: str | None = None
    deprecated: bool | str | None = None
    """Whether it should no longer be used, or why not; the format `dtcg` keeps it."""
    extensions: dict[str, Any] | None = None
    """What other tools store about it; the format `dtcg` keeps it."""


class Layer(msgspec.Struct, frozen=True):
    """A group as it stands in the document, and how the walk reached it."""

    group: Mapping[str, Any]
    path: Path
    chain: tuple[Path, ...]
    """The groups on the way, its own path last. Meeting one of them again means a circle."""
    outer_type: str | None
    """The `$type` of the groups that contain it, if it was inherited from there."""


class TokenTree:
    """The tokens and groups' properties of a tree. Mistakes go to `report`, which may raise them."""

    def __init__(self, root: Mapping[str, Any], place: str, report: Report) -> None:
        self._place = place
        self._report = report
        self._root = Layer(root, (), ((),), None)
        self._known: dict[int, bool] = {}
        self._extending: set[Path] = set()
        self._count = 0
        self.properties: dict[str, dict[str, Any]] = {}
        """The properties of each group that was found so far; the root group has no name."""

    def list_tokens(self) -> Iterator[tuple[str, DesignToken]]:
        """Return an iterator of each token with its place."""
        return self._walk([self._root], (), None)

    def _walk(self, layers: Sequence[Layer], way: Path, inherited: str | None) -> Iterator[tuple[str, DesignToken]]:
        place = self._place_of(layers[0].path)
        if len(way) >= MAXIMUM_SEGMENTS:
            raise BrokenDocument(place, f"groups may be {MAXIMUM_SEGMENTS} deep")
        opened = self._open(layers)
        group_type = next(filter(None, (self._text(one, "$type") for one in opened)), inherited)
        self._keep_properties(opened, way)
        for name in dict.fromkeys(name for layer in opened for name in layer.group):
            if not self._may_be_member(name, opened):
                continue
            self._count += 1
            if self._count > MAXIMUM_MEMBERS:
                raise BrokenDocument(place, f"there are more than {MAXIMUM_MEMBERS} tokens and groups")
            layer, *others = (one for one in opened if name in one.group)
            member, here = layer.group[name], self._place_of((*layer.path, name))
            if not isinstance(member, dict):
                self._report(BrokenDocument(here, "neither a group nor a token: a token is an object with $value"))
            elif "." in name:
                self._report(BrokenDocument(here, "a name in a tree of groups has no dot"))
            elif self._is_token(member):
                token = self._read_token(member, ".".join((*way, name)), here, group_type or layer.outer_type)
                if token is not None:
                    yield here, token
            elif name == ROOT:
                self._report(BrokenDocument(here, f"{ROOT} is a token: it has {VALUE}"))
            else:
                yield from self._walk(self._inside([layer, *others], name), (*way, name), group_type)

    def _may_be_member(self, name: str, opened: Sequence[Layer]) -> bool:
        """Return whether the name can be a token or a group; an unknown property is reported."""
        if not name.startswith("$") or name == ROOT:
            return True
        layer = next(layer for layer in opened if name in layer.group)
        if name not in _OF_GROUPS and not (name == "$schema" and not layer.path):
            here = self._place_of((*layer.path, name))
            known = ", ".join(sorted(_OF_GROUPS))
            self._report(BrokenDocument(here, f"a group has no {name}: it has {known}, and a token has {VALUE}"))
        return False

    def _read_token(
        self, member: Mapping[str, Any], name: str, place: str, inherited: str | None
    ) -> DesignToken | None:
        try:
            return self._build_token(member, name, place, inherited)
        except BrokenDocument as broken:
            self._report(broken)
            return None

    def _build_token(self, member: Mapping[str, Any], name: str, place: str, inherited: str | None) -> DesignToken:
        if not _OF_TOKENS.issuperset(member):
            other = next(name for name in member if name not in _OF_TOKENS)
            what = f"a token has no {other}: it has" if other.startswith("$") else "a token has no members but"
            raise BrokenDocument(f"{place}.{other}", f"{what} {', '.join(sorted(_OF_TOKENS))}")
        if VALUE in member and REFERENCE in member:
            raise BrokenDocument(place, f"a token has either {VALUE} or {REFERENCE}")
        value = member[VALUE] if VALUE in member else {REFERENCE: member[REFERENCE]}
        own_type = _text(member, "$type", place)
        extensions = _object(member, "$extensions", place)
        modes = _object(extensions, "mode", f"{place}.$extensions") if extensions else {}
        kept = {key: data for key, data in extensions.items() if key != "mode"} if extensions else None
        return DesignToken(
            name=name,
            value=value,
            # A group's type does not apply to an alias, which has the type of its target.
            type=own_type or (None if _is_whole_alias(value) else inherited),
            modes=modes,
            description=_text(member, "$description", place),
            deprecated=_deprecation(member, place),
            extensions=kept or None,
        )

    def _is_token(self, member: Mapping[str, Any]) -> bool:
        """Return whether it has a value or is an alias; a `$ref` to a group makes a group of it."""
        if VALUE in member or REFERENCE not in member:
            return VALUE in member
        if id(member) not in self._known:
            self._known[id(member)] = True  # also for a circle of aliases
            way = parse_pointer(member[REFERENCE])
            self._known[id(member)] = way is None or not self._find(way)
        return self._known[id(member)]

    def _open(self, layers: Sequence[Layer]) -> list[Layer]:
        """Return the layers, each before those of the groups that it extends."""
        opened: list[Layer] = []
        waiting = list(reversed(layers))
        while waiting:
            layer = waiting.pop()
            opened.append(layer)
            if layer.path in self._extending:
                continue
            try:
                waiting += reversed(self._extended(layer))
            except BrokenDocument as broken:
                self._report(broken)
        return opened

    def _extended(self, layer: Layer) -> list[Layer]:
        """Return the layers of the group that a group extends; empty if it extends none. Raise BrokenDocument."""
        named = [name for name in ("$extends", REFERENCE) if name in layer.group]
        if not named:
            return []
        here = f"{self._place_of(layer.path)}.{named[0]}"
        if len(named) > 1:
            raise BrokenDocument(here, f"a group has either $extends or {REFERENCE}")
        text = layer.group[named[0]]
        way = parse_reference(text)
        if way is None:
            raise BrokenDocument(here, 'not a reference to a group, such as "{color.brand}" or "#/color/brand"')
        self._extending.add(layer.path)
        try:
            found = self._find(way)
        finally:
            self._extending.discard(layer.path)
        if not found:
            raise BrokenDocument(here, f"there is no group {text!r}")
        for target in found:
            if target.path in layer.chain:
                round_ = [".".join(path) for path in (*layer.chain[layer.chain.index(target.path) :], target.path)]
                raise BrokenDocument(here, f"groups in a circle: {' -> '.join(round_[-MAXIMUM_SEGMENTS:])}")
        if len(layer.chain) > MAXIMUM_SEGMENTS + MAXIMUM_ALIASES:
            raise BrokenDocument(here, f"more than {MAXIMUM_ALIASES} groups that extend each other")
        return [msgspec.structs.replace(target, chain=(*layer.chain, target.path)) for target in found]

    def _find(self, way: Path) -> list[Layer]:
        """Return the layers of the group at that path of names; empty if there is no group."""
        layers, outer = [self._root], None
        for name in way:
            if name.startswith("$") or "." in name:
                return []
            opened = self._open(layers)
            outer = next((one.group["$type"] for one in opened if isinstance(one.group.get("$type"), str)), outer)
            layers = self._inside(opened, name)
            if not layers:
                return []
        return [msgspec.structs.replace(layer, outer_type=layer.outer_type or outer) for layer in layers]

    def _inside(self, layers: Sequence[Layer], name: str) -> list[Layer]:
        """Return the groups of that name in the layers, up to a token that replaces what is under it."""
        found = []
        for layer in layers:
            member = layer.group.get(name)
            if member is None:
                continue
            if not isinstance(member, dict) or self._is_token(member):
                break
            path = (*layer.path, name)
            found.append(Layer(member, path, (*layer.chain, path), layer.outer_type))
        return found

    def _keep_properties(self, opened: Sequence[Layer], way: Path) -> None:
        kept: dict[str, Any] = {}
        try:
            for layer in opened:
                place = self._place_of(layer.path)
                said = {
                    "$description": _text(layer.group, "$description", place),
                    "$deprecated": _deprecation(layer.group, place),
                    "$extensions": _object(layer.group, "$extensions", place) or None,
                }
                kept = {name: value for name, value in said.items() if value is not None} | kept
        except BrokenDocument as broken:
            self._report(broken)
        if kept:
            self.properties[".".join(way)] = kept

    def _text(self, layer: Layer, name: str) -> str | None:
        try:
            return _text(layer.group, name, self._place_of(layer.path))
        except BrokenDocument as broken:
            self._report(broken)
            return None

    def _place_of(self, path: Path) -> str:
        return ".".join((self._place, *path))


def is_reference(value: Any) -> bool:
    """Return whether a value, or a part of one, is a JSON Pointer to another."""
    return isinstance(value, dict) and value.keys() == {REFERENCE}


def parse_reference(text: Any) -> Path | None:
    """Return the names on the way to a group, from either spelling, or None if it is neither."""
    alias = ALIAS.fullmatch(text) if isinstance(text, str) else None
    return tuple(alias[1].split(".")) if alias else parse_pointer(text)


def parse_pointer(text: Any) -> Path | None:
    """Return the steps of a JSON Pointer as a fragment (RFC 6901 6), or None if it is none."""
    if not isinstance(text, str) or not text.startswith("#/") or _BROKEN_ESCAPE.search(text):
        return None
    return tuple(unquote(step).replace("~1", "/").replace("~0", "~") for step in text[2:].split("/"))


def _is_whole_alias(value: Any) -> bool:
    """Return whether the value is that of a whole other token, not only of a part of it."""
    if is_reference(value):
        steps = parse_pointer(value[REFERENCE]) or ()
        return VALUE not in steps[:-1]
    return isinstance(value, str) and ALIAS.fullmatch(value) is not None


def _text(member: Mapping[str, Any], name: str, place: str) -> str | None:
    value = member.get(name)
    if value is None or isinstance(value, str):
        return value
    raise BrokenDocument(f"{place}.{name}", "not a text")


def _deprecation(member: Mapping[str, Any], place: str) -> bool | str | None:
    value = member.get("$deprecated")
    if value is None or isinstance(value, bool | str):
        return value
    raise BrokenDocument(f"{place}.$deprecated", "neither true, false nor a text")


def _object(member: Mapping[str, Any], name: str, place: str) -> dict[str, Any]:
    value = member.get(name)
    if value is None or isinstance(value, dict):
        return value or {}
    raise BrokenDocument(f"{place}.{name}", "not an object")

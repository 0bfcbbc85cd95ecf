"""Design tokens as objects: plain JSON, ECMAScript and TypeScript modules, and the Community Group's own format."""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from gateway.core.errors import BrokenDocument
from gateway.core.variants.design_tokens import ResolvedToken
from gateway.core.variants.renderers.css_values import write_parts
from gateway.core.variants.renderers.json_texts import INDENT
from gateway.core.variants.trees import Group, build_tree, collide
from gateway.core.variants.variant import Variant

# In an object literal this key would set the prototype (ECMA-262, B.3.1): as a computed one it is a key like others.
# A quote inside a string has a backslash before it, so what is found here is a key.
_PROTOTYPE = re.compile(rb'(?<=[{,\s])"__proto__":')
# Line ends in source text before ECMAScript 2019.
_LINE_ENDS = {"\u2028".encode(): b"\\u2028", "\u2029".encode(): b"\\u2029"}


def render_token_json(tokens: tuple[ResolvedToken, ...], variant: Variant) -> Iterator[bytes]:
    """Name to value as CSS writes it, in groups or flat."""
    yield _encode(_build_plain(tokens, variant), variant) + b"\n"


def render_js(tokens: tuple[ResolvedToken, ...], variant: Variant) -> Iterator[bytes]:
    """A module whose default export is what JSON would be."""
    yield b"export default "
    yield _build_literal(tokens, variant)
    yield b";\n"


def render_ts(tokens: tuple[ResolvedToken, ...], variant: Variant) -> Iterator[bytes]:
    """The same with exact types: each value is of its own literal type."""
    yield b"const tokens = "
    yield _build_literal(tokens, variant)
    yield b" as const;\n\nexport type Tokens = typeof tokens;\nexport default tokens;\n"


def render_dtcg(tokens: tuple[ResolvedToken, ...], variant: Variant) -> Iterator[bytes]:
    """The Design Tokens Format Module 2025.10: groups, `$type`, `$value`, aliases replaced by what they stand for."""
    members: list[dict[str, Any]] = []
    for token in tokens:
        member = {"$type": token.type, "$value": token.value}
        members.append(member if token.description is None else {**member, "$description": token.description})
    yield _encode(_nest([token.name for token in tokens], members), variant) + b"\n"


def _build_literal(tokens: tuple[ResolvedToken, ...], variant: Variant) -> bytes:
    literal = _PROTOTYPE.sub(b'["__proto__"]:', _encode(_build_plain(tokens, variant), variant))
    for character, escaped in _LINE_ENDS.items():
        literal = literal.replace(character, escaped)
    return literal


def _build_plain(tokens: tuple[ResolvedToken, ...], variant: Variant) -> dict[str, Any]:
    named = [(".".join((token.name, *part)), value) for token in tokens for part, value in write_parts(token)]
    named.sort(key=lambda item: item[0])
    names = [name for name, _ in named]
    if len(set(names)) < len(names):
        name = next(name for name, following in itertools.pairwise(names) if name == following)
        raise BrokenDocument("$", f"{name!r} is a token, and a part of the typography token that it is in")
    return dict(named) if variant.shape == "flat" else _nest(names, [value for _, value in named])


def _nest(names: Sequence[str], members: Sequence[Any]) -> dict[str, Any]:
    def build(group: Group) -> dict[str, Any]:
        both = group.entries.keys() & group.groups
        if both:
            raise collide(names, group, min(both))
        built = {name: members[position] for name, position in group.entries.items()}
        return built | {name: build(inner) for name, inner in group.groups.items()}

    return build(build_tree(names))


def _encode(content: Any, variant: Variant) -> bytes:
    encoded = msgspec.json.encode(content)
    return msgspec.json.format(encoded, indent=INDENT) if variant.pretty else encoded

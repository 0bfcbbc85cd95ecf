"""Design tokens of the example tokensets: values, aliases, two modes, and the document of them all.

Rule: a token is written once as a designer would write it (`"16px"`, `"#1f5fd6"`, `"{color.blue.600}"`), and checked
when a client adds it. `render_document` has the gateway's own renderer write the style sheet and the JSON.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Annotated, Literal, TypeAlias, get_args

import msgspec

from gateway.core.variants.model import DocumentForm, Rendered, Variant
from gateway.core.variants.rendering import render

Mode: TypeAlias = Literal["light", "dark"]
LeafType: TypeAlias = Literal["color", "dimension", "fontFamily", "fontWeight", "number"]
TokenType: TypeAlias = LeafType | Literal["shadow", "typography"]
Value: TypeAlias = str | dict[str, str]

MODES: tuple[Mode, ...] = get_args(Mode)

# Segments have no hyphen: then `.` to `-` gives each token a CSS name of its own.
TokenName: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]+(\.[a-z0-9]+)+\Z", max_length=120)]

# The parts a composite value must have, as the Design Tokens Format Module 2025.10 has them.
_PARTS: dict[str, dict[str, str]] = {
    "shadow": {
        "offsetX": "dimension",
        "offsetY": "dimension",
        "blur": "dimension",
        "spread": "dimension",
        "color": "color",
    },
    "typography": {
        "fontFamily": "fontFamily",
        "fontSize": "dimension",
        "fontWeight": "fontWeight",
        "letterSpacing": "dimension",
        "lineHeight": "number",
    },
}

# Narrow on purpose: tokens come from clients and end in a style sheet, in which `;` or `}` would inject.
_NUMBER = r"-?(?:0|[1-9][0-9]{0,5})(?:\.[0-9]{1,4})?"
_LEAF_PATTERNS: dict[str, re.Pattern[str]] = {
    "color": re.compile(r"#[0-9a-f]{6}(?:[0-9a-f]{2})?"),
    "dimension": re.compile(rf"({_NUMBER})(px|rem)"),
    "fontFamily": re.compile(r"[A-Za-z][A-Za-z -]{0,60}(?:, [A-Za-z][A-Za-z -]{0,60}){0,9}"),
    "fontWeight": re.compile(r"[1-9][0-9]{0,2}|1000"),
    "number": re.compile(_NUMBER),
}
_ALIAS = re.compile(r"\{([a-z0-9.]+)\}")

FORMATS = {"css": "css", "json": "dtcg"}
"""How the example's two formats are called by the renderer."""


class DesignToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A named value; `modes` has the values that differ in a mode."""

    name: TokenName
    type: TokenType
    value: Value
    modes: dict[Mode, Value] = {}  # msgspec copies an empty mutable default for each instance


def validate_tokens(tokens: Sequence[DesignToken]) -> None:
    """Raise ValueError that names the token unless the tokens can be exported in every mode."""
    names = Counter(token.name for token in tokens)
    groups = {prefix for name in names for prefix in accumulate(name.split("."), "{}.{}".format) if prefix != name}
    for name, count in names.items():
        if count > 1 or name in groups:
            raise ValueError(f"{name}: the name of {'a group' if name in groups else 'another token'} too")
    for mode in MODES:
        resolve_tokens(tokens, mode)


def resolve_tokens(tokens: Sequence[DesignToken], mode: Mode) -> tuple[DesignToken, ...]:
    """Return the tokens with plain values, as they are in `mode`.

    Raise ValueError that names the tokens: an alias to nothing, to another type or around a cycle, or a malformed
    value.
    """
    by_name = {token.name: token for token in tokens}
    return tuple(DesignToken(token.name, token.type, _resolve_value(by_name, token, mode)) for token in tokens)


def build_document(tokens: Sequence[DesignToken]) -> bytes:
    """Build the canonical document from which the gateway makes every format and mode: as written, with aliases.

    Fonts are a list: one text would be the name of one font.
    """
    written = [
        {
            "name": token.name,
            "type": token.type,
            "value": _list_fonts(token.type, token.value),
            "modes": {mode: _list_fonts(token.type, value) for mode, value in token.modes.items()},
        }
        for token in sorted(tokens, key=lambda token: token.name)
    ]
    return msgspec.json.encode({"modes": MODES, "tokens": written}, order="sorted") + b"\n"


def render_document(tokens: Sequence[DesignToken], format_: str, mode: Mode) -> bytes:
    """Return the tokens as they are in a mode, in one of FORMATS. The tokens are valid: see `validate_tokens`."""
    variant = Variant(format=FORMATS[format_], mode=mode)
    made = render(build_document(tokens), DocumentForm("design-tokens"), variant)
    if not isinstance(made, Rendered):
        raise ValueError(f"the renderer does not offer {format_} in {mode}")  # noqa: TRY004 - no argument is at fault
    return made.content


def _list_fonts(type_: str, value: Value) -> object:
    if not isinstance(value, str):
        return {part: _list_fonts(_PARTS[type_][part], leaf) for part, leaf in value.items()}
    return value.split(", ") if type_ == "fontFamily" and not _ALIAS.fullmatch(value) else value


def _resolve_value(tokens: Mapping[str, DesignToken], token: DesignToken, mode: Mode) -> Value:
    value = _follow(tokens, mode, token.modes.get(mode, token.value), token.type, (token.name,))
    parts = _PARTS.get(token.type)
    if parts is None:
        return _checked_leaf(token.name, token.type, value)
    if isinstance(value, str) or value.keys() != parts.keys():
        raise ValueError(f"{token.name}: not a value of type {token.type}")
    leaves = {part: _follow(tokens, mode, value[part], type_, (token.name,)) for part, type_ in parts.items()}
    return {part: _checked_leaf(token.name, parts[part], leaf) for part, leaf in leaves.items()}


def _follow(tokens: Mapping[str, DesignToken], mode: Mode, value: Value, type_: str, chain: tuple[str, ...]) -> Value:
    """Return the value at the end of the aliases.

    This is a loop, as a client may chain more than Python can recurse.
    """
    while isinstance(value, str) and (alias := _ALIAS.fullmatch(value)):
        name = alias[1]
        if name in chain:
            raise ValueError(f"alias cycle: {' -> '.join((*chain[chain.index(name) :], name))}")
        if (target := tokens.get(name)) is None:
            raise ValueError(f"{chain[-1]}: alias to unknown token {name}")
        if target.type != type_:
            raise ValueError(f"{chain[-1]}: alias to {name}, which is of type {target.type}, not {type_}")
        chain = (*chain, name)
        value = target.modes.get(mode, target.value)
    return value


def _checked_leaf(name: str, type_: str, value: Value) -> str:
    if not isinstance(value, str) or _LEAF_PATTERNS[type_].fullmatch(value) is None:
        raise ValueError(f"{name}: not a value of type {type_}: {str(value)[:40]!r}")
    return value

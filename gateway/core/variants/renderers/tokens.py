"""Write design tokens as CSS, SCSS, Less, Tailwind, JSON, ECMAScript, TypeScript and the Community Group's format.

CSS custom properties and the variables of other languages have hyphens for dots: `--color-text-link`. A name is always
an identifier: other characters are escaped (CSSOM, serialize an identifier). If the names of two tokens become the
same, that is a mistake, so that none is lost. Values are written as CSS does. A typography token becomes several
variables: one for each of its parts.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from gateway.core.errors import BrokenDocument
from gateway.core.variants.design_tokens import ResolvedToken, ResolvedTokens
from gateway.core.variants.model import Group, Variant, build_tree, collide, find_repeated
from gateway.core.variants.renderers.text import INDENT
from gateway.core.variants.token_trees import ROOT
from gateway.core.variants.token_values import PARTS

_FUNCTIONS = {
    "srgb": ("", "", ""),
    "hsl": ("", "%", "%"),
    "hwb": ("", "%", "%"),
    "lab": ("%", "", ""),
    "lch": ("%", "", ""),
} | dict.fromkeys(("oklab", "oklch"), ("", "", ""))
"""Color spaces with a function of their own (CSS Color 4), and the units of its components; others use color()."""

_BYTE_TOLERANCE = 0.03
"""Of 255: components are rounded to four digits, so an eight-bit channel comes back to within this."""

_KEYWORDS = frozenset(
    {
        *("serif", "sans-serif", "monospace", "cursive", "fantasy", "system-ui", "math", "emoji", "fangsong"),
        *("ui-serif", "ui-sans-serif", "ui-monospace", "ui-rounded"),
    }
)
"""Generic families, which are no names of fonts (CSS Fonts 4, 2.1.3)."""

Part = tuple[tuple[str, ...], str | int | float]


def write_parts(token: ResolvedToken) -> Iterator[Part]:
    """Yield the suffixes of the token's name, usually none, and the values: numbers where CSS has bare ones."""
    if token.type == "typography":
        for part, kind in PARTS["typography"].items():
            yield (part,), write_value(kind, token.value[part])
    else:
        yield (), write_value(token.type, token.value)


def write_value(kind: str, value: Any) -> str | int | float:
    """Write a plain value of the type."""
    return _WRITERS[kind](value)


def write_string(text: str) -> str:
    """Write a CSS string (CSSOM, serialize a string); NUL, which CSS cannot have, becomes the replacement character.

    In Sass `#{` begins an expression, in strings too: it is escaped, which means nothing to CSS.
    """
    return '"' + _STRING_ESCAPES.sub(_escape_value, text.replace("\0", "\ufffd")) + '"'


def _escape_value(match: re.Match[str]) -> str:
    return f"\\{match[0]}" if match[0] in '"\\#' else f"\\{ord(match[0]):x} "


_STRING_ESCAPES = re.compile(r'[\x01-\x1f\x7f"\\]|#(?=\{)')


def _number(value: float) -> str:
    text = msgspec.json.encode(value).decode()
    return text.removesuffix(".0")


def _measure(value: dict[str, Any]) -> str:
    return f"{_number(value['value'])}{value['unit']}"


def _color(value: dict[str, Any]) -> str:
    space, components, alpha = value["colorSpace"], value["components"], value.get("alpha", 1)
    if space == "srgb":
        channels = find_channels((*components, alpha))
        if channels is not None:
            return "#" + bytes(channels if alpha != 1 else channels[:3]).hex()
        # Sass' own functions read rgb(), and stop at color(srgb ...); to a browser both are the same color.
        components = [c if c == "none" else round(c * 255, 4) for c in components]
    units = _FUNCTIONS.get(space, ("", "", ""))
    written = [c if c == "none" else _number(c) + unit for c, unit in zip(components, units, strict=True)]
    inside = " ".join(written) if alpha == 1 else f"{' '.join(written)} / {_number(alpha)}"
    function = "rgb" if space == "srgb" else space
    return f"{function}({inside})" if space in _FUNCTIONS else f"color({space} {inside})"


def find_channels(components: Sequence[Any]) -> list[int] | None:
    """Return the bytes of components from 0 to 1, or None if one of them is not on the grid of 8 bits."""
    try:
        return [_CHANNELS[one] for one in components]  # as hexadecimal digits are read, and most colors are of these
    except KeyError:
        pass
    if any(one == "none" or not 0 <= one <= 1 for one in components):
        return None
    exact = [255 * one for one in components]
    return [round(one) for one in exact] if all(abs(one - round(one)) <= _BYTE_TOLERANCE for one in exact) else None


_CHANNELS = {round(byte / 255, 4): byte for byte in range(256)}


def _font_family(value: str | list[str]) -> str:
    names = value if isinstance(value, list) else [value]
    return ", ".join(name if name in _KEYWORDS else write_string(name) for name in names)


def _stroke_style(value: str | dict[str, Any]) -> str:
    return value if isinstance(value, str) else "dashed"  # CSS draws no dashes to measure


def _border(value: dict[str, Any]) -> str:
    return f"{_measure(value['width'])} {_stroke_style(value['style'])} {_color(value['color'])}"


def _cubic_bezier(value: list[float]) -> str:
    return f"cubic-bezier({', '.join(map(_number, value))})"


def _transition(value: dict[str, Any]) -> str:
    return f"{_measure(value['duration'])} {_cubic_bezier(value['timingFunction'])} {_measure(value['delay'])}"


def _shadow(value: dict[str, Any] | list[dict[str, Any]]) -> str:
    return ", ".join(map(_one_shadow, value if isinstance(value, list) else [value]))


def _one_shadow(value: dict[str, Any]) -> str:
    lengths = " ".join(_measure(value[part]) for part in ("offsetX", "offsetY", "blur", "spread"))
    return f"{'inset ' if value.get('inset') else ''}{lengths} {_color(value['color'])}"


def _gradient(value: list[dict[str, Any]]) -> str:
    """Write the stops, for any of CSS's gradient functions."""
    return ", ".join(f"{_color(stop['color'])} {_number(_percent(stop['position']))}%" for stop in value)


def _percent(position: float) -> float:
    return round(min(max(position, 0), 1) * 100, 4)


def _same(value: float) -> float:
    return value


_WRITERS: Mapping[str, Callable[[Any], str | int | float]] = {
    "color": _color,
    "dimension": _measure,
    "fontFamily": _font_family,
    "fontWeight": _same,
    "duration": _measure,
    "cubicBezier": _cubic_bezier,
    "number": _same,
    "strokeStyle": _stroke_style,
    "border": _border,
    "transition": _transition,
    "shadow": _shadow,
    "gradient": _gradient,
}


_BATCH = 500
_KEBAB = re.compile("[A-Z]")
_NO_IDENTIFIER = re.compile(r"[\0-\x2c./:-@\[-^`{-\x7f]")
_BLANK = re.compile(r"[\x01-\x20\x7f]")
"""Escaped by their numbers, because postcss ends a property's name at a blank, even at an escaped one."""
_LESS_NAME = re.compile(r"[A-Za-z0-9_-]+")
_LESS_EVALUATES = re.compile(r"\bcolor\(|\bnone\b")
_EXPONENT = re.compile(r"(?<![\w#.])-?[0-9.]+[eE][+-]?[0-9]+")
_DIGIT_FIRST = re.compile(r"^(-?)([0-9])")


def render_css(tokens: ResolvedTokens, _: Variant) -> Iterator[bytes]:
    """Write a rule for the root element."""
    return _write_properties(":root", tokens)


def render_tailwind(tokens: ResolvedTokens, _: Variant) -> Iterator[bytes]:
    """Write theme variables of Tailwind 4: a token's name determines the classes, `--color-blue` makes `bg-blue`."""
    return _write_properties("@theme", tokens)


def _write_properties(head: str, tokens: ResolvedTokens) -> Iterator[bytes]:
    yield f"{head} {{\n".encode()
    names = _name_all(tokens)
    _refuse_repeated((name, token) for name, token, _ in names)
    yield from _batches(f"  --{name}: {value};\n" for name, _, value in names)
    yield b"}\n"


def render_scss(tokens: ResolvedTokens, _: Variant) -> Iterator[bytes]:
    """Write Sass variables. Sass treats hyphens and underscores in names as equal."""
    names = _name_all(tokens)
    _refuse_repeated((name.replace("_", "-"), token) for name, token, _ in names)
    yield from _batches(f"${_escape_first(name)}: {value};\n" for name, _, value in names)


def render_less(tokens: ResolvedTokens, _: Variant) -> Iterator[bytes]:
    """Write Less variables. Less has no escapes in names: a token that would need one is a BrokenDocument."""
    names = _name_all(tokens)
    _refuse_repeated((name, token) for name, token, _ in names)
    for name, token, _value in names:
        if _LESS_NAME.fullmatch(name) is None:
            raise BrokenDocument("$", f"the token {token!r} has no name in Less: a to z, digits, - and _ can be in one")
    yield from _batches(f"@{name}: {_write_less(value)};\n" for name, _, value in names)


def _write_less(value: str | float) -> str:
    """Write a value that Less leaves unchanged: it has no exponents, and evaluates `color()` as its own function."""
    text = value if isinstance(value, str) else _number(value)
    if '"' in text:
        return text  # of fonts; an alias in braces, which Less would replace, is in none of their names
    text = _EXPONENT.sub(lambda match: format(Decimal(match[0]), "f"), text)
    return f'~"{text}"' if _LESS_EVALUATES.search(text) else text


def write_identifier(text: str) -> str:
    """Write the text as the rest of an identifier. NUL, which CSS cannot have, becomes the replacement character."""
    return _NO_IDENTIFIER.sub(_escape_text, text.replace("\0", "\ufffd")) if _NO_IDENTIFIER.search(text) else text


def _escape_text(match: re.Match[str]) -> str:
    character = match[0]
    return f"\\{ord(character):x} " if _BLANK.match(character) else f"\\{character}"


def _escape_first(name: str) -> str:
    """Escape the beginning of an identifier, which cannot be a digit, nor a hyphen alone."""
    if name == "-":
        return "\\-"
    return _DIGIT_FIRST.sub(lambda match: f"{match[1]}\\{ord(match[2]):x} ", name)


def _name_all(tokens: ResolvedTokens) -> list[tuple[str, str, str | int | float]]:
    """Return for each property its name, the token that it comes from, and its value."""
    named = []
    for token in tokens.tokens:
        name = write_identifier(token.name.removesuffix(f".{ROOT}").replace(".", "-"))
        if token.type == "typography":
            for (part,), value in write_parts(token):
                named.append(
                    (f"{name}-{_KEBAB.sub(lambda capital: f'-{capital[0].lower()}', part)}", token.name, value)
                )
        else:
            named.append((name, token.name, write_value(token.type, token.value)))
    return named


def _refuse_repeated(names: Iterator[tuple[str, str]]) -> None:
    repeated = find_repeated(names)
    if repeated:
        name, first, other = repeated
        raise BrokenDocument("$", f"the tokens {first!r} and {other!r} both become {name!r}")


def _batches(lines: Iterator[str]) -> Iterator[bytes]:
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == _BATCH:
            yield "".join(batch).encode()
            batch.clear()
    yield "".join(batch).encode()


# In an object literal this key would set the prototype (ECMA-262, B.3.1): as a computed key, it is like any other.
# A quote inside a string has a backslash before it, so a match is a key.
_PROTOTYPE = re.compile(rb'(?<=[{,\s])"__proto__":')
# Line ends in source text before ECMAScript 2019.
_LINE_ENDS = {"\u2028".encode(): b"\\u2028", "\u2029".encode(): b"\\u2029"}


def render_token_json(tokens: ResolvedTokens, variant: Variant) -> Iterator[bytes]:
    """Write name to value as CSS writes it, in groups or flat."""
    yield _encode(_build_plain(tokens, variant), variant) + b"\n"


def render_js(tokens: ResolvedTokens, variant: Variant) -> Iterator[bytes]:
    """Write a module whose default export is what JSON would be."""
    yield b"export default "
    yield _build_literal(tokens, variant)
    yield b";\n"


def render_ts(tokens: ResolvedTokens, variant: Variant) -> Iterator[bytes]:
    """Write the module of `render_js` with exact types: each value is of its own literal type."""
    yield b"const tokens = "
    yield _build_literal(tokens, variant)
    yield b" as const;\n\nexport type Tokens = typeof tokens;\nexport default tokens;\n"


def render_dtcg(tokens: ResolvedTokens, variant: Variant) -> Iterator[bytes]:
    """Write the Design Tokens Format Module 2025.10: groups, `$type`, `$value`, and aliases replaced by their values.

    Properties of tokens and groups, and what other tools say about them, are kept (5.2).
    """
    members: list[dict[str, Any]] = []
    for token in tokens.tokens:
        said = {"$description": token.description, "$deprecated": token.deprecated, "$extensions": token.extensions}
        kept = {name: value for name, value in said.items() if value is not None}
        members.append({"$type": token.type, "$value": token.value, **kept})
    built = _nest([token.name for token in tokens.tokens], members)
    for name, properties in tokens.groups.items():
        group = built
        for segment in name.split(".") if name else ():
            group = group.setdefault(segment, {})
        group.update(properties)
    yield _encode(built, variant) + b"\n"


def render_style_dictionary(tokens: ResolvedTokens, variant: Variant) -> Iterator[bytes]:
    """Render a source in Style Dictionary's own format: groups, `value` as CSS writes it, `type`, `comment`."""
    members: list[dict[str, Any]] = []
    for token in tokens.tokens:
        member = {"value": _write_member(token.type, token.value), "type": token.type}
        members.append(member if token.description is None else {**member, "comment": token.description})
    yield _encode(_nest([token.name for token in tokens.tokens], members), variant) + b"\n"


def _write_member(kind: str, value: Any) -> Any:
    """Write the value; one with parts becomes an object, or a list of objects, which transforms join."""
    if kind in PARTS and isinstance(value, list):
        return [_write_member(kind, one) for one in value]
    if kind in PARTS and isinstance(value, dict):
        return {part: _write_member(PARTS[kind][part], inner) for part, inner in value.items()}
    if kind == "dashes":
        return [_measure(one) for one in value]
    if kind == "color":
        return _write_legacy_color(value)
    return _WRITERS[kind](value) if kind in _WRITERS else value


def _write_legacy_color(value: dict[str, Any]) -> Any:
    """Write a color for Style Dictionary: it reads `rgba()` with commas, and takes `rgb(0 0 0 / 0.5)` for opaque black.

    Those of other spaces than sRGB stay objects, which it converts itself.
    """
    components, alpha = value["components"], value.get("alpha", 1)
    if value["colorSpace"] != "srgb" or "none" in components:
        return value
    if find_channels((*components, alpha)) is not None:
        return _color(value)
    return f"rgba({', '.join(_number(round(one * 255, 4)) for one in components)}, {_number(alpha)})"


def _build_literal(tokens: ResolvedTokens, variant: Variant) -> bytes:
    literal = _PROTOTYPE.sub(b'["__proto__"]:', _encode(_build_plain(tokens, variant), variant))
    for character, escaped in _LINE_ENDS.items():
        literal = literal.replace(character, escaped)
    return literal


def _build_plain(tokens: ResolvedTokens, variant: Variant) -> dict[str, Any]:
    named = [(".".join((token.name, *part)), value) for token in tokens.tokens for part, value in write_parts(token)]
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

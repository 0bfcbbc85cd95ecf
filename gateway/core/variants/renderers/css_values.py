"""Values of design tokens as CSS writes them. A typography token is several: one for each of its parts."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from gateway.core.variants.design_tokens import ResolvedToken

_FUNCTIONS = {"hsl": ("", "%", "%"), "hwb": ("", "%", "%"), "lab": ("%", "", ""), "lch": ("%", "", "")} | dict.fromkeys(
    ("oklab", "oklch"), ("", "", "")
)
"""Color spaces with a function of their own (CSS Color 4), and the units of its components; others use color()."""

_BYTE_TOLERANCE = 0.03
"""Of 255: components are rounded to four digits, so an eighth-bit channel comes back to within this."""

_KEYWORDS = frozenset({"serif", "sans-serif", "monospace", "cursive", "fantasy", "system-ui", "math", "emoji"})
"""Generic families, which are no names of fonts (CSS Fonts 4)."""

Part = tuple[tuple[str, ...], str | int | float]


def write_parts(token: ResolvedToken) -> Iterator[Part]:
    """What the token's name goes on with, mostly nothing, and the value: a number where CSS has a bare one."""
    if token.type == "typography":
        for part, kind in _TYPOGRAPHY.items():
            yield (part,), write_value(kind, token.value[part])
    else:
        yield (), write_value(token.type, token.value)


def write_value(kind: str, value: Any) -> str | int | float:
    """A plain value of the type."""
    return _WRITERS[kind](value)


def write_string(text: str) -> str:
    """A CSS string (CSSOM, serialize a string); NUL, which CSS cannot have, is the replacement character.

    In Sass `#{` begins an expression, in strings too: it is escaped, which means nothing to CSS.
    """
    return '"' + _STRING_ESCAPES.sub(_escape, text.replace("\0", "\ufffd")) + '"'


def _escape(match: re.Match[str]) -> str:
    return f"\\{match[0]}" if match[0] in '"\\#' else f"\\{ord(match[0]):x} "


_STRING_ESCAPES = re.compile(r'[\x01-\x1f\x7f"\\]|#(?=\{)')


def _number(value: float) -> str:
    text = msgspec.json.encode(value).decode()
    return text.removesuffix(".0")


def _measure(value: dict[str, Any]) -> str:
    return f"{_number(value['value'])}{value['unit']}"


def _color(value: dict[str, Any]) -> str:
    space, alpha = value["colorSpace"], value.get("alpha", 1)
    channels = [*value["components"], alpha]
    if space == "srgb" and all(isinstance(channel, int | float) for channel in channels):
        exact = [channel * 255 for channel in channels]
        if all(0 <= c <= 255 and abs(c - round(c)) <= _BYTE_TOLERANCE for c in exact):
            return "#" + bytes(map(round, exact if alpha != 1 else exact[:3])).hex()
    units = _FUNCTIONS.get(space, ("", "", ""))
    written = [c if c == "none" else _number(c) + unit for c, unit in zip(value["components"], units, strict=True)]
    inside = " ".join(written) if alpha == 1 else f"{' '.join(written)} / {_number(alpha)}"
    return f"{space}({inside})" if space in _FUNCTIONS else f"color({space} {inside})"


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
    """The stops, for any of CSS's gradient functions."""
    return ", ".join(f"{_color(stop['color'])} {_number(_percent(stop['position']))}%" for stop in value)


def _percent(position: float) -> float:
    return round(min(max(position, 0), 1) * 100, 4)


def _same(value: float) -> float:
    return value


_TYPOGRAPHY = {
    "fontFamily": "fontFamily",
    "fontSize": "dimension",
    "fontWeight": "fontWeight",
    "letterSpacing": "dimension",
    "lineHeight": "number",
}
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

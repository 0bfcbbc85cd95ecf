"""Values of design tokens: each type's check, which gives the value as the Design Tokens Format Module 2025.10 has it.

CSS's own spelling is taken where it says the same: "#1f5fd6", "16px", "200ms". What comes out has no alias in it, only
numbers, words of a closed list, and font names: so every renderer can write it down safely.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol

from gateway.core.errors import BrokenDocument

MAXIMUM_ITEMS = 64
"""Of a list of shadows, stops, fonts or dashes, so that no value grows however aliases are laid."""

_ALIAS = re.compile(r"\{([^{}]+)\}")
_HEX = re.compile(r"#(?:[0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")
_MEASURE = re.compile(r"([+-]?(?:[0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}))([a-z]+)?")
_WEIGHTS = {
    **dict.fromkeys(("thin", "hairline"), 100),
    **dict.fromkeys(("extra-light", "ultra-light"), 200),
    "light": 300,
    **dict.fromkeys(("normal", "regular", "book"), 400),
    "medium": 500,
    **dict.fromkeys(("semi-bold", "demi-bold"), 600),
    "bold": 700,
    **dict.fromkeys(("extra-bold", "ultra-bold"), 800),
    **dict.fromkeys(("black", "heavy"), 900),
    **dict.fromkeys(("extra-black", "ultra-black"), 950),
}
_COLOR_SPACES = frozenset(
    {
        "srgb",
        "srgb-linear",
        "hsl",
        "hwb",
        "lab",
        "lch",
        "oklab",
        "oklch",
        "display-p3",
        "a98-rgb",
        "prophoto-rgb",
        "rec2020",
        "xyz-d65",
        "xyz-d50",
    }
)
_STROKES = frozenset({"solid", "dashed", "dotted", "double", "groove", "ridge", "outset", "inset"})
_CAPS = frozenset({"round", "butt", "square"})


class Aliases(Protocol):
    """The tokens that aliases may name."""

    def follow(self, name: str, place: str) -> tuple[str, Any]:
        """Type and plain value of a token; raises BrokenDocument where there is none, or the alias leads to itself."""
        ...


Check = Callable[[Any, str, Aliases], Any]


def normalize(kind: str | None, value: Any, place: str, aliases: Aliases) -> tuple[str, Any]:
    """A token's type and its plain value; raises BrokenDocument where the value is not of the type."""
    alias = _ALIAS.fullmatch(value) if isinstance(value, str) else None
    if alias is not None:
        found, plain = aliases.follow(alias[1], place)
        if kind is not None and kind != found:
            raise BrokenDocument(place, f"of type {kind}, but an alias to {alias[1]!r} of type {found}")
        return found, plain
    if kind is None:
        raise BrokenDocument(place, "a token needs a type: nothing is guessed from its value")
    return kind, TYPES[kind](value, place, aliases)


def _part(kind: str, value: Any, place: str, aliases: Aliases) -> Any:
    """A part of a composite value, which may be an alias of its own."""
    return normalize(kind, value, place, aliases)[1]


def _refuse(kind: str, place: str) -> NoReturn:
    raise BrokenDocument(place, f"not a value of type {kind}")


def _number(value: Any, place: str, _: Aliases) -> Any:
    if isinstance(value, str) and (match := _MEASURE.fullmatch(value)) and match[2] is None:
        return _parse_number(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e15:
        _refuse("number", place)
    return value


def _measure(kind: str, units: frozenset[str]) -> Check:
    def check(value: Any, place: str, aliases: Aliases) -> Any:
        if isinstance(value, str) and (match := _MEASURE.fullmatch(value)):
            number, unit = _parse_number(match[1]), match[2]
            if unit is None and number == 0:
                unit = min(units)
        elif isinstance(value, dict) and value.keys() == {"value", "unit"}:
            number, unit = _part("number", value["value"], f"{place}.value", aliases), value["unit"]
        else:
            _refuse(kind, place)
        if not isinstance(unit, str) or unit not in units:
            raise BrokenDocument(place, f"not a value of type {kind}: its unit must be {' or '.join(sorted(units))}")
        return {"value": number, "unit": unit}

    return check


def _color(value: Any, place: str, aliases: Aliases) -> Any:
    if isinstance(value, str) and _HEX.fullmatch(value):
        digits = value[1:].lower()
        digits = "".join(digit * 2 for digit in digits) if len(digits) < 6 else digits
        channels = [round(channel / 255, 4) for channel in bytes.fromhex(digits)]
        color: dict[str, Any] = {"colorSpace": "srgb", "components": channels[:3], "hex": f"#{digits[:6]}"}
        return color | {"alpha": channels[3]} if len(digits) == 8 else color
    if not isinstance(value, dict) or not {"colorSpace", "components"} <= value.keys() <= _COLOR_MEMBERS:
        _refuse("color", place)
    space, components, fallback = value["colorSpace"], value["components"], value.get("hex")
    if not isinstance(space, str) or space not in _COLOR_SPACES:
        raise BrokenDocument(f"{place}.colorSpace", f"not one of {', '.join(sorted(_COLOR_SPACES))}")
    if not isinstance(components, list) or len(components) != 3:
        raise BrokenDocument(f"{place}.components", "a color has three components")
    plain = [c if c == "none" else _number(c, f"{place}.components", aliases) for c in components]
    color = {"colorSpace": space, "components": plain}
    if "alpha" in value:
        color["alpha"] = _number(value["alpha"], f"{place}.alpha", aliases)
        if not 0 <= color["alpha"] <= 1:
            _refuse("color", f"{place}.alpha")
    if fallback is not None:
        if not isinstance(fallback, str) or not _HEX.fullmatch(fallback) or len(fallback) != 7:
            raise BrokenDocument(f"{place}.hex", "not a color of six hexadecimal digits")
        color["hex"] = fallback.lower()
    return color


_COLOR_MEMBERS = {"colorSpace", "components", "alpha", "hex"}


def _font_family(value: Any, place: str, aliases: Aliases) -> Any:
    names = value if isinstance(value, list) else [value]
    if not 0 < len(names) <= MAXIMUM_ITEMS or not all(isinstance(n, str) and 0 < len(n) <= 200 for n in names):
        _refuse("fontFamily", place)
    return value


def _font_weight(value: Any, place: str, aliases: Aliases) -> Any:
    if isinstance(value, str) and value in _WEIGHTS:
        return _WEIGHTS[value]
    number = _number(value, place, aliases)
    return number if 1 <= number <= 1000 else _refuse("fontWeight", place)


def _cubic_bezier(value: Any, place: str, aliases: Aliases) -> Any:
    if not isinstance(value, list) or len(value) != 4:
        _refuse("cubicBezier", place)
    points = [_part("number", point, f"{place}[{index}]", aliases) for index, point in enumerate(value)]
    return points if 0 <= points[0] <= 1 and 0 <= points[2] <= 1 else _refuse("cubicBezier", place)


def _stroke_style(value: Any, place: str, aliases: Aliases) -> Any:
    if isinstance(value, str) and value in _STROKES:
        return value
    if not isinstance(value, dict) or value.keys() != {"dashArray", "lineCap"}:
        _refuse("strokeStyle", place)
    if not isinstance(value["lineCap"], str) or value["lineCap"] not in _CAPS:
        raise BrokenDocument(f"{place}.lineCap", f"not one of {', '.join(sorted(_CAPS))}")
    return {"dashArray": _list_of("dimension")(value["dashArray"], place, aliases), "lineCap": value["lineCap"]}


def _composite(kind: str, parts: Mapping[str, str], flag: str | None = None) -> Check:
    def check(value: Any, place: str, aliases: Aliases) -> Any:
        if not isinstance(value, dict) or not parts.keys() <= value.keys() <= {*parts, flag}:
            raise BrokenDocument(place, f"not a value of type {kind}: its members are {', '.join(parts)}")
        plain = {part: _part(type_, value[part], f"{place}.{part}", aliases) for part, type_ in parts.items()}
        if flag is not None and flag in value:
            plain[flag] = value[flag] if isinstance(value[flag], bool) else _refuse(kind, f"{place}.{flag}")
        return plain

    return check


def _list_of(kind: str, check: Check | None = None) -> Check:
    def check_list(value: Any, place: str, aliases: Aliases) -> Any:
        if not isinstance(value, list) or not 0 < len(value) <= MAXIMUM_ITEMS:
            raise BrokenDocument(place, f"a list of 1 to {MAXIMUM_ITEMS} is expected here")
        items = []
        for index, item in enumerate(value):
            here = f"{place}[{index}]"
            is_plain = check is not None and isinstance(item, dict)
            found = check(item, here, aliases) if check and is_plain else _part(kind, item, here, aliases)
            if isinstance(found, list):
                raise BrokenDocument(here, "an alias in a list must be to a token that is no list itself")
            items.append(found)
        return items

    return check_list


def _shadow(value: Any, place: str, aliases: Aliases) -> Any:
    return (_SHADOWS if isinstance(value, list) else _SHADOW)(value, place, aliases)


def _parse_number(text: str) -> int | float:
    return float(text) if "." in text else int(text)


_SHADOW = _composite(
    "shadow",
    {"offsetX": "dimension", "offsetY": "dimension", "blur": "dimension", "spread": "dimension", "color": "color"},
    flag="inset",
)
_SHADOWS = _list_of("shadow", _SHADOW)
_STOP = _composite("gradient", {"color": "color", "position": "number"})

TYPES: Mapping[str, Check] = {
    "color": _color,
    "dimension": _measure("dimension", frozenset({"px", "rem"})),
    "fontFamily": _font_family,
    "fontWeight": _font_weight,
    "duration": _measure("duration", frozenset({"ms", "s"})),
    "cubicBezier": _cubic_bezier,
    "number": _number,
    "strokeStyle": _stroke_style,
    "border": _composite("border", {"color": "color", "width": "dimension", "style": "strokeStyle"}),
    "transition": _composite(
        "transition", {"duration": "duration", "delay": "duration", "timingFunction": "cubicBezier"}
    ),
    "shadow": _shadow,
    "gradient": _list_of("gradient", _STOP),
    "typography": _composite(
        "typography",
        {
            "fontFamily": "fontFamily",
            "fontSize": "dimension",
            "fontWeight": "fontWeight",
            "letterSpacing": "dimension",
            "lineHeight": "number",
        },
    ),
}

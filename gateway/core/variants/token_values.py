"""Values of design tokens: each type's check returns the value as the Design Tokens Format Module 2025.10 has it.

CSS's own spelling is accepted if it says the same: "#1f5fd6", "16px", "200ms". The result has no alias in it, only
numbers, words of a closed list, and font names: so every renderer can write it safely.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol

import msgspec

from gateway.core.errors import BrokenDocument
from gateway.core.variants.token_trees import ALIAS, REFERENCE, is_reference

MAXIMUM_ITEMS = 64
"""The most shadows, stops, fonts or dashes of a list, so that no value grows however aliases are nested."""

_EMBEDDED_ALIAS = re.compile(r"\{[^{}:;()/]+\}")
"""An alias inside a font's name: an alias must be an item of its own, and no font has such a name."""
_HEX = re.compile(r"#(?:[0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")
_MEASURE = re.compile(r"([+-]?(?:[0-9]{1,30}(?:\.[0-9]{1,30})?|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,3})?)([a-z%]+)?")
"""A number and its unit (CSS Syntax 3, 4.3.12)."""
_MAXIMUM_NUMBER = 1e15
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


class _Range(msgspec.Struct, frozen=True):
    """The numbers that a component of a color may be, both ends included."""

    least: float
    most: float

    @property
    def words(self) -> str:
        """The range in words, for messages."""
        if self.most == _MAXIMUM_NUMBER:
            return f"within {self.most:g}" if self.least < 0 else f"{self.least:g} or more"
        return f"{self.least:g} to {self.most:g}"


_UNIT, _PERCENT = _Range(0, 1), _Range(0, 100)
_HUE = _Range(0, 360)
"""Degrees. 360 is another name of 0 (CSS Color 4, 4.3), and the Color Module has only 0: so 0 is what is written."""
_BLUE = _Range(0, 1.0891)
"""Z of D65: white has 1.08906 (CSS Color 4, 10.8), and no color that a display can show has more. The Color Module says
0 to 1, and so could not write white down."""
_ANY, _CHROMA = _Range(-_MAXIMUM_NUMBER, _MAXIMUM_NUMBER), _Range(0, _MAXIMUM_NUMBER)
_COLOR_SPACES: Mapping[str, tuple[_Range, _Range, _Range]] = {
    **dict.fromkeys(("srgb", "srgb-linear", "display-p3", "a98-rgb", "prophoto-rgb", "rec2020"), (_UNIT, _UNIT, _UNIT)),
    **dict.fromkeys(("hsl", "hwb"), (_HUE, _PERCENT, _PERCENT)),
    "lab": (_PERCENT, _ANY, _ANY),
    "lch": (_PERCENT, _CHROMA, _HUE),
    "oklab": (_UNIT, _ANY, _ANY),
    "oklch": (_UNIT, _CHROMA, _HUE),
    "xyz-d65": (_UNIT, _UNIT, _BLUE),
    "xyz-d50": (_UNIT, _UNIT, _UNIT),
}
"""The ranges of the Color Module 2025.10 (4.2) and of its JSON schema, but for those that say otherwise."""
_STROKES = frozenset({"solid", "dashed", "dotted", "double", "groove", "ridge", "outset", "inset"})
_CAPS = frozenset({"round", "butt", "square"})


class Aliases(Protocol):
    """The tokens that aliases may name."""

    def follow(self, name: str, place: str) -> tuple[str, Any]:
        """Return type and plain value of a token.

        Raise BrokenDocument if it does not exist, or the alias is circular.
        """
        ...

    def point(self, pointer: Any, place: str) -> tuple[str | None, Any]:
        """Return type and plain value of what a JSON Pointer leads to; a part of a value has no type of its own."""
        ...


Check = Callable[[Any, str, Aliases], Any]


def normalize(kind: str | None, value: Any, place: str, aliases: Aliases) -> tuple[str, Any]:
    """Return a token's type and its plain value. Raise BrokenDocument if the value is not of the type."""
    found, plain, target = None, value, value
    if is_reference(value):
        target = value[REFERENCE]
        found, plain = aliases.point(target, place)
    elif alias := ALIAS.fullmatch(value) if isinstance(value, str) else None:
        target = alias[1]
        found, plain = aliases.follow(target, place)
    if found is not None:
        if kind is not None and kind != found:
            raise BrokenDocument(place, f"of type {kind}, but an alias to {target!r} of type {found}")
        return found, plain
    if kind is None:
        raise BrokenDocument(place, "a token needs a type: nothing is guessed from its value")
    return kind, TYPES[kind](plain, place, aliases)


def _plain(value: Any, place: str, aliases: Aliases) -> Any:
    """Return a part of a value that has no type, such as a unit; it may be a JSON Pointer to another."""
    return aliases.point(value[REFERENCE], place)[1] if is_reference(value) else value


def _part(kind: str, value: Any, place: str, aliases: Aliases) -> Any:
    """Return a part of a composite value, which may be an alias of its own."""
    return normalize(kind, value, place, aliases)[1]


def _refuse(kind: str, place: str, problem: str = "") -> NoReturn:
    raise BrokenDocument(place, f"not a value of type {kind}{': ' if problem else ''}{problem}")


def _number(value: Any, place: str, _: Aliases) -> Any:
    if isinstance(value, str) and (match := _MEASURE.fullmatch(value)):
        if match[2] is not None:
            _refuse("number", place, f"a number has no unit, and this has {match[2]}")
        value = _parse_number(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse("number", place)
    if abs(value) > _MAXIMUM_NUMBER:
        _refuse("number", place, f"it is beyond {_MAXIMUM_NUMBER:g}")
    return value


def _measure(kind: str, units: frozenset[str]) -> Check:
    example = f'"16{min(units)}" or {{"value": 16, "unit": "{min(units)}"}}'

    def check(value: Any, place: str, aliases: Aliases) -> Any:
        if isinstance(value, str) and (match := _MEASURE.fullmatch(value)):
            number, unit = _number(match[1], place, aliases), match[2]
            if unit is None:
                unit = min(units) if number == 0 else _refuse(kind, place, f"it has no unit: write {value}{min(units)}")
        elif isinstance(value, dict) and value.keys() == {"value", "unit"}:
            number = _part("number", value["value"], f"{place}.value", aliases)
            unit = _plain(value["unit"], f"{place}.unit", aliases)
        elif isinstance(value, dict):
            _refuse(kind, place, "its members are value, unit")
        else:
            _refuse(kind, place, f"it is a number and a unit, such as {example}")
        if not isinstance(unit, str) or unit not in units:
            raise BrokenDocument(place, f"not a value of type {kind}: its unit must be {' or '.join(sorted(units))}")
        return {"value": number, "unit": unit}

    return check


def _color(value: Any, place: str, aliases: Aliases) -> Any:
    if isinstance(value, str) and _HEX.fullmatch(value):
        digits = value[1:].lower()
        digits = "".join(digit * 2 for digit in digits) if len(digits) < 6 else digits
        channels = [_CHANNELS[channel] for channel in bytes.fromhex(digits)]
        color: dict[str, Any] = {"colorSpace": "srgb", "components": channels[:3], "hex": f"#{digits[:6]}"}
        return color | {"alpha": channels[3]} if len(digits) == 8 else color
    if not isinstance(value, dict):
        _refuse(
            "color", place, 'it is of hexadecimal digits, such as "#1f5fd6", or an object with colorSpace, components'
        )
    if not {"colorSpace", "components"} <= value.keys() <= _COLOR_MEMBERS:
        _refuse("color", place, "its members are colorSpace, components and, if there is need, alpha, hex")
    space = _plain(value["colorSpace"], f"{place}.colorSpace", aliases)
    if not isinstance(space, str) or space not in _COLOR_SPACES:
        raise BrokenDocument(f"{place}.colorSpace", f"not one of {', '.join(sorted(_COLOR_SPACES))}")
    color = {"colorSpace": space, "components": _components(value["components"], space, f"{place}.components", aliases)}
    if "alpha" in value:
        color["alpha"] = _part("number", value["alpha"], f"{place}.alpha", aliases)
        if not 0 <= color["alpha"] <= 1:
            _refuse("color", f"{place}.alpha", "it is a number from 0 to 1")
    fallback = _plain(value.get("hex"), f"{place}.hex", aliases)
    if fallback is not None:
        if not isinstance(fallback, str) or not _HEX.fullmatch(fallback) or len(fallback) != 7:
            raise BrokenDocument(f"{place}.hex", "not a color of six hexadecimal digits")
        color["hex"] = fallback.lower()
    return color


def _components(value: Any, space: str, place: str, aliases: Aliases) -> list[Any]:
    components = _plain(value, place, aliases)
    if not isinstance(components, list) or len(components) != 3:
        raise BrokenDocument(place, "a color has three components")
    found = []
    for index, (component, allowed) in enumerate(zip(components, _COLOR_SPACES[space], strict=True)):
        plain = component
        if type(component) not in (int, float):  # most are numbers: nothing has to be looked up
            here = f"{place}[{index}]"
            plain = _plain(component, here, aliases)
            plain = plain if plain == "none" else _part("number", plain, here, aliases)
        if plain != "none" and not allowed.least <= plain <= allowed.most:
            raise BrokenDocument(f"{place}[{index}]", f"out of range: in {space} it is {allowed.words}")
        found.append(0 if allowed is _HUE and plain == allowed.most else plain)
    return found


_CHANNELS = [round(channel / 255, 4) for channel in range(256)]
_COLOR_MEMBERS = {"colorSpace", "components", "alpha", "hex"}


def _font_family(value: Any, place: str, aliases: Aliases) -> Any:
    if not isinstance(value, list):
        return _font_name(value, place)
    names: list[str] = []
    for index, item in enumerate(value):
        here = f"{place}[{index}]"
        if is_reference(item) or (isinstance(item, str) and ALIAS.fullmatch(item)):
            found = _part("fontFamily", item, here, aliases)
            names += found if isinstance(found, list) else [found]
        else:
            names.append(_font_name(item, here))
    if not 0 < len(names) <= MAXIMUM_ITEMS:
        _refuse("fontFamily", place, f"it has 1 to {MAXIMUM_ITEMS} names")
    return names


def _font_name(value: Any, place: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        _refuse("fontFamily", place)
    if _EMBEDDED_ALIAS.search(value):
        _refuse("fontFamily", place, "an alias in a list of fonts is an item of its own")
    return value


def _font_weight(value: Any, place: str, aliases: Aliases) -> Any:
    if isinstance(value, str) and not _MEASURE.fullmatch(value):
        return _WEIGHTS.get(value) or _refuse("fontWeight", place, f"it is 1 to 1000 or one of {', '.join(_WEIGHTS)}")
    number = _number(value, place, aliases)
    return number if 1 <= number <= 1000 else _refuse("fontWeight", place, "it is 1 to 1000")


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
    cap = _plain(value["lineCap"], f"{place}.lineCap", aliases)
    if not isinstance(cap, str) or cap not in _CAPS:
        raise BrokenDocument(f"{place}.lineCap", f"not one of {', '.join(sorted(_CAPS))}")
    dashes = _plain(value["dashArray"], f"{place}.dashArray", aliases)
    return {"dashArray": _list_of("dimension")(dashes, place, aliases), "lineCap": cap}


PARTS: Mapping[str, Mapping[str, str]] = {
    "border": {"color": "color", "width": "dimension", "style": "strokeStyle"},
    "transition": {"duration": "duration", "delay": "duration", "timingFunction": "cubicBezier"},
    "shadow": {
        "offsetX": "dimension",
        "offsetY": "dimension",
        "blur": "dimension",
        "spread": "dimension",
        "color": "color",
        "inset": "flag",
    },
    "gradient": {"color": "color", "position": "number"},
    "typography": {
        "fontFamily": "fontFamily",
        "fontSize": "dimension",
        "fontWeight": "fontWeight",
        "letterSpacing": "dimension",
        "lineHeight": "number",
    },
    "strokeStyle": {"dashArray": "dashes", "lineCap": "word"},
}
"""The parts of values that have some, with the type of each; dashes, words and flags are no types of tokens. The values
of a shadow and a gradient may be lists of these, and a stroke style may be a word."""


def _composite(kind: str) -> Check:
    flag = next((part for part, type_ in PARTS[kind].items() if type_ == "flag"), None)
    parts = {part: type_ for part, type_ in PARTS[kind].items() if part != flag}

    def check(value: Any, place: str, aliases: Aliases) -> Any:
        if not isinstance(value, dict) or not parts.keys() <= value.keys() <= {*parts, flag}:
            raise BrokenDocument(place, f"not a value of type {kind}: its members are {', '.join(parts)}")
        plain = {part: _part(type_, value[part], f"{place}.{part}", aliases) for part, type_ in parts.items()}
        if flag is not None and flag in value:
            said = _plain(value[flag], f"{place}.{flag}", aliases)
            plain[flag] = said if isinstance(said, bool) else _refuse(kind, f"{place}.{flag}", "it is true or false")
        return plain

    return check


def _list_of(kind: str, check: Check | None = None) -> Check:
    def check_list(value: Any, place: str, aliases: Aliases) -> Any:
        if not isinstance(value, list) or not 0 < len(value) <= MAXIMUM_ITEMS:
            raise BrokenDocument(place, f"a list of 1 to {MAXIMUM_ITEMS} is expected here")
        items = []
        for index, item in enumerate(value):
            here = f"{place}[{index}]"
            is_plain = check is not None and isinstance(item, dict) and not is_reference(item)
            found = check(item, here, aliases) if check and is_plain else _part(kind, item, here, aliases)
            if isinstance(found, list):
                raise BrokenDocument(here, "an alias in a list must be to a token that is no list itself")
            items.append(found)
        return items

    return check_list


def _shadow(value: Any, place: str, aliases: Aliases) -> Any:
    return (_SHADOWS if isinstance(value, list) else _SHADOW)(value, place, aliases)


def _parse_number(text: str) -> int | float:
    if text.lstrip("+-").isdecimal():
        return int(text)
    number = float(text)
    return int(number) if number.is_integer() and "." not in text else number


_SHADOW = _composite("shadow")
_SHADOWS = _list_of("shadow", _SHADOW)

TYPES: Mapping[str, Check] = {
    "color": _color,
    "dimension": _measure("dimension", frozenset({"px", "rem"})),
    "fontFamily": _font_family,
    "fontWeight": _font_weight,
    "duration": _measure("duration", frozenset({"ms", "s"})),
    "cubicBezier": _cubic_bezier,
    "number": _number,
    "strokeStyle": _stroke_style,
    "border": _composite("border"),
    "transition": _composite("transition"),
    "shadow": _shadow,
    "gradient": _list_of("gradient", _composite("gradient")),
    "typography": _composite("typography"),
}

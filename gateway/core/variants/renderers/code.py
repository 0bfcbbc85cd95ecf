"""Design tokens as source code of apps: Swift for SwiftUI, Kotlin for Jetpack Compose.

A token is a constant, `color.text-link` is `colorTextLink` unless the policy has other names. A value with parts is a
constant for each of them: `cardShadowBlur`, and `cardShadow2Blur` if there are several. Lengths are points and dp: one
is a pixel of CSS, and `rem` counts 16 of them. Colors of a space that neither system knows are those of extended sRGB.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from gateway.core.variants.design_tokens import ResolvedTokens
from gateway.core.variants.model import Variant
from gateway.core.variants.renderers.catalogs import batches
from gateway.core.variants.renderers.colors import Triple, to_srgb
from gateway.core.variants.renderers.names import KOTLIN_WORDS, STYLES, SWIFT_WORDS, refuse_same
from gateway.core.variants.renderers.tokens import find_channels
from gateway.core.variants.token_trees import ROOT
from gateway.core.variants.token_values import PARTS

REM_PIXELS = 16
"""The size of text that browsers begin with (CSS Values 4, 6.1.1)."""

Leaf = tuple[tuple[str, ...], str, Any]
"""The names of a part, its kind, and its plain value."""


def list_leaves(kind: str, value: Any, names: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Yield the parts of a value: colors, measures, numbers, words and lists of these."""
    if kind in PARTS and isinstance(value, dict):
        for part, inner in value.items():
            yield from list_leaves(PARTS[kind][part], inner, (*names, part))
    elif kind in PARTS and isinstance(value, list):
        for number, inner in enumerate(value, 1):
            yield from list_leaves(kind, inner, (*names, str(number)) if len(value) > 1 else names)
    else:
        yield names, "word" if kind == "strokeStyle" else kind, value


def render_swift(tokens: ResolvedTokens, _: Variant) -> Iterator[bytes]:
    """Render an enumeration without cases, which is how Swift writes a namespace."""
    yield f"import SwiftUI\n\npublic enum {tokens.code.type} {{\n".encode()
    constants = _name_constants(tokens, SWIFT_WORDS, "Swift")
    yield from batches(f"    public static let {name}{_SWIFT[kind](value)}\n" for name, kind, value in constants)
    yield b"}\n"


def render_kotlin(tokens: ResolvedTokens, _: Variant) -> Iterator[bytes]:
    """Render an object in a package. Sizes of text are in sp, all other lengths in dp."""
    package = ".".join(f"`{one}`" if one in KOTLIN_WORDS else one for one in tokens.code.package.split("."))
    yield f"package {package}\n\n{_KOTLIN_IMPORTS}\nobject {tokens.code.type} {{\n".encode()
    constants = _name_constants(tokens, KOTLIN_WORDS, "Kotlin")
    yield from batches(f"    val {name} = {_KOTLIN[kind](value)}\n" for name, kind, value in constants)
    yield b"}\n"


def _name_constants(tokens: ResolvedTokens, words: frozenset[str], where: str) -> list[tuple[str, str, Any]]:
    named: list[tuple[str, str, Any]] = []
    keys: list[tuple[str, str]] = []
    for token in tokens.tokens:
        key = token.name.removesuffix(f".{ROOT}")
        for names, kind, value in list_leaves(token.type, token.value):
            unit = "text" if token.type == "typography" and kind == "dimension" else kind
            name = STYLES[tokens.code.constants](".".join((key, *names)))
            keys.append((name, token.name))
            named.append((f"`{name}`" if name in words else name, unit, value))
    refuse_same(keys, where)
    return named


def _number(value: float) -> str:
    return msgspec.json.encode(value).decode().removesuffix(".0")


def _pixels(value: Mapping[str, Any]) -> str:
    return _number(value["value"] * REM_PIXELS if value["unit"] == "rem" else value["value"])


def _seconds(value: Mapping[str, Any]) -> str:
    return _number(value["value"] / 1000 if value["unit"] == "ms" else value["value"])


def _fonts(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


def _place(value: Mapping[str, Any]) -> tuple[str, Triple]:
    """Return the system's color space, `displayP3` or `sRGB`, and the components of the color there."""
    if value["colorSpace"] == "display-p3" and "none" not in value["components"]:
        first, second, third = value["components"]
        return "displayP3", (first, second, third)
    red, green, blue = (round(one, 6) for one in to_srgb(value["colorSpace"], value["components"]))
    return "sRGB", (red, green, blue)


_ESCAPED = re.compile(r'["\\$\x00-\x1f\x7f-\x9f\u2028\u2029]')


def _quote(text: str, escape: Callable[[str], str]) -> str:
    return '"' + _ESCAPED.sub(lambda match: escape(match[0]), text) + '"'


def _swift_string(text: str) -> str:
    return _quote(
        text,
        lambda one: one if one == "$" else f"\\{one}" if one in '"\\' else f"\\u{{{ord(one):x}}}",
    )


def _swift_color(value: Mapping[str, Any]) -> str:
    space, (red, green, blue) = _place(value)
    channels = f"red: {_number(red)}, green: {_number(green)}, blue: {_number(blue)}"
    return f" = Color(.{space}, {channels}, opacity: {_number(value.get('alpha', 1))})"


def _swift_list(kind: str, items: list[str]) -> str:
    return f": [{kind}] = [{', '.join(items)}]"


_SWIFT: Mapping[str, Callable[[Any], str]] = {
    "color": _swift_color,
    "dimension": lambda value: f": CGFloat = {_pixels(value)}",
    "text": lambda value: f": CGFloat = {_pixels(value)}",
    "dashes": lambda value: _swift_list("CGFloat", [_pixels(one) for one in value]),
    "duration": lambda value: f": TimeInterval = {_seconds(value)}",
    "number": lambda value: f": Double = {_number(value)}",
    "fontWeight": lambda value: f": Double = {_number(value)}",
    "cubicBezier": lambda value: _swift_list("Double", [_number(one) for one in value]),
    "fontFamily": lambda value: _swift_list("String", [_swift_string(one) for one in _fonts(value)]),
    "word": lambda value: f" = {_swift_string(value)}",
    "flag": lambda value: f" = {str(value).lower()}",
}

_KOTLIN_IMPORTS = """\
import androidx.compose.animation.core.CubicBezierEasing
import androidx.compose.ui.graphics.Color
import androidx.compose.ui.graphics.colorspace.ColorSpaces
import androidx.compose.ui.unit.dp
import androidx.compose.ui.unit.sp
import kotlin.time.Duration.Companion.seconds
"""


def _kotlin_string(text: str) -> str:
    return _quote(text, lambda one: f"\\{one}" if one in '"\\$' else f"\\u{ord(one):04x}")


def _kotlin_color(value: Mapping[str, Any]) -> str:
    alpha = value.get("alpha", 1)
    space, components = _place(value)
    channels = find_channels((*components, alpha)) if space == "sRGB" else None
    if channels is not None:
        red, green, blue, opacity = channels
        return f"Color(0x{bytes((opacity, red, green, blue)).hex().upper()})"
    if space == "sRGB":
        space = "Srgb" if all(0 <= one <= 1 for one in components) else "ExtendedSrgb"
    named = zip(("red", "green", "blue", "alpha"), (*components, alpha), strict=True)
    written = ", ".join(f"{name} = {_number(one)}f" for name, one in named)
    return f"Color({written}, colorSpace = ColorSpaces.{space[0].upper()}{space[1:]})"


def _kotlin_measure(number: str, unit: str) -> str:
    return f"({number}).{unit}" if number.startswith("-") else f"{number}.{unit}"


_KOTLIN: Mapping[str, Callable[[Any], str]] = {
    "color": _kotlin_color,
    "dimension": lambda value: _kotlin_measure(_pixels(value), "dp"),
    "text": lambda value: _kotlin_measure(_pixels(value), "sp"),
    "dashes": lambda value: f"listOf({', '.join(_kotlin_measure(_pixels(one), 'dp') for one in value)})",
    "duration": lambda value: _kotlin_measure(_seconds(value), "seconds"),
    "number": _number,
    "fontWeight": _number,
    "cubicBezier": lambda value: f"CubicBezierEasing({', '.join(f'{_number(one)}f' for one in value)})",
    "fontFamily": lambda value: f"listOf({', '.join(_kotlin_string(one) for one in _fonts(value))})",
    "word": _kotlin_string,
    "flag": lambda value: str(value).lower(),
}

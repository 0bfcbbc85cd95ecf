"""Design tokens as Swift and Kotlin: names, values, and a syntax that independent parsers know.

No compiler of either is at hand, and so no SwiftUI or Compose: tree-sitter's grammars say that the source can be
parsed.
"""

import json
import re
from typing import Any

import pytest
import tree_sitter_kotlin
import tree_sitter_swift
from coloraide.everything import ColorAll
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tree_sitter import Language, Parser

from gateway.core.errors import BrokenDocument
from gateway.core.variants.model import CodeNames, NameStyle
from gateway.core.variants.renderers.colors import to_srgb
from gateway.core.variants.renderers.names import KOTLIN_WORDS, SWIFT_WORDS
from tests.core.variants.samples import DESIGN_TOKENS, rendered, token, tokens

PARSERS = {
    "swift": Parser(Language(tree_sitter_swift.language())),
    "kotlin": Parser(Language(tree_sitter_kotlin.language())),
}
SHADOW = {"offsetX": "0", "offsetY": "-2px", "blur": "0.5rem", "spread": "0", "color": "#00000080", "inset": True}
FONT = {"fontFamily": "Inter", "fontSize": "1rem", "fontWeight": 600, "letterSpacing": "0", "lineHeight": 1.5}
ALL_TYPES = tokens(
    token("color.blue", "color", "#1f5fd6"),
    token("color.vivid", "color", {"colorSpace": "display-p3", "components": [1, 0.5, 0], "alpha": 0.5}),
    token("color.wide", "color", {"colorSpace": "oklch", "components": [0.7, 0.3, 150]}),
    token("color.$root", "color", "#fff"),
    token("gap", "dimension", "1.5rem"),
    token("font-stack", "fontFamily", ["Inter", 'A "B"\\$x']),
    token("weight", "fontWeight", "bold"),
    token("fast", "duration", "200ms"),
    token("ease.in", "cubicBezier", [0.4, 0, 1, 1]),
    token("ratio", "number", 1.5),
    token("default", "strokeStyle", "dotted"),
    token("dash", "strokeStyle", {"dashArray": ["1px", "2px"], "lineCap": "round"}),
    token("line", "border", {"color": "#1f5fd6", "width": "1px", "style": "solid"}),
    token("move", "transition", {"duration": "1s", "delay": "0ms", "timingFunction": [0, 0, 1, 1]}),
    token("card", "shadow", SHADOW),
    token("cards", "shadow", [SHADOW, SHADOW]),
    token("glow", "gradient", [{"color": "#1f5fd6", "position": 0}, {"color": "#fff", "position": 1}]),
    token("text", "typography", FONT),
)


def declarations(content: bytes, format_: str = "swift") -> dict[str, str]:
    """Each constant with what stands behind its name, once the parser has found no error."""
    source = rendered(content, DESIGN_TOKENS, format=format_)
    assert not PARSERS[format_].parse(source).root_node.has_error, source.decode()
    pattern = r"    public static let (\S+?)((?::| =) .*)" if format_ == "swift" else r"    val (\S+) = (.*)"
    lines = [line for line in source.decode().splitlines() if line.startswith("    ")]
    return dict(re.fullmatch(pattern, line).groups() for line in lines)  # type: ignore[union-attr,misc]  # it matches, or fails


def test_every_type_has_constants_in_swift() -> None:
    """A value with parts is one for each; names that are keywords are quoted."""
    found = declarations(ALL_TYPES)
    expected = {
        "colorBlue": " = Color(.sRGB, red: 0.1216, green: 0.3725, blue: 0.8392, opacity: 1)",
        "colorVivid": " = Color(.displayP3, red: 1, green: 0.5, blue: 0, opacity: 0.5)",
        "color": " = Color(.sRGB, red: 1, green: 1, blue: 1, opacity: 1)",
        "gap": ": CGFloat = 24",
        "fontStack": ': [String] = ["Inter", "A \\"B\\"\\\\$x"]',
        "weight": ": Double = 700",
        "fast": ": TimeInterval = 0.2",
        "easeIn": ": [Double] = [0.4, 0, 1, 1]",
        "ratio": ": Double = 1.5",
        "`default`": ' = "dotted"',
        "dashDashArray": ": [CGFloat] = [1, 2]",
        "dashLineCap": ' = "round"',
        "lineStyle": ' = "solid"',
        "moveTimingFunction": ": [Double] = [0, 0, 1, 1]",
        "cardOffsetY": ": CGFloat = -2",
        "cardInset": " = true",
        "cards2Blur": ": CGFloat = 8",
        "glow2Position": ": Double = 1",
        "textFontSize": ": CGFloat = 16",
        "textLineHeight": ": Double = 1.5",
    }
    assert expected == {name: found.get(name) for name in expected}


def test_every_type_has_constants_in_kotlin() -> None:
    """Texts are in sp; what is on the grid of eight bits is written as people write it."""
    found = declarations(ALL_TYPES, "kotlin")
    expected = {
        "colorBlue": "Color(0xFF1F5FD6)",
        "colorVivid": ("Color(red = 1f, green = 0.5f, blue = 0f, alpha = 0.5f, colorSpace = ColorSpaces.DisplayP3)"),
        "gap": "24.dp",
        "fontStack": 'listOf("Inter", "A \\"B\\"\\\\\\$x")',
        "weight": "700",
        "fast": "0.2.seconds",
        "easeIn": "CubicBezierEasing(0.4f, 0f, 1f, 1f)",
        "default": '"dotted"',
        "dashDashArray": "listOf(1.dp, 2.dp)",
        "cardOffsetY": "(-2).dp",
        "cardColor": "Color(0x80000000)",
        "textFontSize": "16.sp",
        "textFontWeight": "600",
    }
    assert expected == {name: found.get(name) for name in expected}
    assert "colorSpace = ColorSpaces.ExtendedSrgb" in found["colorWide"]


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("camel", ["color", "colorBlueGray50", "größe", "linkText", "n2xl"]),
        ("pascal", ["Color", "ColorBlueGray50", "Größe", "LinkText", "N2xl"]),
        ("snake", ["color", "color_blue_gray50", "größe", "link_text", "n2xl"]),
    ],
)
@pytest.mark.parametrize("format_", PARSERS)
def test_a_policy_has_its_own_names(format_: str, style: NameStyle, expected: list[str]) -> None:
    """Of the constants, of what they are in, and of a package, where a word of the language is quoted."""
    names = ("color.$root", "color.blue-gray50", "größe", "link.text", "2xl")
    content = tokens(*(token(name, "number", 1) for name in names))
    form = replace(DESIGN_TOKENS, code=CodeNames(style, "Brand", "com.example.in"))
    source = rendered(content, form, format=format_)
    assert not PARSERS[format_].parse(source).root_node.has_error, source.decode()
    found = re.findall(r"^    (?:public static let|val) (\w+)", source.decode(), re.MULTILINE)
    assert sorted(expected) == sorted(found)
    head = "public enum Brand {" if format_ == "swift" else "object Brand {"
    assert head in source.decode().splitlines()
    assert (format_ == "kotlin") is source.startswith(b"package com.example.`in`\n")


def test_names_of_a_style_that_are_one_are_refused() -> None:
    """As two names are that the constants of an app would have in common."""
    content = tokens(token("a.textLink", "number", 1), token("a.text-link", "number", 2))
    form = replace(DESIGN_TOKENS, code=CodeNames("snake"))
    with pytest.raises(BrokenDocument, match="both become 'a_text_link' in Swift"):
        rendered(content, form, format="swift")


def test_both_have_the_same_constants() -> None:
    """Whatever the system, the name of a token is the same."""
    swift, kotlin = declarations(ALL_TYPES), declarations(ALL_TYPES, "kotlin")
    assert [name.strip("`") for name in swift] == [name.strip("`") for name in kotlin]


@pytest.mark.parametrize(("format_", "words"), [("swift", SWIFT_WORDS), ("kotlin", KOTLIN_WORDS)])
def test_a_word_of_the_language_may_be_a_name(format_: str, words: frozenset[str]) -> None:
    """In quotes, as both languages have them."""
    lower = sorted(word for word in words if word[0].islower())
    found = declarations(tokens(*(token(word, "number", 1) for word in lower)), format_)
    assert sorted(f"`{word}`" for word in lower) == sorted(found)


ODD = '"\\(1)$x\n`'


@given(st.lists(st.text(max_size=6).filter(lambda text: text and not {"{", "}"} & set(text)), max_size=3))
def test_whatever_a_font_is_called_the_source_is_one(fonts: list[str]) -> None:
    """Nothing in a document ends a string."""
    content = tokens(token("font", "fontFamily", [*fonts, ODD]))
    found = declarations(content, "swift")["font"].partition(" = ")[2]
    read = json.loads(re.sub(r"\\u\{([0-9a-f]+)\}", lambda match: f"\\u{int(match[1], 16):04x}", found))
    assert [*fonts, ODD] == read
    kotlin = declarations(content, "kotlin")["font"].removeprefix("listOf(").removesuffix(")")
    assert [*fonts, ODD] == json.loads("[" + kotlin.replace("\\$", "$") + "]")


def test_two_tokens_of_one_name_are_told() -> None:
    """Rather than one of them lost."""
    content = tokens(token("a.b", "number", 1), token("aB", "number", 2))
    for format_, title in (("swift", "Swift"), ("kotlin", "Kotlin")):
        with pytest.raises(BrokenDocument, match=f"the keys 'a.b' and 'aB' both become 'aB' in {title}"):
            rendered(content, DESIGN_TOKENS, format=format_)


SPACES: dict[str, tuple[Any, Any, Any]] = {
    **dict.fromkeys(
        ("srgb", "srgb-linear", "display-p3", "a98-rgb", "prophoto-rgb", "rec2020", "xyz-d65", "xyz-d50"),
        (st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    ),
    **dict.fromkeys(("hsl", "hwb"), (st.floats(0, 359.9), st.floats(0, 100), st.floats(0, 100))),
    "lab": (st.floats(0, 100), st.floats(-120, 120), st.floats(-120, 120)),
    "lch": (st.floats(0, 100), st.floats(0, 150), st.floats(0, 359.9)),
    "oklab": (st.floats(0, 1), st.floats(-0.4, 0.4), st.floats(-0.4, 0.4)),
    "oklch": (st.floats(0, 1), st.floats(0, 0.4), st.floats(0, 359.9)),
}


@pytest.mark.parametrize("space", SPACES)
@given(st.data())
def test_colors_are_those_of_a_library_of_colors(space: str, data: st.DataObject) -> None:
    """ColorAide converts each space of CSS Color 4 to the same red, green and blue."""
    components = [data.draw(one) for one in SPACES[space]]
    scaled = [components[0], components[1] / 100, components[2] / 100] if space in ("hsl", "hwb") else components
    expected = ColorAll(space, scaled).convert("srgb").coords()
    tolerance = 1e-3 if space == "prophoto-rgb" else 4e-6
    for wanted, found in zip(expected, to_srgb(space, components), strict=True):
        assert abs(wanted - found) <= tolerance * max(1, abs(wanted))

"""What a component of a color may be, space by space, against what others publish."""

from typing import Any

import pytest

from gateway.core.errors import BrokenDocument
from tests.core.variants.samples import DESIGN_TOKENS, rendered, rendered_json, token, tokens

INFINITY = 1e15
"""What no real color comes near; numbers beyond it are refused as numbers."""
UNIT, PERCENT, HUE, AXIS, CHROMA = (0, 1), (0, 100), (0, 360), (-INFINITY, INFINITY), (0, INFINITY)
MODULE = {
    "srgb": (UNIT, UNIT, UNIT),
    "srgb-linear": (UNIT, UNIT, UNIT),
    "hsl": (HUE, PERCENT, PERCENT),
    "hwb": (HUE, PERCENT, PERCENT),
    "lab": (PERCENT, AXIS, AXIS),
    "lch": (PERCENT, CHROMA, HUE),
    "oklab": (UNIT, AXIS, AXIS),
    "oklch": (UNIT, CHROMA, HUE),
    "display-p3": (UNIT, UNIT, UNIT),
    "a98-rgb": (UNIT, UNIT, UNIT),
    "prophoto-rgb": (UNIT, UNIT, UNIT),
    "rec2020": (UNIT, UNIT, UNIT),
    "xyz-d65": (UNIT, UNIT, (0, 1.0891)),
    "xyz-d50": (UNIT, UNIT, UNIT),
}
"""Design Tokens Color Module 2025.10, 4.2 (table), and schemas/2025.10/format/values/color.json. Two differ, by reason:
the module has hues below 360 only, and CSS Color 4 (4.3) takes 360 for 0; the module has Z of D65 up to 1, and CSS
Color 4 (10.8) has white at 0.95046, 1, 1.08906.
"""
EACH = [(space, index, *ends) for space, ranges in MODULE.items() for index, ends in enumerate(ranges)]


def color(space: str, index: int, number: float) -> bytes:
    components: list[float] = [0, 0, 0]
    components[index] = number
    return tokens(token("a", "color", {"colorSpace": space, "components": components}))


@pytest.mark.parametrize(("space", "index", "least", "most"), EACH)
def test_a_component_may_be_what_the_module_says(space: str, index: int, least: float, most: float) -> None:
    """Both ends are taken and reach the export; a little more or less is a mistake that names both ends."""
    for number in (least, most, (least + most) / 2):
        written = rendered_json(color(space, index, number), DESIGN_TOKENS, format="dtcg")["a"]["$value"]
        expected = 0 if (least, most) == HUE and number == 360 else number
        assert expected == written["components"][index]
    for beyond in (least - 0.001, most + 0.001) if most < INFINITY else (least * 1.1 - 0.001, most * 1.1):
        with pytest.raises(BrokenDocument, match=r"components\[\d\]: (out of range|not a value)"):
            rendered(color(space, index, beyond), DESIGN_TOKENS, format="dtcg")


def test_white_can_be_written_in_every_space() -> None:
    """White is the color that every design has; its components are those of CSS Color 4."""
    white: dict[str, list[Any]] = {
        **{space: [1, 1, 1] for space, ranges in MODULE.items() if ranges == (UNIT, UNIT, UNIT) and space != "xyz-d50"},
        "hsl": ["none", 0, 100],
        "hwb": ["none", 100, 0],
        "lab": [100, 0, 0],
        "lch": [100, 0, "none"],
        "oklab": [1, 0, 0],
        "oklch": [1, 0, "none"],
        "xyz-d65": [0.9504559, 1, 1.0890578],
        "xyz-d50": [0.9642957, 1, 0.8251046],
    }
    assert MODULE.keys() == white.keys()
    content = tokens(
        *(token(space, "color", {"colorSpace": space, "components": found}) for space, found in white.items())
    )
    written = rendered_json(content, DESIGN_TOKENS, format="dtcg")
    assert white == {space: written[space]["$value"]["components"] for space in white}


def test_a_hue_of_a_whole_turn_is_red_in_every_format() -> None:
    """What a tool rounds up to 360 degrees is the hue 0, and not the end of an export."""
    content = tokens(token("a", "color", {"colorSpace": "hsl", "components": [360, 100, 50]}))
    assert b"  --a: hsl(0 100% 50%);\n" in rendered(content, DESIGN_TOKENS, format="css")

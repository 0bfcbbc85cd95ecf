"""What the example tokensets are like."""

from itertools import product

import pytest

from gateway.demo.backend import design_tokens
from gateway.demo.backend.design_tokens import MODES, Mode
from gateway.demo.backend.seeds import SEED_TOKENSETS, seed_tokens


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.2, 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    channels = [channel / 255 for channel in bytes.fromhex(color[1:])]
    linear = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(("tokenset", "mode"), [*product(SEED_TOKENSETS, MODES)])
def test_text_is_readable_on_every_surface(tokenset: str, mode: Mode) -> None:
    """The palette is accessible: text has WCAG's 4.5:1 on each surface, and so has the label of an action."""
    tokens = design_tokens.resolve_tokens(seed_tokens(tokenset), mode)
    colors = {token.name: str(token.value) for token in tokens}
    texts, surfaces = ([name for name in colors if f".{role}." in name] for role in ("text", "surface"))
    pairs = [*product(texts, surfaces), ("color.action.label", "color.action.background")]

    assert [pair for pair in pairs if contrast(colors[pair[0]], colors[pair[1]]) < 4.5] == []

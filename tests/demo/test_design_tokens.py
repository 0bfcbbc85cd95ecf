"""How aliases resolve, and what the style sheet and the JSON of the example look like."""

import inspect
import re
import sys
from itertools import pairwise, product

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from gateway.demo.backend import design_tokens
from gateway.demo.backend.design_tokens import MODES, DesignToken, Mode
from gateway.demo.backend.seeds import SEED_TOKENSETS, seed_tokens
from tests.demo.examples import ACME, EXPORT, css_properties


def test_an_alias_cycle_is_named_in_the_mode_that_has_it() -> None:
    """A cycle through several tokens is a ValueError that spells the way around, and only in its mode."""
    steps = ["a.a", "a.b", "a.c", "a.a"]
    tokens = [DesignToken(name, "number", "1", {"dark": f"{{{target}}}"}) for name, target in pairwise(steps)]

    assert [token.value for token in design_tokens.resolve_tokens(tokens, "light")] == ["1", "1", "1"]
    with pytest.raises(ValueError, match=re.escape("alias cycle: a.a -> a.b -> a.c -> a.a")):
        design_tokens.resolve_tokens(tokens, "dark")


def test_a_chain_of_aliases_may_be_longer_than_the_stack() -> None:
    """Aliases are followed without recursion, so no chain a client makes is a crash."""
    limit, frames = sys.getrecursionlimit(), 100
    names = [f"a.{number}" for number in range(frames)]
    chain = [DesignToken(name, "number", f"{{{target}}}") for name, target in pairwise(names)]
    sys.setrecursionlimit(len(inspect.stack(0)) + frames)
    try:
        resolved = design_tokens.resolve_tokens([*chain, DesignToken(names[-1], "number", "4.5")], "light")
    finally:
        sys.setrecursionlimit(limit)

    assert ["4.5"] * len(names) == [token.value for token in resolved]


@pytest.mark.parametrize(("tokenset", "mode"), [*product(SEED_TOKENSETS, MODES)])
def test_css_has_a_plain_property_for_each_token(tokenset: str, mode: Mode) -> None:
    """Names are the token's with hyphens, each once, without aliases; typography has one for each part."""
    tokens = seed_tokens(tokenset)
    sheet = design_tokens.render_document(tokens, "css", mode).decode()
    properties = css_properties(sheet)

    assert sheet.startswith(":root {\n  --")
    assert len(properties) == sheet.count("--")
    assert "{" not in "".join(properties.values())
    names = {"--" + token.name.replace(".", "-") for token in tokens if token.type != "typography"}
    assert names <= properties.keys()
    assert properties["--typography-body-font-size"] == "1rem"
    assert properties["--shadow-sm"].startswith("0px 1px 2px 0px #")


def test_json_has_the_shape_of_the_community_group(client: TestClient[Litestar]) -> None:
    """Groups nest, and each token has a `$type` and a structured `$value` without aliases."""
    tree = client.get(EXPORT.replace("light", "dark"), headers=ACME).json()
    blue = {"colorSpace": "srgb", "components": [0.5608, 0.7216, 1.0], "hex": "#8fb8ff"}

    assert {"$type": "color", "$value": blue} == tree["color"]["text"]["link"]
    assert tree["font"]["tracking"]["tight"] == {
        "$type": "dimension",
        "$value": {"value": -0.4, "unit": "px"},
    }
    assert tree["typography"]["body"]["$value"]["fontFamily"] == ["Inter", "system-ui", "sans-serif"]
    assert tree["shadow"]["lg"]["$value"]["color"]["alpha"] == 0.6

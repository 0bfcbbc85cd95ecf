"""Design tokens of a document: groups, modes, aliases, values of every type, and what is refused with its place."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.errors import BrokenDocument
from gateway.core.variants import design_tokens
from gateway.core.variants.design_tokens import select_tokens
from gateway.core.variants.formats import FORMATS
from gateway.core.variants.model import DocumentForm, InvalidOptions, Rendered, Variant
from gateway.core.variants.rendering import render
from gateway.core.variants.token_values import TYPES
from tests.core.variants.samples import DESIGN_TOKENS, rendered_json, token, tokens, write

BLUE = {"colorSpace": "srgb", "components": [0.1216, 0.3725, 0.8392], "hex": "#1f5fd6"}
PX = {"value": 16, "unit": "px"}
SHADOW = {"offsetX": "0", "offsetY": "2px", "blur": "4px", "spread": "0px", "color": "{color.blue}"}
NO_DIMENSION = 'not a value of type dimension: it is a number and a unit, such as "16px" or {"value": 16, "unit": "px"}'
NO_COLOR = (
    "not a value of type color: it is of hexadecimal digits, such as "
    '"#1f5fd6", or an object with colorSpace, components'
)
WEIGHTS = (
    "thin, hairline, extra-light, ultra-light, light, normal, regular, book, medium, semi-bold, demi-bold, bold, "
    "extra-bold, ultra-bold, black, heavy, extra-black, ultra-black"
)
FONT = {"fontFamily": "Inter", "fontSize": "{size}", "fontWeight": "bold", "letterSpacing": "0", "lineHeight": 1.5}


def values(content: bytes, form: DocumentForm = DESIGN_TOKENS, mode: str | None = None) -> dict[str, Any]:
    """Each token's plain value in the mode."""
    found = select_tokens(content, form, Variant(mode=mode))
    assert not isinstance(found, InvalidOptions)
    return {one.name: one.value for one in found.tokens}


def value(kind: str | None, written: object) -> Any:
    """What a token's value is taken for, beside a color, a size and fonts that it may name."""
    others = (
        token("color.blue", "color", "#1f5fd6"),
        token("size", "dimension", "16px"),
        token("font", "fontFamily", "Inter"),
        token("fonts", "fontFamily", ["{font}", "serif"]),
        token("name", "fontFamily", "Ä"),
    )
    return values(tokens(token("x", kind, written), *others))["x"]


def refusal(content: bytes, form: DocumentForm = DESIGN_TOKENS, **chosen: Any) -> str:
    with pytest.raises(BrokenDocument) as broken:
        render(content, form, Variant(**chosen))
    return str(broken.value)


@pytest.mark.parametrize(
    ("kind", "written", "plain"),
    [
        ("color", "#1f5fd6", BLUE),
        ("color", "#1F5FD6", BLUE),
        ("color", BLUE, BLUE),
        ("color", "#fff8", {"colorSpace": "srgb", "components": [1, 1, 1], "hex": "#ffffff", "alpha": 0.5333}),
        (
            "color",
            {"colorSpace": "oklch", "components": [0.6, "none", 250], "alpha": 0.5},
            {"colorSpace": "oklch", "components": [0.6, "none", 250], "alpha": 0.5},
        ),
        ("color", "{color.blue}", BLUE),
        (None, "{color.blue}", BLUE),
        ("dimension", "16px", PX),
        ("dimension", "-.5rem", {"value": -0.5, "unit": "rem"}),
        ("dimension", PX, PX),
        ("dimension", "0", {"value": 0, "unit": "px"}),
        ("dimension", "13.333333015441895px", {"value": 13.333333015441895, "unit": "px"}),
        ("dimension", "1e3px", {"value": 1000, "unit": "px"}),
        ("dimension", "+1.5E-1rem", {"value": 0.15, "unit": "rem"}),
        ("number", "0.12345678901234567890", 0.12345678901234568),
        ("duration", "200ms", {"value": 200, "unit": "ms"}),
        ("duration", {"value": 1.5, "unit": "s"}, {"value": 1.5, "unit": "s"}),
        ("number", 1.25, 1.25),
        ("number", "1.25", 1.25),
        ("fontWeight", "semi-bold", 600),
        ("fontWeight", 350, 350),
        ("fontFamily", "Inter", "Inter"),
        ("fontFamily", ["Inter", "sans-serif"], ["Inter", "sans-serif"]),
        ("fontFamily", ["{font}", "{fonts}", "{name}"], ["Inter", "Inter", "serif", "Ä"]),
        ("fontFamily", "{fonts}", ["Inter", "serif"]),
        ("cubicBezier", [0.5, 0, 1, -3], [0.5, 0, 1, -3]),
        ("strokeStyle", "dotted", "dotted"),
        (
            "strokeStyle",
            {"dashArray": ["{size}", "4px"], "lineCap": "butt"},
            {"dashArray": [PX, {"value": 4, "unit": "px"}], "lineCap": "butt"},
        ),
        (
            "border",
            {"color": "{color.blue}", "width": "{size}", "style": "solid"},
            {"color": BLUE, "width": PX, "style": "solid"},
        ),
        (
            "gradient",
            [{"color": "{color.blue}", "position": 0}],
            [{"color": BLUE, "position": 0}],
        ),
        (
            "transition",
            {"duration": "1s", "delay": "0", "timingFunction": [0, 0, 1, 1]},
            {
                "duration": {"value": 1, "unit": "s"},
                "delay": {"value": 0, "unit": "ms"},
                "timingFunction": [0, 0, 1, 1],
            },
        ),
    ],
)
def test_values_become_those_of_the_community_groups_format(kind: str | None, written: object, plain: object) -> None:
    """CSS's spelling and the format's own mean the same, and aliases are what they stand for, also in parts."""
    assert plain == value(kind, written)


def test_every_type_of_the_format_is_known() -> None:
    """The thirteen types of the Format Module 2025.10."""
    expected = "color dimension fontFamily fontWeight duration cubicBezier number strokeStyle border transition shadow "
    assert set((expected + "gradient typography").split()) == set(TYPES)


def test_composite_values_may_be_lists_and_aliases() -> None:
    """A shadow is one or several, each of them written or named."""
    content = tokens(
        token("color.blue", "color", "#1f5fd6"),
        token("one", "shadow", SHADOW),
        token("two", "shadow", ["{one}", {**SHADOW, "inset": True}]),
        token("three", None, "{two}"),
    )
    found = values(content)
    assert [found["one"], {**found["one"], "inset": True}] == found["two"] == found["three"]


@pytest.mark.parametrize(
    ("kind", "written", "message"),
    [
        (
            "color",
            "blue",
            f"$.tokens[0]: {NO_COLOR}",
        ),
        (
            "color",
            "#12345",
            f"$.tokens[0]: {NO_COLOR}",
        ),
        ("color", {**BLUE, "components": [1, 2]}, "$.tokens[0].components: a color has three components"),
        ("color", {**BLUE, "alpha": 2}, "$.tokens[0].alpha: not a value of type color: it is a number from 0 to 1"),
        ("color", {**BLUE, "hex": "#fff"}, "$.tokens[0].hex: not a color of six hexadecimal digits"),
        ("dimension", "16em", "$.tokens[0]: not a value of type dimension: its unit must be px or rem"),
        (
            "dimension",
            16,
            f"$.tokens[0]: {NO_DIMENSION}",
        ),
        (
            "dimension",
            "1px;}",
            f"$.tokens[0]: {NO_DIMENSION}",
        ),
        ("dimension", "16", "$.tokens[0]: not a value of type dimension: it has no unit: write 16px"),
        ("dimension", {"value": 1}, "$.tokens[0]: not a value of type dimension: its members are value, unit"),
        ("dimension", "1e16px", "$.tokens[0]: not a value of type number: it is beyond 1e+15"),
        ("number", "1px", "$.tokens[0]: not a value of type number: a number has no unit, and this has px"),
        (
            "color",
            {"colorSpace": "srgb", "components": [31, 95, 214]},
            "$.tokens[0].components[0]: out of range: in srgb it is 0 to 1",
        ),
        (
            "color",
            {"colorSpace": "hsl", "components": [-30, 50, 50]},
            "$.tokens[0].components[0]: out of range: in hsl it is 0 to 360",
        ),
        (
            "color",
            {"colorSpace": "oklch", "components": [0.5, -0.1, 0]},
            "$.tokens[0].components[1]: out of range: in oklch it is 0 or more",
        ),
        ("fontFamily", ["{nowhere}"], "$.tokens[0][0]: an alias to 'nowhere', which there is not"),
        ("fontFamily", ["{size}"], "$.tokens[0][0]: of type fontFamily, but an alias to 'size' of type dimension"),
        (
            "fontFamily",
            "{font}, serif",
            "$.tokens[0]: not a value of type fontFamily: an alias in a list of fonts is an item of its own",
        ),
        ("fontWeight", 1001, "$.tokens[0]: not a value of type fontWeight: it is 1 to 1000"),
        ("fontWeight", "Bold", f"$.tokens[0]: not a value of type fontWeight: it is 1 to 1000 or one of {WEIGHTS}"),
        ("fontFamily", [], "$.tokens[0]: not a value of type fontFamily: it has 1 to 64 names"),
        ("number", True, "$.tokens[0]: not a value of type number"),
        ("cubicBezier", [2, 0, 1, 1], "$.tokens[0]: not a value of type cubicBezier"),
        ("strokeStyle", {"dashArray": [], "lineCap": "butt"}, "$.tokens[0]: a list of 1 to 64 is expected here"),
        (
            "strokeStyle",
            {"dashArray": ["1px"], "lineCap": []},
            "$.tokens[0].lineCap: not one of butt, round, square",
        ),
        (
            "shadow",
            {**SHADOW, "blur": "x"},
            f"$.tokens[0].blur: {NO_DIMENSION}",
        ),
        ("shadow", {**SHADOW, "inset": 1}, "$.tokens[0].inset: not a value of type shadow: it is true or false"),
        (
            "typography",
            {"fontSize": "1px"},
            "$.tokens[0]: not a value of type typography: its members are "
            "fontFamily, fontSize, fontWeight, letterSpacing, lineHeight",
        ),
        (
            "spacing",
            "1px",
            f"$.tokens[0]: the type 'spacing' is not one of {', '.join(TYPES)}",
        ),
        (None, "1px", "$.tokens[0]: a token needs a type: nothing is guessed from its value"),
        ("color", "{size}", "$.tokens[0]: of type color, but an alias to 'size' of type dimension"),
        ("color", "{nowhere}", "$.tokens[0]: an alias to 'nowhere', which there is not"),
    ],
)
def test_a_value_that_is_none_is_told_with_its_place(kind: str | None, written: object, message: str) -> None:
    """The mistake names the token and the part of its value."""
    with pytest.raises(BrokenDocument) as broken:
        value(kind, written)
    assert message == str(broken.value)


def test_a_mode_has_its_values_and_those_that_do_not_differ() -> None:
    """In a mode a token has its value there; an alias leads to the value in the same mode."""
    content = tokens(
        token("ground", "color", "#fff", dark="#000"),
        token("page", "color", "{ground}"),
        token("gap", "dimension", "4px"),
    )
    dark = values(content, mode="dark")
    assert "#000000" == dark["ground"]["hex"]
    assert "#000000" == dark["page"]["hex"]
    assert 4 == dark["gap"]["value"]
    assert "#ffffff" == values(content, mode="light")["page"]["hex"]


def test_without_a_mode_the_first_is_given() -> None:
    """Also where the document has none."""
    ground = token("ground", "color", "#fff", dark="#000")
    assert "#000000" == values(tokens(ground, modes=("dark", "light")))["ground"]["hex"]
    assert "#ffffff" == values(tokens(ground, modes=()))["ground"]["hex"]


def test_the_type_of_an_alias_holds_in_every_mode() -> None:
    """A token that is an alias elsewhere needs no type where it has a value."""
    content = tokens(token("ground", "color", "#fff"), token("page", None, "{ground}", dark="#000"))
    assert "#000000" == values(content, mode="dark")["page"]["hex"]


def test_a_mode_that_the_document_lacks_is_refused() -> None:
    """Where the policy names no modes the document does; an address with such a mode is none."""
    form = replace(DESIGN_TOKENS, asked=(("mode", "mode", True),))
    found = select_tokens(tokens(), form, Variant(mode="sepia"))
    assert isinstance(found, InvalidOptions)
    assert found.in_path
    assert ("light", "dark") == found.mistakes[0].allowed


def test_aliases_in_a_circle_are_told_with_the_way() -> None:
    """A cycle is refused wherever it is met, also one that exists in one mode only, or through a part."""
    content = tokens(token("a", "color", "{b}"), token("b", "color", "#fff", dark="{c}"), token("c", "color", "{b}"))
    assert {"a", "b", "c"} == values(content).keys()
    assert "$.tokens[2]: aliases in a circle: b -> c -> b" == refusal(content, mode="dark")
    content = tokens(token("a", "shadow", {**SHADOW, "color": "{a}"}))
    assert "$.tokens[0].color: aliases in a circle: a -> a" == refusal(content)


def test_aliases_are_followed_so_far() -> None:
    """A chain that no design has ends in a mistake, not in a stack overflow."""
    chain = (token(f"t{n:04}", None, f"{{t{n - 1:04}}}") for n in range(1, 5000))
    assert 1 == values(tokens(token("t0000", "number", 1), *chain))["t4999"]  # each is worked out before the next
    content = tokens(token("z", "number", 1), *(token(f"t{n:04}", None, f"{{t{n + 1:04}}}") for n in range(500)))
    assert "more than 64 aliases one after the other" in refusal(content)


def test_aliases_multiply_nothing() -> None:
    """Lists of lists of lists would be as many values as there are atoms: an alias in a list is to one value."""
    levels = [token(f"s{n}", "shadow", [f"{{s{n - 1}}}"] * 64) for n in range(1, 40)]
    content = tokens(token("color.blue", "color", "#1f5fd6"), token("s0", "shadow", SHADOW), *levels)
    assert "an alias in a list must be to a token that is no list itself" in refusal(content)


def test_short_aliases_to_long_lists_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What aliases stand for counts, not how they are written."""
    monkeypatch.setattr(design_tokens, "MAXIMUM_PARTS", 10)
    shadow = {**SHADOW, "color": "#000"}
    content = [token("s", "shadow", [shadow] * 4), token("t", None, "{s}")]
    assert {"s", "t"} == values(tokens(*content)).keys()
    assert "more than 10 tokens and items" in refusal(tokens(*content, token("u", None, "{s}")))


def test_groups_may_be_a_tree() -> None:
    """A tree as the Community Group's format has it: inherited types, groups' own values, values by mode."""
    tree = {
        "$description": "All",
        "color": {
            "$type": "color",
            "$root": {"$value": "#fff"},
            "blue": {"$value": "#1f5fd6", "$description": "Ours"},
            "text": {"link": {"$value": "{color.blue}", "$extensions": {"mode": {"dark": "{color.$root}"}}}},
        },
        "size": {"gap": {"$type": "dimension", "$value": {"value": 4, "unit": "px"}}},
    }
    content = write({"modes": ["light", "dark"], "tokens": tree})
    assert ["color.$root", "color.blue", "color.text.link", "size.gap"] == list(values(content))
    assert BLUE == values(content)["color.text.link"]
    assert "#ffffff" == values(content, mode="dark")["color.text.link"]["hex"]


def test_what_is_written_in_the_format_can_be_read_again() -> None:
    """The Community Group's format of a document is a document of the same tokens."""
    members = (token("color.blue", "color", "#1f5fd6"), token("s.a b", "shadow", SHADOW))
    written = rendered_json(tokens(*members), DESIGN_TOKENS, format="dtcg")
    assert written == rendered_json(write({"tokens": written}), DESIGN_TOKENS, format="dtcg")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": 1}, "$.tokens.a: neither a group nor a token: a token is an object with $value"),
        ({"a.b": {"$value": 1}}, "$.tokens.a.b: a name in a tree of groups has no dot"),
        ({"a": {"$type": 3}}, "$.tokens.a.$type: not a text"),
        ({"a": {"b": {"$value": 1}}}, "$.tokens.a.b: a token needs a type: nothing is guessed from its value"),
        (
            {"a": {"$value": "1", "$type": "number", "$extensions": {"mode": 3}}},
            "$.tokens.a.$extensions.mode: not an object",
        ),
        ({"a": {"$value": "1", "$type": "number", "$extensions": 3}}, "$.tokens.a.$extensions: not an object"),
    ],
)
def test_a_tree_that_is_none_is_told_with_its_place(tree: object, message: str) -> None:
    """The place is the way through the groups."""
    assert message in refusal(write({"tokens": tree}))


def test_groups_end_somewhere() -> None:
    """A tree may be 32 groups deep."""
    tree: dict[str, Any] = {"$type": "number", "$value": 1}
    for _ in range(40):
        tree = {"a": tree}
    assert "groups may be 32 deep" in refusal(write({"tokens": tree}))


@pytest.mark.parametrize("name", ["", "a..b", "a.", "$a", "a.$b", "a.{b}", "a.$root.b", "x" * 1001])
def test_a_name_that_the_format_cannot_have_is_refused(name: str) -> None:
    """A document with such a name could be given in some formats only."""
    assert refusal(tokens(token(name, "number", 1))).startswith("$.tokens[0]: ")


def test_two_tokens_of_one_name_are_both_named() -> None:
    """Neither is lost silently."""
    content = tokens(token("a", "number", 1), token("b", "number", 1), token("a", "number", 2))
    assert "$.tokens[2]: the token 'a' is also $.tokens[0]" == refusal(content)


def test_a_backend_may_have_other_names_and_types() -> None:
    """Fields and types may be called otherwise."""
    names = (("tokens", "variables"), ("name", "path"), ("value", "resolved"), ("tokens.modes", "overrides"))
    form = DocumentForm("design-tokens", names, (("spacing", "dimension"),))
    content = write(
        {
            "variables": [{"path": "gap", "type": "spacing", "resolved": "4px", "overrides": {"wide": "8px"}}],
            "modes": ["narrow", "wide"],
        }
    )
    assert {"gap": {"value": 8, "unit": "px"}} == values(content, form, mode="wide")
    content = write({"variables": [{"path": "gap", "type": "spacing", "resolved": "x"}]})
    assert refusal(content, form).startswith("$.variables[0]: not a value of type dimension: ")


def test_a_document_of_any_parts_is_bounded() -> None:
    """Parts of any type take the most memory, so the document may be smaller."""
    assert "may have 8388608 bytes" in refusal(b" " * (8 * 1024 * 1024 + 1))


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet="a{}.#0px$", max_size=6)
)


def contain(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    members = st.sampled_from(["$value", "$type", "color", "value", "unit", "a", "$extensions"])
    return st.lists(inner, max_size=4) | st.dictionaries(members, inner)


anything = st.recursive(leaves, contain)
members = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b", "a.b", "c"]), "type": st.sampled_from([None, *TYPES]), "value": anything}
)


@given(st.lists(members, max_size=4) | anything, st.sampled_from([*FORMATS["design-tokens"]]))
def test_any_json_is_rendered_or_refused(document: Any, format_: str) -> None:
    """Whatever a backend sends is an export, or a broken document with its place."""
    try:
        found = render(json.dumps({"tokens": document}).encode(), DESIGN_TOKENS, Variant(format=format_))
    except BrokenDocument as broken:
        assert broken.place.startswith("$")
    else:
        assert isinstance(found, Rendered)

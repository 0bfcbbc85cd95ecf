"""Trees in the Community Group's format: references, groups that extend each other, and that nothing disappears."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.errors import BrokenDocument
from gateway.core.variants import token_trees
from gateway.core.variants.model import InvalidOptions, Rendered, Variant
from gateway.core.variants.rendering import render
from tests.core.variants.samples import DESIGN_TOKENS, rendered_json, write

BLUE = {"colorSpace": "srgb", "components": [0.2, 0.4, 0.8]}
NUMBER = {"$type": "number", "$value": 1}


def css(tree: object, **chosen: Any) -> dict[str, Any]:
    """Flat names to values as CSS has them."""
    found: dict[str, Any] = rendered_json(write({"tokens": tree}), DESIGN_TOKENS, shape="flat", **chosen)
    return found


def refusal(tree: object, **fields: object) -> str:
    with pytest.raises(BrokenDocument) as broken:
        render(write({"tokens": tree, **fields}), DESIGN_TOKENS, Variant())
    return str(broken.value)


@pytest.mark.parametrize(
    ("tree", "place"),
    [
        ({"a": {"$val": 1, "$type": "number"}}, "$.tokens.a.$val: a group has no $val"),
        ({"$value": 1, "$type": "number"}, "$.tokens.$value: a group has no $value"),
        ({"a": NUMBER, "b": 3}, "$.tokens.b: neither a group nor a token"),
        ({"a": NUMBER, "b": [NUMBER]}, "$.tokens.b: neither a group nor a token"),
        ({"a": {**NUMBER, "$typo": 1}}, "$.tokens.a.$typo: a token has no $typo"),
        ({"a": {**NUMBER, "b": NUMBER}}, "$.tokens.a.b: a token has no members but"),
        ({"a": {**NUMBER, "$ref": "#/b"}, "b": NUMBER}, "$.tokens.a: a token has either $value or $ref"),
        ({"a": {**NUMBER, "$deprecated": 3}}, "$.tokens.a.$deprecated: neither true, false nor a text"),
        ({"a": {"$deprecated": 3}}, "$.tokens.a.$deprecated: neither true, false nor a text"),
        ({"a": {"$root": {"b": NUMBER}}}, "$.tokens.a.$root: $root is a token"),
        ({"a": {"$extensions": []}}, "$.tokens.a.$extensions: not an object"),
    ],
)
def test_what_the_module_does_not_define_is_told_with_its_place(tree: object, place: str) -> None:
    """No build ships without it: a word that is spelled wrong is no reason to leave a token out."""
    assert refusal(tree).startswith(place)


def test_a_schema_may_be_named() -> None:
    """`$schema` stands at the root of published files; anywhere else it is unknown."""
    schema = "https://www.designtokens.org/schemas/2025.10/format.json"
    assert {"a": 1} == css({"$schema": schema, "a": NUMBER})
    assert refusal({"a": {"$schema": schema}}).startswith("$.tokens.a.$schema: a group has no $schema")


def test_a_reference_is_an_alias() -> None:
    """A JSON Pointer leads to a token, to its whole value, or into it, in any part of a value (7.1.2, 7.3)."""
    tree = {
        "base": {"my/blue": {"$type": "color", "$value": BLUE}, "gap": {"$type": "dimension", "$value": "16px"}},
        "alias": {"$ref": "#/base/my~1blue"},
        "whole": {"$ref": "#/base/my~1blue/$value", "$type": "color"},
        "hue": {"$ref": "#/base/my~1blue/$value/components/0", "$type": "number"},
        "mixed": {
            "$type": "color",
            "$value": {
                "colorSpace": {"$ref": "#/base/my~1blue/$value/colorSpace"},
                "components": [{"$ref": "#/base/my~1blue/$value/components/0"}, 0.4, {"$ref": "#/hue"}],
                "alpha": {"$ref": "#/half"},
            },
        },
        "same": {"$type": "color", "$value": {**BLUE, "components": {"$ref": "#/base/my~1blue/$value/components"}}},
        "half": {"$type": "number", "$value": 0.2},
        "unit": {"$type": "dimension", "$value": {"value": 2, "unit": {"$ref": "#/base/gap/$value/unit"}}},
        "in value": {"$type": "dimension", "$value": {"$ref": "#/base/gap"}},
    }
    assert {
        "alias": "#3366cc",
        "base.gap": "16px",
        "base.my/blue": "#3366cc",
        "half": 0.2,
        "hue": 0.2,
        "in value": "16px",
        "mixed": "#33663333",
        "same": "#3366cc",
        "unit": "2px",
        "whole": "#3366cc",
    } == css(tree)


def test_a_reference_is_to_the_value_in_the_mode() -> None:
    """As an alias in braces is."""
    tree = {"a": {**NUMBER, "$extensions": {"mode": {"dark": 2}}}, "b": {"$ref": "#/a"}, "c": {"$ref": "#/a/$value"}}
    content = write({"tokens": tree, "modes": ["light", "dark"]})
    assert {"a": 2, "b": 2, "c": 2} == rendered_json(content, DESIGN_TOKENS, mode="dark")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": {"$ref": "#/b"}}, "$.tokens.a: $ref leads to '#/b', where no token"),
        ({"a": {"$ref": "b"}}, "$.tokens.a: $ref is no JSON Pointer"),
        ({"a": {"$ref": 3}}, "$.tokens.a: $ref is no JSON Pointer"),
        ({"a": {"$ref": "#/b~2"}}, "$.tokens.a: $ref is no JSON Pointer"),
        ({"a": {"$ref": "#/a"}}, "$.tokens.a: aliases in a circle: a -> a"),
        ({"a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}}, "$.tokens.b: aliases in a circle: a -> b -> a"),
        (
            {"a": {"$type": "number", "$ref": "#/b/$value/3"}, "b": NUMBER},
            "$.tokens.a: $ref leads to '#/b/$value/3', but the value of 'b' has no '3'",
        ),
        ({"a": {"$ref": "#/b/$value/0"}, "b": NUMBER}, "$.tokens.a: $ref leads to"),
        ({"a": {"$type": "color", "$ref": "#/b"}, "b": NUMBER}, "$.tokens.a: of type color, but an alias to '#/b'"),
        ({"a": {"$ref": "#/b.c"}, "b": {"c": NUMBER}}, "$.tokens.a: $ref leads to '#/b.c', where no token"),
    ],
)
def test_a_reference_to_nothing_or_round_is_told(tree: object, message: str) -> None:
    """The place is the reference's."""
    assert refusal(tree).startswith(message)


@pytest.mark.parametrize("extends", [{"$extends": "{input}"}, {"$extends": "#/input"}, {"$ref": "#/input"}])
def test_a_group_extends_another(extends: dict[str, str]) -> None:
    """Groups are joined, a token of the same path is replaced as a whole, the type is inherited (6.4)."""
    tree = {
        "input": {
            "$type": "dimension",
            "$description": "A field",
            "field": {"width": {"$value": "12rem", "$description": "Wide"}, "gap": {"$value": "1px"}},
            "$root": {"$value": "3px"},
        },
        "amount": {**extends, "field": {"width": {"$value": "100px"}}, "own": {"$value": "2px"}},
        "later": {"$extends": "{amount}"},
    }
    own = {"$root": "3px", "field.gap": "1px", "field.width": "100px", "own": "2px"}
    assert {f"amount.{name}": value for name, value in own.items()} | {
        f"later.{name}": value for name, value in own.items()
    } == {name: value for name, value in css(tree).items() if not name.startswith("input")}
    written = rendered_json(write({"tokens": tree}), DESIGN_TOKENS, format="dtcg")
    assert "A field" == written["amount"]["$description"] == written["later"]["$description"]
    assert "$description" not in written["amount"]["field"]["width"]


def test_a_group_may_extend_a_part_that_another_one_inherits() -> None:
    """What is at a path is what is there once all groups are extended; types come from where the tokens stand."""
    tree = {
        "base": {"$type": "number", "sizes": {"s": {"$value": 1}, "l": {"$value": 9}}},
        "middle": {"$extends": "{base}"},
        "own": {"$extends": "{middle.sizes}", "l": {"$type": "number", "$value": 3}},
        "alias": {"$value": "{own.s}"},
    }
    found = css(tree)
    assert (1, 3, 1) == (found["own.s"], found["own.l"], found["alias"])


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": {"$extends": "{b}"}}, "$.tokens.a.$extends: there is no group '{b}'"),
        ({"a": {"$extends": "{b}"}, "b": NUMBER}, "$.tokens.a.$extends: there is no group '{b}'"),
        ({"a": {"$extends": 3}}, "$.tokens.a.$extends: not a reference to a group"),
        ({"a": {"$extends": "{a}"}}, "$.tokens.a.$extends: groups in a circle: a -> a"),
        ({"a": {"b": {"$extends": "{a}"}}}, "$.tokens.a.b.$extends: groups in a circle: a -> a.b -> a"),
        (
            {"a": {"$extends": "{b}"}, "b": {"$extends": "{c}"}, "c": {"$extends": "{a}"}},
            "$.tokens.c.$extends: groups in a circle: a -> b -> c -> a",
        ),
        ({"a": {"$ref": "#/b", "$extends": "{b}"}, "b": {}}, "$.tokens.a.$extends: a group has either"),
    ],
)
def test_a_group_that_extends_nothing_or_itself_is_told(tree: object, message: str) -> None:
    """The place is the reference's."""
    assert refusal(tree).startswith(message)


def test_groups_that_extend_groups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few lines may stand for very many tokens: two groups that extend the one before, and so on."""
    monkeypatch.setattr(token_trees, "MAXIMUM_MEMBERS", 1000)
    tree: dict[str, Any] = {"g0": {"t": NUMBER}}
    for level in range(1, 20):
        below = {"$extends": f"{{g{level - 1}}}"}
        tree[f"g{level}"] = {"x": below, "y": below}
    assert "more than 1000 tokens and groups" in refusal(tree)


def test_modes_may_be_in_the_tokens_only() -> None:
    """A document need not list its modes: they are those that tokens have values for."""
    tree = {"a": {**NUMBER, "$extensions": {"mode": {"Dark/AA": 2, "High contrast": 3}}}}
    assert {"a": 1} == css(tree)
    assert {"a": 2} == css(tree, mode="Dark/AA")
    form = replace(DESIGN_TOKENS, asked=(("mode", "mode", False),))
    found = render(write({"tokens": tree}), form, Variant(mode="dark"))
    assert isinstance(found, InvalidOptions)
    assert "The option mode must be one of Dark/AA, High contrast." == found.detail


def test_a_mode_with_a_slash_is_none_of_a_path() -> None:
    """What cannot be asked for there is not listed as if it could, and nothing is kept back: the message says where."""
    tree = {"a": {**NUMBER, "$extensions": {"mode": {"Dark/AA": 2, "High contrast": 3}}}}
    form = replace(DESIGN_TOKENS, asked=(("mode", "mode", True),))
    found = render(write({"tokens": tree}), form, Variant(mode="dark"))
    assert isinstance(found, InvalidOptions)
    assert ("High contrast",) == found.mistakes[0].allowed
    assert (
        "The option mode must be one of High contrast. The document also has Dark/AA: a path cannot have a slash in a "
        "value, a query can."
    ) == found.detail


def test_a_value_for_a_mode_that_is_not_listed_is_told() -> None:
    """It would be in no export."""
    tree = {"a": {**NUMBER, "$extensions": {"mode": {"drak": 2}}}}
    message = "$.tokens.a.$extensions.mode.drak: the document does not list this mode; it has light, dark"
    assert message == refusal(tree, modes=["light", "dark"])
    listed = [{"name": "a", "type": "number", "value": 1, "modes": {"drak": 2}}]
    assert refusal(listed, modes=["light"]).startswith("$.tokens[0].modes.drak: ")


def test_what_tools_have_to_say_is_kept() -> None:
    """`dtcg` keeps `$extensions`, `$deprecated` and `$description` of tokens and groups, but no other mode's values."""
    said = {"$description": "Old", "$deprecated": "Use b", "$extensions": {"org.example": [1, {"a": None}]}}
    extensions = {**said["$extensions"], "mode": {"dark": 2}}  # type: ignore[dict-item]  # it is an object
    tree = {"g": {**said, "a": {**NUMBER, **said, "$extensions": extensions}, "b": {**NUMBER, "$deprecated": False}}}
    expected = {"g": {**said, "a": {**NUMBER, **said}, "b": {**NUMBER, "$deprecated": False}}}
    assert expected == rendered_json(write({"tokens": tree}), DESIGN_TOKENS, format="dtcg")
    listed = [{"name": "a", "type": "number", "value": 1, "deprecated": True, "extensions": {"x": 1}}]
    written = rendered_json(write({"tokens": listed}), DESIGN_TOKENS, format="dtcg")
    assert {"a": {**NUMBER, "$deprecated": True, "$extensions": {"x": 1}}} == written


NAMES = [
    "a",
    "b",
    "c",
    "$value",
    "$val",
    "$type",
    "$description",
    "$extensions",
    "$deprecated",
    "$root",
    "$extends",
    "d.e",
]
leaves = st.just("leaf") | st.sampled_from(["number", "{a}", "{a.b}", "#/a", "#/a/$value"]) | st.just(1)
trees = st.recursive(
    leaves,
    lambda inner: st.dictionaries(st.sampled_from([*NAMES, "$ref"]), inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=12,
)


def numbered(value: Any, count: Iterator[int]) -> Any:
    """The tree with a number of its own for each leaf that could be one."""
    if isinstance(value, dict):
        return {name: numbered(inner, count) for name, inner in value.items()}
    if isinstance(value, list):
        return [numbered(inner, count) for inner in value]
    if value == "leaf":
        return f"leaf{next(count)}."
    return next(count) if value == 1 else value


def leaves_of(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Each leaf with its place."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves_of(inner, f"{place}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from leaves_of(inner, place)
    else:
        yield place, value


@given(st.dictionaries(st.sampled_from(NAMES), trees, max_size=4))
def test_each_leaf_is_in_the_output_or_the_document_is_refused(tree: dict[str, Any]) -> None:
    """Whatever stands in a tree: with status 200 an export has all of it."""
    unique = numbered({"$type": "number", **tree}, iter(range(1_000_000, 2_000_000)))
    try:
        found = render(write({"tokens": unique}), DESIGN_TOKENS, Variant(format="dtcg"))
    except BrokenDocument as broken:
        assert broken.place.startswith("$")
        return
    assert isinstance(found, Rendered)
    written = json.dumps(json.loads(found.content))
    for place, leaf in leaves_of(unique, "$"):
        name = place.rpartition(".")[2]
        if name not in ("$type", "$ref", "$extends") and not (isinstance(leaf, str) and leaf[:1] in "{#"):
            assert str(leaf) in written, place

"""What a check says of a document: everything that is wrong, each mistake with its place."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import BrokenDocument
from gateway.core.variants.checking import find_mistakes
from gateway.core.variants.formats import FORMATS
from gateway.core.variants.model import DocumentForm, Variant
from gateway.core.variants.rendering import render
from tests.core.variants.samples import DESIGN_TOKENS, TRANSLATIONS, entry, texts, token, tokens, write
from tests.core.variants.test_token_trees import trees


def places(content: bytes, form: DocumentForm) -> list[str]:
    """Where something is wrong."""
    return [mistake.partition(": ")[0] for mistake in find_mistakes(content, form)]


def test_every_mistake_of_a_tree_is_told() -> None:
    """In the tree and in the values of every mode; each once."""
    number = {"$type": "number", "$value": 1}
    tree = {
        "a": {"$val": 1},
        "b": 3,
        "c": {"$extends": "{nowhere}"},
        "d": {**number, "$extensions": {"mode": {"dark": "x", "drak": 2}}},
        "e": {"$value": "{d}"},
        "f": {"$ref": "#/f"},
    }
    expected = {
        "$.tokens.a.$val",
        "$.tokens.b",
        "$.tokens.c.$extends",
        "$.tokens.d.$extensions.mode.drak",
        "$.tokens.d",
        "$.tokens.f",
    }
    found = places(write({"tokens": tree, "modes": ["light", "dark"]}), DESIGN_TOKENS)
    assert expected == set(found)
    assert len(expected) == len(found)


def test_every_misshapen_entry_is_told_in_the_backends_words() -> None:
    """The first one does not hide those behind it."""
    form = DocumentForm("translations", (("entries", "data.nodes"), ("values", "texts")))
    nodes = [{"id": 1}, {"id": 2, "texts": {}}, {"id": [], "texts": {}}, {"id": 4, "texts": {"de": ["x"]}}]
    content = write({"data": {"nodes": nodes}, "languages": 3})
    assert ["$.data.nodes[0]", "$.data.nodes[2].id", "$.data.nodes[3].texts.de", "$.languages"] == places(content, form)


def test_every_key_that_two_entries_have_is_told() -> None:
    """By their names as by their ids."""
    content = texts(entry("a", de="x"), entry("a", de="y"), entry("b", de="z", **{"d e": "z"}), entry("a", de="z"))
    found = find_mistakes(content, TRANSLATIONS)
    assert [
        "$: 'd e' is no name of a language, such as pt-BR",
        "$.entries[1]: the key 'a' is also that of $.entries[0]",
        "$.entries[3]: the key 'a' is also that of $.entries[0]",
        "$.entries[1]: the key 'id of a' is also that of $.entries[0]",
        "$.entries[3]: the key 'id of a' is also that of $.entries[0]",
    ] == found


def test_a_name_that_is_there_twice_is_told() -> None:
    """Readers of JSON take the last one, without a word of the others."""
    content = b'{"tokens": {"a": {"$type": "number", "$value": 1, "$value": 2}, "b": {}, "b": {}}}'
    assert ["$.tokens.b", "$.tokens.a.$value"] == places(content, DESIGN_TOKENS)


def test_what_one_format_cannot_have_is_told_with_the_format() -> None:
    """The document is right, and a build that asks for this format would fail all the same."""
    content = tokens(token("a.b-c", "number", 1), token("a-b.c", "number", 2))
    (mistake,) = find_mistakes(content, DESIGN_TOKENS)
    assert "$: the tokens 'a-b.c' and 'a.b-c' both become 'a-b-c' [as css, scss, tailwind]" == mistake
    blank = tokens(token("a b", "number", 1))
    assert [] == find_mistakes(blank, DESIGN_TOKENS)
    (mistake,) = find_mistakes(blank, DESIGN_TOKENS, ("less", "css"))
    assert mistake.startswith("$: the token 'a b' has no name in Less")
    (mistake,) = find_mistakes(texts(entry("a", de="x"), entry("a.b", de="y")), TRANSLATIONS)
    assert mistake.endswith("[as json (shape=nested), i18next (shape=nested)]")


def test_a_format_of_one_language_is_looked_at_in_each() -> None:
    """Names are Android's in every language, and two keys are one name where one language has both."""
    content = texts(entry("a.b", de="x"), entry("a_b", de="y", fr="z"), languages=["de", "fr"])
    assert [] == find_mistakes(content, TRANSLATIONS)
    expected = "$: the keys 'a.b' and 'a_b' both become 'a_b' in Android [as android]"
    assert [expected] == find_mistakes(content, TRANSLATIONS, ("android", "strings", "xliff"))


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"tokens": NaN}', b'{"tokens": {"a": "\\ud800"}}', b"\xff", b"[" * 9999]
)
def test_what_is_no_json_is_one_mistake(content: bytes) -> None:
    """With the place where it ends to be JSON, if the parser knows it."""
    (mistake,) = find_mistakes(content, DESIGN_TOKENS)
    assert mistake.startswith("$: this is not JSON that can be read: ")


@given(trees | st.lists(trees, max_size=3))
def test_a_check_finds_nothing_exactly_where_every_export_can_be_made(tree: Any) -> None:
    """What a check lets pass no build stumbles over, and what it tells of is wrong."""
    content = json.dumps({"tokens": tree}).encode()
    found = find_mistakes(content, DESIGN_TOKENS)
    broken = []
    for format_ in [name for name, one in FORMATS["design-tokens"].items() if not one.limits_names]:
        for shape in ("nested", "flat"):
            try:
                render(content, DESIGN_TOKENS, Variant(format=format_, shape=shape))
            except BrokenDocument as error:
                broken.append(str(error))
    assert bool(broken) == bool(found)
    assert all(any(mistake.startswith(one) for mistake in found) for one in broken)

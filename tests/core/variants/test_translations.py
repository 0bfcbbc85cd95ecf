"""What a variant has of a document of translations, and which documents are refused, with the place."""

import json
from typing import Any

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.errors import BrokenDocument
from gateway.core.variants import translations
from gateway.core.variants.documents import read_document
from gateway.core.variants.formats import FORMATS
from gateway.core.variants.model import DocumentForm, InvalidOptions, Rendered, Variant
from gateway.core.variants.rendering import render
from gateway.core.variants.translations import Texts, TranslationsDocument, select_texts
from tests.core.variants.samples import TRANSLATIONS, entry, languages_of, rendered, rendered_json, texts, write

ASKS = replace(TRANSLATIONS, asked=(("lang", "locale", False),))
FOREIGN = DocumentForm(
    "translations",
    (
        ("entries", "data.nodes"),
        ("languages", "data.locales"),
        ("id", "nodeId"),
        ("key", "meta.exportKey"),
        ("status", "meta.state"),
        ("values", "texts"),
    ),
)


def refusal(content: bytes, form: DocumentForm = TRANSLATIONS, **chosen: Any) -> str:
    with pytest.raises(BrokenDocument) as broken:
        render(content, form, Variant(**chosen))
    return str(broken.value)


def test_an_entry_goes_by_its_key_and_without_one_by_its_id() -> None:
    """K11: `home.hero.headline` where somebody has named it, else the stable id, text or number."""
    content = texts(
        entry("home.hero.headline", de="Hallo"),
        {"id": "n_7", "values": {"de": "ohne"}},
        {"id": 8, "key": None, "values": {"de": "Zahl"}},
        {"id": "n_9", "key": "", "values": {"de": "leer"}},
    )
    expected = {"home.hero.headline": "Hallo", "n_7": "ohne", "8": "Zahl", "n_9": "leer"}
    assert expected == rendered_json(content, shape="flat", lang=("de",))


def test_a_byte_order_mark_is_no_part_of_a_document() -> None:
    """As some backends write it (RFC 8259 8.1); also under other names, and where a mistake is told with its place."""
    content = texts(entry("home.title", de="Hallo"))
    assert rendered_json(content, lang=("de",)) == rendered_json(b"\xef\xbb\xbf" + content, lang=("de",))
    broken = b'\xef\xbb\xbf{"entries": [{"id": "a", "values": {"de": []}}]}'
    assert refusal(broken).startswith("$.entries[0].values.de: ")
    assert refusal(b"\xef\xbb\xbf" * 2 + content).startswith("$: this is not JSON")


def test_ids_can_be_asked_for() -> None:
    """Who wants stable ids for all entries gets them."""
    content = texts({"id": "n_1", "key": "home.title", "values": {"de": "Start"}})
    assert {"n_1": "Start"} == rendered_json(content, key="id", lang=("de",))


def test_one_language_is_a_map_and_several_are_maps_by_language() -> None:
    """The shape follows what was asked for, not how many languages there happen to be."""
    content = texts(entry("a.b", de="x"))
    assert {"a": {"b": "x"}} == rendered_json(content, lang=("de",))
    assert {"de": {"a": {"b": "x"}}} == rendered_json(content)
    assert {"de": {"a.b": "x"}} == rendered_json(content, shape="flat")


def test_a_missing_value_is_left_out() -> None:
    """A language without a value lacks the key; null and an empty object are no values; an empty text is one."""
    content = texts(entry("a", de="x", en=None), entry("b", de={}, en=""), languages=["de", "en", "fr"])
    assert {"de": {"a": "x"}, "en": {"b": ""}, "fr": {}} == rendered_json(content)


def test_an_entry_without_any_of_the_languages_is_in_no_format() -> None:
    """What only French has is not seen by a German build, not even as an empty line."""
    content = texts(entry("a", de="x"), entry("b", fr="seul"))
    assert b'"key","de"\r\n"a","x"\r\n' == rendered(content, format="csv", lang=("de",))
    assert b"seul" not in rendered(content, format="xml", lang=("de",))


def test_only_the_statuses_that_are_asked_for() -> None:
    """An entry without a status is in none."""
    content = texts(entry("a", "approved", de="x"), entry("b", "draft", de="y"), entry("c", de="z"))
    assert {"a": "x"} == rendered_json(content, status=("approved", "shipped"), lang=("de",))
    assert {"a": "x", "b": "y", "c": "z"} == rendered_json(content, lang=("de",))


def test_an_empty_document_is_an_empty_export() -> None:
    """Nothing yet is no mistake, in every format and shape."""
    assert {} == rendered_json(texts())
    assert {} == rendered_json(texts(), lang=("de",))
    assert b"{}\n" == rendered(texts(), pretty=True)
    assert b'"key"\r\n' == rendered(texts(), format="csv")
    assert b'<?xml version="1.0" encoding="UTF-8"?>\n<export></export>\n' == rendered(texts(), format="xml")


def test_plural_forms_are_entries_of_their_own() -> None:
    """An object is flattened under its key; nested JSON gives the object back."""
    content = texts(entry("cart.items", en={"one": "{n} item", "other": {"short": "{n}", "long": "{n} items"}}))
    flat = {"cart.items.one": "{n} item", "cart.items.other.long": "{n} items", "cart.items.other.short": "{n}"}
    assert flat == rendered_json(content, shape="flat", lang=("en",))
    nested = {"cart": {"items": {"one": "{n} item", "other": {"long": "{n} items", "short": "{n}"}}}}
    assert nested == rendered_json(content, lang=("en",))


def test_numbers_and_booleans_stay_what_they_are() -> None:
    """A value need not be a text."""
    content = texts(entry("a", en=3), entry("b", en=-1.5), entry("c", en=True))
    assert {"a": 3, "b": -1.5, "c": True} == rendered_json(content, lang=("en",))
    assert b'"key","en"\r\n"a",3\r\n"b",-1.5\r\n"c","true"\r\n' == rendered(content, format="csv", lang=("en",))
    assert b'<value lang="en" type="number">-1.5</value>' in rendered(content, format="xml")


def test_a_language_may_have_a_text_where_another_has_forms() -> None:
    """One language's text is no group of another's."""
    content = texts(entry("items", ja="品", en={"one": "item", "other": "items"}))
    assert {"en": {"items": {"one": "item", "other": "items"}}, "ja": {"items": "品"}} == rendered_json(content)


def test_two_entries_of_one_key_are_both_named() -> None:
    """Neither is lost silently; an id may collide with a key, and a form with an entry."""
    content = texts(entry("a", de="x"), entry("a", de="y"))
    assert "$.entries[1]: the key 'a' is also that of $.entries[0]" == refusal(content)
    content = texts(entry("n_1", de="x"), {"id": "n_1", "values": {"de": "y"}})
    assert "$.entries[1]: the key 'n_1' is also that of $.entries[0]" == refusal(content)
    content = texts(entry("a", de={"one": "x"}), entry("a.one", de="y"))
    assert "$.entries[1]: the key 'a.one' is also that of $.entries[0]" == refusal(content)
    content = texts(entry("a", de={"b.c": "x", "b": {"c": "y"}}))
    assert "$.entries[0]: the key 'a.b.c' is also that of $.entries[0]" == refusal(content)


def test_a_key_that_is_an_entry_and_a_group_is_told_with_both() -> None:
    """Nested JSON has no place for both; flat JSON, CSV and XML have, and are served."""
    content = texts(entry("home", de="x"), entry("home.hero.title", de="y"))
    expected = "$: the key 'home' is also the group of 'home.hero.title': rename one, or ask for shape=flat"
    assert expected == refusal(content)
    assert {"home": "x", "home.hero.title": "y"} == rendered_json(content, shape="flat", lang=("de",))
    assert b'"home","x"\r\n"home.hero.title","y"\r\n' in rendered(content, format="csv")
    assert b'<entry name="home">' in rendered(content, format="xml")


def test_order_in_the_document_means_nothing() -> None:
    """A backend that answers in any order gives the same bytes, so the same entity tag."""
    entries = [entry("b", de="1", en="2"), entry("a", en="3", de="4"), entry("c.d", fr="5")]
    for format_ in FORMATS["translations"]:
        found = render(texts(*entries), TRANSLATIONS, Variant(format=format_))
        assert found == render(texts(*reversed(entries)), TRANSLATIONS, Variant(format=format_))


def test_a_language_that_the_document_lacks_is_refused_with_those_it_has() -> None:
    """K7: where the policy names no languages the document does, and the answer lists them."""
    found = render(texts(entry("a", de="x"), languages=["en"]), ASKS, Variant(lang=("fr",)))
    assert isinstance(found, InvalidOptions)
    assert "The option locale must be one of de, en." == found.detail
    assert ("de", "en") == found.mistakes[0].allowed


def test_a_language_that_the_policy_names_may_be_missing() -> None:
    """What the policy offers is offered, also before there is a text; an empty document refuses no language."""
    assert {} == rendered_json(texts(entry("a", de="x")), lang=("fr",))
    assert {} == rendered_json(texts(), ASKS, lang=("fr",))


def test_a_backend_may_have_other_names() -> None:
    """Fields may be called otherwise and lie in objects; what else is there is left alone."""
    content = write(
        {
            "meta": {"took": 3},
            "data": {
                "locales": ["fr"],
                "nodes": [
                    {"nodeId": 5, "meta": {"exportKey": "a.b", "state": "done", "by": "x"}, "texts": {"de": "y"}},
                    {"nodeId": 6, "texts": {"de": "z"}},
                ],
            },
        }
    )
    assert {"de": {"6": "z", "a.b": "y"}, "fr": {}} == rendered_json(content, FOREIGN, shape="flat")
    assert {"a": {"b": "y"}} == rendered_json(content, FOREIGN, status=("done",), lang=("de",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "$: Expected `object`, got `array`"),
        (b"{}", "$: Object missing required field `entries`"),
        (texts({"values": {}}), "$.entries[0]: Object missing required field `id`"),
        (texts(entry("a"), {"id": 1, "values": []}), "$.entries[1].values: Expected `object`, got `array`"),
        (texts({"id": [], "values": {}}), "$.entries[0].id: Expected `int | str`, got `array`"),
        (
            texts(entry("a", de="x", fr=["y"])),
            "$.entries[0].values.fr: Expected `bool | int | float | str | object | null`, got `array`",
        ),
        (
            texts(entry("a", de="x"), entry("b", de={"one": "x", "two": {"a": "x", "b": {"c": "y"}}})),
            "$.entries[1].values.de.two.b: Expected `bool | int | float | str | null`, got `object`",
        ),
        (texts(languages=[f"l{n}" for n in range(1001)]), "$: a document may have 1000 languages, this has 1001"),
        (texts(languages=["de", "a,b"]), "$: 'a,b' is no name of a language, such as pt-BR"),
        (texts(entry("k" * 1001, de="x")), "$.entries[0]: a key may have 1000 characters, this has 1001"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(content: bytes, message: str) -> None:
    """The mistake says where in the document it is, down to the language."""
    assert message == refusal(content)


def test_the_place_is_told_in_the_backends_words() -> None:
    """Who reads the mistake knows the backend's names, not ours."""
    content = write({"data": {"nodes": [{"nodeId": 5, "texts": {"de": "y", "fr": [1]}}]}})
    expected = "$.data.nodes[0].texts.fr: Expected `bool | int | float | str | object | null`, got `array`"
    assert expected == refusal(content, FOREIGN)
    content = write({"data": {"nodes": [{"nodeId": 5, "texts": {"de": "x"}}, {"nodeId": 5, "texts": {"de": "y"}}]}})
    assert "$.data.nodes[1]: the key '5' is also that of $.data.nodes[0]" == refusal(content, FOREIGN)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b'{"entries": [',
        b'{"entries": [{"id": "\xff", "values": {}}]}',
        b'{"entries": [{"id": "\\ud800", "values": {}}]}',
        b'{"entries": [], "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"entries": [{"id": ' + b"9" * 10_000 + b', "values": {}}]}',
        b'{"entries": [{"id": 1, "values": {"de": 1e999}}]}',
    ],
)
def test_what_is_no_json_is_refused(content: bytes) -> None:
    """Broken, endless or hostile content is a broken document and nothing worse."""
    assert refusal(content)


def test_a_document_may_not_make_a_table_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few values in many rows and columns are still a large table."""
    monkeypatch.setattr(translations, "MAXIMUM_CELLS", 8)
    content = texts(*(entry(f"k{index}", **{f"l{index}": "x"}) for index in range(3)))
    assert "$: 3 keys in 3 languages are more than 8 values" == refusal(content)


def test_a_key_may_not_make_groups_without_end() -> None:
    """Nested groups are bounded; the same key flat is served."""
    content = texts(entry(".".join("a" * 33), de="x"))
    assert "has more than 32 segments: ask for shape=flat" in refusal(content)
    assert {".".join("a" * 33): "x"} == rendered_json(content, shape="flat", lang=("de",))


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)


def contain(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.text(max_size=4) | st.sampled_from(["de", "one", "other"])
    return st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)


anything = st.recursive(leaves, contain)
nearly = st.fixed_dictionaries(
    {"entries": st.lists(st.fixed_dictionaries({"id": leaves, "values": anything}, optional={"key": leaves}))}
)


@given(anything | nearly, st.sampled_from([*FORMATS["translations"]]), st.sampled_from(["nested", "flat"]))
def test_any_json_is_rendered_or_refused(document: Any, format_: str, shape: str) -> None:
    """Whatever a backend sends is an export, or a broken document with its place."""
    lang = languages_of(format_, ("de",))[0]
    try:
        found = render(json.dumps(document).encode(), TRANSLATIONS, Variant(format=format_, shape=shape, lang=lang))
    except BrokenDocument as broken:
        assert broken.place.startswith("$")
    else:
        assert isinstance(found, Rendered)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    """No content raises anything else than BrokenDocument."""
    for names in ((), FOREIGN.names):
        try:
            read_document(content, TranslationsDocument, names)
        except BrokenDocument as broken:
            assert broken.problem


def test_a_document_may_begin_with_a_byte_order_mark() -> None:
    """Tools on Windows write one; places are told all the same."""
    mark = b"\xef\xbb\xbf"
    content = texts(entry("a", de="x"))
    assert rendered(content) == rendered(mark + content)
    with pytest.raises(BrokenDocument, match=r"\$\.entries\[0\]\.values\.de"):
        rendered(mark + texts(entry("a", de=["x"])))


leaves = (
    st.none() | st.text(max_size=5) | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
)
objects = st.dictionaries(st.sampled_from(("one", "other", "a", "b.c")), leaves, max_size=3)
nested = st.dictionaries(st.sampled_from(("a", "b", "one")), leaves | objects, max_size=3)
languages = ("ar", "de", "en", "fr", "pt-BR")
listed = st.lists(st.dictionaries(st.sampled_from(languages), leaves | nested), max_size=6)


@given(listed, st.integers(1, 5), st.integers(1, 3))
def test_a_table_is_the_same_by_rows_and_by_columns(
    values: list[dict[str, Any]], passes: int, rows_at_once: int
) -> None:
    """In however many groups its languages are read, and in however many steps; a row is also found by its position."""
    content = texts(*({"id": f"k{index}", "values": one} for index, one in enumerate(values)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translations, "GROUP_CELLS", 0)
        patch.setattr(translations, "PASSES", passes)
        patch.setattr(translations, "ROWS_AT_ONCE", rows_at_once)
        try:
            found = select_texts(content, TRANSLATIONS, Variant(lang=languages))
        except BrokenDocument:
            reject()
        assert isinstance(found, Texts)
        rows = list(found.rows)
        assert list(map(list, zip(*rows, strict=True))) == list(map(list, found.rows.read_columns()))[: 5 * bool(rows)]
        assert rows[::-1] == [found.rows[position] for position in reversed(range(len(found.keys)))]
    for key, row in zip(found.keys, rows, strict=True):
        entry_, *way = key.split(".")
        for language, value in zip(languages, row, strict=True):
            assert value == find_leaf(values[int(entry_[1:])].get(language), way)


def find_leaf(value: Any, way: list[str]) -> Any:
    """The leaf in a value at the end of the way, whose dots may be in a name too; None if there is none."""
    if not isinstance(value, dict):
        return None if way else value
    ends = range(1, len(way) + 1)
    found = [find_leaf(value.get(".".join(way[:end])), way[end:]) for end in ends]
    return next((one for one in found if one is not None), None)


@pytest.mark.parametrize("format_", FORMATS["translations"])
def test_an_empty_document_has_any_language(format_: str) -> None:
    """Nothing says which languages there are, so a language that no document could have is no mistake."""
    (lang,) = languages_of(format_, ('"',))[-1:]
    assert isinstance(render(texts(), TRANSLATIONS, Variant(format=format_, lang=lang)), Rendered)

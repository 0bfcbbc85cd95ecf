"""Formats of translations that builds ask for: what others' readers read is what the document says, difference 0.

The readers are not ours: PyYAML, javaproperties, openstep-plist, translate-toolkit, Babel, polib, lxml, json. Those
from npm, and Java itself, are in test_text_consumers.py.
"""

import gettext
import io
import json
import plistlib
from typing import Any
from xml.etree.ElementTree import Element

import javaproperties
import openstep_plist
import polib
import pytest
import yaml  # type: ignore[import-untyped]  # of schemathesis
from babel import Locale
from babel.localedata import locale_identifiers
from babel.messages.pofile import read_po
from hypothesis import assume, given
from hypothesis import strategies as st
from lxml import etree
from translate.storage.aresource import AndroidResourceFile
from translate.storage.xliff2 import Xliff2File

from gateway.core.errors import BrokenDocument
from gateway.core.variants.checking import find_mistakes
from gateway.core.variants.formats import FORMATS
from gateway.core.variants.model import Variant
from gateway.core.variants.renderers.catalogs import NO_CHARACTER
from gateway.core.variants.renderers.plural_rules import find_rule, write_header
from gateway.core.variants.rendering import render
from gateway.core.variants.translations import PLURAL_CATEGORIES
from tests.core.variants.samples import TRANSLATIONS, entry, rendered, rendered_json, texts, write

AWKWARD = [
    *("", "a", " a ", "a  b", "\n", "a\nb", "\r\n", "\t", "'", '"', "\\", "\\n", "it's", "@x", "?x", "#x", "!x", "- x"),
    *(
        "%s %s",
        "%1$s",
        "100%",
        "%{n}",
        "{n}",
        "{{n}}",
        "${x}",
        "$t(x)",
        "<b>x</b>",
        "&amp;",
        "]]>",
        "a=b",
        "a:b",
        "a;b",
    ),
    *(
        "yes",
        "null",
        "1.5",
        "~",
        "`",
        "|",
        "/* c */",
        "//",
        "\N{NO-BREAK SPACE}x\N{NARROW NO-BREAK SPACE}",
        "\x01",
        "\x7f",
    ),
    *(
        "😀 👩‍👩‍👧",
        "Units\N{NO-BREAK SPACE}(EU) a",
        "ici\N{NO-BREAK SPACE}?",
        "مرحبا\N{RIGHT-TO-LEFT MARK}",
        "\x85",
        "\N{LINE SEPARATOR}",
        "\N{IDEOGRAPHIC SPACE}a",
        "\ufeff",
        "e\N{COMBINING ACUTE ACCENT}",
    ),
]
anything = st.sampled_from(AWKWARD) | st.text(max_size=12)
"""What people write, and what no one would."""
written = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
several = st.lists(st.sampled_from(AWKWARD) | written, min_size=1, max_size=6)
NOT_OF_XML = [chr(code) for code in (*range(9), 0xB, 0xC, *range(0xE, 0x20), 0xFFFE, 0xFFFF)]


def document(values: list[str]) -> bytes:
    """A text for each key `k.0`, `k.1`..."""
    return texts(*(entry(f"k.{index}", de=value) for index, value in enumerate(values)), languages=["de", "en"])


def export(values: list[str], format_: str) -> bytes:
    return rendered(document(values), format=format_, lang=("de",))


@given(st.lists(anything, min_size=1, max_size=6))
def test_yaml_is_read_back(values: list[str]) -> None:
    """By PyYAML, which reads YAML 1.1 as Ruby does: a text is a text, whatever it looks like."""
    assert {"de": {"k": {str(at): value for at, value in enumerate(values)}}} == yaml.safe_load(export(values, "yaml"))


@pytest.mark.parametrize("value", [1, -1.5, 1e-7, 1e21, 2.5e300, True, False])
def test_yaml_has_numbers_and_booleans(value: object) -> None:
    """As what they are, also for readers of YAML 1.1, to which `1e-7` would be a text."""
    found = yaml.safe_load(rendered(texts(entry("a", de=value)), format="yaml"))["de"]["a"]
    assert (type(value), value) == (type(found), found)


@given(
    st.lists(
        st.text(max_size=5) | st.sampled_from(["yes", "n", "=", "<<", "- a", "a: b", "~"]), max_size=5, unique=True
    )
)
def test_yaml_has_every_key(keys: list[str]) -> None:
    """Quoted, so that `no` is Norwegian and not false."""
    named = {key.replace(".", "-") or "empty": key for key in keys}
    content = texts(*(entry(key, no=value) for key, value in named.items()), languages=["no"])
    assert {"no": named} == yaml.safe_load(rendered(content, format="yaml"))


@given(several)
def test_properties_are_read_back(values: list[str]) -> None:
    """In ASCII, so that Java before 9 reads them too."""
    found = export(values, "properties")
    assert found.isascii()
    assert {f"k.{at}": value for at, value in enumerate(values)} == javaproperties.loads(found.decode())


@given(st.lists(written.filter(bool), min_size=1, max_size=5, unique=True))
def test_properties_have_every_key(keys: list[str]) -> None:
    """With blanks, colons and all."""
    content = texts(*(entry(key, de=key) for key in keys))
    found = javaproperties.loads(rendered(content, format="properties", lang=("de",)).decode())
    assert {key: key for key in keys} == found


@given(several)
def test_strings_are_read_back(values: list[str]) -> None:
    """By the reader of old property lists that tools of fonts share; a file is a dictionary without its braces."""
    found = openstep_plist.loads("{" + export(values, "strings").decode() + "}", use_numbers=False)
    assert {f"k.{at}": value for at, value in enumerate(values)} == found


@given(several)
def test_a_stringsdict_is_read_back(values: list[str]) -> None:
    """By the standard library's reader of property lists, to the character; so are keys."""
    values = [NO_CHARACTER.sub("", value) for value in values]
    members = [entry(f"{value}.{at}", de={"one": "1", "other": value}) for at, value in enumerate(values)]
    found = plistlib.loads(rendered(texts(*members), format="stringsdict", lang=("de",)))
    expected = {f"{value}.{at}": value for at, value in enumerate(values)}
    assert expected == {key: plural["count"]["other"] for key, plural in found.items()}


def test_a_stringsdict_has_the_plurals_and_no_other_entry() -> None:
    """With the type of the number that the texts format; a form that a language lacks is left out."""
    content = texts(
        ITEMS,
        entry("title", ru="Файлы"),
        entry("left", ru={"one": "ещё %2$lld", "other": "ещё %2$lld из %1$@"}),
        entry("used", ru={"one": "%%", "many": "%.1f %%", "other": "%%"}),
    )
    found = plistlib.loads(rendered(content, format="stringsdict", lang=("ru",)))
    assert ["cart.items", "left", "used"] == list(found)
    assert {"%#@count@"} == {one["NSStringLocalizedFormatKey"] for one in found.values()}
    assert ["d", "lld", "f"] == [one["count"].pop("NSStringFormatValueTypeKey") for one in found.values()]
    assert {"NSStringPluralRuleType"} == {one["count"].pop("NSStringFormatSpecTypeKey") for one in found.values()}
    forms = {"one": "{n} файл", "few": "{n} файла", "many": "{n} файлов", "other": "{n} файла"}
    assert forms == found["cart.items"]["count"]
    assert {} == plistlib.loads(rendered(content, format="stringsdict", lang=("fr",)))


def test_a_stringsdict_refuses_what_xml_cannot_have() -> None:
    """The mistake names the text, rather than a build that cannot read the file."""
    content = texts(entry("bell", de={"other": "a\x07"}))
    with pytest.raises(BrokenDocument, match=r"'a\\x07' has a character that XML"):
        render(content, TRANSLATIONS, Variant(format="stringsdict", lang=("de",)))
    (mistake,) = find_mistakes(content, TRANSLATIONS, ("stringsdict",))
    assert mistake.endswith("[as stringsdict]")


@given(several)
def test_android_resources_are_read_back(values: list[str]) -> None:
    """By a translators' tool that knows quotes, escapes, and which blanks Android takes away."""
    store = AndroidResourceFile()
    store.parse(export(values, "android"))
    assert {f"k_{at}": value for at, value in enumerate(values)} == {
        one.getid(): str(one.target) for one in store.units
    }


def test_android_texts_with_several_conversions_are_not_formatted() -> None:
    """The resource compiler refuses two `%s` without numbers unless the text says so; numbered ones are formatted."""
    content = export(["%s of %s", "%1$s of %2$s", "100% of %d", "%s"], "android")
    found = {one.get("name"): one.get("formatted") for one in etree.fromstring(content)}
    assert {"k_0": "false", "k_1": None, "k_2": "false", "k_3": None} == found


@given(several)
def test_xliff_is_read_back(values: list[str]) -> None:
    """By a translators' tool; with the source's text beside each."""
    assume(not any(character in value for value in values for character in NOT_OF_XML))
    store = Xliff2File()
    store.parse(export(values, "xliff"))
    assert {f"k.{at}": value for at, value in enumerate(values)} == {
        one.getid(): str(one.target) for one in store.units
    }


def read_segment(element: Element) -> str:
    """A text in which characters that XML cannot have are elements (XLIFF 2.0, 4.7.2.1)."""
    inner = "".join(chr(int(one.get("hex", ""), 16)) + (one.tail or "") for one in element)
    return (element.text or "") + inner


@given(st.lists(anything, min_size=1, max_size=6))
def test_xliff_has_what_xml_cannot_have(values: list[str]) -> None:
    """Control characters are `cp` elements, as the standard has them."""
    root = etree.fromstring(export(values, "xliff"))
    found = [read_segment(one) for one in root.iter("{*}target")]
    names = [one.get("name") for one in root.iter("{*}unit")]
    assert {f"k.{at}": value for at, value in enumerate(values)} == dict(zip(names, found, strict=True))


def test_xliff_has_the_source_language() -> None:
    """The document says which, or English; for the source language itself there are no targets."""
    content = write({"source_language": "fr", "entries": [entry("a b", de="x", fr="y"), entry("c", fr="z")]})
    root = etree.fromstring(rendered(content, format="xliff", lang=("de",)))
    assert {"version": "2.0", "srcLang": "fr", "trgLang": "de"} == dict(root.attrib)
    found = [(unit.get("id"), unit.get("name"), [one.text for one in unit[0]]) for unit in root.iter("{*}unit")]
    assert [("a:20:b", "a b", ["y", "x"]), ("c", "c", ["z"])] == found
    root = etree.fromstring(rendered(content, format="xliff", lang=("fr",)))
    assert {"version": "2.0", "srcLang": "fr"} == dict(root.attrib)
    assert ["y", "z"] == [one.text for one in root.iter("{*}source")]
    assert b'srcLang="en"' in rendered(texts(entry("a", de="x", en="y")), format="xliff", lang=("de",))


def test_xliff_ids_differ_where_keys_do() -> None:
    """An id has fewer characters than a key, and says which all the same."""
    keys = ["a b", "a:20:b", "a.b", "a-b", "ä", "a/b", "😀"]
    root = etree.fromstring(rendered(texts(*(entry(key, en=key) for key in keys)), format="xliff", lang=("en",)))
    ids = [one.get("id") for one in root.iter("{*}unit")]
    assert len(keys) == len(set(ids))
    assert sorted(keys) == [one.get("name") for one in root.iter("{*}unit")]


@given(several)
def test_po_is_read_back(values: list[str]) -> None:
    """By Babel and polib, which read catalogs for Python's programs."""
    content = export(values, "po")
    expected = {f"k.{at}": value for at, value in enumerate(values)}
    assert expected == {one.id: one.string for one in read_po(io.BytesIO(content)) if one.id}
    if len(content.decode().splitlines()) == content.count(b"\n"):  # others are line ends to polib, also in quotes
        assert expected == {one.msgid: one.msgstr for one in polib.pofile(content.decode())}


@given(several)
def test_messages_and_catalogs_in_json_are_read_back(values: list[str]) -> None:
    """What is no plural form is the text itself."""
    content = document(values)
    own = {f"k.{at}": value for at, value in enumerate(values)}
    assert own == rendered_json(content, format="i18next", lang=("de",), shape="flat")
    arb = rendered_json(content, format="arb", lang=("de",))
    assert {"@@locale": "de", **{f"k{at}": value for at, value in enumerate(values)}} == arb
    catalog = rendered_json(content, format="xcstrings")
    read = {key: one["localizations"]["de"]["stringUnit"]["value"] for key, one in catalog["strings"].items()}
    assert ("1.0", "en", own) == (catalog["version"], catalog["sourceLanguage"], read)


ITEMS = entry(
    "cart.items",
    de={"one": "{n} Artikel", "other": "{n} Artikel"},
    en={"zero": "none", "one": "{n} item", "other": "{n} items"},
    ru={"one": "{n} файл", "few": "{n} файла", "many": "{n} файлов", "other": "{n} файла"},
    ja={"other": "{n} 個"},
)


def test_plural_forms_are_what_each_format_has() -> None:
    """Where a format knows plurals they are its own; where it does not, each form is an entry."""
    content = texts(ITEMS, entry("title", ru="Файлы"))
    ru: dict[str, Any] = {"lang": ("ru",)}
    assert ["one", "few", "many", "other"] == [
        one.get("quantity") for one in etree.fromstring(rendered(content, format="android", **ru)).iter("item")
    ]
    expected = "{n, plural, one{{n} файл} few{{n} файла} many{{n} файлов} other{{n} файла}}"
    assert expected == rendered_json(content, format="arb", **ru)["cartItems"]
    assert {"items_few", "items_many", "items_one", "items_other"} == (
        rendered_json(content, format="i18next", **ru)["cart"].keys()
    )
    variations = rendered_json(content, format="xcstrings")["strings"]["cart.items"]["localizations"]["ru"][
        "variations"
    ]
    assert "{n} файлов" == variations["plural"]["many"]["stringUnit"]["value"]
    assert "{n} файлов" == yaml.safe_load(rendered(content, format="yaml", **ru))["ru"]["cart"]["items"]["many"]
    for format_ in ("strings", "properties", "xliff"):
        assert b"cart.items.many" in rendered(content, format=format_, **ru)


def test_po_has_the_forms_that_a_languages_numbers_come_to() -> None:
    """In the order of its rule; a form that no number comes to stands by itself, so that nothing disappears."""

    def forms(language: str) -> dict[Any, Any]:
        catalog = read_po(io.BytesIO(rendered(texts(ITEMS), format="po", lang=(language,))))
        return {one.id: one.string for one in catalog if one.id}

    key = ("cart.items", "cart.items")
    assert {key: ("{n} файл", "{n} файла", "{n} файлов")} == forms("ru")
    assert {key: ("{n} item", "{n} items"), "cart.items.zero": "none"} == forms("en")
    assert {key: ("{n} 個",)} == forms("ja")


def test_an_object_of_other_names_is_no_plural() -> None:
    """`other` beside a name that is no category, and categories without `other`, are groups as ever."""
    content = texts(entry("gender", de={"female": "Frau", "other": "Person"}), entry("rank", de={"one": "Erster"}))
    found = rendered(content, format="android", lang=("de",))
    assert [b"gender_female", b"gender_other", b"rank_one"] == [
        str(one.get("name")).encode() for one in etree.fromstring(found)
    ]
    assert {"gender": {"female": "Frau", "other": "Person"}, "rank": {"one": "Erster"}} == rendered_json(
        content, format="i18next", lang=("de",)
    )


def test_a_plural_may_be_inside_of_an_object() -> None:
    """Two levels: by gender, then by number."""
    content = texts(entry("guests", de={"female": {"one": "{n} Freundin", "other": "{n} Freundinnen"}}))
    assert {"guests": {"female_one": "{n} Freundin", "female_other": "{n} Freundinnen"}} == rendered_json(
        content, format="i18next", lang=("de",)
    )


def test_an_icu_plural_goes_by_the_placeholder_of_its_texts() -> None:
    """Or by `count`, where they have none."""
    content = texts(
        entry("a", de={"one": "ein Haus", "other": "{houses} Häuser"}), entry("b", de={"one": "x", "other": "y"})
    )
    assert {
        "@@locale": "de",
        "a": "{houses, plural, one{ein Haus} other{{houses} Häuser}}",
        "b": "{count, plural, one{x} other{y}}",
    } == rendered_json(content, format="arb", lang=("de",))


NAMES = {
    "home.hero-title": ("home_hero_title", "homeHeroTitle"),
    "continue": ("continue_", "continue_"),
    "Sign in": ("Sign_in", "signIn"),
    "404.text": ("_404_text", "n404Text"),
    "größe": ("größe", "grE"),
}


def test_keys_become_names_of_the_apps_languages() -> None:
    """R.java and Dart have identifiers, and neither has its keywords as such."""
    content = texts(*(entry(key, de=key) for key in NAMES))
    resources = etree.fromstring(rendered(content, format="android", lang=("de",)))
    assert {android: key for key, (android, _) in NAMES.items()} == {one.get("name"): one.text for one in resources}
    messages = rendered_json(content, format="arb", lang=("de",))
    assert {dart: key for key, (_, dart) in NAMES.items()} == {
        name: text for name, text in messages.items() if name != "@@locale"
    }


@pytest.mark.parametrize(
    ("format_", "keys", "problem"),
    [
        ("android", ("a.b", "a_b"), "the keys 'a.b' and 'a_b' both become 'a_b' in Android"),
        ("arb", ("a.b", "aB"), "the keys 'a.b' and 'aB' both become 'aB' in arb"),
        ("arb", ("أ",), "the key 'أ' has no letter or digit that a name in arb can have"),
        ("xliff", ("a\0",), "has a character that XML cannot have"),
        ("po", ("a\0",), "has a NUL, which PO cannot have"),
    ],
)
def test_what_a_format_cannot_have_is_told(format_: str, keys: tuple[str, ...], problem: str) -> None:
    """With the key, rather than losing it."""
    with pytest.raises(BrokenDocument) as broken:
        rendered(texts(*(entry(key, de="x") for key in keys)), format=format_, lang=("de",))
    assert problem in str(broken.value)


def test_what_a_message_cannot_have_is_told() -> None:
    """A brace alone in a form would end the message of ICU; in a text without forms it is the product's own."""
    with pytest.raises(BrokenDocument, match="the form one of 'a' has a brace alone"):
        rendered(texts(entry("a", de={"one": "}", "other": "x"})), format="arb", lang=("de",))
    assert "}" == rendered_json(texts(entry("a", de="}")), format="arb", lang=("de",))["a"]


def test_a_plural_without_a_known_rule_is_told() -> None:
    """No PO file says how Klingon counts; without plural forms it need not."""
    content = texts(entry("a", tlh={"one": "x", "other": "y"}))
    with pytest.raises(BrokenDocument, match="how 'tlh' forms plurals is not known"):
        rendered(content, format="po", lang=("tlh",))
    assert b'msgid "a"' in rendered(texts(entry("a", tlh="x")), format="po", lang=("tlh",))


CHANGED = {"csw", "cv", "gl", "ie", "kok", "scn", "tg", "vi"}
"""Whose rules the CLDR has changed lately, so that Babel's depends on its version."""
UNKNOWN = {"br", "kw", "sgs"}
"""Whose rules are long, and asked for by nobody yet."""
NUMBERS = (*range(1200), 10_000, 100_000, 1_000_000, 1_000_001, 2_000_000)


def test_plural_rules_are_those_of_the_cldr() -> None:
    """Every number of every language is of the category that Babel finds, read by Python's own gettext."""
    wrong = []
    for name in locale_identifiers():
        locale = Locale.parse(name)
        rule = find_rule(name.replace("_", "-"))
        if locale.language in CHANGED | UNKNOWN or not (locale.plural_form.tags or rule):
            continue
        if rule is None:
            wrong.append((name, "is missing"))
            continue
        choose = gettext.c2py(write_header(rule).partition("plural=")[2].removesuffix(";"))
        wrong += [(name, number) for number in NUMBERS if locale.plural_form(number) != rule[choose(number)][0]][:1]
    assert [] == wrong


def test_categories_are_those_of_the_cldr() -> None:
    """No language has others."""
    assert set(PLURAL_CATEGORIES) == {
        tag for name in locale_identifiers() for tag in Locale.parse(name).plural_form.tags
    } | {"other"}


@pytest.mark.parametrize(
    "format_", [name for name, one in FORMATS["translations"].items() if "pretty" in one.heeds and name != "xml"]
)
def test_pretty_changes_nothing_that_is_read(format_: str) -> None:
    """It is for people."""
    content, lang = texts(ITEMS, entry("title", ru="Файлы")), ("ru",)
    plain = rendered(content, format=format_, lang=lang)
    assert json.loads(plain) == rendered_json(content, format=format_, lang=lang, pretty=True)
    assert b"\n  " not in plain

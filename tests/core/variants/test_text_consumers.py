"""What builds do with exports of translations: i18next, gettext's own compiler, js-yaml, an XLIFF reader, Java."""

import io
import shutil
import subprocess
from gettext import GNUTranslations
from typing import Any

import pytest

from tests.core.variants.samples import entry, rendered, texts
from tests.core.variants.test_text_formats import AWKWARD
from tests.support.consumers import SOURCES, Read

LANGUAGES = ("ar", "de", "en", "fr", "ja", "pl", "ru")
FORMS: dict[str, tuple[str, ...]] = {
    "ar": ("zero", "one", "two", "few", "many", "other"),
    "de": ("one", "other"),
    "en": ("one", "other"),
    "fr": ("one", "many", "other"),
    "ja": ("other",),
    "pl": ("one", "few", "many", "other"),
    "ru": ("one", "few", "many", "other"),
}
COUNTS = (0, 1, 2, 3, 5, 11, 12, 21, 22, 25, 100, 101, 1_000_000)
WANTED = {
    "ar": "zero one two few few many many many many many other other other",
    "de": "other one other other other other other other other other other other other",
    "en": "other one other other other other other other other other other other other",
    "fr": "one one other other other other other other other other other other many",
    "ja": "other other other other other other other other other other other other other",
    "pl": "many one few few many many many many few many many many many",
    "ru": "many one few few many many many one few many many one many",
}
"""The category of each count in each language (CLDR, language plural rules)."""
ITEMS = entry("items")
ITEMS["values"] = {language: {form: f"{form} {{n}}" for form in forms} for language, forms in FORMS.items()}
CONTENT = texts(
    *(entry(f"k.t{at}", **dict.fromkeys(LANGUAGES, text)) for at, text in enumerate(AWKWARD)),
    ITEMS,
)
OWN = {f"k.t{at}": text for at, text in enumerate(AWKWARD)}


def forms_of(language: str) -> list[str]:
    return [f"{form} {{n}}" for form in WANTED[language].split()]


@pytest.fixture(scope="module")
def read(consumers: Read) -> dict[str, Any]:
    """What the consumers from npm make of each format, in Russian, and of i18next's also in other languages."""
    given = {
        format_: {"content": rendered(CONTENT, format=format_, lang=("ru",)).decode()}
        for format_ in ("po", "yaml", "xliff", "arb")
    }
    given["arb"]["keys"] = ["items"]  # type: ignore[assignment]  # what to read as a message
    found = consumers("texts.mjs", **{format_: [one] for format_, one in given.items()})
    return {format_: one for format_, (one,) in found.items()}


@pytest.mark.parametrize("language", LANGUAGES)
def test_i18next_finds_every_text_and_every_plural(consumers: Read, language: str) -> None:
    """Each text to the character, and for each count the form of its category."""
    content = rendered(CONTENT, format="i18next", lang=(language,)).decode()
    given = {"content": content, "language": language, "keys": list(OWN), "counts": {"items": COUNTS}}
    assert OWN | {"items": forms_of(language)} == consumers("texts.mjs", i18next=[given])["i18next"][0]


def test_gettext_parser_reads_the_catalog(read: dict[str, Any]) -> None:
    """Which loaders of catalogs for the browser build upon."""
    assert OWN | {"items": ["one {n}", "few {n}", "many {n}"]} == read["po"]


def test_js_yaml_reads_what_rails_would(read: dict[str, Any]) -> None:
    """Psych, which Rails reads with, has the same grammar."""
    expected = {f"ru.{key}": text for key, text in OWN.items()}
    assert expected | {f"ru.items.{form}": f"{form} {{n}}" for form in FORMS["ru"]} == read["yaml"]


def test_an_xliff_reader_finds_both_languages(read: dict[str, Any]) -> None:
    """It takes texts of blanks alone for none, and does not know `cp`: those are left out here, and read elsewhere."""
    assert ("en", "ru") == (read["xliff"].pop("sourceLanguage"), read["xliff"].pop("targetLanguage"))
    found = {key: (unit["source"], unit["target"]) for key, unit in read["xliff"].items()}
    known = {key: text for key, text in OWN.items() if text.strip() and text not in ("\x01", "\ufeff")}
    assert {key: (text, text) for key, text in known.items()} == {key: found[key] for key in known}
    assert ("", "few {n}") == found["items.few"]


def test_a_parser_of_messages_reads_the_plural(read: dict[str, Any]) -> None:
    """As ICU has them."""
    assert "{n, plural, one{one {n}} few{few {n}} many{many {n}} other{other {n}}}" == read["arb"]["items"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_gettext_compiles_the_catalog(language: str) -> None:
    """The compiled catalog has every text and, for each count, the right form.

    The compiler refuses a text that begins or ends with a line end if its `msgid` does not, so those are left out.
    """
    program = shutil.which("msgfmt")
    if program is None:
        pytest.skip("needs msgfmt")
    compiled = {key: text for key, text in OWN.items() if text and text == text.strip("\n")}
    entries = [entry(key, **{language: text}) for key, text in compiled.items()]
    content = rendered(texts(*entries, ITEMS), format="po", lang=(language,))
    done = subprocess.run([program, "--check-header", "-o", "-", "-"], input=content, capture_output=True, check=False)
    assert 0 == done.returncode, done.stderr.decode()
    catalog = GNUTranslations(io.BytesIO(done.stdout))
    assert compiled == {key: catalog.gettext(key) for key in compiled}
    assert forms_of(language) == [catalog.ngettext("items", "items", count) for count in COUNTS]


def test_java_loads_the_properties() -> None:
    """As it did before it knew UTF-8: from bytes that are ASCII."""
    program = shutil.which("java")
    if program is None:
        pytest.skip("needs java")
    content = rendered(CONTENT, format="properties", lang=("ru",))
    done = subprocess.run(
        [program, str(SOURCES / "ReadProperties.java")], input=content, capture_output=True, check=False
    )
    assert 0 == done.returncode, done.stderr.decode()
    pairs = (line.split() for line in done.stdout.decode().splitlines())
    found = {bytes.fromhex(key[1:]).decode(): bytes.fromhex(text[1:]).decode() for key, text in pairs}
    assert OWN | {f"items.{form}": f"{form} {{n}}" for form in FORMS["ru"]} == found

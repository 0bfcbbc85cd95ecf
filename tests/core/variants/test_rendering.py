"""Entity tags of variants, and the bounds of what a document may make of itself."""

import hashlib
from itertools import combinations, product
from typing import Any, cast

import pytest

from gateway.core.errors import BrokenDocument
from gateway.core.variants import rendering
from gateway.core.variants.formats import FORMATS, OFFERED, Format
from gateway.core.variants.model import RENDERING, DocumentForm, DocumentKind, Rendered, Variant
from gateway.core.variants.rendering import RENDERERS, render
from tests import test_docs
from tests.core.variants.samples import (
    DESIGN_TOKENS,
    TRANSLATIONS,
    entry,
    languages_of,
    rendered,
    texts,
    token,
    tokens,
)


def both(key: str, status: str, **values: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """An entry with these values, and one with plural forms: some formats have the one, some the other."""
    forms = {language: {"one": "1", "other": value} for language, value in values.items()}
    return entry(key, status, **values), entry(f"{key}_n", status, **forms)


BEFORE = texts(*both("a", "approved", de="x", fr="y"), *both("b", "draft", de="z"))


def tag(content: bytes, **chosen: object) -> bytes:
    found = render(content, TRANSLATIONS, Variant(**chosen))  # type: ignore[arg-type]  # the variant's own
    assert isinstance(found, Rendered)
    return found.tag


@pytest.mark.parametrize("format_", FORMATS["translations"])
def test_a_tag_changes_exactly_when_its_variant_does(format_: str) -> None:
    """A German build gets 304 when only French changed, one of approved texts when only a draft did."""
    french = texts(*both("a", "approved", de="x", fr="Y"), *both("b", "draft", de="z"))
    draft = texts(*both("a", "approved", de="x", fr="y"), *both("b", "draft", de="Z"), *both("c", "draft", fr="c"))
    assert tag(BEFORE, format=format_, lang=("de",)) == tag(french, format=format_, lang=("de",))
    assert tag(BEFORE, format=format_, lang=("fr",)) != tag(french, format=format_, lang=("fr",))
    (lang,) = languages_of(format_, ("de",))[:1]
    assert (tag(BEFORE, format=format_, lang=lang) == tag(french, format=format_, lang=lang)) is (lang is not None)
    approved, drafts = {"lang": lang, "status": ("approved",)}, {"lang": lang, "status": ("draft",)}
    assert tag(BEFORE, format=format_, **approved) == tag(draft, format=format_, **approved)
    assert tag(BEFORE, format=format_, **drafts) != tag(draft, format=format_, **drafts)


@pytest.mark.parametrize("format_", FORMATS["design-tokens"])
def test_a_modes_tag_changes_with_its_values_only(format_: str) -> None:
    """Who pulls the light mode is not told of the dark one."""
    before = tokens(token("a", "color", "#fff", dark="#000"))
    after = tokens(token("a", "color", "#fff", dark="#111"))
    found = [
        render(content, DESIGN_TOKENS, Variant(format=format_, mode=mode))
        for mode in ("light", "dark")
        for content in (before, after)
    ]
    assert found[0] == found[1]
    assert found[2] != found[3]


def test_a_tag_is_weak() -> None:
    """It names the content, not its coding."""
    assert tag(BEFORE).startswith(b'W/"')


@pytest.mark.parametrize("format_", FORMATS["translations"])
def test_no_variant_grows_without_end(monkeypatch: pytest.MonkeyPatch, format_: str) -> None:
    """A document whose variant would be too large is refused while it is written."""
    monkeypatch.setattr(rendering, "MAXIMUM_VARIANT_BYTES", 7)
    with pytest.raises(BrokenDocument, match="more than 7 bytes"):
        render(BEFORE, TRANSLATIONS, Variant(format=format_, lang=("de",)))


@pytest.mark.parametrize("kind", FORMATS)
def test_what_formats_heed_can_be_chosen(kind: DocumentKind) -> None:
    """A format heeds no setting that its kind of document does not offer."""
    assert all(set(one.heeds) <= set(OFFERED[kind]) for one in FORMATS[kind].values())


MANY_TEXTS = texts(
    entry("home.title", "shipped", de="Grüße, »Welt«\n\t\0\x1b", en='="a,b"', ar="مرحبا\u200f"),
    entry("cart.items", "draft", de={"one": "{n} Artikel", "other": None}, en={"one": "'x", "other": "<b>&amp;]]>"}),
    entry("numbers", None, de=1.50, en=-0.0, ar=True),
    {"id": "n 4", "values": {"de": "  a  ", "fr": "👩‍👩‍👧"}},
)
MANY_TOKENS = tokens(
    token("color.blue", "color", "#1f5fd6cc", dark={"colorSpace": "oklch", "components": [0.5, 0.1, "none"]}),
    token("color.link", None, "{color.blue}"),
    token("größe.a b", "dimension", "-0.40rem"),
    token("600", "fontFamily", ["Inter", 'A "B"', "sans-serif"]),
    token("ease.in", "cubicBezier", [0.4, 0, 1, 1]),
    token("fast", "duration", "200ms"),
    token("weight", "fontWeight", "semi-bold"),
    token("__proto__", "number", 1.5),
    token("dash", "strokeStyle", {"dashArray": ["1px", "2px"], "lineCap": "round"}),
    token("line", "border", {"color": "{color.blue}", "width": "1px", "style": "solid"}),
    token("glow", "gradient", [{"color": "{color.link}", "position": 0}, {"color": "#fff", "position": 1}]),
)
PLAIN_TEXTS = texts(
    entry("home.title", "shipped", de="Grüße, »Welt«\n\t\x1b", en='="a,b"', ar="مرحبا\u200f"),
    entry("cart.items", "draft", de={"one": "{n} Artikel", "other": None}, en={"one": "'x", "other": "<b>&amp;]]>"}),
    entry("new", None, de=1.50, en="%s %s", ar=True),
    {"id": "n 4", "values": {"de": "  a  ", "fr": "👩‍👩‍👧"}},
)
PLAIN_TOKENS = tokens(
    token("color-blue", "color", {"colorSpace": "display-p3", "components": [1, 0.5, 0]}, dark="#1f5fd6cc"),
    token("Gap_1", "dimension", "1e-7rem"),
    token("font", "fontFamily", ["Inter", "sans-serif"]),
)
PLAIN: dict[DocumentKind, bytes] = {"translations": PLAIN_TEXTS, "design-tokens": PLAIN_TOKENS}
"""For a format that cannot have every name or text."""
DIGESTS: dict[str, dict[tuple[DocumentKind, str], str]] = {
    "1": {
        ("translations", "json"): "f22d0573c0c8a063b5b56c387da1734ea59f00854906a21919cbdcd9bc04d2bc",
        ("translations", "csv"): "91c0731ed8ccfab85b0907cfbd2cb68ab200554e8d55d95ba12ddbf3e98ebf0f",
        ("translations", "xml"): "6ead19a9fc198144434d5966f92a48542b83d3038adbb00fc838c9df9f1f9457",
        ("design-tokens", "json"): "6a0f5a41eb62488b788254ae3572c99142ce653159c55048e58af4287a9552b0",
        ("design-tokens", "css"): "075ff806276d6d92e0d67cd094a446e925e5d4ce0bbc9ebe2a9fc14e2ccba974",
        ("design-tokens", "scss"): "0bb0d4c13f9d9b412277672a29edcba013517fcd1d364fe0dbee892c87009ba5",
        ("design-tokens", "js"): "e173e1ff2276bdc7433c9340c0845ce0b36f5555d31f468653e3531e4dd43b65",
        ("design-tokens", "ts"): "7aeec2f3508513c98bc2ab29153e2d1c6518fa8034c2811ab4fbe6398fc5230e",
        ("design-tokens", "dtcg"): "2bbb0cb393e37bd673b97471b04df5609e3aa9d7c528a30c6c41a0fd771ef974",
    },
    "2": {
        ("translations", "json"): "f22d0573c0c8a063b5b56c387da1734ea59f00854906a21919cbdcd9bc04d2bc",
        ("translations", "csv"): "91c0731ed8ccfab85b0907cfbd2cb68ab200554e8d55d95ba12ddbf3e98ebf0f",
        ("translations", "xml"): "6ead19a9fc198144434d5966f92a48542b83d3038adbb00fc838c9df9f1f9457",
        ("design-tokens", "json"): "6a0f5a41eb62488b788254ae3572c99142ce653159c55048e58af4287a9552b0",
        ("design-tokens", "css"): "8380efbd3753670a3de077e42aa0c6fc49d3f3725e82fe3b3764a03524b6450e",
        ("design-tokens", "scss"): "df6ee2222f9402b463af7061895b377ce11dff69740ed973b1a2f1ca5a161729",
        ("design-tokens", "js"): "e173e1ff2276bdc7433c9340c0845ce0b36f5555d31f468653e3531e4dd43b65",
        ("design-tokens", "ts"): "7aeec2f3508513c98bc2ab29153e2d1c6518fa8034c2811ab4fbe6398fc5230e",
        ("design-tokens", "less"): "4568f2c76f8fa2022bed78273e4b3503eef241b6aea1727b354e263ec0362daa",
        ("design-tokens", "tailwind"): "759571fa3937271b2084301fb67bd426d5f5438dbd9e3958dd99fe5e88596352",
        ("design-tokens", "dtcg"): "2bbb0cb393e37bd673b97471b04df5609e3aa9d7c528a30c6c41a0fd771ef974",
        ("translations", "i18next"): "3872a635dfbc569c572996649e8c55812d5ef49b8662d0a80e2de745f2edeb85",
        ("translations", "android"): "ccbfac4337fa054927779a79c7f29a19199610171bc151033e377505cac267ba",
        ("translations", "strings"): "8782a325ac574fd72c199535da61d8ae406dfcf3eabafb325734d9f6b0a05c13",
        ("translations", "xcstrings"): "4f8a7dae268c3704d61c5c402be88f2c996ce6701b115aea23465e451f420bf9",
        ("translations", "arb"): "3f77dd0e808687ecc323321e0e1951db6417b569a2548950d5f16e6725547fe7",
        ("translations", "po"): "17ed6f96fc608b88185e4ec3caae32bade23056c9a067e701f1349dc9082db8c",
        ("translations", "properties"): "aa7f2bd527cd763b57c273f956158d71458de0f8656617fde4c7608a5b742f02",
        ("translations", "xliff"): "c9e9ae8a6db43aba3e7a24b30f2d2babc5df49eb389b1526d8a11fe121c1a727",
        ("translations", "yaml"): "0703031ab72110a6eee5d23d7857da6cc2554c6bc98114c0cfcec9043a58cb2b",
        ("translations", "stringsdict"): "6a941fe10d8fbc2d048a0d935e5ffb58373bb892c67016918e42f2d85360e710",
        ("design-tokens", "style-dictionary"): "b02479c4954a5ace108731fb6af68f0dcf4950cd1ccb4d80360be469b4fdd750",
        ("design-tokens", "swift"): "c4ca5bdf40f6aeede8048888338c7104fbf3e11b4746806c19350c4d1cae8c11",
        ("design-tokens", "kotlin"): "47eed8d2e5c10a6e8eb4efef7babf2ca6154342861b8e148884ca862efefefc8",
    },
}
"""RENDERING to what was made then of each format. A new format is a new line, and leaves the others as they are."""
CHOICES: dict[str, list[Any]] = {
    "status": [None, ("shipped",)],
    "key": ["named", "id"],
    "mode": [None, "dark"],
}
OWN: dict[DocumentKind, tuple[bytes, DocumentForm, tuple[str, ...]]] = {
    "translations": (MANY_TEXTS, TRANSLATIONS, ("lang", "status", "key")),
    "design-tokens": (MANY_TOKENS, DESIGN_TOKENS, ("mode",)),
}
LAYOUT: dict[str, tuple[Any, Any]] = {"shape": ("nested", "flat"), "pretty": (False, True), "bom": (False, True)}
"""The settings that a format may heed or not."""
EVERY_FORMAT = [(kind, format_) for kind, formats in FORMATS.items() for format_ in formats]


@pytest.mark.parametrize(("kind", "format_"), EVERY_FORMAT)
def test_a_format_heeds_what_changes_its_bytes(kind: DocumentKind, format_: str) -> None:
    """And nothing else. What it heeds without need is a second entry in the cache. If it does not heed what changes its
    bytes, a client gets what another one chose.
    """
    content, form, _ = OWN[kind]
    if FORMATS[kind][format_].limits_names:
        content = PLAIN[kind]
    lang = languages_of(format_, ("de",))[0] if kind == "translations" else None
    layouts = [dict(zip(LAYOUT, values, strict=True)) for values in product(*LAYOUT.values())]
    written = [(layout, rendered(content, form, format=format_, lang=lang, **layout)) for layout in layouts]
    changing = {
        name
        for name in LAYOUT
        for (one, bytes_), (other, others) in combinations(written, 2)
        if bytes_ != others and {name} == {each for each in LAYOUT if one[each] != other[each]}
    }
    assert set(FORMATS[kind][format_].heeds) == changing


@pytest.mark.parametrize(("kind", "format_"), EVERY_FORMAT)
def test_other_bytes_are_another_version_of_the_renderers(kind: DocumentKind, format_: str) -> None:
    """If this fails for a format that was there before, what you changed gives a document other bytes: give RENDERING a
    value that is not here yet, and add it with the digests. If the format is new, add its digest.
    """
    content, form, own = OWN[kind]
    if FORMATS[kind][format_].limits_names:
        content = PLAIN[kind]
    made = hashlib.sha256()
    choices = CHOICES | ({"lang": languages_of(format_, ("de",))} if kind == "translations" else {})
    for shape, pretty in product(("nested", "flat"), (False, True)):
        for chosen in product(*(choices[name] for name in own)):
            named = dict(zip(own, chosen, strict=True))
            made.update(rendered(content, form, format=format_, shape=shape, pretty=pretty, **named))
    assert DIGESTS[RENDERING].get((kind, format_)) == made.hexdigest()


def test_every_format_has_a_renderer() -> None:
    """And every renderer is of a format that a policy may name."""
    for kind, formats in FORMATS.items():
        assert [] == sorted(formats.keys() ^ RENDERERS[kind].keys())


def test_a_format_that_is_only_in_the_table_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the renderers, by what is kept of the bytes of each, and by the documents."""
    formats = cast(dict[str, Format], FORMATS["translations"])
    monkeypatch.setitem(formats, "made-up", Format("text/plain", "txt"))
    with pytest.raises(AssertionError, match="made-up"):
        test_every_format_has_a_renderer()
    with pytest.raises(AssertionError, match="made-up"):
        test_docs.test_every_format_is_documented()
    with pytest.raises(AssertionError, match="made-up"):
        test_docs.test_every_format_for_programs_is_described()
    with pytest.raises(KeyError, match="made-up"):
        test_other_bytes_are_another_version_of_the_renderers("translations", "made-up")
    monkeypatch.setitem(cast(dict[str, Any], RENDERERS["translations"]), "made-up", RENDERERS["translations"]["json"])
    test_every_format_has_a_renderer()
    with pytest.raises(AssertionError, match="shape"):
        test_a_format_heeds_what_changes_its_bytes("translations", "made-up")
    with pytest.raises(AssertionError, match="None"):
        test_other_bytes_are_another_version_of_the_renderers("translations", "made-up")
    for format_ in set(formats) - {"made-up"}:
        test_other_bytes_are_another_version_of_the_renderers("translations", format_)

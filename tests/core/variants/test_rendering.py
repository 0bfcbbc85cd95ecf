"""Entity tags of variants, and the bounds of what a document may make of itself."""

import hashlib
from itertools import product
from typing import Any

import pytest

from gateway.core.errors import BrokenDocument
from gateway.core.variants import rendering
from gateway.core.variants.formats import FORMATS, OFFERED
from gateway.core.variants.model import RENDERING, DocumentForm, DocumentKind, Rendered, Variant
from gateway.core.variants.rendering import render
from tests.core.variants.samples import DESIGN_TOKENS, TRANSLATIONS, entry, rendered, texts, token, tokens

BEFORE = texts(entry("a", "approved", de="x", fr="y"), entry("b", "draft", de="z"))


def tag(content: bytes, **chosen: object) -> bytes:
    found = render(content, TRANSLATIONS, Variant(**chosen))  # type: ignore[arg-type]  # the variant's own
    assert isinstance(found, Rendered)
    return found.tag


@pytest.mark.parametrize("format_", FORMATS["translations"])
def test_a_tag_changes_exactly_when_its_variant_does(format_: str) -> None:
    """A German build gets 304 when only French changed, one of approved texts when only a draft did."""
    french = texts(entry("a", "approved", de="x", fr="Y"), entry("b", "draft", de="z"))
    draft = texts(entry("a", "approved", de="x", fr="y"), entry("b", "draft", de="Z"), entry("c", "draft", fr="c"))
    assert tag(BEFORE, format=format_, lang=("de",)) == tag(french, format=format_, lang=("de",))
    assert tag(BEFORE, format=format_, lang=("fr",)) != tag(french, format=format_, lang=("fr",))
    assert tag(BEFORE, format=format_) != tag(french, format=format_)
    assert tag(BEFORE, format=format_, status=("approved",)) == tag(draft, format=format_, status=("approved",))
    assert tag(BEFORE, format=format_, status=("draft",)) != tag(draft, format=format_, status=("draft",))


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
    monkeypatch.setattr(rendering, "MAXIMUM_VARIANT_BYTES", 20)
    with pytest.raises(BrokenDocument, match="more than 20 bytes"):
        render(BEFORE, TRANSLATIONS, Variant(format=format_))


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
DIGESTS = {
    "1": "1d2ef61ca446e2d8ec12d3235201c34b7f4f8c558cb14f79b87cac5ee22a10e0",
    "2": "585af87961f82b56cb8436fd0992a711189e55598ae96559339d5e58f5794c52",
}
"""RENDERING to what was made then."""


def test_other_bytes_are_another_version_of_the_renderers() -> None:
    """If this fails, what you changed gives a document other bytes: give RENDERING a value that is not here yet, and
    add it with the digest."""
    made = hashlib.sha256()
    kinds: tuple[tuple[DocumentKind, bytes, DocumentForm, tuple[str, ...]], ...] = (
        ("translations", MANY_TEXTS, TRANSLATIONS, ("lang", "status", "key")),
        ("design-tokens", MANY_TOKENS, DESIGN_TOKENS, ("mode",)),
    )
    choices: dict[str, list[Any]] = {
        "lang": [None, ("de",)],
        "status": [None, ("shipped",)],
        "key": ["named", "id"],
        "mode": [None, "dark"],
    }
    for kind, content, form, own in kinds:
        formats = [name for name, one in FORMATS[kind].items() if not one.limits_names]
        for format_, shape, pretty in product(formats, ("nested", "flat"), (False, True)):
            for chosen in product(*(choices[name] for name in own)):
                named = dict(zip(own, chosen, strict=True))
                made.update(rendered(content, form, format=format_, shape=shape, pretty=pretty, **named))
    assert DIGESTS[RENDERING] == made.hexdigest()

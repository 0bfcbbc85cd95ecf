"""Entity tags of variants, and the bounds of what a document may make of itself."""

import pytest

from gateway.core.errors import BrokenDocument
from gateway.core.variants import rendering
from gateway.core.variants.formats import FORMATS, OFFERED
from gateway.core.variants.rendering import render
from gateway.core.variants.variant import DocumentKind, Rendered, Variant
from tests.core.variants.samples import DESIGN_TOKENS, TRANSLATIONS, entry, texts, token, tokens

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
    assert (True, False) == (found[0] == found[1], found[2] == found[3])


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

"""Render a variant of the backend's document: a plain function of bytes, so that it can run anywhere.

It never trusts the document: depth, widths and lengths are bounded when it is read, the size of the result here.
"""

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gateway.core.errors import BrokenDocument
from gateway.core.http.etags import WeakTag
from gateway.core.variants.design_tokens import select_tokens
from gateway.core.variants.model import DocumentForm, DocumentKind, InvalidOptions, Rendered, Variant
from gateway.core.variants.renderers import apps, catalogs, code, text, tokens
from gateway.core.variants.translations import select_texts

MAXIMUM_VARIANT_BYTES = 64 * 1024 * 1024
"""A document can be written so that a variant is many times larger than it."""

RENDERERS: Mapping[DocumentKind, Mapping[str, Callable[[Any, Variant], Iterator[bytes]]]] = {
    "translations": {
        "json": text.render_json,
        "csv": text.render_csv,
        "xml": text.render_xml,
        "i18next": catalogs.render_i18next,
        "android": apps.render_android,
        "strings": apps.render_strings,
        "stringsdict": apps.render_stringsdict,
        "xcstrings": apps.render_xcstrings,
        "arb": apps.render_arb,
        "po": catalogs.render_po,
        "properties": catalogs.render_properties,
        "xliff": catalogs.render_xliff,
        "yaml": catalogs.render_yaml,
    },
    "design-tokens": {
        "json": tokens.render_token_json,
        "css": tokens.render_css,
        "scss": tokens.render_scss,
        "js": tokens.render_js,
        "ts": tokens.render_ts,
        "less": tokens.render_less,
        "tailwind": tokens.render_tailwind,
        "dtcg": tokens.render_dtcg,
        "style-dictionary": tokens.render_style_dictionary,
        "swift": code.render_swift,
        "kotlin": code.render_kotlin,
    },
}
"""The renderer of each format of formats.py."""


def render(content: bytes, form: DocumentForm, variant: Variant) -> Rendered | InvalidOptions:
    """Return the variant of the document in `content`, or the mistakes of the request. Raise BrokenDocument.

    The tag is that of the rendered content: it changes when this variant does, whatever else changes in the document.
    """
    pieces = render_pieces(content, form, variant)
    if isinstance(pieces, InvalidOptions):
        return pieces
    whole, tag = io.BytesIO(), WeakTag()
    for piece in pieces:
        whole.write(piece)
        tag.update(piece)
    return Rendered(whole.getvalue(), tag.build())


def render_pieces(content: bytes, form: DocumentForm, variant: Variant) -> Iterator[bytes] | InvalidOptions:
    """Return the variant in pieces that are made as they are taken; otherwise as `render`.

    Nothing keeps the whole of it: a variant may be several times its document. A mistake in the document may be found
    after some pieces.
    """
    selected = _SELECTIONS[form.kind](content, form, variant)
    if isinstance(selected, InvalidOptions):
        return selected
    return _bounded(RENDERERS[form.kind][variant.format](selected, variant))


_SELECTIONS: Mapping[DocumentKind, Callable[[bytes, DocumentForm, Variant], Any]] = {
    "translations": select_texts,
    "design-tokens": select_tokens,
}


def _bounded(pieces: Iterator[bytes]) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > MAXIMUM_VARIANT_BYTES:
            raise BrokenDocument("$", f"this variant of it would have more than {MAXIMUM_VARIANT_BYTES} bytes")
        yield piece

"""Heads on the way to a variant: how its document is asked for, and what its answer says."""

import re
from urllib.parse import quote

from gateway.core.errors import BrokenDocument
from gateway.core.fields import parse_list
from gateway.core.messages import Field, Fields, ResponseHead, field_value, without_fields
from gateway.core.variants.formats import FORMATS
from gateway.core.variants.options import VariantRule
from gateway.core.variants.variant import Rendered, Variant

_NEGOTIATED = frozenset(
    {
        b"accept",
        b"accept-charset",
        b"accept-encoding",
        b"accept-language",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
    }
)
CONTENT_FIELDS = frozenset(
    {
        b"accept-ranges",
        b"content-digest",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-location",
        b"content-md5",
        b"content-type",
        b"digest",
        b"etag",
        b"last-modified",
        b"repr-digest",
        b"x-content-type-options",
    }
)
"""What is about the document's content, and not about a variant's."""
_PARAMETER = re.compile(r"\{[a-z][a-z0-9_]*\}")
_PLAIN_NAME = re.compile(r"[^A-Za-z0-9._ -]")


def build_source(rule: VariantRule, path: str, segments: tuple[str, ...]) -> str:
    """The target at which the backend has the document; `path` is the request's own, as received."""
    if rule.source is None:
        return path
    return _PARAMETER.sub(lambda match: quote(segments[rule.parameters[match[0]]], safe=""), rule.source)


def build_document_fields(fields: Fields) -> list[Field]:
    """What the backend is asked with for the document, of the fields that it would be asked with for an export.

    The document is the same for everybody who may have it: nothing of what one client would like to get is passed on.
    """
    return [*without_fields(fields, _NEGOTIATED), (b"accept", b"application/json")]


def keep_for_variant(fields: Fields) -> list[Field]:
    """What a document's head says of its variants too.

    It does not vary by what the document is not asked with: every client gets what is made of the same one.
    """
    kept = []
    for name, value in without_fields(fields, CONTENT_FIELDS):
        told = b", ".join(one for one in parse_list([value]) if one not in _NEGOTIATED) if name == b"vary" else value
        if told:
            kept.append((name, told))
    return kept


def build_variant_head(
    rule: VariantRule, variant: Variant, segments: tuple[str, ...], document: ResponseHead, rendered: Rendered
) -> ResponseHead:
    """The head of a variant, from that of its document: what is about content is the variant's (RFC 9110 8, RFC 6266).

    Freshness, groups and the like stay the document's. It is the same in answer to GET and to HEAD. Raises
    BrokenDocument where the document came compressed, as it was not asked to.
    """
    coding = field_value(document.fields, b"content-encoding")
    if coding is not None and coding.strip().lower() != b"identity":
        raise BrokenDocument("$", "it is compressed, and was not asked to be")
    return ResponseHead(
        document.status,
        [
            *keep_for_variant(document.fields),
            *_build_content_fields(rule, variant, segments, len(rendered.content)),
            (b"etag", rendered.tag),
        ],
    )


def _build_content_fields(
    rule: VariantRule, variant: Variant, segments: tuple[str, ...], content_length: int
) -> list[Field]:
    written = FORMATS[rule.form.kind][variant.format]
    stem = _PARAMETER.sub(lambda match: segments[rule.parameters[match[0]]], rule.filename)
    language = f".{variant.lang[0]}" if variant.lang is not None and len(variant.lang) == 1 else ""
    return [
        (b"content-type", written.media_type.encode()),
        (b"content-disposition", _build_disposition(f"{stem}{language}.{written.extension}")),
        (b"content-length", b"%d" % content_length),
        (b"x-content-type-options", b"nosniff"),
    ]


def _build_disposition(filename: str) -> bytes:
    """`filename*` beside a name that everybody can read, where the name has more than that (RFC 6266 4.3, RFC 8187)."""
    name = filename.lstrip(". ") or "export"
    plain = _PLAIN_NAME.sub("_", name)
    extended = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{extended}'.encode()

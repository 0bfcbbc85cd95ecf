"""The heads on the way to a variant: how its document is requested, and what the document's answer says about it.

The document is requested, stored and kept fresh as any other answer, under a rule of its own: one for all variants.
"""

import re
from urllib.parse import quote

import msgspec

from gateway.core.cache.model import StoredHead
from gateway.core.cache.storing import SOURCE_TAG
from gateway.core.errors import BrokenDocument
from gateway.core.http.fields import parse_list
from gateway.core.http.messages import (
    Field,
    Fields,
    RequestHead,
    Response,
    ResponseHead,
    field_value,
    field_values,
    without_fields,
)
from gateway.core.http.targets import parse_path
from gateway.core.policies.model import Rule
from gateway.core.upstream.forwarding import PSEUDONYM
from gateway.core.variants.formats import FORMATS
from gateway.core.variants.model import InvalidOptions, Rendered, Variant
from gateway.core.variants.options import VariantRule, build_offer, parse_variant

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
"""Fields about the document's content, which do not apply to a variant's."""
_PARAMETER = re.compile(r"\{[a-z][a-z0-9_]*\}")
_PLAIN_NAME = re.compile(r"[^A-Za-z0-9._ -]")


def build_source(rule: VariantRule, path: str, segments: tuple[str, ...]) -> str:
    """Return the target of the document at the backend; `path` is the request's own, as received."""
    if rule.source is None:
        return path
    return _PARAMETER.sub(lambda match: quote(segments[rule.parameters[match[0]]], safe=""), rule.source)


def build_document_fields(fields: Fields) -> list[Field]:
    """Return the fields of the request for the document, from those of the request for an export.

    The document is the same for everybody who may have it: no preference of one client is passed on.
    """
    return [*without_fields(fields, _NEGOTIATED), (b"accept", b"application/json")]


def keep_for_variant(fields: Fields) -> list[Field]:
    """Return the fields of a document's head that also apply to its variants.

    A variant does not vary by fields that the document is not requested with: every client gets what is made from it.
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
    """Build the head of a variant from that of its document, with fields of its own content (RFC 9110 8, RFC 6266).

    Freshness, groups and the like stay the document's. It is the same in answer to GET and to HEAD. Raise
    BrokenDocument if the document is compressed, although plain content was requested.
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
    """Build Content-Disposition, with `filename*` beside a plain name if the name needs it (RFC 6266 4.3, RFC 8187)."""
    name = filename.lstrip(". ") or "export"
    plain = _PLAIN_NAME.sub("_", name)
    extended = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{extended}'.encode()


_OF_THE_WAY = frozenset({b"cache-status", b"gateway-cache-control", SOURCE_TAG})
_DIRECTIVES = b"gateway-source-control"
_OWN_VIA = (b"via", b"1.1 " + PSEUDONYM)


def find_variant(rule: Rule, request: RequestHead, segments: tuple[str, ...]) -> Variant | InvalidOptions | None:
    """Return the variant that a request under the rule asks for, or None if it asks for none."""
    if rule.variants is None or request.method not in ("GET", "HEAD"):
        return None
    return parse_variant(rule.variants, request.query, segments)


def document_rule(rule: Rule, request: RequestHead) -> Rule:
    """Return the rule of the document for the request: the same, without what concerns variants and clients.

    Raise ValueError if the rule has no variants.
    """
    if rule.variants is None or rule.cache is None:
        raise ValueError(f"{rule.pattern.text} has no variants")
    source = build_source(rule.variants, request.path, parse_path(request.path) or ())
    # The variants are served stale while it is revalidated, and clients never see its Cache-Control.
    cache = msgspec.structs.replace(rule.cache, stale_while_revalidate_seconds=0, passes_cache_control=True)
    return msgspec.structs.replace(rule, variants=None, source=source, cache=cache)


def document_request(request: RequestHead) -> RequestHead:
    """Return the request for the document."""
    fields = build_document_fields(request.fields)
    return msgspec.structs.replace(request, method="GET", query="", fields=fields, upgrade=b"", inform=None)


def keep_directives(answer: ResponseHead) -> ResponseHead:
    """Return a document's head with the backend's directives for us repeated: variants follow them (RFC 9213 2.2)."""
    own = [(_DIRECTIVES, value) for value in field_values(answer.fields, b"gateway-cache-control")]
    return ResponseHead(answer.status, [*answer.fields, *own])


def backend_head(document: ResponseHead, stored: StoredHead | None) -> ResponseHead:
    """Return the head as the backend gave it, without our cache's fields; `stored` is set if the cache had it."""
    fields = [field for field in without_fields(document.fields, _OF_THE_WAY) if field != _OWN_VIA]
    told = [(b"gateway-cache-control" if name == _DIRECTIVES else name, value) for name, value in fields]
    if stored is not None:
        told = [*without_fields(told, frozenset({b"age"})), (b"age", b"%d" % stored.initial_age)]
    return ResponseHead(document.status, told)


def build_unchanged(document: ResponseHead) -> Response:
    """Build the 304 for a variant that is still good, with the current fields of the document's head."""
    return Response(ResponseHead(304, [*keep_for_variant(document.fields), *_source_tag(document)]), b"")


def build_variant(
    rule: Rule, variant: Variant, request: RequestHead, document: ResponseHead, made: Rendered
) -> Response:
    """Build the variant as if a backend had given it.

    Raise BrokenDocument, or ValueError if the rule has no variants.
    """
    if rule.variants is None:
        raise ValueError(f"{rule.pattern.text} has no variants")
    head = build_variant_head(rule.variants, variant, parse_path(request.path) or (), document, made)
    return Response(ResponseHead(head.status, [*head.fields, *_source_tag(document)]), made.content)


def build_options(rule: Rule) -> Response | None:
    """Build the answer that lists the options of a rule with variants as JSON, or return None for other rules."""
    if rule.variants is None:
        return None
    content = msgspec.json.encode(build_offer(rule.variants, "/" + "/".join(rule.pattern.segments)))
    fields = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(content)),
        (b"allow", b"GET, HEAD, OPTIONS"),
        (b"cache-control", b"private, no-cache"),
    ]
    return Response(ResponseHead(200, fields), content)


def _source_tag(document: ResponseHead) -> list[Field]:
    tag = field_value(document.fields, b"etag")
    return [(SOURCE_TAG, tag)] if tag else []

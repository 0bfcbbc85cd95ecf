"""The request for the document behind a request for a variant, and what its answer is to the variant.

The document is asked for, stored and kept fresh as any other answer, under a rule of its own: one for all variants.
"""

import msgspec

from gateway.core.caching.entries import StoredHead
from gateway.core.caching.storing import SOURCE_TAG
from gateway.core.forwarding import PSEUDONYM
from gateway.core.messages import Field, RequestHead, Response, ResponseHead, field_value, field_values, without_fields
from gateway.core.policies.rules import Rule
from gateway.core.targets import parse_path
from gateway.core.variants.heads import build_document_fields, build_source, build_variant_head, keep_for_variant
from gateway.core.variants.offers import build_offer
from gateway.core.variants.options import parse_variant
from gateway.core.variants.variant import InvalidOptions, Rendered, Variant

_OF_THE_WAY = frozenset({b"cache-status", b"gateway-cache-control", SOURCE_TAG})
_DIRECTIVES = b"gateway-source-control"
_OWN_VIA = (b"via", b"1.1 " + PSEUDONYM)


def find_wanted(rule: Rule, request: RequestHead, segments: tuple[str, ...]) -> Variant | InvalidOptions | None:
    """The variant that a request under the rule asks for, None where it asks for none."""
    if rule.variants is None or request.method not in ("GET", "HEAD"):
        return None
    return parse_variant(rule.variants, request.query, segments)


def document_rule(rule: Rule, request: RequestHead) -> Rule:
    """The rule of the document behind the request: the same, but for what is about variants and clients."""
    if rule.variants is None or rule.cache is None:
        raise ValueError(f"{rule.pattern.text} has no variants")
    source = build_source(rule.variants, request.path, parse_path(request.path) or ())
    # What is made of it is what is used while it is asked for anew, and clients never see its Cache-Control.
    cache = msgspec.structs.replace(rule.cache, stale_while_revalidate_seconds=0, passes_cache_control=True)
    return msgspec.structs.replace(rule, variants=None, source=source, cache=cache)


def document_request(request: RequestHead) -> RequestHead:
    """What the document is asked for with."""
    fields = build_document_fields(request.fields)
    return msgspec.structs.replace(request, method="GET", query="", fields=fields, upgrade=b"", inform=None)


def keep_directives(answer: ResponseHead) -> ResponseHead:
    """A document's head with the backend's directives for us once more: variants go by them (RFC 9213 2.2)."""
    own = [(_DIRECTIVES, value) for value in field_values(answer.fields, b"gateway-cache-control")]
    return ResponseHead(answer.status, [*answer.fields, *own])


def backend_head(document: ResponseHead, stored: StoredHead | None) -> ResponseHead:
    """The head as the backend gave it, without what our cache says of it; `stored` where it comes from there."""
    fields = [field for field in without_fields(document.fields, _OF_THE_WAY) if field != _OWN_VIA]
    told = [(b"gateway-cache-control" if name == _DIRECTIVES else name, value) for name, value in fields]
    if stored is not None:
        told = [*without_fields(told, frozenset({b"age"})), (b"age", b"%d" % stored.initial_age)]
    return ResponseHead(document.status, told)


def build_unchanged(document: ResponseHead) -> Response:
    """What says that a variant made of the document is still good: 304, with what the document's head has now."""
    return Response(ResponseHead(304, [*keep_for_variant(document.fields), *_source_tag(document)]), b"")


def build_variant(
    rule: Rule, wanted: Variant, request: RequestHead, document: ResponseHead, made: Rendered
) -> Response:
    """The variant as if a backend had given it; raises BrokenDocument."""
    if rule.variants is None:
        raise ValueError(f"{rule.pattern.text} has no variants")
    head = build_variant_head(rule.variants, wanted, parse_path(request.path) or (), document, made)
    return Response(ResponseHead(head.status, [*head.fields, *_source_tag(document)]), made.content)


def build_options(rule: Rule) -> Response | None:
    """What a shaped rule offers, as JSON; None for other rules."""
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

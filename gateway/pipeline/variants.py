"""Make the exports of a rule with variants from one document, instead of a backend. Read pipeline/fetch.py first.

Order: find the document as any other answer is found, in the cache or at the backend; answer 304 if the variant was
made from the same document, or render it.
"""

from typing import Protocol

import msgspec

from gateway.adapters.ports import Exports
from gateway.adapters.streams import close_unread, collect
from gateway.core.admission.decision import Authorized, Refused
from gateway.core.admission.outcomes import refuse_options
from gateway.core.cache import keys
from gateway.core.cache.fetch import Shaped
from gateway.core.cache.model import Export
from gateway.core.errors import BrokenDocument
from gateway.core.http.fields import is_event_stream, parse_entity_tags
from gateway.core.http.messages import Fields, RequestHead, Response, field_value, field_values
from gateway.core.variants.documents import MAXIMUM_DOCUMENT_BYTES
from gateway.core.variants.exchange_heads import (
    backend_head,
    build_unchanged,
    build_variant,
    document_request,
    document_rule,
)
from gateway.core.variants.model import DocumentForm, InvalidOptions, Rendered, Variant
from gateway.pipeline.cache import ExportCache, export_name, stored_export


class Renderer(Protocol):
    """The renderer of documents."""

    async def render(self, content: bytes, form: DocumentForm, variant: Variant) -> Rendered | InvalidOptions:
        """Return the variant of the document in `content`.

        Raise BrokenDocument. Rendering does not block other requests.
        """
        ...


class VariantBuilder:
    """The implementation of fetch.Variants. `documents` finds documents, under rules of their own."""

    def __init__(self, documents: ExportCache, exports: Exports, renderer: Renderer) -> None:
        self._documents = documents
        self._exports = exports
        self._renderer = renderer

    async def shape(self, request: RequestHead, admission: Authorized, validators: Fields) -> Shaped | Refused:
        """Return the variant, or 304 if `validators` name its document. Raise UpstreamError."""
        found = document_request(request)
        document, stored, name = await self._find(found, request, admission)
        if isinstance(document, Refused):
            return document
        head = backend_head(document.head, stored.head if stored else None)
        shaped = Shaped(
            answer=Response(head, document.content),
            began_at=stored.head.stored_at if stored else None,
            cache_status=_status_of(document) if stored else b"",
            name=name or "",
        )
        if head.status != 200 or admission.variant is None:
            return shaped
        if _names(validators, field_value(head.fields, b"etag")):
            await close_unread(document.content)
            return msgspec.structs.replace(shaped, answer=build_unchanged(head))
        try:
            made = await self._render(shaped.answer, request, admission, admission.variant)
        except BrokenDocument:
            if name is not None:  # the next request revalidates the document
                await self._exports.remove(name)
            raise
        return made if isinstance(made, Refused) else msgspec.structs.replace(shaped, answer=made)

    async def _find(
        self, found: RequestHead, request: RequestHead, admission: Authorized
    ) -> tuple[Response | Refused, Export | None, str | None]:
        """Find the document, what is stored of it if it comes from the cache, and its name there.

        What another request's fetch has brought may have been requested before a purge that precedes this request. It
        is looked up again, and dropped if it has been purged.
        """
        behind, name = await self._behind(found, request, admission)
        document = await self._documents.respond(found, None, behind)
        if isinstance(document, Refused):
            return document, None, name
        status = _status_of(document)
        if status.endswith(b"; collapsed"):
            behind, _ = await self._behind(found, request, admission)
            if not behind.facts.stored_heads:
                await close_unread(document.content)
                document = await self._documents.respond(found, None, behind)
                return document, None, name
        elif not status.startswith(b"gateway; hit"):
            return document, None, name
        return document, stored_export(found, behind), name

    async def _behind(
        self, found: RequestHead, request: RequestHead, admission: Authorized
    ) -> tuple[Authorized, str | None]:
        """Turn the admission into one for the document, with what is stored of it. Return its name there too.

        This takes a round trip.
        """
        rule = admission.rule
        whole = document_rule(rule, request)
        request_for = msgspec.structs.replace(
            admission.facts.request, rule=whole, export_key=keys.export_key(whole, found)
        )
        facts = msgspec.structs.replace(admission.facts, request=request_for, stored_heads=())
        behind = Authorized(whole, facts)
        name = export_name(behind)
        if name is not None and rule.cache is not None:
            who = keys.entitlement(rule.cache, admission.facts.record)
            groups = keys.groups_of(rule, request, who, [])
            heads = await self._exports.document_heads(name, rule.policy.name, groups)
            facts = msgspec.structs.replace(facts, stored_heads=heads)
        return msgspec.structs.replace(behind, facts=facts), name

    async def _render(
        self, document: Response, request: RequestHead, admission: Authorized, variant: Variant
    ) -> Response | Refused:
        rule = admission.rule
        if rule.variants is None:
            raise ValueError(f"{rule.pattern.text} has no variants")
        if is_event_stream(document.head.fields):
            await close_unread(document.content)
            raise BrokenDocument("$", "a stream of events is no document")
        content = await collect(document.content, MAXIMUM_DOCUMENT_BYTES)
        if not isinstance(content, bytes):
            await close_unread(content)
            raise BrokenDocument("$", f"a document may have {MAXIMUM_DOCUMENT_BYTES} bytes, and this has more")
        made = await self._renderer.render(content, rule.variants.form, variant)
        if isinstance(made, InvalidOptions):
            return refuse_options(rule, admission.facts, made)
        return build_variant(rule, variant, request, document.head, made)


def _status_of(answer: Response) -> bytes:
    """Return the Cache-Status of the gateway's own cache, which is the last one."""
    return b"".join(field_values(answer.head.fields, b"cache-status")[-1:])


def _names(validators: Fields, tag: bytes | None) -> bool:
    known = parse_entity_tags(field_values(validators, b"if-none-match")) or []
    return tag is not None and tag in known

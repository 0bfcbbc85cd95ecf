"""Asks the backends: for an answer that is to be stored, or for one that is passed through. See retrieval.py.

Whatever becomes of a fetch, those who wait for it are told, as soon as it is known that there is nothing to wait for.
"""

import asyncio
import functools
import logging
from collections import Counter
from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from gateway.adapters.content import collect
from gateway.adapters.protocols import Exports, Fetches, Upstreams
from gateway.adapters.shared_work import SharedWork
from gateway.contents import Contents
from gateway.core import encodings, loops
from gateway.core.assertions import Issuer, build_assertion, rewritten
from gateway.core.caching import answering, invalidating, keys, reusing, revalidating, storing
from gateway.core.caching.entries import Export, StoredHead, build_export, encode_head
from gateway.core.caching.fetching import Alone, Failed, Fetch, Landed, Shaped, Storing
from gateway.core.caching.preconditions import holds_for_origin, is_unmodified
from gateway.core.caching.reusing import Reuse
from gateway.core.caching.told import build_fields, build_whole_fields
from gateway.core.errors import StoreUnavailable, UpstreamError
from gateway.core.forwarding import build_response_fields
from gateway.core.links import publish
from gateway.core.messages import Field, Fields, RequestHead, Response, ResponseHead
from gateway.core.outcomes import Authorized, Refused
from gateway.core.policies.rules import Policy
from gateway.core.reasons import Reason
from gateway.core.variants.sources import keep_directives

LONG_BYTES = 1024 * 1024
"""Content above this is hashed in a thread, which holds up nobody: a megabyte takes up to three milliseconds."""

logger = logging.getLogger(__name__)


class Shapes(Protocol):
    """What answers in the place of a backend where a rule has variants."""

    async def shape(self, request: RequestHead, admission: Authorized, validators: Fields) -> Shaped | Refused:
        """The variant, or 304 where `validators` name the document that it is made of; raises UpstreamError."""
        ...


class Fetching:
    """The backends, and what is stored of their answers. What fails without failing a request is in `counts`.

    `instance` tells this gateway from others, where its requests can come back to it (core/loops.py).
    """

    def __init__(
        self,
        exports: Exports,
        contents: Contents,
        fetches: Fetches,
        upstreams: Upstreams,
        counts: Counter[str],
        shaping: Shapes | None = None,
        issuer: Issuer | None = None,
        instance: str = "",
    ) -> None:
        self._issuer = issuer
        self._instance = instance
        self._counts = counts
        self._exports = exports
        self._contents = contents
        self._fetches = fetches
        self._upstreams = upstreams
        self._shaping = shaping
        self._shared = SharedWork()

    async def fetch(self, it: Fetch) -> Response | Refused:
        """The backend's answer, stored where it may be; raises UpstreamError where there is none."""
        if it.lead is None or it.admission.rule.variants is None:
            return await self._fetch(it)
        return await self._shared.do(self._fetch(it))  # what is made here is made for others too

    async def close(self) -> None:
        """Ends what is still made for clients that have left."""
        await self._shared.close()

    async def _fetch(self, it: Fetch) -> Response | Refused:
        try:
            return await self._ask(it)
        except UpstreamError as error:
            if it.lead is not None:
                self._fetches.end(it.lead, Failed(error))
            raise
        finally:
            if it.lead is not None:
                self._fetches.end(it.lead, Alone())

    def is_in_loop(self, request: RequestHead, policy: Policy) -> bool:
        """Whether the request was passed on under the policy before."""
        return bool(self._instance) and loops.is_in_loop(request.fields, loops.build_mark(self._instance, policy.name))

    async def pass_on(
        self, request: RequestHead, content: AsyncIterator[bytes] | None, admission: Authorized, why: str
    ) -> Response:
        """The backend's answer as it comes; one to a write may end what is stored (RFC 9111 4.4)."""
        policy = admission.rule.policy
        answer = await self._send(request, admission, request.target, build_fields(request, admission), content)
        await self.invalidate(request, policy, answer.head)
        return _pass_through(answer, why)

    async def invalidate(self, request: RequestHead, policy: Policy, head: ResponseHead) -> None:
        """Ends what is stored and what an answer to a write says is no longer true (RFC 9111 4.4, RFC 9875 3)."""
        ended = invalidating.find_invalidated(policy, request, head)
        if not ended:
            return
        try:
            await self._exports.purge(policy.name, ended)
        except StoreUnavailable as error:
            self._counts["invalidation-failed"] += 1
            logger.warning("request %s: stored exports could not be invalidated: %s", request.id, error)

    async def _ask(self, it: Fetch) -> Response | Refused:
        """Asks for the whole answer, or whether the stored one is still good (RFC 9111 4.3)."""
        kept: bytes | None = None
        validators: tuple[Field, ...] = ()
        if it.stored is not None and it.stored.head.validators:
            kept = await self._contents.read(it.name, it.stored.head)
            validators = it.stored.head.validators if kept is not None else ()
        if it.admission.rule.variants is not None and self._shaping is not None:
            shaped = await self._shaping.shape(it.request, it.admission, validators)
            if isinstance(shaped, Refused):
                return shaped
            answer = shaped.answer
            it = msgspec.structs.replace(it, shaped=shaped)
        else:
            answer = await self._fetch_whole(it, validators)
        if it.stored is not None and kept is not None and answer.head.status == 304:
            return await self._freshen(it, it.stored.head, kept, answer.head)
        return await self._take(it, answer)

    async def _fetch_whole(self, it: Fetch, validators: Fields) -> Response:
        source = it.admission.rule.source
        fields = [*build_whole_fields(it.request, it.admission), *validators]
        answer = await self._send(it.request, it.admission, source or it.request.target, fields, None)
        return Response(keep_directives(answer.head), answer.content) if source else answer

    async def _send(
        self,
        request: RequestHead,
        admission: Authorized,
        target: str,
        fields: list[Field],
        content: AsyncIterator[bytes] | None,
    ) -> Response:
        """What the policy's backend answers, in addresses that clients know."""
        upstream, inform = admission.rule.upstream, request.inform

        def translate(head: ResponseHead) -> ResponseHead:
            return publish(head, request, target, upstream)

        def pass_on(head: ResponseHead) -> None:
            if inform is not None:
                inform(ResponseHead(head.status, build_response_fields(translate(head))))

        fields = self._sign(request, admission, target, fields)
        interim = pass_on if inform is not None else None
        answer = await self._upstreams.send(upstream, request.method, target, fields, content, interim)
        return Response(translate(answer.head), answer.content)

    def _sign(self, request: RequestHead, admission: Authorized, target: str, fields: list[Field]) -> list[Field]:
        """The fields with who asserts them, and with the mark by which this gateway would know them again."""
        fields += build_assertion(self._issuer, request, admission, rewritten(admission, target))
        if self._instance:
            fields.append(loops.build_mark(self._instance, admission.rule.policy.name))
        return fields

    async def _take(self, it: Fetch, answer: Response) -> Response | Refused:
        """A new answer: stored where nothing speaks against it, tagged where it is whole, else passed through."""
        rule, head = it.admission.rule, answer.head
        objection = storing.find_objection(rule, it.request, head, it.began_at)
        streams_through = storing.streams_through(rule, head)
        if objection is not None or streams_through:
            await self._let_go(it, head, objection)
        if (objection is not None and head.status != 200) or streams_through:
            return _pass_through(answer, it.why)
        whole = await collect(answer.content, storing.maximum_bytes(rule))
        if not isinstance(whole, bytes):
            await self._let_go(it, head, None)
            return _pass_through(Response(head, whole), it.why)
        if encodings.is_decodable(head.fields):
            coding, encoded = encodings.find_coding(head.fields), whole
            plain = await self._contents.decode(coding, encoded, storing.maximum_bytes(rule))
            if plain is None:
                await self._let_go(it, head, storing.BROKEN_CODING)
                return _pass_through(Response(head, encoded), it.why)
            head, whole = ResponseHead(head.status, encodings.build_decoded_fields(head.fields)), plain
        before = it.stored.head if it.stored is not None else None
        make = functools.partial(storing.make_head, it.admission, it.request, head, whole, it.began_at, before)
        made = await asyncio.to_thread(make) if len(whole) > LONG_BYTES else make()
        is_stored = objection is None and await self._store(it, made, head, whole, is_new=True)
        status = it.cache_status(is_stored=is_stored)
        export = build_export(made, passes_cache_control=objection is not None or it.cache.passes_cache_control)
        return await self._reply(it, export, whole, head, status, is_stored=is_stored)

    async def _freshen(self, it: Fetch, stored: StoredHead, content: bytes, answer: ResponseHead) -> Response | Refused:
        """The stored answer, which is still good, with what the 304 says anew (RFC 9111 4.3.4)."""
        rule = it.admission.rule
        response = revalidating.freshened(stored, answer, it.began_at)
        made = revalidating.freshen_head(it.admission, it.request, stored, response, it.began_at)
        objection = storing.find_objection(rule, it.request, response, it.began_at)
        is_stored = objection is None and await self._store(it, made, response, content, is_new=False)
        status = it.cache_status(is_stored=is_stored, status=304)
        export = build_export(made, passes_cache_control=it.cache.passes_cache_control)
        return await self._reply(it, export, content, answer, status, is_stored=is_stored)

    async def _reply(
        self, it: Fetch, export: Export, content: bytes, answer: ResponseHead, status: bytes, *, is_stored: bool
    ) -> Response | Refused:
        """What has been fetched, in the coding that the client prefers; who waits for it is not kept by that."""
        if it.shaped is not None and not holds_for_origin(it.request.fields, export.head):
            return Refused(Reason.PRECONDITION_FAILED, it.admission.rule, it.admission.facts)
        reuse = Reuse(export, is_unmodified=is_unmodified(it.request.fields, export.head))
        coding = answering.choose_coding(it.request, reuse, self._contents.offered)
        sent = await self._contents.encode(it.name if is_stored else None, export.head, coding, content)
        return answering.build_fetched(it.request, reuse, sent, answer, status, coding)

    async def _let_go(self, it: Fetch, head: ResponseHead, objection: str | None) -> None:
        """Tells those who wait to go on by themselves, and ends what this answer has overtaken."""
        has_failed = reusing.is_failure(head.status)
        if it.lead is not None:
            self._fetches.end(it.lead, Alone(has_failed))
        is_overtaken = head.status < 500 and objection not in storing.OF_ONE_REQUEST
        if it.stored is not None and it.name is not None and is_overtaken:
            await self._exports.remove(it.name, keys.variant_of(it.stored.head))

    async def _store(self, it: Fetch, made: StoredHead, head: ResponseHead, content: bytes, *, is_new: bool) -> bool:
        """Stores an answer, and gives it to those who wait, also where Redis did not take it."""
        rule = it.admission.rule
        if it.name is None:
            return False
        raw = encode_head(made)
        is_of_use = made.fresh_until > it.began_at  # to those who wait; else each has to ask by itself
        who = keys.entitlement(it.cache, it.admission.record)
        outcome = await self._exports.write(
            Storing(
                policy=rule.policy.name,
                name=it.name,
                variant=keys.variant_of(made),
                raw_head=raw,
                digest=made.digest,
                content=content,
                is_content_new=is_new,
                groups=keys.groups_of(rule, it.request, who, head.fields),
                began_at=it.began_at,
                keep_milliseconds=storing.keep_milliseconds(rule, head, it.began_at),
                lead=it.lead if is_of_use else None,
                document=it.shaped.name if it.shaped is not None else "",
            )
        )
        if it.lead is not None:
            shared = Landed((), it.began_at) if outcome == "outdated" else Landed((raw,), it.began_at, content)
            self._fetches.end(it.lead, shared if is_of_use else Alone())
        return outcome == "stored"


def _pass_through(answer: Response, why: str) -> Response:
    """An answer as it comes."""
    fields = build_response_fields(answer.head)
    if why:
        fields.append((b"cache-status", answering.build_cache_status_forwarded(why, is_stored=False)))
    return Response(ResponseHead(answer.head.status, fields), answer.content)

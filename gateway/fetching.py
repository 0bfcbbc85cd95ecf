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
from gateway.adapters.protocols import Exports, Fetches, Streams, Upstreams
from gateway.adapters.shared_work import SharedWork
from gateway.core.caching import answering, invalidating, keys, reusing, revalidating, storing
from gateway.core.caching.entries import Export, StoredHead, build_export, encode_head
from gateway.core.caching.fetching import Alone, Failed, Landed, Lead, Shaped, Storing
from gateway.core.decision import effective_scopes
from gateway.core.errors import StoreUnavailable, UpstreamError
from gateway.core.forwarding import build_request_fields, build_response_fields
from gateway.core.messages import Field, Fields, RequestHead, Response, ResponseHead
from gateway.core.outcomes import Authorized, Refused
from gateway.core.policies.rules import CacheRule
from gateway.core.tokens import token_id
from gateway.core.variants.sources import keep_directives

LONG_BYTES = 1024 * 1024
"""Content above this is hashed in a thread, which holds up nobody: a megabyte takes up to three milliseconds."""

logger = logging.getLogger(__name__)


class Fetch(msgspec.Struct, frozen=True):
    """A request that the backend is asked for, under a rule with a cache."""

    request: RequestHead
    admission: Authorized
    cache: CacheRule
    name: str | None
    """Of the export; None for a token that shares with nobody: its answers are not stored."""
    why: str
    stored: Export | None
    """What is stored and may still be good."""
    lead: Lead | None
    """Whose end others wait for."""
    shaped: Shaped | None = None
    """What was made in the place of the backend's answer."""

    @property
    def began_at(self) -> int:
        """Unix milliseconds by Redis' clock, before the backend was asked."""
        if self.shaped is not None and self.shaped.began_at is not None:
            return self.shaped.began_at
        if self.lead is None or self.lead.began_at is None:
            return self.admission.facts.now
        return self.lead.began_at

    def cache_status(self, *, is_stored: bool, status: int | None = None) -> bytes:
        """Cache-Status (RFC 9211) of what came of it; `status` is the backend's where that is not told."""
        if self.shaped is not None and self.shaped.cache_status:
            return self.shaped.cache_status
        return answering.build_cache_status_forwarded(self.why, is_stored=is_stored, status=status)


class Shapes(Protocol):
    """What answers in the place of a backend where a rule has variants."""

    async def shape(self, request: RequestHead, admission: Authorized, validators: Fields) -> Shaped | Refused:
        """The variant, or 304 where `validators` name the document that it is made of; raises UpstreamError."""
        ...


class Fetching:
    """The backends, and what is stored of their answers. What fails without failing a request is in `counts`."""

    def __init__(
        self,
        exports: Exports,
        fetches: Fetches,
        upstreams: Upstreams,
        streams: Streams,
        counts: Counter[str],
        shaping: Shapes | None = None,
    ) -> None:
        self._counts = counts
        self._exports = exports
        self._fetches = fetches
        self._upstreams = upstreams
        self._streams = streams
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

    async def read(self, name: str | None, head: StoredHead) -> bytes | None:
        """The content of a stored export, None where it is gone."""
        if name is None:
            return None
        content = self._exports.recall(name, head.digest)
        return content if content is not None else await self._exports.read(name, keys.variant_of(head), head.digest)

    async def pass_on(
        self, request: RequestHead, content: AsyncIterator[bytes] | None, admission: Authorized, why: str
    ) -> Response:
        """The backend's answer as it comes; one to a write may end what is stored (RFC 9111 4.4)."""
        policy = admission.rule.policy
        dropped = reusing.CONDITIONAL_FIELDS if keys.is_cacheable(admission.rule, request) else frozenset[bytes]()
        fields = _request_fields(request, admission, dropped)
        answer = await self._upstreams.send(policy.upstream, request.method, request.target, fields, content)
        ended = invalidating.find_invalidated(policy, request, answer.head)
        if ended:
            try:
                await self._exports.purge(policy.name, ended)
            except StoreUnavailable as error:
                self._counts["invalidation-failed"] += 1
                logger.warning("request %s: stored exports could not be invalidated: %s", request.id, error)
        return self._stream(answer, admission, why)

    async def _ask(self, it: Fetch) -> Response | Refused:
        """Asks for the whole answer, or whether the stored one is still good (RFC 9111 4.3)."""
        kept: bytes | None = None
        validators: tuple[Field, ...] = ()
        if it.stored is not None and it.stored.head.validators:
            kept = await self.read(it.name, it.stored.head)
            validators = it.stored.head.validators if kept is not None else ()
        if it.admission.rule.variants is not None and self._shaping is not None:
            shaped = await self._shaping.shape(it.request, it.admission, validators)
            if isinstance(shaped, Refused):
                return shaped
            answer = shaped.answer
            it = msgspec.structs.replace(it, shaped=shaped)
        else:
            answer = await self._send(it, validators)
        if it.stored is not None and kept is not None and answer.head.status == 304:
            return await self._freshen(it, it.stored.head, kept, answer.head)
        return await self._take(it, answer)

    async def _send(self, it: Fetch, validators: Fields) -> Response:
        rule, target = it.admission.rule, it.admission.rule.source or it.request.target
        fields = [*_request_fields(it.request, it.admission, reusing.CONDITIONAL_FIELDS), *validators]
        answer = await self._upstreams.send(rule.policy.upstream, it.request.method, target, fields, None)
        return Response(keep_directives(answer.head), answer.content) if rule.source else answer

    async def _take(self, it: Fetch, answer: Response) -> Response:
        """A new answer: stored where nothing speaks against it, tagged where it is whole, else passed through."""
        rule, head = it.admission.rule, answer.head
        objection = storing.find_objection(rule, it.request, head, it.began_at)
        is_long = storing.is_too_long(rule, head)
        if objection is not None or is_long:
            await self._let_go(it, head, objection)
        if (objection is not None and head.status != 200) or is_long:
            return self._stream(answer, it.admission, it.why)
        whole = await collect(answer.content, storing.maximum_bytes(rule))
        if not isinstance(whole, bytes):
            await self._let_go(it, head, None)
            return self._stream(Response(head, whole), it.admission, it.why)
        make = functools.partial(storing.make_head, rule, it.request, head, whole, it.began_at)
        made = await asyncio.to_thread(make) if len(whole) > LONG_BYTES else make()
        is_stored = objection is None and await self._store(it, made, head, whole, is_new=True)
        status = it.cache_status(is_stored=is_stored)
        export = build_export(made, passes_cache_control=objection is not None or it.cache.passes_cache_control)
        return answering.build_fetched(it.request, export, whole, head, status)

    async def _freshen(self, it: Fetch, stored: StoredHead, content: bytes, answer: ResponseHead) -> Response:
        """The stored answer, which is still good, with what the 304 says anew (RFC 9111 4.3.4)."""
        rule = it.admission.rule
        response = revalidating.freshened(stored, answer, it.began_at)
        made = revalidating.freshen_head(rule, it.request, stored, response, it.began_at)
        objection = storing.find_objection(rule, it.request, response, it.began_at)
        is_stored = objection is None and await self._store(it, made, response, content, is_new=False)
        status = it.cache_status(is_stored=is_stored, status=304)
        export = build_export(made, passes_cache_control=it.cache.passes_cache_control)
        return answering.build_fetched(it.request, export, content, answer, status)

    async def _let_go(self, it: Fetch, head: ResponseHead, objection: str | None) -> None:
        """Tells those who wait to go on by themselves, and ends what this answer has overtaken."""
        has_failed = reusing.is_failure(head.status)
        if it.lead is not None:
            self._fetches.end(it.lead, Alone(has_failed))
        is_overtaken = not has_failed and objection not in storing.OF_ONE_REQUEST
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
            )
        )
        if it.lead is not None:
            shared = Landed((), it.began_at) if outcome == "outdated" else Landed((raw,), it.began_at, content)
            self._fetches.end(it.lead, shared if is_of_use else Alone())
        return outcome == "stored"

    def _stream(self, answer: Response, admission: Authorized, why: str) -> Response:
        """An answer that is passed through; its stream ends when the token is revoked."""
        fields = build_response_fields(answer.head)
        if why:
            fields.append((b"cache-status", answering.build_cache_status_forwarded(why, is_stored=False)))
        stream = answer.content
        if admission.record is not None and not isinstance(stream, bytes):
            for identity in filter(None, (token_id(admission.record.digest), admission.record.parent)):
                stream = self._streams.watch(identity, stream)
        return Response(ResponseHead(answer.head.status, fields), stream)


def _request_fields(request: RequestHead, admission: Authorized, dropped: frozenset[bytes]) -> list[Field]:
    scopes = effective_scopes(admission.rule, admission.facts) if admission.record else ""
    return build_request_fields(request, admission.rule.policy, admission.record, scopes, dropped)

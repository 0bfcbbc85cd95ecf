"""Ask the backends, for an answer to store or to pass through. See pipeline/cache.py.

However a fetch ends, the waiting requests are told as soon as it is known that there is nothing to wait for.

The content of exports, plain or in a content coding, comes from memory or Redis, or is encoded now. Stored content is
encoded once for each coding that a client prefers, and kept beside it for all workers. Two workers that need the same
coding at the same moment may each encode it: the bytes are equal.

Rule: long content waits for its client only within what HeldBytes allows. Beyond that it is read from Redis as the
client takes it, or MemoryFull is raised.
"""

import asyncio
import functools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Protocol, TypeAlias

import msgspec

from gateway.adapters.ports import Exports, Fetches, Recall, Upstreams
from gateway.adapters.streams import PIECE_BYTES, HeldBytes, HeldContent, Hold, SharedWork, collect
from gateway.core.admission.decision import Authorized, Refused
from gateway.core.cache import invalidation, keys, storing
from gateway.core.cache import reuse as cache_reuse
from gateway.core.cache.backend_fields import build_fields, build_whole_fields
from gateway.core.cache.fetch import Bypass, Failed, Fetch, Shaped, Shared, Stored, Storing
from gateway.core.cache.model import Export, StoredHead, build_export, encode_head
from gateway.core.cache.reuse import Reuse, holds_for_origin, is_unmodified
from gateway.core.errors import MemoryFull, StoreUnavailable, UpstreamError
from gateway.core.http import content_coding
from gateway.core.http.assertions import Issuer, build_assertion, rewritten
from gateway.core.http.messages import Field, Fields, RequestHead, Response, ResponseHead, StoredStream, field_value
from gateway.core.http.reasons import Reason
from gateway.core.policies.model import Policy
from gateway.core.upstream import loops
from gateway.core.upstream.forwarding import build_response_fields
from gateway.core.upstream.links import publish
from gateway.core.variants.exchange_heads import keep_directives

HELD_BYTES = 64 * 1024 * 1024
"""Bytes that a worker may hold by default: as many as of exports that it remembers."""

Build: TypeAlias = Callable[[bytes | StoredStream, bytes], Response]
"""Makes the answer from content and its coding."""


class Encoder(Protocol):
    """The content codings (RFC 9110 8.4.1)."""

    @property
    def offered(self) -> tuple[bytes, ...]:
        """Return the names of the codings, the preferred one first."""
        ...

    async def encode(self, coding: bytes, content: bytes) -> bytes:
        """Return the content in one of the offered codings, always the same bytes for the same content."""
        ...

    async def decode(self, coding: bytes, encoded: bytes, limit: int) -> bytes | None:
        """Return the decoded content, or None if it is malformed or has more bytes than `limit`."""
        ...


class Opened(msgspec.Struct, frozen=True):
    """Content for one answer, and the memory that is held for it. Exactly one answer must be built from it."""

    content: bytes | StoredStream
    coding: bytes
    hold: Hold | None = None

    def build(self, build: Build) -> Response:
        """Build the answer, which holds the memory of its content until that is sent."""
        hold = self.hold
        try:
            answer = build(self.content, self.coding)
            if hold is not None and isinstance(answer.content, bytes) and len(answer.content) > PIECE_BYTES:
                hold.fit(len(answer.content))
                answer, hold = msgspec.structs.replace(answer, content=HeldContent(answer.content, hold)), None
            return answer
        finally:
            if hold is not None:
                hold.release()


class ContentStore:
    """The reader and encoder of stored content. A coding is one of those `offered`, or empty for plain content."""

    def __init__(
        self, exports: Exports, encoder: Encoder, held: HeldBytes | None = None, counts: Counter[str] | None = None
    ) -> None:
        self.offered = encoder.offered
        self.recall: Recall = exports.recall
        """Gives content that this worker remembers."""
        self.held = held or HeldBytes(HELD_BYTES)
        self._counts = Counter[str]() if counts is None else counts
        self._exports = exports
        self._encoder = encoder
        self._under_way: dict[tuple[str, bytes, bytes], asyncio.Task[bytes | None]] = {}

    async def read(self, name: str | None, head: StoredHead, coding: bytes = b"") -> bytes | None:
        """Return the content of a stored export, or None if it is gone."""
        if name is None:
            return None
        content = self.recall(name, head.digest, coding)
        if content is not None:
            return content
        if not coding:
            return await self._exports.read(name, keys.variant_of(head), head.digest)
        return await self._find_or_encode(name, head, coding, None)

    async def open(
        self,
        name: str | None,
        head: StoredHead,
        coding: bytes,
        content: bytes | None = None,
        *,
        is_part: bool = False,
        spare: Hold | None = None,
    ) -> Opened | None:
        """Return the content of a stored export for one answer, or None if it is gone.

        Raise MemoryFull if there is no room.

        It is `content` if that is at hand; `spare` may be the memory that it holds already. An answer to a range
        request shares its bytes with no other.
        """
        if head.length <= PIECE_BYTES:
            whole = await self._read_or_encode(name, head, coding, content)
            return None if whole is None else Opened(whole, coding)
        hold = self.held.wait(object() if is_part else (name, head.digest, coding), head.length)
        if hold is None:
            return await self._open_stream(name, head, coding, content, spare)
        try:
            whole = await self._read_or_encode(name, head, coding, content)
        except BaseException:
            hold.release()
            raise
        if whole is None:
            hold.release()
            return None
        hold.fit(len(whole))
        return Opened(whole, coding, hold)

    async def _read_or_encode(
        self, name: str | None, head: StoredHead, coding: bytes, content: bytes | None
    ) -> bytes | None:
        if content is None:
            return await self.read(name, head, coding)
        return await self.encode(name, head, coding, content)

    async def _open_stream(
        self, name: str | None, head: StoredHead, coding: bytes, content: bytes | None, spare: Hold | None
    ) -> Opened | None:
        """Return the content as a stream if memory has no room: in the coding if it is stored so, else plain."""
        self._counts["memory-full"] += 1
        for one in dict.fromkeys((coding, b"")) if name is not None else ():
            stream = await self._exports.open(name or "", keys.variant_of(head), head.digest, one)
            if stream is not None:
                return Opened(stream, one)
        if content is not None and spare is not None and spare.size >= len(content):
            return Opened(content, b"", spare.share())
        kept = [self.recall(name or "", head.digest, one) for one in (b"", coding)]
        if content is None and kept == [None, None]:
            return None
        raise MemoryFull("as much content waits for clients as this worker may hold")

    async def encode(self, name: str | None, head: StoredHead, coding: bytes, content: bytes) -> bytes:
        """Return the content, which is at hand, in the coding; the encoded content is stored if there is a name."""
        if not coding:
            return content
        if name is not None:
            kept = self.recall(name, head.digest, coding)
            encoded = await self._find_or_encode(name, head, coding, content) if kept is None else kept
            if encoded is not None:
                return encoded
        return await self._encoder.encode(coding, content)

    async def decode(self, coding: bytes, encoded: bytes, limit: int) -> bytes | None:
        """Return the decoded content of an answer, or None if it is malformed or longer than `limit`."""
        return await self._encoder.decode(coding, encoded, limit)

    async def _find_or_encode(self, name: str, head: StoredHead, coding: bytes, content: bytes | None) -> bytes | None:
        key = (name, head.digest, coding)
        work = self._under_way.get(key)
        if work is None:  # the first request encodes it for all that come meanwhile
            work = self._under_way[key] = asyncio.create_task(self._do(name, head, coding, content))
            work.add_done_callback(lambda _: self._under_way.pop(key))
        return await asyncio.shield(work)

    async def _do(self, name: str, head: StoredHead, coding: bytes, content: bytes | None) -> bytes | None:
        variant = keys.variant_of(head)
        found = await self._exports.read(name, variant, head.digest, coding)
        if found is not None:
            return found
        content = await self.read(name, head) if content is None else content
        if content is None:
            return None
        encoded = await self._encoder.encode(coding, content)
        await self._exports.keep_encoded(name, variant, head.digest, coding, encoded)
        return encoded


LONG_BYTES = 1024 * 1024
"""Content above this many bytes is hashed in a thread: a megabyte takes up to three milliseconds."""

logger = logging.getLogger(__name__)


class Variants(Protocol):
    """The part that answers instead of the backend if a rule has variants."""

    async def shape(self, request: RequestHead, admission: Authorized, validators: Fields) -> Shaped | Refused:
        """Return the variant, or 304 if `validators` name the document that it is made of. Raise UpstreamError."""
        ...


class UpstreamFetcher:
    """The fetcher of the backends' answers, which it also stores. `counts` counts failures that fail no request.

    `instance` identifies this gateway, so that it detects its own requests in a loop (core/upstream/loops.py).
    """

    def __init__(
        self,
        exports: Exports,
        content_store: ContentStore,
        fetches: Fetches,
        upstreams: Upstreams,
        counts: Counter[str],
        variants: Variants | None = None,
        issuer: Issuer | None = None,
        instance: str = "",
    ) -> None:
        self._issuer = issuer
        self._instance = instance
        self._counts = counts
        self._exports = exports
        self._content_store = content_store
        self._fetches = fetches
        self._upstreams = upstreams
        self._variants = variants
        self._shared = SharedWork()

    async def fetch(self, it: Fetch) -> Response | Refused:
        """Return the backend's answer, stored if it may be. Raise UpstreamError if there is none."""
        if it.leader is None or it.admission.rule.variants is None:
            return await self._fetch(it)
        return await self._shared.do(self._fetch(it))  # requests for the same variant share the result

    async def close(self) -> None:
        """Cancel the work for clients that have left."""
        await self._shared.close()

    async def _fetch(self, it: Fetch) -> Response | Refused:
        try:
            return await self._ask(it)
        except UpstreamError as error:
            if it.leader is not None:
                self._fetches.end(it.leader, Failed(error))
            raise
        finally:
            if it.leader is not None:
                self._fetches.end(it.leader, Bypass())

    def is_in_loop(self, request: RequestHead, policy: Policy) -> bool:
        """Return whether the request was passed on under this policy before."""
        return bool(self._instance) and loops.is_in_loop(request.fields, loops.build_mark(self._instance, policy.name))

    async def forward(
        self, request: RequestHead, content: AsyncIterator[bytes] | None, admission: Authorized, why: str
    ) -> Response:
        """Return the backend's answer as it arrives.

        An answer to a write may invalidate what is stored (RFC 9111 4.4).
        """
        policy = admission.rule.policy
        answer = await self._send(request, admission, request.target, build_fields(request, admission), content)
        await self.invalidate(request, policy, answer.head)
        return _pass_through(answer, why)

    async def invalidate(self, request: RequestHead, policy: Policy, head: ResponseHead) -> None:
        """Invalidate the stored responses that an answer to a write makes wrong (RFC 9111 4.4, RFC 9875 3)."""
        ended = invalidation.find_invalidated(policy, request, head)
        if not ended:
            return
        try:
            await self._exports.purge(policy.name, ended)
        except StoreUnavailable as error:
            self._counts["invalidation-failed"] += 1
            logger.warning("request %s: stored exports could not be invalidated: %s", request.id, error)

    async def _ask(self, it: Fetch) -> Response | Refused:
        """Ask for the whole answer, or if the stored one is still good (RFC 9111 4.3)."""
        kept: bytes | None = None
        validators: tuple[Field, ...] = ()
        if it.stored is not None and it.stored.head.validators:
            kept = await self._content_store.read(it.name, it.stored.head)
            validators = it.stored.head.validators if kept is not None else ()
        if it.admission.rule.variants is not None and self._variants is not None:
            shaped = await self._variants.shape(it.request, it.admission, validators)
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
        """Return the answer of the policy's backend, with its addresses translated to those that clients know."""
        upstream, inform = admission.rule.upstream, request.inform

        def translate(head: ResponseHead) -> ResponseHead:
            return publish(head, request, target, upstream)

        def pass_on(head: ResponseHead) -> None:
            if inform is not None:
                inform(ResponseHead(head.status, build_response_fields(translate(head))))

        fields = self._sign(request, admission, target, fields)
        interim = pass_on if inform is not None else None
        answer = await self._upstreams.send(upstream, request.method, target, fields, content, interim, request.lesson)
        return Response(translate(answer.head), answer.content)

    def _sign(self, request: RequestHead, admission: Authorized, target: str, fields: list[Field]) -> list[Field]:
        """Return the fields with the assertion of who asks, and with the mark by which this gateway detects a loop."""
        fields += build_assertion(self._issuer, request, admission, rewritten(admission, target))
        if self._instance:
            fields.append(loops.build_mark(self._instance, admission.rule.policy.name))
        return fields

    async def _take(self, it: Fetch, answer: Response) -> Response | Refused:
        """Take a new answer: store it if nothing prevents that, tag it if it is whole, else pass it through."""
        rule, head = it.admission.rule, answer.head
        objection = storing.find_objection(rule, it.request, head, it.began_at)
        streams_through = storing.streams_through(rule, head)
        if objection is not None or streams_through:
            await self._let_go(it, head, objection)
        if (objection is not None and head.status != 200) or streams_through:
            return _pass_through(answer, it.why, objection or "")
        with self._content_store.held.begin() as hold:
            whole = await collect(answer.content, storing.maximum_bytes(rule), hold)
            if not isinstance(whole, bytes):
                await self._let_go(it, head, None)
                self._counts["memory-full"] += hold.is_full
                return _pass_through(Response(head, whole), it.why, "memory-full" if hold.is_full else "")
            return await self._take_whole(it, head, whole, objection, hold)

    async def _take_whole(
        self, it: Fetch, head: ResponseHead, whole: bytes, objection: str | None, hold: Hold
    ) -> Response | Refused:
        """Take a new answer that is complete; `hold` is the memory of its content if that is long."""
        rule = it.admission.rule
        if content_coding.is_decodable(head.fields):
            coding, encoded = content_coding.find_coding(head.fields), whole
            plain = await self._content_store.decode(coding, encoded, storing.maximum_bytes(rule))
            if plain is None:
                await self._let_go(it, head, storing.BROKEN_CODING)
                return _pass_through(Response(head, encoded), it.why, storing.BROKEN_CODING)
            head, whole = ResponseHead(head.status, content_coding.build_decoded_fields(head.fields)), plain
        hold.grow(len(whole))
        before = it.stored.head if it.stored is not None else None
        make = functools.partial(storing.make_head, it.admission, it.request, head, whole, it.began_at, before)
        made = await asyncio.to_thread(make) if len(whole) > LONG_BYTES else make()
        stored = await self._store(it, made, head, whole, is_new=True) if objection is None else None
        status = it.cache_status(stored, objection=objection or "")
        export = build_export(made, passes_cache_control=objection is not None or it.cache.passes_cache_control)
        return await self._reply(it, export, whole, head, status, is_stored=stored == "stored", hold=hold)

    async def _freshen(self, it: Fetch, stored: StoredHead, content: bytes, answer: ResponseHead) -> Response | Refused:
        """Return the stored answer, which is still good, updated with the fields of the 304 (RFC 9111 4.3.4)."""
        rule = it.admission.rule
        response = storing.freshened(stored, answer, it.began_at)
        made = storing.freshen_head(it.admission, it.request, stored, response, it.began_at)
        objection = storing.find_objection(rule, it.request, response, it.began_at)
        is_now = await self._store(it, made, response, content, is_new=False) if objection is None else None
        status = it.cache_status(is_now, 304)
        export = build_export(made, passes_cache_control=it.cache.passes_cache_control)
        return await self._reply(it, export, content, answer, status, is_stored=is_now == "stored")

    async def _reply(
        self,
        it: Fetch,
        export: Export,
        content: bytes,
        answer: ResponseHead,
        status: bytes,
        *,
        is_stored: bool,
        hold: Hold | None = None,
    ) -> Response | Refused:
        """Return what was fetched in the coding that the client prefers.

        Waiting requests do not wait for the encoding.
        """
        if it.shaped is not None and not holds_for_origin(it.request.fields, export.head):
            return Refused(Reason.PRECONDITION_FAILED, it.admission.rule, it.admission.facts)
        reuse = Reuse(export, is_unmodified=is_unmodified(it.request.fields, export.head))
        if reuse.is_unmodified:
            return cache_reuse.build_fetched(it.request, reuse, b"", answer, status)
        coding = cache_reuse.choose_coding(it.request, reuse, self._content_store.offered)
        is_part = field_value(it.request.fields, b"range") is not None
        name = it.name if is_stored else None
        opened = await self._content_store.open(name, export.head, coding, content, is_part=is_part, spare=hold)
        if opened is None:
            raise ValueError("content that is at hand is never gone")
        return opened.build(
            lambda sent, coding: cache_reuse.build_fetched(it.request, reuse, sent, answer, status, coding)
        )

    async def _let_go(self, it: Fetch, head: ResponseHead, objection: str | None) -> None:
        """Let the waiting requests ask by themselves, and remove the stored response that this answer supersedes."""
        has_failed = cache_reuse.is_failure(head.status)
        if it.leader is not None:
            self._fetches.end(it.leader, Bypass(has_failed))
        is_overtaken = head.status < 500 and objection not in storing.OF_ONE_REQUEST
        if it.stored is not None and it.name is not None and is_overtaken:
            await self._exports.remove(it.name, keys.variant_of(it.stored.head))

    async def _store(
        self, it: Fetch, made: StoredHead, head: ResponseHead, content: bytes, *, is_new: bool
    ) -> Stored | None:
        """Store an answer, and share it with the waiting requests even if Redis did not store it.

        Return None without a name.
        """
        rule = it.admission.rule
        if it.name is None:
            return None
        raw = encode_head(made)
        is_of_use = made.fresh_until > it.began_at  # for waiting requests; otherwise each has to ask by itself
        who = keys.entitlement(it.cache, it.admission.facts.record)
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
                leader=it.leader if is_of_use else None,
                document=it.shaped.name if it.shaped is not None else "",
            )
        )
        if it.leader is not None:
            shared = Shared((), it.began_at) if outcome == "outdated" else Shared((raw,), it.began_at, content)
            self._fetches.end(it.leader, shared if is_of_use else Bypass())
        return outcome


def _pass_through(answer: Response, why: str, detail: str = "") -> Response:
    """Return an answer as it arrives, with Cache-Status if `why` is given."""
    fields = build_response_fields(answer.head)
    if why:
        fields.append((b"cache-status", cache_reuse.build_cache_status_forwarded(why, is_stored=False, detail=detail)))
    return Response(ResponseHead(answer.head.status, fields), answer.content)

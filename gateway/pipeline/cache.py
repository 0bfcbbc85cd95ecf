"""Answer an authorised request from the cache, or have it fetched. Read exchange.py first, and fetch.py after this.

Order: plan with what the admission brought; reuse a stored response in the coding that the client prefers (fetch.py);
else one request of all workers asks the backend, and the others wait for what it stores; if the backend fails, a stale
response may answer.
"""

import asyncio
import functools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import msgspec

from gateway.adapters.ports import Fetches, Heads
from gateway.adapters.redis import keys as redis_keys
from gateway.adapters.streams import PIECE_BYTES, close_unread
from gateway.core.admission.decision import Authorized, Refused
from gateway.core.cache import keys
from gateway.core.cache import reuse as cache_reuse
from gateway.core.cache.backend_fields import read_selection
from gateway.core.cache.fetch import Bypass, Fetch, FetchRole, Leader, Shared
from gateway.core.cache.model import Export, decode_export
from gateway.core.cache.reuse import Forward, Reuse, Unsatisfiable, plan_answer
from gateway.core.errors import MemoryFull, UpstreamError
from gateway.core.http.messages import RequestHead, Response, ResponseHead, field_value, without_fields
from gateway.core.http.reasons import Reason
from gateway.core.policies.model import CacheRule, Policy, Rule
from gateway.pipeline.fetch import ContentStore, UpstreamFetcher

MAXIMUM_ROUNDS = 2
"""How often a request waits for another one's fetch: once more if that fetch brought another variant."""

logger = logging.getLogger(__name__)


class ExportCache:
    """The cache in front of the backends. `counts` counts for metrics how answers came about.

    Its keys are words: hit, stale, stood-in or collapsed for what the cache answered; those of RFC 9211 2.2 for what
    the backend was asked for; and failures, such as store-refused.
    """

    def __init__(
        self,
        content_store: ContentStore,
        fetcher: UpstreamFetcher,
        fetches: Fetches,
        counts: Counter[str],
        heads: Heads | None = None,
    ) -> None:
        self.counts = counts
        self._heads = heads
        self._content_store = content_store
        self._fetcher = fetcher
        self._fetches = fetches
        self._refreshing: dict[str, asyncio.Task[None]] = {}

    async def respond(
        self, request: RequestHead, content: AsyncIterator[bytes] | None, admission: Authorized
    ) -> Response | Refused:
        """Return the response to an authorised request. Raise UpstreamError if the backend gives none."""
        if self._heads is not None:
            admission = await self._bring_heads(admission, self._heads)
        rule, facts = admission.rule, admission.facts
        now = facts.stored_now
        plan = plan_answer(admission, request, _decode(rule, facts.stored_heads), now)
        if isinstance(plan, Reuse):
            if plan.detail == cache_reuse.REFRESHING:
                self._refresh_behind(request, admission, plan.export)
            reused = await self._reuse(request, admission, plan, now)
            if reused is not None:
                self.counts["stale" if plan.detail else "hit"] += 1
                return reused
            plan = Forward("uri-miss", may_wait=True)
        if isinstance(plan, Unsatisfiable):
            return Refused(Reason.NOT_STORED, rule, facts)
        if self._fetcher.is_in_loop(request, rule.policy):  # before a request waits for one that waits for it
            return Refused(Reason.LOOP_DETECTED, rule, facts)
        if request.method == "HEAD" and rule.cache is not None and not request.upgrade:
            return await self._answer_as_get(request, admission)
        if rule.variants is not None and (request.method != "GET" or request.upgrade):
            return await self._answer_as_get(request, admission)
        self.counts[plan.why] += 1
        if rule.cache is None or request.method != "GET" or request.upgrade:
            return await self._fetcher.forward(request, content, admission, plan.why)
        return await self._retrieve(request, admission, rule.cache, plan)

    async def _bring_heads(self, admission: Authorized, heads: Heads) -> Authorized:
        """Return the admission with what the exports' own Redis has stored, and that Redis' time."""
        name = export_name(admission)
        if name is None:
            return admission
        now, found = await heads.find(name)
        facts = msgspec.structs.replace(admission.facts, stored_heads=found, exports_at=now)
        return msgspec.structs.replace(admission, facts=facts)

    async def _answer_as_get(self, request: RequestHead, admission: Authorized) -> Response | Refused:
        """Answer HEAD, or a request for a variant that asks for another protocol, as GET would be answered.

        Tag, length and the other fields are those of the stored response (RFC 9110 9.3.2), if there is one.
        """
        fields = without_fields(request.fields, frozenset({b"range"}))
        whole = msgspec.structs.replace(request, method="GET", fields=fields, upgrade=b"")
        answer = await self.respond(whole, None, admission)
        if request.method != "HEAD" or isinstance(answer, Refused):
            return answer
        await close_unread(answer.content)
        return msgspec.structs.replace(answer, content=b"")

    async def invalidate(self, request: RequestHead, policy: Policy, head: ResponseHead) -> None:
        """Invalidate what a write's answer from elsewhere has made wrong: see UpstreamFetcher.invalidate."""
        await self._fetcher.invalidate(request, policy, head)

    async def close(self) -> None:
        """Cancel the background revalidations."""
        tasks = list(self._refreshing.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _reuse(
        self, request: RequestHead, admission: Authorized, reuse: Reuse, now: int, content: bytes | None = None
    ) -> Response | None:
        """Return the stored answer, or None if its content is gone.

        `content` is the plain content if it is already at hand.
        """
        if reuse.is_unmodified:
            return cache_reuse.build_reused(request, reuse, b"", now)
        head, coding = reuse.export.head, cache_reuse.choose_coding(request, reuse, self._content_store.offered)
        if not cache_reuse.needs_content(request, reuse):  # nothing is encoded for a HEAD; it may be already
            encoded = self._content_store.recall(export_name(admission) or "", head.digest, coding) if coding else b""
            return cache_reuse.build_reused(request, reuse, encoded, now, coding)
        name = export_name(admission)
        if head.length > PIECE_BYTES:
            is_part = field_value(request.fields, b"range") is not None
            opened = await self._content_store.open(name, head, coding, content, is_part=is_part)
            if opened is None:
                return None
            return opened.build(lambda found, coding: cache_reuse.build_reused(request, reuse, found, now, coding))
        if content is not None:
            content = await self._content_store.encode(name, head, coding, content)
        else:
            content = self._content_store.recall(name or "", head.digest, coding)
            if content is None:
                content = await self._content_store.read(name, head, coding)
        return None if content is None else cache_reuse.build_reused(request, reuse, content, now, coding)

    async def _stand_in(self, request: RequestHead, admission: Authorized, plan: Forward) -> Response | None:
        """Return the stale answer that may be used while the backend fails, or None."""
        now = admission.facts.stored_now
        reuse = cache_reuse.plan_stand_in(request, plan, now)
        response = await self._reuse(request, admission, reuse, now) if reuse else None
        self.counts["stood-in"] += response is not None
        return response

    async def _retrieve(
        self, request: RequestHead, admission: Authorized, cache: CacheRule, plan: Forward
    ) -> Response | Refused:
        """Return the backend's answer to this or to another request for the same, or the stale answer in its place."""
        try:
            answer = await self._wait_or_fetch(request, admission, cache, plan)
        except UpstreamError as error:
            stand_in = await self._stand_in(request, admission, plan)
            if stand_in is None:
                raise
            return msgspec.structs.replace(stand_in, upstream_error=error.cause)
        if isinstance(answer, Response) and cache_reuse.is_failure(answer.head.status):
            stand_in = await self._stand_in(request, admission, plan)
            if stand_in is not None:
                await close_unread(answer.content)
                return stand_in
        return answer

    async def _wait_or_fetch(
        self, request: RequestHead, admission: Authorized, cache: CacheRule, plan: Forward
    ) -> Response | Refused:
        name = export_name(admission)
        role = await self._wait(request, admission, name, plan.why) if plan.may_wait and name is not None else Bypass()
        if isinstance(role, Response):
            return role
        if isinstance(role, Bypass) and role.has_failed:
            stand_in = await self._stand_in(request, admission, plan)
            if stand_in is not None:
                return stand_in
        leader = role if isinstance(role, Leader) else None
        return await self._fetcher.fetch(Fetch(request, admission, cache, name, plan.why, plan.stored, leader))

    async def _wait(
        self, request: RequestHead, admission: Authorized, name: str, why: str
    ) -> Response | Leader | Bypass:
        """Return the answer that another request's fetch has brought, or else the role of this request."""
        rule, heads = admission.rule, admission.facts.stored_heads
        for _ in range(MAXIMUM_ROUNDS):
            role = await self._take_role(request, admission, name, heads)
            if not isinstance(role, Shared):
                return role
            heads = tuple(role.heads)
            again = plan_answer(admission, request, _decode(rule, heads), role.now)
            if isinstance(again, Reuse):
                collapsed = msgspec.structs.replace(again, collapsed=why)
                shared = await self._reuse(request, admission, collapsed, role.now, role.content)
                if shared is not None:
                    self.counts["collapsed"] += 1
                    return shared
            if heads and not (isinstance(again, Forward) and again.why == "vary-miss"):
                break  # else try again: it was another variant, or a purge came first
        return Bypass()

    async def _take_role(
        self, request: RequestHead, admission: Authorized, name: str, heads: Sequence[bytes]
    ) -> FetchRole:
        rule = admission.rule

        def suffices(stored: Sequence[bytes], now: int) -> bool:
            found = plan_answer(admission, request, _decode(rule, stored), now)
            return isinstance(found, Reuse) and found.detail != cache_reuse.REFRESHING

        varying = {field for export in _decode(rule, heads) for field, _ in export.head.varying}
        selection = keys.selection_key(read_selection(sorted(varying), request, admission))
        return await self._fetches.begin(name, selection, suffices)

    def _refresh_behind(self, request: RequestHead, admission: Authorized, export: Export) -> None:
        """Revalidate in the background (stale-while-revalidate, RFC 5861 3), one request at a time."""
        name, cache = export_name(admission), admission.rule.cache
        if name is None or cache is None or name in self._refreshing:
            return
        whole = msgspec.structs.replace(request, method="GET", inform=None)
        fetch = Fetch(whole, admission, cache, name, "stale", export, None)
        self._refreshing[name] = asyncio.create_task(self._refresh(fetch, name))

    async def _refresh(self, fetch: Fetch, name: str) -> None:
        admission = fetch.admission
        try:
            role = await self._take_role(fetch.request, admission, name, admission.facts.stored_heads)
            if isinstance(role, Leader):
                answer = await self._fetcher.fetch(msgspec.structs.replace(fetch, leader=role))
                if isinstance(answer, Response):
                    await close_unread(answer.content)
        except (UpstreamError, MemoryFull) as error:
            logger.warning("request %s: a stale export could not be refreshed: %s", fetch.request.id, error)
        except Exception:
            logger.exception("request %s: background revalidation failed", fetch.request.id)
        finally:
            del self._refreshing[name]


def _decode(rule: Rule, heads: Sequence[bytes]) -> list[Export]:
    if rule.cache is None or not heads:
        return []
    passes = rule.cache.passes_cache_control
    return [export for raw in heads if (export := decode_export(raw, passes_cache_control=passes)) is not None]


def stored_export(request: RequestHead, admission: Authorized) -> Export | None:
    """Return what is stored for the request, as the admission found it, or None."""
    return cache_reuse.select_export(_decode(admission.rule, admission.facts.stored_heads), request, admission)


def export_name(admission: Authorized) -> str | None:
    """Return the name under which the admission script looked for the export, or None if it has none."""
    cache, key = admission.rule.cache, admission.facts.request.export_key
    who = keys.entitlement(cache, admission.facts.record) if cache and key else ""
    return _name(cache.shared_by, who, key) if cache and who else None


_name = functools.lru_cache(maxsize=1024)(redis_keys.export)
"""The same exports are asked for again and again."""

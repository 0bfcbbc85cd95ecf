"""What a stored answer may be used for (RFC 9111 4).

Rule 1: a request has been authorised before this is asked; what is stored was stored for its entitlement.
Rule 2: the first of `USES` that holds says how a stored answer is used; without one the backend is asked.
"""

import functools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from gateway.core.caching.entries import Export, StoredHead, current_age, matches
from gateway.core.caching.keys import is_cacheable
from gateway.core.caching.preconditions import FOR_ORIGINS, is_unmodified
from gateway.core.caching.told import told
from gateway.core.fields import MAXIMUM_DELTA_SECONDS, parse_cache_control, parse_delta_seconds
from gateway.core.messages import Fields, RequestHead
from gateway.core.outcomes import Authorized

_DEMANDING = FOR_ORIGINS | {b"cache-control", b"pragma"}


class Demands(msgspec.Struct, frozen=True):
    """What a request asks of caches (RFC 9111 5.2.1). Seconds; None where it says nothing."""

    must_validate: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    min_fresh: int = 0
    max_stale: int = 0


class Reuse(msgspec.Struct, frozen=True):
    """A stored answer satisfies the request."""

    export: Export
    detail: str = ""
    """Why it is used although it is stale; empty for a fresh one."""
    is_unmodified: bool = False
    """Whether the client has it already: 304 (Not Modified)."""
    collapsed: str = ""
    """Why the backend was asked, where that was for another request while this one waited."""


class Forward(msgspec.Struct, frozen=True):
    """The backend has to be asked; `why` is a word of RFC 9211 2.2, and empty where no cache is involved."""

    why: str
    stored: Export | None = None
    """What the backend may be asked about, and what stands in for it while it fails."""
    may_wait: bool = False
    """Whether the answer to another request of the same kind, fetched meanwhile, will do."""


class Unsatisfiable(msgspec.Struct, frozen=True):
    """The request wants nothing but a stored answer, and there is none for it (RFC 9111 5.2.1.7)."""


AnswerPlan: TypeAlias = Reuse | Forward | Unsatisfiable


def _is_fresh(head: StoredHead, demands: Demands, now: int) -> bool:
    is_young = demands.max_age is None or current_age(head, now) <= demands.max_age
    return is_young and now + demands.min_fresh * 1000 < head.fresh_until


def _may_refresh_behind(head: StoredHead, demands: Demands, now: int) -> bool:
    return now < head.refresh_until and demands.max_age is None and not demands.min_fresh


def _may_be_stale(head: StoredHead, demands: Demands, now: int) -> bool:
    if not (demands.max_stale and head.may_be_stale) or demands.min_fresh:
        return False
    is_young = demands.max_age is None or current_age(head, now) <= demands.max_age
    return is_young and now < head.fresh_until + demands.max_stale * 1000


REFRESHING = "stale-while-revalidate"
STANDING_IN = "stale-if-error"
FAILURES = frozenset({500, 502, 503, 504})
"""The errors of RFC 5861 4. Who answers 501 or 505 has understood the request, and will never answer otherwise."""
USES: tuple[tuple[str, Callable[[StoredHead, Demands, int], bool]], ...] = (
    ("", _is_fresh),  # RFC 9111 4.2, 5.2.1.1, 5.2.1.3
    (REFRESHING, _may_refresh_behind),  # RFC 5861 3
    ("max-stale", _may_be_stale),  # RFC 9111 4.2.4, 5.2.1.2
)


def plan_answer(admission: Authorized, request: RequestHead, exports: Sequence[Export], now: int) -> AnswerPlan:
    """How to answer an authorised request, given the variants stored for its key."""
    rule = admission.rule
    if rule.cache is None:
        return Forward("")
    if not is_cacheable(rule, request):
        return Forward("method")
    demands = read_demands(request.fields)
    export = select_export(exports, request, admission)
    if export is not None and not demands.must_validate:
        for detail, holds in USES:
            if holds(export.head, demands, now):
                return Reuse(export, detail, is_unmodified(request.fields, export.head))
    if demands.only_if_cached:
        return Unsatisfiable()
    may_wait = request.method == "GET" and not demands.must_validate
    if export is None:
        return Forward("vary-miss" if exports else "uri-miss", may_wait=may_wait)
    if demands.must_validate or now < export.head.fresh_until:
        return Forward("request", export)
    return Forward("stale", export, may_wait)


def plan_stand_in(request: RequestHead, forward: Forward, now: int) -> Reuse | None:
    """What answers while the backend fails (RFC 5861 4); nothing does where the client asked for validation."""
    export = forward.stored
    if export is None or forward.why != "stale" or now >= export.head.stand_in_until:
        return None
    return Reuse(export, STANDING_IN, is_unmodified(request.fields, export.head))


def is_failure(status: int) -> bool:
    """Whether a stale answer may stand in for a backend's answer with this status (RFC 5861 4)."""
    return status in FAILURES


def select_export(exports: Sequence[Export], request: RequestHead, admission: Authorized) -> Export | None:
    """The variant that the request selects, the newest of several (RFC 9111 4.1)."""
    if len(exports) == 1 and not exports[0].head.varying:
        return exports[0]
    fields = told({name for export in exports for name, _ in export.head.varying}, request, admission)
    found = [export for export in exports if matches(export.head, fields)]
    return max(found, key=lambda export: export.head.stored_at, default=None)


def read_demands(fields: Fields) -> Demands:
    """What the request asks of caches; Pragma counts where there is no Cache-Control (RFC 9111 5.4).

    A condition that only the origin can evaluate asks for the origin.
    """
    lines = tuple([field for field in fields if field[0] in _DEMANDING])
    return _parse_demands(lines) if lines else NO_DEMANDS


NO_DEMANDS = Demands()


@functools.lru_cache(maxsize=256)
def _parse_demands(lines: tuple[tuple[bytes, bytes], ...]) -> Demands:
    values = [value for name, value in lines if name == b"cache-control"]
    is_for_origin = any(name in FOR_ORIGINS for name, _ in lines)
    if not values:
        pragma = parse_cache_control(value for name, value in lines if name == b"pragma")
        return Demands(must_validate=is_for_origin or "no-cache" in pragma)
    directives = parse_cache_control(values)
    max_stale = directives.get("max-stale", "0")
    max_age = parse_delta_seconds(directives.get("max-age"))
    return Demands(
        must_validate=is_for_origin or max_age == 0 or not directives.keys().isdisjoint(("no-cache", "no-store")),
        only_if_cached="only-if-cached" in directives,
        max_age=max_age,
        min_fresh=parse_delta_seconds(directives.get("min-fresh")) or 0,
        max_stale=MAXIMUM_DELTA_SECONDS if max_stale is None else parse_delta_seconds(max_stale) or 0,
    )

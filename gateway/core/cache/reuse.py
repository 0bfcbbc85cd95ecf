"""The uses of a stored answer (RFC 9111 4).

Rule 1: a request has been authorised before this is called; what is stored was stored for its entitlement.
Rule 2: the first of `USES` that holds says how a stored answer is used; without one the backend is asked.

This includes conditional and range requests (RFC 9110 13 and 14, RFC 9111 4.3.2), and the answers made from what is
stored, or was just fetched whole: 200, 206, 304, 416, with Age and Cache-Status.
"""

import base64
import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from gateway.core.admission.decision import Authorized
from gateway.core.cache.backend_fields import backend_fields
from gateway.core.cache.keys import is_cacheable
from gateway.core.cache.model import Export, StoredHead, matches
from gateway.core.http.content_coding import build_encoded_fields, choose_encoding
from gateway.core.http.etags import matches_weakly
from gateway.core.http.fields import (
    MAXIMUM_DELTA_SECONDS,
    parse_age,
    parse_cache_control,
    parse_delta_seconds,
    parse_entity_tags,
    parse_http_date,
    parse_preferences,
    parse_range,
)
from gateway.core.http.messages import (
    Field,
    Fields,
    RequestHead,
    Response,
    ResponseHead,
    StoredStream,
    field_value,
    field_values,
    without_fields,
)

FOR_ORIGINS = frozenset({b"if-match", b"if-unmodified-since"})
"""Conditions that do not apply to a cache (RFC 9111 4.3.2): the backend evaluates them, by its own tags and dates."""
STRONG_DATE_SECONDS = 60
"""Seconds by which a Last-Modified must precede the Date to name one representation (RFC 9110 8.8.2.2)."""
_CONDITIONS = frozenset({b"if-none-match", b"if-modified-since"})


class Part(msgspec.Struct, frozen=True):
    """Bytes `first` to `last`, inclusive, of the content; if `last` is before `first`, the range is unsatisfiable."""

    first: int
    last: int


def is_unmodified(fields: Fields, head: StoredHead) -> bool:
    """Return whether the client has the stored answer: by If-None-Match, else by If-Modified-Since."""
    conditions = [field for field in fields if field[0] in _CONDITIONS]
    if not conditions or not 200 <= head.status < 300:
        return False
    tags = [value for name, value in conditions if name == b"if-none-match"]
    if tags:
        return matches_weakly(tags, head.tag)
    since = parse_http_date(conditions[0][1]) if len(conditions) == 1 else None
    return since is not None and head.modified_at is not None and head.modified_at <= since


def holds_for_origin(fields: Fields, head: StoredHead) -> bool:
    """Return whether If-Match, or without it If-Unmodified-Since, holds for our own answer (RFC 9110 13.2.2).

    The comparison is strong (13.1.1): a weak tag never matches. A date counts only if the answer has a modification
    date (13.1.4).
    """
    tags = field_values(fields, b"if-match")
    if tags:
        known = parse_entity_tags(tags) or []
        return known == [b"*"] or (head.tag in known and not head.tag.startswith(b"W/"))
    since = parse_http_date(field_value(fields, b"if-unmodified-since") or b"")
    modified = parse_http_date(field_value(head.fields, b"last-modified") or b"")
    return since is None or modified is None or modified <= since


def find_part(request: RequestHead, head: StoredHead) -> Part | None:
    """Return the one part that the request asks for, or None if the whole content answers it (RFC 9110 14.2)."""
    ranges = field_values(request.fields, b"range")
    if not ranges or request.method != "GET" or head.status != 200 or not _holds_if_range(request.fields, head):
        return None
    asked = parse_range(ranges)
    if asked is None:
        return None  # several parts, another unit, or none: the whole is always right
    first, last = asked
    if first is None:
        return Part(max(0, head.length - (last or 0)), head.length - 1) if last else Part(head.length, head.length - 1)
    return Part(first, head.length - 1 if last is None else min(last, head.length - 1))


def _holds_if_range(fields: Fields, head: StoredHead) -> bool:
    """Return whether If-Range is absent or names the stored answer, by strong comparison (RFC 9110 13.1.5)."""
    condition = field_value(fields, b"if-range")
    if condition is None:
        return True
    if condition.endswith(b'"'):
        return condition == head.tag and not condition.startswith(b"W/")
    modified = field_value(head.fields, b"last-modified")
    at, dated = parse_http_date(condition), parse_http_date(field_value(head.fields, b"date") or b"")
    return condition == modified and at is not None and dated is not None and dated - at >= STRONG_DATE_SECONDS


_DEMANDING = FOR_ORIGINS | {b"cache-control", b"pragma"}


class Demands(msgspec.Struct, frozen=True):
    """The request's directives for caches (RFC 9111 5.2.1), in seconds; None if there is none."""

    must_validate: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    min_fresh: int = 0
    max_stale: int = 0


class Reuse(msgspec.Struct, frozen=True):
    """A stored answer satisfies the request."""

    export: Export
    detail: str = ""
    """Why it is used although it is stale; empty for a fresh answer."""
    is_unmodified: bool = False
    """Whether the client has it already: 304 (Not Modified)."""
    collapsed: str = ""
    """Why the backend was asked for another request while this one waited; empty if it did not wait."""


class Forward(msgspec.Struct, frozen=True):
    """The backend must be asked; `why` is a word of RFC 9211 2.2, and empty if no cache is involved."""

    why: str
    stored: Export | None = None
    """The stored answer to validate, which may also answer if the backend fails."""
    may_wait: bool = False
    """Whether the answer to another request of the same kind, fetched meanwhile, is acceptable."""


class Unsatisfiable(msgspec.Struct, frozen=True):
    """The request accepts only a stored answer, and there is none for it (RFC 9111 5.2.1.7)."""


AnswerPlan: TypeAlias = Reuse | Forward | Unsatisfiable


def current_age(head: StoredHead, now: int) -> int:
    """Return the age in seconds (RFC 9111 4.2.3)."""
    return head.initial_age + max(0, now - head.stored_at) // 1000


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
"""The errors of RFC 5861 4.

A backend that answers 501 or 505 has understood the request, and will not change its answer.
"""
USES: tuple[tuple[str, Callable[[StoredHead, Demands, int], bool]], ...] = (
    ("", _is_fresh),  # RFC 9111 4.2, 5.2.1.1, 5.2.1.3
    (REFRESHING, _may_refresh_behind),  # RFC 5861 3
    ("max-stale", _may_be_stale),  # RFC 9111 4.2.4, 5.2.1.2
)


def plan_answer(admission: Authorized, request: RequestHead, exports: Sequence[Export], now: int) -> AnswerPlan:
    """Return how to answer an authorised request, given the variants stored for its key."""
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
    """Return the stale answer to use if the backend fails (RFC 5861 4), or None, also if validation was demanded."""
    export = forward.stored
    if export is None or forward.why != "stale" or now >= export.head.stand_in_until:
        return None
    return Reuse(export, STANDING_IN, is_unmodified(request.fields, export.head))


def is_failure(status: int) -> bool:
    """Return whether a stale answer may replace a backend's answer with this status (RFC 5861 4)."""
    return status in FAILURES


def select_export(exports: Sequence[Export], request: RequestHead, admission: Authorized) -> Export | None:
    """Return the variant that the request selects, the newest of several (RFC 9111 4.1), or None."""
    if len(exports) == 1 and not exports[0].head.varying:
        return exports[0]
    fields = backend_fields({name for export in exports for name, _ in export.head.varying}, request, admission)
    found = [export for export in exports if matches(export.head, fields)]
    return max(found, key=lambda export: export.head.stored_at, default=None)


def read_demands(fields: Fields) -> Demands:
    """Return the request's demands on caches; Pragma counts if there is no Cache-Control (RFC 9111 5.4).

    A condition that only the origin can evaluate demands validation.
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


_LENGTH = frozenset({b"content-length"})
_ASKING = frozenset({b"range", b"want-repr-digest"})


def needs_content(request: RequestHead, reuse: Reuse) -> bool:
    """Return whether the answer has content; an empty export is never looked up."""
    return not (reuse.is_unmodified or request.method == "HEAD" or reuse.export.head.length == 0)


def choose_coding(request: RequestHead, reuse: Reuse, offered: tuple[bytes, ...]) -> bytes:
    """Return the content coding in which the client gets the answer, of those `offered`; empty for the stored form."""
    if not reuse.export.is_encodable or reuse.is_unmodified:
        return b""
    return choose_encoding(request.fields, offered) or b""


def build_reused(
    request: RequestHead, reuse: Reuse, content: bytes | StoredStream | None, now: int, coding: bytes = b""
) -> Response:
    """Build the stored answer with its age, also on a 304.

    A client that freshens its copy by a 304 needs the age (RFC 9111 4, 5.1). `content` is already encoded if there is a
    `coding`, and empty if `needs_content` says so; it is None for a HEAD whose encoded length is unknown.
    """
    head = reuse.export.head
    own = [(b"age", b"%d" % current_age(head, now)), (b"cache-status", build_cache_status_hit(reuse, now))]
    if reuse.is_unmodified:
        return Response(ResponseHead(304, [*reuse.export.not_modified_fields, *own]), b"")
    return _build_whole_or_part(request, reuse.export, content, own, coding)


def build_fetched(
    request: RequestHead,
    reuse: Reuse,
    content: bytes | StoredStream,
    answer: ResponseHead,
    cache_status: bytes,
    coding: bytes = b"",
) -> Response:
    """Build an answer that was just fetched whole: as much as the client asked for and does not have yet.

    Age stays if `answer`, the backend's own head, has one: then it comes from a cache before the backend.
    """
    age = parse_age(field_values(answer.fields, b"age"))
    own = [*([] if age is None else [(b"age", b"%d" % age)]), (b"cache-status", cache_status)]
    if reuse.is_unmodified:
        return Response(ResponseHead(304, [*reuse.export.not_modified_fields, *own]), b"")
    return _build_whole_or_part(request, reuse.export, content, own, coding)


def build_cache_status_hit(reuse: Reuse, now: int) -> bytes:
    """Build Cache-Status (RFC 9211) for an answer from the cache; a stale one has its reason."""
    if reuse.collapsed:
        return f"gateway; fwd={reuse.collapsed}; collapsed".encode()
    ttl = (reuse.export.head.fresh_until - now) // 1000
    return b"gateway; hit; ttl=%d%b" % (ttl, f"; detail={reuse.detail}".encode() if reuse.detail else b"")


def build_cache_status_forwarded(why: str, *, is_stored: bool, status: int | None = None, detail: str = "") -> bytes:
    """Build Cache-Status for an answer of the backend; `status` is the backend's if it is not passed on."""
    told = "" if status is None else f"; fwd-status={status}"
    stored = "; stored" if is_stored else ""
    return f"gateway; fwd={why}{told}{stored}{f'; detail={detail}' if detail else ''}".encode()


def build_repr_digest(digest: bytes, fields: Fields, preferences: list[bytes]) -> list[Field]:
    """Build Repr-Digest for a client that wants it (RFC 9530 3, 4), unless the answer has it among its `fields`.

    `digest` is the SHA-256 of the representation that is sent, encoded or not, whatever part of it is sent.
    """
    if parse_preferences(preferences).get("sha-256", 0) < 1 or field_values(fields, b"repr-digest"):
        return []
    return [(b"repr-digest", b"sha-256=:" + base64.b64encode(digest) + b":")]


def _build_whole_or_part(
    request: RequestHead, export: Export, content: bytes | StoredStream | None, own: list[Field], coding: bytes
) -> Response:
    fields = _encoded_fields(export, coding, content) if coding else export.reply_fields
    if content is not None and [name for name, _ in request.fields if name in _ASKING]:
        digest = (
            export.head.digest if not coding else hashlib.sha256(content).digest() if type(content) is bytes else b""
        )
        if digest:  # it is unknown for encoded content that is not at hand, and optional (RFC 9530 4)
            own += build_repr_digest(digest, fields, field_values(request.fields, b"want-repr-digest"))
        part = None if coding else find_part(request, export.head)
        if part is not None:
            return _build_part(export, part, content, own)
    sent = b"" if content is None or request.method == "HEAD" else content
    return Response(ResponseHead(export.head.status, [*fields, *own]), sent)


def _encoded_fields(export: Export, coding: bytes, content: bytes | StoredStream | None) -> list[Field]:
    fields = build_encoded_fields(export.reply_fields, coding, len(content or b""))
    return without_fields(fields, _LENGTH) if content is None else fields


def _build_part(export: Export, part: Part, content: bytes | StoredStream, own: list[Field]) -> Response:
    """Build a 206 (Partial Content), or a 416 (Range Not Satisfiable) with the length (RFC 9110 15.3.7, 15.5.17)."""
    length = export.head.length
    fields = [*without_fields(export.reply_fields, _LENGTH), *own]
    if part.last < part.first:
        own_range, status = b"bytes */%d" % length, 416
        piece: bytes | StoredStream = b""
    else:
        own_range, status = b"bytes %d-%d/%d" % (part.first, part.last, length), 206
        piece = content[part.first : part.last + 1]
    fields += [(b"content-range", own_range), (b"content-length", b"%d" % len(piece))]
    return Response(ResponseHead(status, fields), piece)

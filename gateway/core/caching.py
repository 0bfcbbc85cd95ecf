"""What a stored export may be used for, as a shared cache (RFC 9111). Times are milliseconds by Redis' clock."""

from typing import TypeAlias

import msgspec

from gateway.core.etags import matches_weakly
from gateway.core.exports import Export, StoredHead, is_cacheable
from gateway.core.fields import parse_cache_control
from gateway.core.messages import (
    Fields,
    RequestHead,
    Response,
    ResponseHead,
    field_values,
)
from gateway.core.policies.rules import Rule

CONDITIONAL_FIELDS = frozenset(
    {b"if-none-match", b"if-modified-since", b"if-match", b"if-unmodified-since", b"if-range", b"range"}
)
"""Not passed on where the answer is to be stored: the gateway wants all of it. It answers If-None-Match itself; the
others it may ignore on a GET whose answer has a weak tag or none (RFC 9110 13.1, 14.2)."""


FAILURES = frozenset({500, 502, 503, 504})
"""Statuses of a backend that an export may stand in for (RFC 5861 4)."""


class NotModified(msgspec.Struct, frozen=True):
    """The client has it already."""

    export: Export


class Reuse(msgspec.Struct, frozen=True):
    """The stored answer satisfies the request."""

    export: Export


class Forward(msgspec.Struct, frozen=True):
    """The backend has to be asked; `why` is a word of RFC 9211 2.2, and empty where no cache is involved."""

    why: str
    fallback: Export | None = None
    """What stands in while the backend fails."""


AnswerPlan: TypeAlias = NotModified | Reuse | Forward


def plan_answer(rule: Rule, head: RequestHead, export: Export | None, now: int) -> AnswerPlan:
    """How to answer an authorised request (RFC 9111 4)."""
    if rule.cache is None:
        return Forward("")
    if not is_cacheable(rule, head):
        return Forward("method")
    if export is None:
        return Forward("uri-miss")
    asked = field_values(head.fields, b"cache-control")
    if asked and "no-cache" in parse_cache_control(asked):
        return Forward("request")
    if any(tuple(field_values(head.fields, name)) != values for name, values in export.head.varying):
        return Forward("vary-miss")
    if now >= export.head.fresh_until:
        may_stand_in = now < export.head.fresh_until + rule.cache.stale_if_error_seconds * 1000
        return Forward("stale", export if may_stand_in else None)
    return NotModified(export) if is_unmodified(head.fields, export.head.tag) else Reuse(export)


def is_unmodified(fields: Fields, tag: bytes) -> bool:
    """Whether the request's If-None-Match, if it has one, names `tag`."""
    values = field_values(fields, b"if-none-match")
    return bool(values) and matches_weakly(values, tag)


def build_not_modified(export: Export, now: int) -> Response:
    """304 (Not Modified) in the place of the export, fresh or stale."""
    fields = [*export.not_modified_fields, (b"cache-status", build_cache_status_hit(export.head, now))]
    return Response(ResponseHead(304, fields), b"")


def build_reused(export: Export, content: bytes, now: int) -> Response:
    """The export with its age, fresh or stale; `content` is empty in answer to HEAD."""
    age = b"%d" % current_age(export.head, now)
    fields = [*export.reply_fields, (b"age", age), (b"cache-status", build_cache_status_hit(export.head, now))]
    return Response(ResponseHead(200, fields), content)


def current_age(head: StoredHead, now: int) -> int:
    """Age in seconds (RFC 9111 4.2.3)."""
    return head.initial_age + max(0, now - head.stored_at) // 1000


def build_cache_status_hit(head: StoredHead, now: int) -> bytes:
    """Cache-Status (RFC 9211) of an answer from the cache; a stale one says why it is there."""
    is_fresh = now < head.fresh_until
    return b"gateway; hit; ttl=%d%b" % (
        (head.fresh_until - now) // 1000,
        b"" if is_fresh else b"; detail=stale-if-error",
    )


def build_cache_status_forwarded(why: str, *, is_stored: bool) -> bytes:
    """Cache-Status of an answer that the backend was asked for."""
    return f"gateway; fwd={why}{'; stored' if is_stored else ''}".encode()

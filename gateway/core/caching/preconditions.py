"""Conditional and range requests, answered from what is stored (RFC 9110 13 and 14, RFC 9111 4.3.2)."""

import msgspec

from gateway.core.caching.entries import StoredHead
from gateway.core.etags import matches_weakly
from gateway.core.fields import parse_entity_tags, parse_http_date, parse_range
from gateway.core.messages import Fields, RequestHead, field_value, field_values

FOR_ORIGINS = frozenset({b"if-match", b"if-unmodified-since"})
"""Not applicable to a cache (RFC 9111 4.3.2): the backend evaluates them, by its own tags and dates."""
STRONG_DATE_SECONDS = 60
"""A Last-Modified this much before the Date names one representation (RFC 9110 8.8.2.2)."""
_CONDITIONS = frozenset({b"if-none-match", b"if-modified-since"})


class Part(msgspec.Struct, frozen=True):
    """Bytes `first` to `last`, inclusive, of the content; none can be satisfied where `last` is before `first`."""

    first: int
    last: int


def is_unmodified(fields: Fields, head: StoredHead) -> bool:
    """Whether the client has what is stored: by If-None-Match, and only without that by If-Modified-Since."""
    conditions = [field for field in fields if field[0] in _CONDITIONS]
    if not conditions or not 200 <= head.status < 300:
        return False
    tags = [value for name, value in conditions if name == b"if-none-match"]
    if tags:
        return matches_weakly(tags, head.tag)
    since = parse_http_date(conditions[0][1]) if len(conditions) == 1 else None
    return since is not None and head.modified_at is not None and head.modified_at <= since


def holds_for_origin(fields: Fields, head: StoredHead) -> bool:
    """Whether If-Match, or without that If-Unmodified-Since, holds for what is ours to give (RFC 9110 13.2.2).

    By strong comparison (13.1.1), for which a weak tag is never the same. A date counts only where the answer has one
    of its modification (13.1.4).
    """
    tags = field_values(fields, b"if-match")
    if tags:
        known = parse_entity_tags(tags) or []
        return known == [b"*"] or (head.tag in known and not head.tag.startswith(b"W/"))
    since = parse_http_date(field_value(fields, b"if-unmodified-since") or b"")
    modified = parse_http_date(field_value(head.fields, b"last-modified") or b"")
    return since is None or modified is None or modified <= since


def find_part(request: RequestHead, head: StoredHead) -> Part | None:
    """The one part that the request asks for; None where the whole answers it (RFC 9110 14.2)."""
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
    """Whether If-Range, if it is there, names what is stored, by strong comparison (RFC 9110 13.1.5)."""
    condition = field_value(fields, b"if-range")
    if condition is None:
        return True
    if condition.endswith(b'"'):
        return condition == head.tag and not condition.startswith(b"W/")
    modified = field_value(head.fields, b"last-modified")
    at, dated = parse_http_date(condition), parse_http_date(field_value(head.fields, b"date") or b"")
    return condition == modified and at is not None and dated is not None and dated - at >= STRONG_DATE_SECONDS

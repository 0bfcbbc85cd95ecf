"""Answers made from what is stored, or has just been fetched whole: 200, 206, 304, 416, with Age and Cache-Status."""

import base64

from gateway.core.caching.entries import Export, StoredHead, current_age
from gateway.core.caching.preconditions import Part, find_part, is_unmodified
from gateway.core.caching.reusing import Reuse
from gateway.core.fields import parse_preferences
from gateway.core.messages import Field, RequestHead, Response, ResponseHead, field_values, without_fields

_LENGTH = frozenset({b"content-length"})
_ASKING = frozenset({b"range", b"want-repr-digest"})


def needs_content(request: RequestHead, reuse: Reuse) -> bool:
    """Whether the answer has content; an export of none is never looked for."""
    return not (reuse.is_unmodified or request.method == "HEAD" or reuse.export.head.length == 0)


def build_reused(request: RequestHead, reuse: Reuse, content: bytes, now: int) -> Response:
    """The stored answer with its age, a 304 too: who freshens by it must know how old it is (RFC 9111 4, 5.1).

    `content` is empty where `needs_content` says so.
    """
    head = reuse.export.head
    own = [(b"age", b"%d" % current_age(head, now)), (b"cache-status", build_cache_status_hit(reuse, now))]
    if reuse.is_unmodified:
        return Response(ResponseHead(304, [*reuse.export.not_modified_fields, *own]), b"")
    return _build_whole_or_part(request, reuse.export, content, own)


def build_fetched(
    request: RequestHead, export: Export, content: bytes, answer: ResponseHead, cache_status: bytes
) -> Response:
    """An answer that the backend has just given, all of it: as much as the client asked for and has not got.

    Age stays where `answer`, the backend's own head, has it: then it comes from a cache before the backend.
    """
    own = [*(field for field in answer.fields if field[0] == b"age"), (b"cache-status", cache_status)]
    if is_unmodified(request.fields, export.head):
        return Response(ResponseHead(304, [*export.not_modified_fields, *own]), b"")
    return _build_whole_or_part(request, export, content, own)


def build_cache_status_hit(reuse: Reuse, now: int) -> bytes:
    """Cache-Status (RFC 9211) of an answer from the cache; a stale one says why it is there."""
    if reuse.collapsed:
        return f"gateway; fwd={reuse.collapsed}; collapsed".encode()
    ttl = (reuse.export.head.fresh_until - now) // 1000
    return b"gateway; hit; ttl=%d%b" % (ttl, f"; detail={reuse.detail}".encode() if reuse.detail else b"")


def build_cache_status_forwarded(why: str, *, is_stored: bool, status: int | None = None) -> bytes:
    """Cache-Status of an answer that the backend was asked for; `status` is what it said where that is not told."""
    told = "" if status is None else f"; fwd-status={status}"
    return f"gateway; fwd={why}{told}{'; stored' if is_stored else ''}".encode()


def build_repr_digest(head: StoredHead, fields: list[bytes]) -> list[Field]:
    """Repr-Digest for who wants one (RFC 9530 3, 4): of the stored representation, whatever part of it is sent."""
    if parse_preferences(fields).get("sha-256", 0) < 1 or field_values(head.fields, b"repr-digest"):
        return []
    return [(b"repr-digest", b"sha-256=:" + base64.b64encode(head.digest) + b":")]


def _build_whole_or_part(request: RequestHead, export: Export, content: bytes, own: list[Field]) -> Response:
    if [name for name, _ in request.fields if name in _ASKING]:
        own += build_repr_digest(export.head, field_values(request.fields, b"want-repr-digest"))
        part = find_part(request, export.head)
        if part is not None:
            return _build_part(export, part, content, own)
    fields = [*export.reply_fields, *own]
    return Response(ResponseHead(export.head.status, fields), b"" if request.method == "HEAD" else content)


def _build_part(export: Export, part: Part, content: bytes, own: list[Field]) -> Response:
    """206 (Partial Content), or 416 (Range Not Satisfiable) with the length there is (RFC 9110 15.3.7, 15.5.17)."""
    length = export.head.length
    fields = [*without_fields(export.reply_fields, _LENGTH), *own]
    if part.last < part.first:
        own_range, status, piece = b"bytes */%d" % length, 416, b""
    else:
        own_range, status = b"bytes %d-%d/%d" % (part.first, part.last, length), 206
        piece = content[part.first : part.last + 1]
    fields += [(b"content-range", own_range), (b"content-length", b"%d" % len(piece))]
    return Response(ResponseHead(status, fields), piece)

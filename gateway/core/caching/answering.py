"""Answers made from what is stored, or has just been fetched whole: 200, 206, 304, 416, with Age and Cache-Status."""

import base64
import hashlib

from gateway.core.caching.entries import Export, current_age
from gateway.core.caching.preconditions import Part, find_part
from gateway.core.caching.reusing import Reuse
from gateway.core.encodings import build_encoded_fields, choose_encoding
from gateway.core.fields import parse_age, parse_preferences
from gateway.core.messages import (
    Field,
    Fields,
    RequestHead,
    Response,
    ResponseHead,
    StoredStream,
    field_values,
    without_fields,
)

_LENGTH = frozenset({b"content-length"})
_ASKING = frozenset({b"range", b"want-repr-digest"})


def needs_content(request: RequestHead, reuse: Reuse) -> bool:
    """Whether the answer has content; an export of none is never looked for."""
    return not (reuse.is_unmodified or request.method == "HEAD" or reuse.export.head.length == 0)


def choose_coding(request: RequestHead, reuse: Reuse, offered: tuple[bytes, ...]) -> bytes:
    """The content coding in which the client gets the answer, of those `offered`; empty: as it is stored."""
    if not reuse.export.is_encodable or reuse.is_unmodified:
        return b""
    return choose_encoding(request.fields, offered) or b""


def build_reused(
    request: RequestHead, reuse: Reuse, content: bytes | StoredStream | None, now: int, coding: bytes = b""
) -> Response:
    """The stored answer with its age, a 304 too: who freshens by it must know how old it is (RFC 9111 4, 5.1).

    `content` is encoded already where there is a `coding`, and empty where `needs_content` says so; None for a HEAD of
    which nobody knows how long it would be encoded.
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
    """An answer that the backend has just given, all of it: as much as the client asked for and has not got.

    Age stays where `answer`, the backend's own head, has one: then it comes from a cache before the backend.
    """
    age = parse_age(field_values(answer.fields, b"age"))
    own = [*([] if age is None else [(b"age", b"%d" % age)]), (b"cache-status", cache_status)]
    if reuse.is_unmodified:
        return Response(ResponseHead(304, [*reuse.export.not_modified_fields, *own]), b"")
    return _build_whole_or_part(request, reuse.export, content, own, coding)


def build_cache_status_hit(reuse: Reuse, now: int) -> bytes:
    """Cache-Status (RFC 9211) of an answer from the cache; a stale one says why it is there."""
    if reuse.collapsed:
        return f"gateway; fwd={reuse.collapsed}; collapsed".encode()
    ttl = (reuse.export.head.fresh_until - now) // 1000
    return b"gateway; hit; ttl=%d%b" % (ttl, f"; detail={reuse.detail}".encode() if reuse.detail else b"")


def build_cache_status_forwarded(why: str, *, is_stored: bool, status: int | None = None, detail: str = "") -> bytes:
    """Cache-Status of an answer that the backend was asked for; `status` is what it said where that is not told."""
    told = "" if status is None else f"; fwd-status={status}"
    stored = "; stored" if is_stored else ""
    return f"gateway; fwd={why}{told}{stored}{f'; detail={detail}' if detail else ''}".encode()


def build_repr_digest(digest: bytes, fields: Fields, wanted: list[bytes]) -> list[Field]:
    """Repr-Digest for who wants one (RFC 9530 3, 4), unless the answer has it among its `fields`.

    `digest` is the SHA-256 of the representation that is sent, encoded or not, whatever part of it is sent.
    """
    if parse_preferences(wanted).get("sha-256", 0) < 1 or field_values(fields, b"repr-digest"):
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
        if digest:  # of encoded content that is not at hand it is not known, and need not be told (RFC 9530 4)
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
    """206 (Partial Content), or 416 (Range Not Satisfiable) with the length there is (RFC 9110 15.3.7, 15.5.17)."""
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

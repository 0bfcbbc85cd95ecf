"""The stored form of an answer: its head, which comes with the admission, and beside it its content.

Everything that a hit needs is computed when the answer is stored, or once in each worker: an `Export` is cached by the
bytes of its head.
"""

import functools
import hashlib
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from gateway.core.http.content_coding import add_vary_by_encoding, is_encodable
from gateway.core.http.messages import Field, Fields, without_fields
from gateway.core.upstream.client_fields import FOLDED
from gateway.core.upstream.forwarding import PSEUDONYM

CLIENT_CACHE_CONTROL = (b"cache-control", b"private, no-cache")
"""Caches between us and the client may store an answer, but must validate each use: so revocation stays immediate."""

NOT_MODIFIED_FIELDS = frozenset({b"content-location", b"date", b"etag", b"vary", b"expires", b"cache-control"})
"""The fields of a 304 that are those of the 200 it stands for (RFC 9110 15.4.5)."""

NOT_REPEATED = frozenset({b"gateway-cache-control", b"gateway-source-etag"})
"""Fields for this gateway alone (RFC 9213 2.2), which are stored: an answer after a 304 needs them again."""
FOR_OTHER_CACHES = frozenset({b"cdn-cache-control"})
"""Fields that a CDN between us and the client would obey instead of CLIENT_CACHE_CONTROL (RFC 9213 3).

They are sent only if that field is not.
"""

SECRET_FIELDS = frozenset({b"authorization", b"proxy-authorization", b"cookie"})
"""Fields whose values are never written to Redis: if a backend varies by one, variants differ by its digest."""

MARK_LENGTH = 13
"""Digits of the storing time that a head begins with: the storing script finds the oldest by it."""


Selection: TypeAlias = tuple[tuple[bytes, bytes | None], ...]
"""Names of fields and a request's value of each, normalised; None if the field is absent."""


class StoredHead(msgspec.Struct, frozen=True, array_like=True):
    """The head of a stored answer. Its content is stored beside it, under `digest`."""

    status: int
    stored_at: int
    """When its fetch began: what happened since counts as age."""
    fresh_until: int
    refresh_until: int
    """Until this time it is used while it is revalidated in the background (stale-while-revalidate, RFC 5861 3)."""
    stand_in_until: int
    """Until when it is used if the backend fails (stale-if-error, RFC 5861 4)."""
    may_be_stale: bool
    """Whether a client's max-stale may get it: the backend has not forbidden it (RFC 9111 4.2.4)."""
    initial_age: int
    """Seconds, at `stored_at` (RFC 9111 4.2.3)."""
    tag: bytes
    """Entity tag; empty if no request can be answered 304 by it."""
    modified_at: int | None
    """Unix seconds, for If-Modified-Since (RFC 9111 4.3.2); None if that cannot be answered."""
    digest: bytes
    """SHA-256 of the content."""
    length: int
    """Bytes of content."""
    validators: tuple[Field, ...]
    """The validators with which the backend is asked if the answer is still good (RFC 9111 4.3.1)."""
    varying: Selection
    """The values that the request for it had in the fields that Vary names (RFC 9111 4.1)."""
    fields: tuple[Field, ...]


class Export(msgspec.Struct, frozen=True):
    """A stored head with the fields that every answer made from it repeats."""

    head: StoredHead
    reply_fields: tuple[Field, ...]
    not_modified_fields: tuple[Field, ...]
    is_encodable: bool
    """Whether clients may get it in a content coding: it gains by it, and its tag is weak, the same for all codings."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(StoredHead)


def encode_head(head: StoredHead) -> bytes:
    """Encode a head as the digits of its storing time, then MessagePack."""
    return b"%0*d" % (MARK_LENGTH, head.stored_at) + _encoder.encode(head)


@functools.lru_cache(maxsize=4096)
def decode_export(raw: bytes, *, passes_cache_control: bool) -> Export | None:
    """Decode the export of a head, or return None if it cannot be read. The result is cached by the head's bytes."""
    try:
        return build_export(_decoder.decode(raw[MARK_LENGTH:]), passes_cache_control=passes_cache_control)
    except msgspec.DecodeError:
        return None  # written by another version of the gateway: it counts as absent


def build_export(head: StoredHead, *, passes_cache_control: bool = False) -> Export:
    """Build the export of a head with the backend's Cache-Control, or the one that keeps revocation immediate."""
    replaced = [(b"etag", head.tag)] if head.tag else []
    removed = NOT_REPEATED
    if not passes_cache_control:
        replaced.append(CLIENT_CACHE_CONTROL)
        removed |= FOR_OTHER_CACHES
    fields = without_fields(head.fields, removed.union(name for name, _ in replaced))
    encodes = head.tag.startswith(b"W/") and is_encodable(head.status, head.fields, head.length)
    if encodes:
        fields = add_vary_by_encoding(fields)
    reply_fields = (*fields, *replaced, (b"via", b"1.1 " + PSEUDONYM))
    not_modified_fields = tuple(field for field in reply_fields if field[0] in NOT_MODIFIED_FIELDS)
    return Export(head, reply_fields, not_modified_fields, encodes)


def select(names: Iterable[bytes], fields: Fields) -> Selection:
    """Return a request's values of the named fields."""
    return tuple([(name, _normalise(name, _lines(name, fields))) for name in names])


def matches(head: StoredHead, fields: Fields) -> bool:
    """Return whether a request with `fields` selects this variant (RFC 9111 4.1)."""
    return all(_normalise(name, _lines(name, fields)) == value for name, value in head.varying)


def _lines(name: bytes, fields: Fields) -> tuple[bytes, ...]:
    """Return the values of a field, and those of its other spellings with their names after a line break.

    Some backends read `Accept_Language` as Accept-Language and others do not, so their answers differ. No value has a
    line break.
    """
    fold, folded = FOLDED.__getitem__, FOLDED[name]
    found = [(field, value) for field, value in fields if fold(field) == folded]
    return tuple([value if field == name else b"\n%b:%b" % (field, value) for field, value in found]) if found else ()


@functools.lru_cache(maxsize=1024)
def _normalise(name: bytes, values: tuple[bytes, ...]) -> bytes | None:
    """Return a field's value in a form that is equal for equivalent values (RFC 9111 4.1).

    Lines are joined and white space around commas is dropped. Language ranges have no case; their order means something
    to many backends.
    """
    if not values:
        return None
    joined = b", ".join(values)
    if name in SECRET_FIELDS:
        return hashlib.sha256(joined).digest()
    parts = [joined] if b'"' in joined else [part.strip(b" \t") for part in joined.split(b",")]
    return b",".join(part.lower() for part in parts) if name == b"accept-language" else b",".join(parts)

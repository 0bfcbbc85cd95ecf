"""What is kept of an answer: its head, which comes with the admission, and beside it its content.

All that a hit needs is worked out when the answer is stored, or once in each worker: an `Export` is remembered by the
bytes of the head it was made from.
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
"""Caches between us and the client may keep an answer, but must ask for each use: so revocation stays immediate."""

NOT_MODIFIED_FIELDS = frozenset({b"content-location", b"date", b"etag", b"vary", b"expires", b"cache-control"})
"""What a 304 carries of the 200 it stands for (RFC 9110 15.4.5)."""

NOT_REPEATED = frozenset({b"gateway-cache-control", b"gateway-source-etag"})
"""For us alone (RFC 9213 2.2), and kept: what a 304 does not change counts on."""
FOR_OTHER_CACHES = frozenset({b"cdn-cache-control"})
"""What a CDN between us and the client would go by in the place of CLIENT_CACHE_CONTROL (RFC 9213 3): it goes on only
where that is not said."""

SECRET_FIELDS = frozenset({b"authorization", b"proxy-authorization", b"cookie"})
"""Where a backend varies by one of these, variants are told apart by its digest: it is not written to Redis."""

MARK_LENGTH = 13
"""A head begins with the time it was stored, in digits: the storing script finds the oldest by it."""


Selection: TypeAlias = tuple[tuple[bytes, bytes | None], ...]
"""Names of fields and what a request says of each, normalised; None where the field is absent."""


class StoredHead(msgspec.Struct, frozen=True, array_like=True):
    """The head of a stored answer. Its content is stored beside it, under `digest`."""

    status: int
    stored_at: int
    """When the fetch of it began: what happened since counts as age."""
    fresh_until: int
    refresh_until: int
    """Until when it is used while the backend is asked in the background (stale-while-revalidate, RFC 5861 3)."""
    stand_in_until: int
    """Until when it stands in while the backend fails (stale-if-error, RFC 5861 4)."""
    may_be_stale: bool
    """Whether a client's max-stale may have it: the backend has not forbidden it (RFC 9111 4.2.4)."""
    initial_age: int
    """Seconds, at `stored_at` (RFC 9111 4.2.3)."""
    tag: bytes
    """Entity tag; empty where a request cannot be answered 304 by one."""
    modified_at: int | None
    """Unix seconds, for If-Modified-Since (RFC 9111 4.3.2); None where that cannot be answered."""
    digest: bytes
    """SHA-256 of the content."""
    length: int
    """Bytes of content."""
    validators: tuple[Field, ...]
    """What the backend is asked with whether the answer is still good (RFC 9111 4.3.1)."""
    varying: Selection
    """What the request for it said of the fields that Vary names (RFC 9111 4.1)."""
    fields: tuple[Field, ...]


class Export(msgspec.Struct, frozen=True):
    """A stored head with what every answer made from it repeats."""

    head: StoredHead
    reply_fields: tuple[Field, ...]
    not_modified_fields: tuple[Field, ...]
    is_encodable: bool
    """Whether clients may get it in a content coding: it gains by it, and its tag is weak, the same for all of them."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(StoredHead)


def encode_head(head: StoredHead) -> bytes:
    """The time it was stored in digits, then MessagePack."""
    return b"%0*d" % (MARK_LENGTH, head.stored_at) + _encoder.encode(head)


@functools.lru_cache(maxsize=4096)
def decode_export(raw: bytes, *, passes_cache_control: bool) -> Export | None:
    """The export whose head `raw` holds, None where it cannot be read; remembered, so a new head is decoded anew."""
    try:
        return build_export(_decoder.decode(raw[MARK_LENGTH:]), passes_cache_control=passes_cache_control)
    except msgspec.DecodeError:
        return None  # written by another version of the gateway: as good as not there


def build_export(head: StoredHead, *, passes_cache_control: bool = False) -> Export:
    """The export of a head; the client gets the backend's Cache-Control, or what keeps revocation immediate."""
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
    """What a request says of the fields named."""
    return tuple([(name, _normalise(name, _lines(name, fields))) for name in names])


def matches(head: StoredHead, fields: Fields) -> bool:
    """Whether a request with `fields` selects this variant (RFC 9111 4.1)."""
    return all(_normalise(name, _lines(name, fields)) == value for name, value in head.varying)


def _lines(name: bytes, fields: Fields) -> tuple[bytes, ...]:
    """The values of a field; those in another spelling with their names, behind a line break, which no value has.

    Some backends take `Accept_Language` for Accept-Language and others do not: neither's answer is the other's.
    """
    fold, folded = FOLDED.__getitem__, FOLDED[name]
    found = [(field, value) for field, value in fields if fold(field) == folded]
    return tuple([value if field == name else b"\n%b:%b" % (field, value) for field, value in found]) if found else ()


@functools.lru_cache(maxsize=1024)
def _normalise(name: bytes, values: tuple[bytes, ...]) -> bytes | None:
    """A field's value, the same for values that mean the same (RFC 9111 4.1).

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

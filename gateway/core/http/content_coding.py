"""Content codings (RFC 9110 8.4.1): what is worth encoding, which coding a client gets, and the head that goes with it.

Rule: a client whose Accept-Encoding is malformed gets plain content. Codings are named as in the fields, in lower-case
bytes.
"""

import functools
import re

from gateway.core.http.etags import weaken
from gateway.core.http.fields import EVENT_STREAM, parse_cache_control, parse_list, parse_media_type
from gateway.core.http.messages import Field, Fields, field_value, field_values, without_fields

IDENTITY = b"identity"
"""The coding of plain content (RFC 9110 12.5.3). It is never a value of Content-Encoding."""
KNOWN = frozenset({b"br", b"gzip", b"zstd"})
"""The codings of adapters/encodings."""
ALIASES = {b"x-gzip": b"gzip"}
"""The other names of codings (RFC 9110 8.4.1.3)."""

MINIMUM_BYTES = 512
"""The least content that is encoded; smaller content fits into one packet with its head either way."""
ENCODABLE_SUBTYPES = frozenset(
    {
        b"graphql",
        b"javascript",
        b"json",
        b"jsonl",
        b"sql",
        b"toml",
        b"wasm",
        b"x-javascript",
        b"x-ndjson",
        b"x-yaml",
        b"xml",
        b"yaml",
    }
)
"""Subtypes of application/* that are encoded, beside text/* and the suffixes ENCODABLE_SUFFIXES.

All others count as compressed already, as images, archives, fonts and office documents are: encoding them again costs
time and gains nothing.
"""
ENCODABLE_SUFFIXES = (b"+json", b"+xml", b"+yaml")
"""Structured syntax suffixes (RFC 6838 4.2.8); image/svg+xml is one."""

OF_IDENTITY_ONLY = frozenset(
    {b"accept-ranges", b"content-digest", b"content-length", b"content-md5", b"digest", b"repr-digest"}
)
"""Fields about the plain bytes. Digests are of the encoded bytes (RFC 9530 2, 3), ranges too (RFC 9110 14.2)."""

MAXIMUM_LENGTH = 256
"""The longest Accept-Encoding that is read. Browsers send some 25 bytes."""
# codings [ weight ], RFC 9110 12.5.3; qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] ), 12.4.2
_PREFERENCE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:[ \t]*;[ \t]*[Qq]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?", re.ASCII
)


@functools.lru_cache(maxsize=1024)
def parse_accept_encoding(value: bytes) -> dict[bytes, int] | None:
    """Return each coding of Accept-Encoding (RFC 9110 12.5.3) with its weight in thousandths; None if it is malformed.

    If a coding is named twice, the first counts.
    """
    if len(value) > MAXIMUM_LENGTH:
        return None
    weights: dict[bytes, int] = {}
    for element in value.split(b","):
        part = element.strip(b" \t")
        match = _PREFERENCE.fullmatch(part)
        if match:
            coding = match[1].lower()
            weights.setdefault(ALIASES.get(coding, coding), 1000 if match[2] is None else round(float(match[2]) * 1000))
        elif part:
            return None
    return weights


def choose_encoding(request_fields: Fields, offered: tuple[bytes, ...]) -> bytes | None:
    """Return the coding in which the client gets encodable content, of those `offered`, or None for plain content.

    The client's weights count first, then the order of `offered`, the best first. A range request gets plain content,
    and so does one with no-transform (RFC 9111 5.2.1.6).
    """
    value = b""
    for name, part in request_fields:  # once for all three: this is on the way of every answer with content
        if name == b"accept-encoding":
            value = value + b"," + part if value else part
        elif name == b"range" or (name == b"cache-control" and b"no-transform" in part.lower()):
            return None
    return _choose(value, offered) if 0 < len(value) <= MAXIMUM_LENGTH else None


def is_encodable(status: int, response_fields: Fields, length: int) -> bool:
    """Return whether a response with `length` bytes of plain content may be sent encoded, and gains by it.

    If so, all its answers carry one weak tag, and Vary names Accept-Encoding, also on those that are not encoded.
    """
    media_type = parse_media_type(field_value(response_fields, b"content-type"))
    return (
        status == 200
        and length >= MINIMUM_BYTES
        and _is_compressible(media_type)
        and field_value(response_fields, b"content-encoding") is None
        and field_value(response_fields, b"content-range") is None
        and not _forbids_transforming(response_fields)
    )


def find_coding(fields: Fields) -> bytes:
    """Return the coding of the content (RFC 9110 8.4), empty for plain content. Several count as one unknown coding."""
    named = parse_list(field_values(fields, b"content-encoding"))
    return b", ".join(ALIASES.get(coding, coding) for coding in named if coding != IDENTITY)


def is_decodable(fields: Fields) -> bool:
    """Return whether the gateway decodes a response that the backend encoded although it was asked for plain content.

    It decodes text: otherwise all clients would get a coding that one of them may not accept (RFC 9110 12.5.3). An
    archive that is labelled as encoded is usually just an archive.
    """
    media_type = parse_media_type(field_value(fields, b"content-type"))
    return find_coding(fields) in KNOWN and _is_compressible(media_type) and not _forbids_transforming(fields)


def build_decoded_fields(fields: Fields) -> list[Field]:
    """Return the fields of a response whose content was decoded.

    A strong tag is weakened: it was of the encoded bytes.
    """
    kept = without_fields(fields, OF_IDENTITY_ONLY | {b"content-encoding"})
    return [(name, weaken(value) if name == b"etag" else value) for name, value in kept]


def build_encoded_fields(fields: Fields, coding: bytes, length: int) -> list[Field]:
    """Return the fields of a response whose content was encoded to `length` bytes; digests are left out."""
    return [
        *without_fields(fields, OF_IDENTITY_ONLY),
        (b"content-encoding", coding),
        (b"content-length", b"%d" % length),
    ]


def add_vary_by_encoding(fields: Fields) -> list[Field]:
    """Return the fields with Accept-Encoding in Vary (RFC 9110 12.5.5) once, and nothing else changed."""
    varying = parse_list(field_values(fields, b"vary"))
    if b"accept-encoding" in varying or b"*" in varying:
        return list(fields)
    if not varying:
        return [*without_fields(fields, frozenset({b"vary"})), (b"vary", b"Accept-Encoding")]
    last = max(index for index, (name, value) in enumerate(fields) if name == b"vary" and parse_list([value]))
    return [*fields[:last], (b"vary", fields[last][1] + b", Accept-Encoding"), *fields[last + 1 :]]


@functools.lru_cache(maxsize=1024)
def _choose(value: bytes, offered: tuple[bytes, ...]) -> bytes | None:
    weights = parse_accept_encoding(value)
    if weights is None:
        return None
    others = weights.get(b"*", 0)
    weight, coding = max(
        ((weights.get(coding, others), coding) for coding in offered),
        key=lambda choice: choice[0],  # of equal ones max takes the first
        default=(0, IDENTITY),
    )
    # Identity is acceptable without being named, but then as the last resort; named, it is weighed like the others.
    return coding if weight > 0 and weight >= weights.get(IDENTITY, 0) else None


def _is_compressible(media_type: bytes) -> bool:
    kind, _, subtype = media_type.partition(b"/")
    return (
        (kind == b"text" and media_type != EVENT_STREAM)
        or subtype.endswith(ENCODABLE_SUFFIXES)
        or (kind == b"application" and subtype in ENCODABLE_SUBTYPES)
    )


def _forbids_transforming(fields: Fields) -> bool:
    values = field_values(fields, b"cache-control")
    return bool(values) and "no-transform" in parse_cache_control(values)

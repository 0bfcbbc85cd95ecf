"""Heads on their way through: what is removed, what is added, in both directions.

Hop-by-hop fields are about one connection and never cross the gateway (RFC 9110 7.6.1); those that the Connection field
names are removed with them.
"""

import functools
from urllib.parse import quote

from gateway.core.addresses import believed_addresses
from gateway.core.fields import parse_list
from gateway.core.forwarded import build_forwarded
from gateway.core.messages import (
    Field,
    Fields,
    RequestHead,
    Response,
    ResponseHead,
    field_value,
    field_values,
    without_fields,
)
from gateway.core.policies.rules import Policy
from gateway.core.policies.upstream import FieldEdits, Rewrite
from gateway.core.records import TokenRecord
from gateway.core.targets import parse_path
from gateway.core.tokens import token_id
from gateway.core.tracing import PARENT_FIELD, STATE_FIELD, build_trace_fields

PSEUDONYM = b"gateway"
"""Our name in Via (RFC 9110 7.6.3) and Cache-Status (RFC 9211)."""

RESERVED_PREFIX = b"x-gateway-"
"""Fields that tell the backend who asks. One that a client sent is a forgery."""

IDENTITY_FIELDS = (
    b"x-gateway-token-id",
    b"x-gateway-token-name",
    b"x-gateway-project",
    b"x-gateway-owner",
    b"x-gateway-scopes",
)
ASSERTION_FIELD = b"x-gateway-assertion"
"""The same, signed (core/assertions.py)."""

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"content_length",  # CGI-style servers take it for Content-Length, which frames a connection's messages
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",  # not a standard, but sent: treated as Connection
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

SET_BY_GATEWAY = frozenset(
    {
        b"host",
        b"expect",  # 100 (Continue) has been sent by our server already
        b"forwarded",
        PARENT_FIELD,
        STATE_FIELD,
        b"max-forwards",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-request-id",
    }
)
"""What a client says of these is not passed on: it could not be told from what the gateway says.
So underscores count as hyphens here too."""

SET_FOR_CLIENTS = frozenset({b"cache-status", b"ratelimit", b"ratelimit-policy", b"via", b"x-request-id"})
"""The same towards clients, of what every answer or every export has."""


def is_reserved(name: bytes) -> bool:
    """Whether a field name is one of the identity fields, also as CGI-style servers would spell it."""
    return b"gateway" in name and name.replace(b"_", b"-").startswith(RESERVED_PREFIX)


def end_to_end_fields(fields: Fields) -> list[Field]:
    """The field lines without the hop-by-hop ones."""
    connection = field_values(fields, b"connection")
    if not connection:
        return without_fields(fields, HOP_BY_HOP)
    return without_fields(fields, HOP_BY_HOP.union(parse_list(connection)))


def build_request_fields(
    head: RequestHead, policy: Policy, record: TokenRecord | None, scopes: str, dropped: frozenset[bytes]
) -> list[Field]:
    """The field lines for the backend: the client's without the credential and `dropped`, then the gateway's own.

    `scopes` are the effective ones, of all sides that decide on them.
    """
    removed = _removed_fields(policy.credential_fields, dropped)
    host = field_value(head.fields, b"host") or b""
    hops = hops_left(head)
    return [
        *[field for field in end_to_end_fields(head.fields) if field[0].replace(b"_", b"-") not in removed],
        *(((b"max-forwards", b"%d" % (hops - 1)),) if hops else ()),
        (b"via", b"1.1 " + PSEUDONYM),
        (b"x-forwarded-for", head.forwarded_for.encode("latin-1")),
        (b"x-forwarded-host", host),
        (b"x-forwarded-proto", head.scheme.encode()),
        (b"x-request-id", head.id.encode()),
        *build_trace_fields(head, policy.upstream.new_trace),
        *(((b"forwarded", _build_forwarded(head, host)),) if policy.upstream.sends_forwarded else ()),
        *(build_identity_fields(record, scopes) if record else ()),
        *(((b"connection", b"upgrade"), (b"upgrade", head.upgrade)) if head.upgrade else ()),
    ]


def _build_forwarded(head: RequestHead, host: bytes) -> bytes:
    return build_forwarded(believed_addresses(head.forwarded_for, head.client), host.decode("latin-1"), head.scheme)


def hops_left(head: RequestHead) -> int | None:
    """How often an OPTIONS request may still be forwarded (RFC 9110 7.6.2); None: as often as it takes."""
    value = field_value(head.fields, b"max-forwards") if head.method == "OPTIONS" else None
    return int(value) if value is not None and value.isdigit() and len(value) < 10 else None


def build_last_hop() -> Response:
    """The answer to a request that may not be forwarded any more: ours, as the final recipient."""
    return Response(ResponseHead(204, [(b"cache-control", b"no-store")]), b"")


@functools.lru_cache(maxsize=256)
def _removed_fields(credentials: frozenset[bytes], dropped: frozenset[bytes]) -> frozenset[bytes]:
    return SET_BY_GATEWAY | HOP_BY_HOP | credentials | dropped


def build_response_fields(head: ResponseHead) -> list[Field]:
    """A backend's field lines for the client, without a length where the status has no content (RFC 9110 8.6)."""
    fields = end_to_end_fields(head.fields)
    if head.status < 200 or head.status in (204, 304):
        fields = without_fields(fields, frozenset({b"content-length"}))
    return [*fields, (b"via", b"1.1 " + PSEUDONYM)]


def build_identity_fields(record: TokenRecord, scopes: str) -> list[Field]:
    """Who asks. A value that is not printable ASCII is percent-encoded as UTF-8; empty values are left out."""
    return list(_build_identity_fields(record.digest, record.name, record.project, record.owner, scopes))


@functools.lru_cache(maxsize=4096)
def _build_identity_fields(digest: str, *others: str) -> tuple[Field, ...]:
    values = (token_id(digest), *others)
    return tuple((name, _field_text(value)) for name, value in zip(IDENTITY_FIELDS, values, strict=True) if value)


def _field_text(value: str) -> bytes:
    if value.isascii() and value.isprintable() and "%" not in value:
        return value.encode()
    return quote(value, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~").encode()


def edit_fields(fields: Fields, edits: FieldEdits) -> list[Field]:
    """The field lines as the policy has them changed."""
    return [*without_fields(fields, edits.removed), *edits.added]


def rewrite_target(target: str, rewrite: Rewrite) -> str:
    """A request target with another beginning, where its path begins with the one that is to be replaced.

    Segments are compared as rules see them, decoded, so that no other spelling gets around; what follows them is kept
    byte for byte.
    """
    path, mark, query = target.partition("?")
    count = len(rewrite.segments)
    segments = parse_path(path)
    if segments is None or segments[:count] != rewrite.segments:
        return target
    rest = path.split("/")[count + 1 :]
    return (
        "/".join((rewrite.replacement, *rest)) + mark + query if rest else (rewrite.replacement or "/") + mark + query
    )

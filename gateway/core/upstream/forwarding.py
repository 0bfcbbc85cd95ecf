"""The heads that pass through the gateway: which fields are removed and added, in both directions.

client_fields.py decides which fields of a client pass. Hop-by-hop fields are about one connection and never cross the
gateway (RFC 9110 7.6.1); those that the Connection field names are removed with them.

A Principal is who asks, as an app's handlers know it: it is read from the fields that any backend gets.
"""

import functools
from collections.abc import Collection
from urllib.parse import quote, unquote

import msgspec

from gateway.core.http.client_address import believed_addresses, build_forwarded
from gateway.core.http.fields import parse_list
from gateway.core.http.messages import (
    Field,
    Fields,
    RequestHead,
    Response,
    ResponseHead,
    field_value,
    field_values,
    without_fields,
)
from gateway.core.http.targets import parse_path
from gateway.core.http.tracing import build_trace_fields
from gateway.core.policies.model import CLIENT_HOST, TARGET_HOST, FieldEdits, Policy, Rewrite
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import token_id
from gateway.core.upstream.client_fields import (
    FOLDED,
    HOP_BY_HOP,
    IDENTITY_FIELDS,
    ByName,
    fold,
    fold_all,
    is_identity,
    never_passes,
)

PSEUDONYM = b"gateway"
"""The gateway's name in Via (RFC 9110 7.6.3) and Cache-Status (RFC 9211)."""

SET_FOR_CLIENTS = frozenset({b"cache-status", b"ratelimit", b"ratelimit-policy", b"via", b"x-request-id"})
"""Fields that the gateway sets for clients, on every answer or every export."""


NOBODY: tuple[Field, ...] = tuple((name, b"") for name in IDENTITY_FIELDS)
"""The identity fields of a request under a public rule."""

_NO_OPTIONS = frozenset[bytes]()
_FOLDED_HOP_BY_HOP = fold_all(HOP_BY_HOP)


def _is_kept_from_clients(name: bytes) -> bool:
    """Return whether a backend's field is about its connection, or claims who asks, which only the gateway says."""
    folded = fold(name)
    is_length = folded == b"contentlength" and name != b"content-length"
    return folded in _FOLDED_HOP_BY_HOP or is_length or is_identity(name)


_KEPT_FROM_CLIENTS = ByName(_is_kept_from_clients)


def end_to_end_fields(fields: Fields) -> list[Field]:
    """Return the fields of a backend's answer for clients, without those of its connection and of who asks."""
    return _remove(fields, _KEPT_FROM_CLIENTS)


def _remove(fields: Fields, removed: ByName[bool]) -> list[Field]:
    """Return the field lines without those that are removed by name, and those that Connection names."""
    options, kept = _connection_options(fields), [field for field in fields if not removed[field[0]]]
    return without_fields(kept, options) if options else kept


def _connection_options(fields: Fields) -> frozenset[bytes]:
    connection = field_values(fields, b"connection")
    return frozenset(parse_list(connection)) if connection else _NO_OPTIONS


def build_request_fields(
    head: RequestHead, policy: Policy, record: TokenRecord | None, scopes: str, dropped: frozenset[bytes]
) -> list[Field]:
    """Return the field lines for the backend: the client's that may pass, then the gateway's own.

    The credential never passes, nor do the fields in `dropped`. `scopes` are the effective ones. There is no Host if
    the policy leaves it to the target.
    """
    passed = _remove(head.fields, removed_fields(policy, dropped))
    authority, hops = head.authority.encode("ascii"), hops_left(head)
    upstream = policy.upstream
    return [
        *(() if upstream.host == TARGET_HOST else ((b"host", _build_host(upstream.host, authority)),)),
        *passed,
        *(((b"max-forwards", b"%d" % (hops - 1)),) if hops else ()),
        (b"via", b"1.1 " + PSEUDONYM),
        (b"x-forwarded-for", head.forwarded_for.encode("latin-1")),
        (b"x-forwarded-host", authority),
        (b"x-forwarded-proto", head.scheme.encode()),
        (b"x-request-id", head.id.encode()),
        *build_trace_fields(head, upstream.new_trace),
        *(((b"forwarded", _build_forwarded(head)),) if upstream.sends_forwarded else ()),
        *build_identity_fields(record, scopes),
        *(((b"connection", b"upgrade"), (b"upgrade", head.upgrade)) if head.upgrade else ()),
    ]


def _build_host(host: str, authority: bytes) -> bytes:
    return authority if host == CLIENT_HOST else host.encode("ascii")


def removed_fields(policy: Policy, dropped: frozenset[bytes]) -> ByName[bool]:
    """Return a cached function of a client's field name: whether the field is kept from the policy's backend."""
    return _find_removed_fields(policy.credential_fields, policy.upstream.pass_fields, dropped)


@functools.lru_cache(maxsize=256)
def _find_removed_fields(
    credential_fields: frozenset[bytes], passed: frozenset[bytes], dropped: frozenset[bytes]
) -> ByName[bool]:
    removed = fold_all(credential_fields | dropped)
    return ByName(functools.partial(never_passes, removed=removed, passed=passed))


def passes_as_it_is(names: Collection[bytes], fields: Fields, policy: Policy, dropped: frozenset[bytes]) -> bool:
    """Return whether the backend gets exactly the client's values of the named fields."""
    removed, edits = removed_fields(policy, dropped), policy.upstream.request_edits
    for name in names:
        if removed[name] or (edits is not None and FOLDED[name] in edits.removed):
            return False
    options = _connection_options(fields)
    return not options or options.isdisjoint(names)


def _build_forwarded(head: RequestHead) -> bytes:
    return build_forwarded(believed_addresses(head.forwarded_for, head.client), head.authority, head.scheme)


def hops_left(head: RequestHead) -> int | None:
    """Return how often an OPTIONS request may still be forwarded (RFC 9110 7.6.2); None means without limit."""
    value = field_value(head.fields, b"max-forwards") if head.method == "OPTIONS" else None
    return int(value) if value is not None and value.isdigit() and len(value) < 10 else None


def build_last_hop() -> Response:
    """Build the answer to a request that may not be forwarded again: the gateway is its final recipient."""
    return Response(ResponseHead(204, [(b"cache-control", b"no-store")]), b"")


def build_response_fields(head: ResponseHead) -> list[Field]:
    """Return a backend's fields for the client, without a length if the status has no content (RFC 9110 8.6)."""
    fields = end_to_end_fields(head.fields)
    if head.status < 200 or head.status in (204, 304):
        fields = without_fields(fields, frozenset({b"content-length"}))
    return [*fields, (b"via", b"1.1 " + PSEUDONYM)]


def build_identity_fields(record: TokenRecord | None, scopes: str) -> tuple[Field, ...]:
    """Build all identity fields, including empty ones, so that a client's own are always replaced.

    A value that is not printable ASCII is percent-encoded as UTF-8.
    """
    if record is None:
        return NOBODY
    return _build_identity_fields(record.digest, record.name, record.project, record.owner, scopes)


@functools.lru_cache(maxsize=4096)
def _build_identity_fields(digest: str, *others: str) -> tuple[Field, ...]:
    values = (token_id(digest), *others)
    return tuple((name, _field_text(value)) for name, value in zip(IDENTITY_FIELDS, values, strict=True))


_SAFE = "!$&'()*+,:=@~"
"""The characters of pchar (RFC 3986 3.3) that a path may have unencoded; targets.py refuses a semicolon."""


def _field_text(value: str) -> bytes:
    if value.isascii() and value.isprintable() and "%" not in value:
        return value.encode()
    return quote(value, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~").encode()


def edit_fields(fields: Fields, edits: FieldEdits) -> list[Field]:
    """Return the field lines with the policy's edits: a field is removed in every spelling of its name."""
    return [*[field for field in fields if FOLDED[field[0]] not in edits.removed], *edits.added]


def rewrite_target(target: str, rewrite: Rewrite) -> str:
    """Return a request target with its prefix replaced, if its path begins with the prefix to rewrite.

    Segments are compared decoded, as rules see them, so that another spelling cannot avoid the rewrite; the rest is
    kept byte for byte.
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


def restore_path(path: str, rewrite: Rewrite, *, is_rewritten: bool) -> str | None:
    """Return the path that `rewrite_target` would turn into this one, or None if there is none.

    Two paths may lead to one, `/v1/x` itself and the one that is rewritten to it: `is_rewritten` selects the kind.
    """
    kept = path if rewrite_target(path, rewrite) == path else None
    if kept is not None and not is_rewritten:
        return kept
    rest = path.removeprefix(rewrite.replacement)
    if not path.startswith(rewrite.replacement) or (rest and not rest.startswith("/")):
        return kept
    prefix = "".join(f"/{quote(segment, safe=_SAFE)}" for segment in rewrite.segments)
    return f"{prefix}{rest}" or "/"


class Principal(msgspec.Struct, frozen=True):
    """The holder of a token, and what it may do. Missing texts are empty."""

    token_id: str
    token_name: str = ""
    project: str = ""
    owner: str = ""
    scopes: frozenset[str] = frozenset()
    """The effective scopes: those of the token, its owner, its parent and its plan."""


def parse_principal(fields: Fields) -> Principal | None:
    """Return the principal that the identity fields name, or None, as under a public rule."""
    identity, name, project, owner, scopes = (_text(field_value(fields, field)) for field in IDENTITY_FIELDS)
    return Principal(identity, name, project, owner, frozenset(scopes.split())) if identity else None


def _text(value: bytes | None) -> str:
    return unquote((value or b"").decode("ascii"))

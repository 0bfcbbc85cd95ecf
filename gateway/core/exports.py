"""Stored exports: what may be kept of an answer, under which key, and what every answer made from it repeats.

An export is shared by entitlement, never by token: the admission has authorised each request before it is used.
Times are milliseconds by Redis' clock, the same for every worker and node.
"""

import functools
import hashlib

import msgspec

from gateway.core.credentials import credential_fields
from gateway.core.etags import build_weak_tag
from gateway.core.fields import build_http_date, parse_cache_control, parse_delta_seconds, parse_list
from gateway.core.forwarding import end_to_end_fields, is_reserved
from gateway.core.messages import (
    Field,
    Fields,
    RequestHead,
    ResponseHead,
    field_value,
    field_values,
    without_fields,
)
from gateway.core.policies.rules import CacheRule, Rule
from gateway.core.records import TokenRecord
from gateway.core.tokens import token_id

MAXIMUM_EXPORT_BYTES = 8 * 1024 * 1024
"""Larger content streams through without being stored: a worker must be able to hold what it stores."""

CLIENT_CACHE_CONTROL = (b"cache-control", b"private, no-cache")
"""Caches between us and the client may keep an answer, but must ask for each use: so revocation stays immediate."""

NOT_MODIFIED_FIELDS = frozenset({b"content-location", b"date", b"etag", b"vary", b"expires", b"cache-control"})
"""What a 304 carries of the 200 it stands for (RFC 9110 15.4.5)."""

NEVER_STORED = frozenset(
    {
        b"age",
        b"cache-status",
        b"content-length",  # written anew, as the backend may have framed its content otherwise
        b"gateway-cache-control",
        b"ratelimit",
        b"ratelimit-policy",
        b"retry-after",
        b"www-authenticate",
        b"x-request-id",
    }
)
"""Fields about one answer or one client. Set-Cookie is not here: an answer that has it is not stored at all."""

_FORBIDDING = frozenset({"no-store", "private", "no-cache"})
_SHARING = frozenset({"public", "s-maxage", "must-revalidate"})


class StoredHead(msgspec.Struct, frozen=True, array_like=True):
    """The head of a stored 200 (OK). Its content is stored beside it."""

    stored_at: int
    fresh_until: int
    initial_age: int
    """Seconds the answer had been in other caches when it was stored (RFC 9111 4.2.3)."""
    tag: bytes
    varying: tuple[tuple[bytes, tuple[bytes, ...]], ...]
    """The fields that Vary named, with their values in the request that was stored (RFC 9111 4.1)."""
    fields: tuple[Field, ...]


class Export(msgspec.Struct, frozen=True):
    """A stored head with what every answer made from it repeats."""

    head: StoredHead
    reply_fields: tuple[Field, ...]
    not_modified_fields: tuple[Field, ...]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(StoredHead)


def encode_head(head: StoredHead) -> bytes:
    """MessagePack, for Redis."""
    return _encoder.encode(head)


@functools.lru_cache(maxsize=4096)
def decode_export(raw: bytes) -> Export:
    """The export whose head `raw` holds; remembered by its bytes, so a new head is decoded anew."""
    return build_export(_decoder.decode(raw))


def build_export(head: StoredHead, *, keeps_cache_control: bool = False) -> Export:
    """The export of a head; of one that is not stored, the client gets the backend's Cache-Control."""
    replaced = {b"etag"} if keeps_cache_control else {b"etag", b"cache-control"}
    own = [(b"etag", head.tag)] if keeps_cache_control else [(b"etag", head.tag), CLIENT_CACHE_CONTROL]
    reply_fields = (*without_fields(head.fields, frozenset(replaced)), *own)
    return Export(head, reply_fields, tuple(field for field in reply_fields if field[0] in NOT_MODIFIED_FIELDS))


def is_cacheable(rule: Rule, head: RequestHead) -> bool:
    """Whether the request may be answered from the cache at all."""
    return rule.cache is not None and head.method in ("GET", "HEAD")


def entitlement(cache: CacheRule, record: TokenRecord | None) -> str:
    """Who shares the exports of a rule. Empty for a token without it, which shares with nobody."""
    if cache.shared_by == "public":
        return "everybody"
    if record is None:
        return ""
    if cache.shared_by == "token":
        return token_id(record.digest)
    return record.project if cache.shared_by == "project" else record.owner


def export_key(rule: Rule, head: RequestHead) -> str:
    """What tells the exports of one entitlement apart; empty where none can answer the request.

    The admission script puts the entitlement in front.
    """
    return _export_key(rule.policy.name, rule.pattern.text, head.host, head.target) if is_cacheable(rule, head) else ""


@functools.lru_cache(maxsize=1024)
def _export_key(*parts: str) -> str:
    """A digest of the parts, each with its length before it: no part can be mistaken for the end of another."""
    encoded = [part.encode() for part in parts]
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in encoded)).hexdigest()


def make_head(rule: Rule, request: RequestHead, response: ResponseHead, content: bytes, now: int) -> StoredHead:
    """The head under which a complete 200 (OK) is answered and, if `may_store` agrees, stored.

    A tag of the backend passes unchanged; without one it is made from the content.
    """
    directives = _directives(response.fields)
    initial_age = parse_delta_seconds((field_value(response.fields, b"age") or b"").decode("latin-1")) or 0
    fresh_seconds = rule.cache.fresh_seconds if rule.cache else 0
    if fresh_seconds is None:
        fresh_seconds = _lifetime(directives) - initial_age
    fields = without_fields(end_to_end_fields(response.fields), NEVER_STORED)
    if field_value(fields, b"date") is None:
        fields.append((b"date", build_http_date(now // 1000)))
    return StoredHead(
        stored_at=now,
        fresh_until=now + max(0, fresh_seconds) * 1000,
        initial_age=initial_age,
        tag=field_value(response.fields, b"etag") or build_weak_tag(content),
        varying=tuple(
            (name, tuple(field_values(request.fields, name)))
            for name in parse_list(field_values(response.fields, b"vary"))
            if name not in credential_fields(rule.policy.credentials)  # a secret, and the backend has not seen it
        ),
        fields=(*fields, (b"content-length", b"%d" % len(content))),
    )


def keep_milliseconds(rule: Rule, head: StoredHead, now: int) -> int:
    """How long the answer is of use, first fresh and then while the backend fails."""
    stale_if_error = rule.cache.stale_if_error_seconds if rule.cache else 0
    return head.fresh_until - now + stale_if_error * 1000


def may_store(rule: Rule, request: RequestHead, response: ResponseHead, head: StoredHead) -> bool:
    """Whether RFC 9111 3 lets a shared cache keep the answer.

    Its section 3.5 (requests with credentials) holds for the lifetimes that the backend gives; a rule's own `fresh`
    or `stale_if_error` is the operator's word that the entitled may share.
    """
    directives = _directives(response.fields)
    asked = parse_cache_control(field_values(request.fields, b"cache-control"))
    cache = rule.cache
    is_told = cache is not None and (cache.fresh_seconds is not None or cache.stale_if_error_seconds > 0)
    return (
        keep_milliseconds(rule, head, head.stored_at) > 0
        and "no-store" not in asked
        and directives.keys().isdisjoint(_FORBIDDING)
        and (is_told or not directives.keys().isdisjoint(_SHARING))
        and not field_values(response.fields, b"set-cookie")
        and not any(name == b"*" or is_reserved(name) for name, _ in head.varying)
    )


def _directives(fields: Fields) -> dict[str, str | None]:
    """The backend's directives for us: targeted ones, if there are any, in the place of Cache-Control (RFC 9213)."""
    targeted = parse_cache_control(field_values(fields, b"gateway-cache-control"))
    return targeted or parse_cache_control(field_values(fields, b"cache-control"))


def _lifetime(directives: dict[str, str | None]) -> int:
    """Seconds of explicit freshness for a shared cache (RFC 9111 4.2.1); 0 where the backend gives none."""
    for name in ("s-maxage", "max-age"):
        if name in directives:
            return parse_delta_seconds(directives[name]) or 0
    return 0

"""How long an answer is fresh, and how old it is (RFC 9111 4.2).

If a rule sets times, the operator's word replaces the backend's.
"""

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from gateway.core.http.fields import (
    parse_age,
    parse_cache_control,
    parse_delta_seconds,
    parse_http_date,
    parse_targeted_cache_control,
)
from gateway.core.http.messages import Fields, field_value, field_values
from gateway.core.policies.model import CacheRule

Directives: TypeAlias = Mapping[str, str | None]

TARGETED = (b"gateway-cache-control", b"cdn-cache-control")
"""The target list (RFC 9213 2.2): our own field, then that of all caches in front of a service (3)."""
HEURISTIC_STATUSES = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
"""Statuses that may be fresh by heuristic (RFC 9110 15.1); 206 is never stored."""
RULED_STATUS = 200
"""The status that a rule's own times apply to: no operator means an error to be kept as long as an export."""
HEURISTIC_SHARE = 10
"""A tenth of the time since Last-Modified (RFC 9111 4.2.2)."""
NOTHING_RULED = CacheRule(fresh_seconds=None, shared_by="token")
REVALIDATION_SECONDS = 3600
"""Seconds for which an answer that can be validated is kept if it is of no other use, unless `keep` says otherwise."""
_STRICT = frozenset({"no-cache", "must-revalidate", "proxy-revalidate"})
"""Directives of a backend against stale answers, which no rule overrides (RFC 9111 4.2.4)."""


class Lifetime(msgspec.Struct, frozen=True):
    """Seconds from the beginning of the fetch: fresh, then stale but usable in one way or another."""

    fresh: int
    refresh: int
    stand_in: int
    may_be_stale: bool
    kept: int


def directives_for_us(fields: Fields) -> Directives:
    """Return the backend's directives: targeted ones, if any, instead of Cache-Control (RFC 9213 2.2)."""
    return _targeted(fields) or parse_cache_control(field_values(fields, b"cache-control"))


def _targeted(fields: Fields) -> Directives:
    """Return the directives of the first targeted field that is valid and has any; empty if there is none."""
    for name in TARGETED:
        directives = parse_targeted_cache_control(field_values(fields, name))
        if directives:
            return directives
    return {}


def initial_age(fields: Fields, now: int) -> int:
    """Return the age of the answer in seconds when its fetch began (RFC 9111 4.2.3)."""
    age = parse_age(field_values(fields, b"age")) or 0
    date = parse_http_date(field_value(fields, b"date") or b"")
    return age if date is None else max(age, now // 1000 - date)


def explicit_lifetime(directives: Directives, fields: Fields, now: int) -> int | None:
    """Return the lifetime in seconds that the backend gives a shared cache (RFC 9111 4.2.1), or None if it gives none.

    It counts from the answer's creation. An unreadable directive counts as zero. Without a readable Date, Expires
    counts from now; beside a targeted field, it is ignored (RFC 9213 2.2).
    """
    for name in ("s-maxage", "max-age"):
        if name in directives:
            return parse_delta_seconds(directives[name]) or 0
    expires = field_value(fields, b"expires")
    if expires is None or _targeted(fields):
        return None
    date = parse_http_date(field_value(fields, b"date") or b"")
    until = parse_http_date(expires)
    return 0 if until is None else max(0, until - (now // 1000 if date is None else date))


def heuristic_lifetime(cache: CacheRule, status: int, directives: Directives, fields: Fields, now: int) -> int:
    """Return the heuristic lifetime in seconds, if the backend says nothing and the rule allows it (RFC 9111 4.2.2)."""
    modified = parse_http_date(field_value(fields, b"last-modified") or b"")
    if modified is None or not (status in HEURISTIC_STATUSES or "public" in directives):
        return 0
    date = parse_http_date(field_value(fields, b"date") or b"")
    since = (now // 1000 if date is None else date) - modified
    return min(max(0, since // HEURISTIC_SHARE), cache.heuristic_seconds)


def measure_lifetime(cache: CacheRule, status: int, fields: Fields, now: int, *, has_validators: bool) -> Lifetime:
    """Return how long an answer is fresh, and usable after that."""
    directives = directives_for_us(fields)
    own = cache if status == RULED_STATUS else NOTHING_RULED
    fresh = _fresh_seconds(own, cache, status, directives, fields, now)
    may_be_stale = directives.keys().isdisjoint(_STRICT)
    refresh = _extension(own.stale_while_revalidate_seconds, directives, "stale-while-revalidate")
    stand_in = _extension(own.stale_if_error_seconds, directives, "stale-if-error", kept=own.keep_seconds)
    if not may_be_stale:
        refresh = stand_in = 0
    of_use = max(refresh, stand_in, REVALIDATION_SECONDS if has_validators else 0)
    return Lifetime(
        fresh=fresh,
        refresh=fresh + refresh,
        stand_in=fresh + stand_in,
        may_be_stale=may_be_stale and "s-maxage" not in directives,
        kept=fresh + (of_use if own.keep_seconds is None else own.keep_seconds),
    )


def _fresh_seconds(
    own: CacheRule, cache: CacheRule, status: int, directives: Directives, fields: Fields, now: int
) -> int:
    if "no-cache" in directives:  # stored, and asked about before each use (RFC 9111 5.2.2.4)
        return 0
    if own.fresh_seconds is not None:
        return own.fresh_seconds
    lifetime = explicit_lifetime(directives, fields, now)
    if lifetime is None:
        lifetime = heuristic_lifetime(cache, status, directives, fields, now)
    return max(0, lifetime - initial_age(fields, now))


def _extension(ruled: int | None, directives: Directives, name: str, kept: int | None = None) -> int:
    """Return the seconds that the rule sets, or for which it keeps answers, or that the backend sets.

    s-maxage forbids stale answers as proxy-revalidate does (RFC 9111 5.2.2.10): only a rule that sets this use
    explicitly overrides it.
    """
    if ruled is not None:
        return ruled
    if "s-maxage" in directives:
        return 0
    return kept if kept is not None else parse_delta_seconds(directives.get(name)) or 0

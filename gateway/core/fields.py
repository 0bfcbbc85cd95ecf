"""The HTTP fields the gateway reads and writes: `parse_*` takes a field value apart, `build_*` makes one.

A parser never raises on what a client or a backend sent: what does not fit the grammar reads as absent.
"""

import email.utils
import functools
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from gateway.core.quotas import Quota, Window

# b64token, RFC 6750 2.1. The scheme is case-insensitive, RFC 9110 11.1.
_BEARER = re.compile(rb"bearer(?: .*)?", re.IGNORECASE | re.DOTALL)
_BEARER_TOKEN = re.compile(rb"bearer +([A-Za-z0-9\-._~+/]+=*)", re.IGNORECASE)
# entity-tag = [ "W/" ] DQUOTE *etagc DQUOTE, RFC 9110 8.8.3
_ENTITY_TAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
# Host = uri-host [ ":" port ], RFC 9110 7.2
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::[0-9]*)?")
_TAG_SEPARATOR = re.compile(rb"[ \t]*(?:,[ \t]*)+")
# cache-directive = token [ "=" ( token / quoted-string ) ], RFC 9111 5.2
_DIRECTIVE = re.compile(rb"""([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?""")
MAXIMUM_DELTA_SECONDS = 2**31
"""RFC 9111 1.2.2: larger values are taken as this one."""


@functools.lru_cache(maxsize=1024)
def parse_host(value: bytes) -> str | None:
    """The host of a Host field in lower case, without port; None where it is not one."""
    match = _HOST.fullmatch(value)
    return match[1].decode("ascii").lower() if match else None


def is_bearer(value: bytes) -> bool:
    """Whether an Authorization value has the scheme Bearer."""
    return _BEARER.fullmatch(value) is not None


def parse_bearer(value: bytes) -> str | None:
    """The token of an Authorization value with the scheme Bearer (RFC 6750 2.1), or None where it has none."""
    match = _BEARER_TOKEN.fullmatch(value)
    return match[1].decode("ascii") if match else None


def parse_entity_tags(values: Iterable[bytes]) -> list[bytes] | None:
    """The entity tags of If-None-Match or If-Match; `[b"*"]` for the asterisk, None where the list is malformed."""
    text = b",".join(values).strip(b" \t,")
    if text == b"*":
        return [text]
    tags: list[bytes] = []
    position = 0
    while position < len(text):
        match = _ENTITY_TAG.match(text, position)
        if match is None:
            return None
        tags.append(match[0])
        position = match.end()
        if position < len(text):
            separator = _TAG_SEPARATOR.match(text, position)
            if separator is None:
                return None
            position = separator.end()
    return tags


def parse_cache_control(values: Iterable[bytes]) -> dict[str, str | None]:
    """The directives of Cache-Control (RFC 9111 5.2), names in lower case; of a repeated one the first counts."""
    directives: dict[str, str | None] = {}
    for match in _DIRECTIVE.finditer(b",".join(values)):
        argument: bytes | None = match[2] if match[2] is not None else match[3]
        directives.setdefault(
            match[1].decode("latin-1").lower(), None if argument is None else argument.decode("latin-1")
        )
    return directives


def parse_delta_seconds(text: str | None) -> int | None:
    """A whole number of seconds (RFC 9111 1.2.2), or None."""
    if text is None or not (text.isascii() and text.isdigit()):
        return None
    return min(int(text[:12]), MAXIMUM_DELTA_SECONDS)


def parse_list(values: Iterable[bytes]) -> list[bytes]:
    """The lower-case elements of a list of tokens, such as Connection or Vary (RFC 9110 5.6.1)."""
    return [token.strip().lower() for value in values for token in value.split(b",") if token.strip()]


def build_challenge(realm: str, parameters: Mapping[str, str]) -> bytes:
    """WWW-Authenticate with the scheme Bearer (RFC 6750 3); the values need no escaping, see `policies.document`."""
    pairs = {"realm": realm, **parameters}
    return ("Bearer " + ", ".join(f'{name}="{value}"' for name, value in pairs.items())).encode("ascii")


def build_ratelimit_policy(quotas: Iterable[Quota]) -> bytes:
    """RateLimit-Policy of draft-ietf-httpapi-ratelimit-headers-11 (May 2026): a List of Strings with q and w.

    A token bucket tells its burst, as r is never above q, and the time it takes to fill, as q over w is then its rate;
    w is rounded up, so that who paces by it never meets an empty bucket.
    """
    return ", ".join(f'"{quota.name}";q={quota.capacity};w={quota.policy_window_seconds}' for quota in quotas).encode()


def build_ratelimit(windows: Iterable[Window], now: int) -> bytes:
    """RateLimit of the same draft: what is left (r), and the seconds in which no more can be used (t, section 4.1.2).

    These end with a fixed window; when the weight of the window before gives a unit back (sliding window counter); when
    the oldest request leaves (moving window); when the next unit drips in (token bucket). `now` in milliseconds.
    """
    return ", ".join(
        [f'"{window.quota.name}";r={window.remaining()};t={window.reset_seconds(now)}' for window in windows]
    ).encode()


@functools.lru_cache(maxsize=4)
def build_http_date(seconds: int) -> bytes:
    """IMF-fixdate (RFC 9110 5.6.7) of a Unix time; remembered, as all answers of one second share it."""
    return email.utils.formatdate(seconds, usegmt=True).encode()


def build_timestamp(seconds: int) -> bytes:
    """RFC 3339 in UTC of a Unix time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()

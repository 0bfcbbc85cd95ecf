"""The HTTP fields that the gateway reads and writes: `parse_*` reads a field value, `build_*` makes one.

A parser never raises on what a client or a backend sent: a malformed field counts as absent.
"""

import base64
import binascii
import calendar
import email.utils
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from gateway.core.http.messages import Fields, field_value

# token68 as base64, RFC 7617 2; b64token, RFC 6750 2.1. The scheme is case-insensitive, RFC 9110 11.1.
_BASIC = re.compile(rb"basic +([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)
_BEARER_TOKEN = re.compile(rb"bearer +([A-Za-z0-9\-._~+/]+=*)", re.IGNORECASE)
# entity-tag = [ "W/" ] DQUOTE *etagc DQUOTE, RFC 9110 8.8.3
_ENTITY_TAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
# Host = uri-host [ ":" port ], RFC 9110 7.2; never empty in a URI of http or https, 4.2.1
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]+)(?::([0-9]{0,5}))?")
DEFAULT_PORTS = {"http": 80, "https": 443}
MAXIMUM_PORT = 65535
_TAG_SEPARATOR = re.compile(rb"[ \t]*(?:,[ \t]*)+")
# cache-directive = token [ "=" ( token / quoted-string ) ], RFC 9111 5.2
_DIRECTIVE = re.compile(rb"""([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*)))?""")
# IMF-fixdate, and the obsolete forms of RFC 850 and asctime(), RFC 9110 5.6.7
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TIME = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_DATES = tuple(
    re.compile(form % _TIME, re.IGNORECASE)
    for form in (
        rb"[a-z]{3}, (?P<day>\d\d) (?P<month>[a-z]{3}) (?P<year>\d{4}) %b GMT",
        rb"[a-z]{6,9}, (?P<day>\d\d)-(?P<month>[a-z]{3})-(?P<year>\d\d) %b GMT",
        rb"[a-z]{3} (?P<month>[a-z]{3}) (?P<day>[ \d]\d) %b (?P<year>\d{4})",
    )
)
# int-range / suffix-range of the unit bytes, one of them, RFC 9110 14.1.2
_RANGE = re.compile(rb"bytes=[ \t]*(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))[ \t]*", re.IGNORECASE)
# sf-string with its parameters, RFC 9651 3.3.3
_STRING = re.compile(rb'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"(?:;[^",;]*)*[ \t]*(?:,[ \t]*|$)')
# dictionary = key [ "=" item-or-inner-list ] *parameter, RFC 9651 3.2; the items are those of 3.3
_KEY = r"[a-z*][a-z0-9_.*-]*"
_QUOTED = r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'
_NUMBER = r"-?(?:\d{1,12}\.\d{1,3}|\d{1,15})"
_TOKEN = r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*"
_ITEM = rf"(?:{_NUMBER}|{_QUOTED}|{_TOKEN}|:[A-Za-z0-9+/=]*:|\?[01]|@-?\d{{1,15}}|%{_QUOTED})"
_PARAMETERS = rf"(?:; *{_KEY}(?:={_ITEM})?)*"
_INNER_LIST = rf"\( *(?:{_ITEM}{_PARAMETERS}(?: +|(?=\))))*\)"
_MEMBER = re.compile(rf"({_KEY})(?:=({_ITEM}|{_INNER_LIST}))?{_PARAMETERS}[ \t]*(?:,[ \t]*(?=[a-z*])|$)".encode())
# dictionary member with a whole number, such as sha-256=5, RFC 9651 3.2
_PREFERENCE = re.compile(rb"([a-z*][a-z0-9_.*-]*)(?:=(\d{1,3}))?[ \t]*(?:,|$)")
EVENT_STREAM = b"text/event-stream"
"""The media type of server-sent events.

They are sent as they happen: nothing may delay them, and they may never end.
"""
MAXIMUM_PREFERENCES_LENGTH = 256
"""The longest Dictionary that is read: enough for all digests that exist."""
MAXIMUM_DELTA_SECONDS = 2**31
"""Larger values count as this one (RFC 9111 1.2.2)."""


@functools.lru_cache(maxsize=1024)
def parse_authority(value: bytes, scheme: str) -> tuple[str, str] | None:
    """Return the host of a Host field, and host and port in the normal form of a URI (RFC 9110 4.2.3).

    Both are in lower case, and the scheme's default port is left out. Return None if the field names no host, or an
    impossible port.
    """
    match = _HOST.fullmatch(value)
    if match is None:
        return None
    host, port = match[1].decode("ascii").lower(), int(match[2] or DEFAULT_PORTS[scheme])
    if port > MAXIMUM_PORT:
        return None
    return host, host if port == DEFAULT_PORTS[scheme] else f"{host}:{port}"


def parse_host(value: bytes) -> str | None:
    """Return the host of a Host field in lower case, without port; None if it is malformed."""
    found = parse_authority(value, "http")
    return found[0] if found else None


def is_of_scheme(value: bytes, scheme: str) -> bool:
    """Return whether an Authorization value has the scheme, which is named in lower case (RFC 9110 11.1)."""
    name, _, _ = value.partition(b" ")
    return name.lower() == scheme.encode()


def parse_bearer(value: bytes) -> str | None:
    """Return the token of an Authorization value with the scheme Bearer (RFC 6750 2.1), or None if it has none."""
    token = value[7:]
    if value[:7] == b"Bearer " and token.replace(b"_", b"").isalnum():  # nearly all of them, at half the cost
        return token.decode("ascii")
    match = _BEARER_TOKEN.fullmatch(value)
    return match[1].decode("ascii") if match else None


def parse_basic_password(value: bytes) -> str | None:
    """Return the password of an Authorization value with the scheme Basic (RFC 7617 2), None if it has none."""
    match = _BASIC.fullmatch(value)
    if match is None:
        return None
    try:
        _, colon, password = base64.b64decode(match[1], validate=True).partition(b":")
    except binascii.Error:
        return None
    return password.decode("ascii") if colon and password.isascii() else None


def parse_entity_tags(values: Iterable[bytes]) -> list[bytes] | None:
    """Return the entity tags of If-None-Match or If-Match; `[b"*"]` for the asterisk, None if the list is malformed."""
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


def is_entity_tag(value: bytes) -> bool:
    """Return whether the value of an ETag field is one entity tag (RFC 9110 8.8.3)."""
    return _ENTITY_TAG.fullmatch(value) is not None


def parse_cache_control(values: Iterable[bytes]) -> dict[str, str | None]:
    """Return the directives of Cache-Control (RFC 9111 5.2), names in lower case.

    Of a repeated one the first counts.
    """
    directives: dict[str, str | None] = {}
    for match in _DIRECTIVE.finditer(b",".join(values)):
        argument: bytes | None = match[2] if match[2] is not None else match[3]
        directives.setdefault(
            match[1].decode("latin-1").lower(), None if argument is None else argument.decode("latin-1")
        )
    return directives


_IN_SECONDS = frozenset({"max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"})


def parse_targeted_cache_control(values: Sequence[bytes]) -> dict[str, str | None]:
    """Return the directives of a targeted field (RFC 9213 2.1).

    It is a Dictionary, in which the last of a repeated directive counts. Return nothing if the field is absent, empty
    or malformed, or if a time is no Integer: such a field is ignored (2.2).
    """
    text = b", ".join(values).strip(b" ")
    directives: dict[str, str | None] = {}
    position = 0
    while position < len(text):
        match = _MEMBER.match(text, position)
        if match is None:
            return {}
        name, value = match[1].decode("ascii"), (match[2] or b"?1").decode("ascii")
        if name in _IN_SECONDS and not value.removeprefix("-").isdecimal():
            return {}
        directives.pop(name, None)
        if value != "?0":
            directives[name] = None if value == "?1" else value
        position = match.end()
    return directives


def parse_age(values: Sequence[bytes]) -> int | None:
    """Return the seconds of Age, or None if it is no number of seconds; the first of several counts (RFC 9111 5.1)."""
    first = b",".join(values).partition(b",")[0].strip(b" \t")
    return parse_delta_seconds(first.decode("latin-1"))


def parse_delta_seconds(text: str | None) -> int | None:
    """Return a whole number of seconds (RFC 9111 1.2.2), or None."""
    if text is None or not (text.isascii() and text.isdigit()):
        return None
    return min(int(text[:12]), MAXIMUM_DELTA_SECONDS)


@functools.lru_cache(maxsize=1024)
def parse_http_date(value: bytes) -> int | None:
    """Return the Unix seconds of a date in any form of RFC 9110 5.6.7, or None.

    Years of two digits are 1970 to 2069.
    """
    for form in _DATES:
        match = form.fullmatch(value)
        if match is None or match["month"].decode().lower() not in _MONTHS:
            continue
        year = int(match["year"])
        year += (2000 if year < 70 else 1900) if len(match["year"]) == 2 else 0
        month = _MONTHS.index(match["month"].decode().lower()) + 1
        try:
            date = datetime(year, month, int(match["day"]), tzinfo=UTC)
        except ValueError:
            return None
        seconds = int(match["hour"]) * 3600 + int(match["minute"]) * 60 + int(match["second"])
        return calendar.timegm(date.timetuple()) + seconds
    return None


def parse_range(values: Sequence[bytes]) -> tuple[int | None, int | None] | None:
    """Return first and last byte of a Range with one range of bytes, (None, length) for a suffix, else None."""
    match = _RANGE.fullmatch(values[0]) if len(values) == 1 else None
    if match is None:
        return None
    if match[3] is not None:
        return None, int(match[3])
    first, last = int(match[1]), None if match[2] is None else int(match[2])
    return None if last is not None and last < first else (first, last)


def parse_string_list(values: Iterable[bytes]) -> list[str] | None:
    """Return the members of a List of Strings (RFC 9651 3.1), without their parameters; None if it is not one."""
    text = b", ".join(values).strip(b" ")
    if text.endswith(b","):
        return None
    members: list[str] = []
    position = 0
    while position < len(text):
        match = _STRING.match(text, position)
        if match is None:
            return None
        members.append(match[1].replace(b'\\"', b'"').replace(b"\\\\", b"\\").decode("ascii"))
        position = match.end()
    return members


def parse_preferences(values: Iterable[bytes]) -> dict[str, int]:
    """Return names and weights of a Dictionary such as Want-Repr-Digest (RFC 9530 4).

    Malformed members are left out.
    """
    text = b",".join(values)
    if len(text) > MAXIMUM_PREFERENCES_LENGTH:
        return {}
    return {name.decode(): int(weight or 1) for name, weight in _PREFERENCE.findall(text)}


def parse_list(values: Iterable[bytes]) -> list[bytes]:
    """Return the lower-case elements of a list of tokens, such as Connection or Vary (RFC 9110 5.6.1)."""
    return [token.strip().lower() for value in values for token in value.split(b",") if token.strip()]


def parse_media_type(value: bytes | None) -> bytes:
    """Return the media type of a Content-Type (RFC 9110 8.3.1) in lower case, without parameters; empty for None."""
    return value.partition(b";")[0].strip().lower() if value else b""


def is_event_stream(fields: Fields) -> bool:
    """Return whether the content is server-sent events."""
    return parse_media_type(field_value(fields, b"content-type")) == EVENT_STREAM


def build_challenge(scheme: str, parameters: Mapping[str, str]) -> bytes:
    """Build one challenge of WWW-Authenticate (RFC 9110 11.6.1).

    The values need no escaping, see `policies.document`.
    """
    return (scheme + " " + ", ".join(f'{name}="{value}"' for name, value in parameters.items())).encode("ascii")


@functools.lru_cache(maxsize=4)
def build_http_date(seconds: int) -> bytes:
    """Build the IMF-fixdate (RFC 9110 5.6.7) of a Unix time; it is cached, as all answers of one second share it."""
    return email.utils.formatdate(seconds, usegmt=True).encode()


def build_timestamp(seconds: int) -> bytes:
    """Build the RFC 3339 text of a Unix time, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()

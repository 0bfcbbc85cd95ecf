"""Request targets: what rule matching sees must be what the backend gets.

A path that two readers could understand differently is refused rather than repaired: dot segments, empty segments in
the middle, an encoded slash or backslash, control characters, a fragment, broken percent-encoding (RFC 3986 2.1, 3.3),
a semicolon: many servers cut off what follows it, so that `/admin;x/a` and `/x/..;/admin/a` are `/admin/a` to them. An
encoded semicolon is a character like others. Nothing is decoded twice (RFC 3986 2.4), and case counts.
"""

import functools
from urllib.parse import unquote_to_bytes, urlsplit

MAXIMUM_TARGET_BYTES = 8 * 1024
"""The most bytes of path and query. RFC 9110 4.1 asks for at least 8,000; what is cached by target stays small."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HEX = frozenset("0123456789abcdefABCDEF")
_FORBIDDEN = frozenset("/\\") | {chr(code) for code in [*range(0x20), 0x7F]}
_RAW = frozenset(chr(code) for code in range(0x21, 0x7F)) - {"?", "#", ";"}


@functools.lru_cache(maxsize=1024)
def parse_path(path: str) -> tuple[str, ...] | None:
    """Return the decoded segments of an absolute path as received, or None if it is ambiguous or malformed.

    "/a/%62/" has the segments "a", "b" and "": a last empty one says that the path ends with a slash.
    """
    if not path.startswith("/") or not _RAW.issuperset(path):
        return None
    *inner, last = path[1:].split("/")
    if "" in inner:
        return None
    segments = tuple(_parse_segment(segment) for segment in (*inner, last))
    return None if None in segments else segments  # type: ignore[return-value]  # mypy keeps the None it has just ruled out


def _parse_segment(segment: str) -> str | None:
    if "%" in segment:
        if any(not _is_encoded_byte(part) for part in segment.split("%")[1:]):
            return None
        try:
            segment = unquote_to_bytes(segment).decode()
        except UnicodeDecodeError:
            return None
    if segment in (".", "..") or not _FORBIDDEN.isdisjoint(segment):
        return None
    return segment


def _is_encoded_byte(text: str) -> bool:
    return len(text) >= 2 and _HEX.issuperset(text[:2])


def is_protected(url: str) -> bool:
    """Return whether what is sent to a URL goes by TLS, or stays on this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))

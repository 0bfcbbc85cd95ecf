"""Fetch JSON documents of issuers: their discovery documents and their keys.

Rule: an address comes from a policy, or from a document that such an address gave. It is https, or of this machine for
tests. No redirect is followed, and time and size are bounded.
"""

from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gateway.adapters.ports import Upstreams
from gateway.adapters.streams import close_unread
from gateway.core.errors import IssuerUnavailable, UpstreamError
from gateway.core.http.messages import ContentStream, Field
from gateway.core.http.targets import is_protected
from gateway.core.policies.model import TARGET_HOST, Upstream

CONNECT_SECONDS = 3.0
TOTAL_SECONDS = 5.0
"""For one document, with the connection. A job waits for two of them at most, once in an hour."""
MAXIMUM_BYTES = 256 * 1024
"""Of a document; real ones have 1 to 20 KiB."""
MAXIMUM_SHOWN = 200
"""Characters of a URL that cannot be used, in a log."""

_FIELDS: tuple[Field, ...] = (
    (b"accept", b"application/json"),
    (b"accept-encoding", b"identity"),
    (b"user-agent", b"token-gateway"),
)


def address_of(url: str) -> tuple[Upstream, str]:
    """Return where to send a request for the URL, and its target."""
    parts = urlsplit(url)
    address = Upstream(
        targets=(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",),
        connect_timeout_seconds=CONNECT_SECONDS,
        response_timeout_seconds=TOTAL_SECONDS,
        idle_timeout_seconds=TOTAL_SECONDS,
        total_timeout_seconds=TOTAL_SECONDS,
        max_connections=4,
        max_waiting=16,
        retries=0,
        host=TARGET_HOST,
    )
    return address, f"{parts.path or '/'}{'?' * bool(parts.query)}{parts.query}"


async def fetch_document(upstreams: Upstreams, url: str) -> dict[str, Any]:
    """Return the JSON object at a URL. Raise IssuerUnavailable if it is not there, too large, or no JSON object."""
    if not _is_writable(url):
        raise IssuerUnavailable(f"{url[:MAXIMUM_SHOWN]!r} is no URL of printable ASCII with a valid port")
    if not is_protected(url):
        raise IssuerUnavailable(f"{url}: documents are fetched by https only")
    address, target = address_of(url)
    try:
        response = await upstreams.send(address, "GET", target, _FIELDS, None)
        status = response.head.status
        if status != HTTPStatus.OK:
            await close_unread(response.content)
            redirect = "; redirects are not followed" if 300 <= status < 400 else ""
            raise IssuerUnavailable(f"{url}: the answer has the status {status}{redirect}")
        content = await _read_bounded(response.content)
    except UpstreamError as error:
        raise IssuerUnavailable(f"{url}: {error}") from error
    if content is None:
        raise IssuerUnavailable(f"{url}: the document has more than {MAXIMUM_BYTES} bytes")
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IssuerUnavailable(f"{url}: the document is no JSON object") from error


def _is_writable(url: str) -> bool:
    """Return whether a request for the URL can be written: others wrote it, and RFC 3986 has only ASCII in it."""
    try:
        return url.isascii() and url.isprintable() and " " not in url and urlsplit(url).port != 0
    except ValueError:
        return False


async def _read_bounded(content: bytes | ContentStream) -> bytes | None:
    """Return the whole content, or None if it has more than MAXIMUM_BYTES; the rest is not read then."""
    if isinstance(content, bytes):
        return content if len(content) <= MAXIMUM_BYTES else None
    pieces = bytearray()
    async for piece in content:
        pieces += piece
        if len(pieces) > MAXIMUM_BYTES:
            await close_unread(content)
            return None
    return bytes(pieces)

"""A request on its way to a backend: its bytes, its content, and the times that it is given.

Responses to the requests on one connection, taken apart by httptools' strict parser.

A response ends cleanly only where its framing says so (RFC 9112 6.3), however the connection went.
"""

import base64
import hashlib
from collections.abc import AsyncIterator, Sequence
from enum import Enum, auto
from math import inf

import httptools
import msgspec

from gateway.core.errors import UpstreamBroken
from gateway.core.http.messages import Field, Inform, ResponseHead, field_value, field_values, without_fields
from gateway.core.policies.model import Upstream
from gateway.core.upstream.causes import Cause

_LENGTH = frozenset({b"content-length"})
_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 1.3."""


class Framing(Enum):
    """How a backend finds the end of a request's content."""

    LENGTH = auto()
    """By Content-Length, or there is none."""
    CHUNKED = auto()
    TUNNEL = auto()
    """The request asks for another protocol: what follows the answer 101 has no end but the connection's."""


class Expected(msgspec.Struct, frozen=True):
    """Which answers a request allows for that others do not (RFC 9110 15)."""

    part: bool = False
    """206 (Partial Content): it has a Range."""
    accept: bytes = b""
    """101 (Switching Protocols) with this Sec-WebSocket-Accept; empty: it asks for no other protocol."""
    subprotocols: tuple[bytes, ...] = ()
    """One of these, or none, is the WebSocket's."""


ANY = Expected()
"""What nearly all requests allow for."""
PART = Expected(part=True)
NO_KEY = b"-"
"""In the place of what no answer can have: the request had no key, or two."""


class Limits(msgspec.Struct, frozen=True):
    """How long a backend may take; seconds."""

    response_seconds: float
    idle_seconds: float
    total_seconds: float
    shortest_seconds: float
    """How often it has to be looked at."""


NO_LIMITS = Limits(inf, inf, inf, inf)
"""Of a connection that has carried no request yet."""


class OutgoingRequest(msgspec.Struct, frozen=True, gc=False):
    """A request for one target, ready to be written."""

    method: str
    head: bytes
    content: AsyncIterator[bytes] | None
    framing: Framing
    limits: Limits
    expected: Expected = ANY
    inform: Inform | None = None
    """Who is told of interim answers."""


def limits_of(upstream: Upstream) -> Limits:
    """The times that a rule gives the backend."""
    total_seconds = inf if upstream.total_timeout_seconds is None else upstream.total_timeout_seconds
    response_seconds, idle_seconds = upstream.response_timeout_seconds, upstream.idle_timeout_seconds
    return Limits(response_seconds, idle_seconds, total_seconds, min(response_seconds, idle_seconds, total_seconds))


def without_times(upstream: Upstream) -> Upstream:
    """Return what is the same of a backend, however long its answers may take."""
    return msgspec.structs.replace(
        upstream, response_timeout_seconds=inf, idle_timeout_seconds=inf, total_timeout_seconds=None
    )


def frame(
    fields: Sequence[Field], content: AsyncIterator[bytes] | None
) -> tuple[Sequence[Field], AsyncIterator[bytes] | None, Framing]:
    """The field lines and content of a request, in accord, and how the content is framed.

    A length that is announced and not sent would make the next request on the connection begin inside of this one. So
    what announces content goes where there is none, as for a GET whose answer is fetched for the cache.
    """
    length = field_value(fields, b"content-length")
    if content is None:
        is_plain = length is None or length == b"0"
        return fields if is_plain else without_fields(fields, _LENGTH), None, Framing.LENGTH
    if length is not None:
        return fields, _exactly(int(length), content), Framing.LENGTH
    return fields, content, Framing.CHUNKED if field_value(fields, b"upgrade") is None else Framing.TUNNEL


def expect(fields: Sequence[Field], framing: Framing) -> Expected:
    """The answers that a request with these fields allows for."""
    if framing is Framing.TUNNEL:
        keys = field_values(fields, b"sec-websocket-key")
        # RFC 6455 4.2.2. SHA-1 proves nothing here but that the other end has read the key.
        digest = hashlib.sha1(keys[0] + _WEBSOCKET_GUID, usedforsecurity=False).digest() if len(keys) == 1 else b""
        offered = b",".join(field_values(fields, b"sec-websocket-protocol")).split(b",")
        subprotocols = tuple(name.strip(b" \t") for name in offered)
        return Expected(accept=base64.b64encode(digest) or NO_KEY, subprotocols=subprotocols)
    return PART if field_value(fields, b"range") is not None else ANY


async def begin(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Waits for the first of the content, and gives all of it; raises what the content raises.

    Content in chunks can turn out to be malformed with its first byte, and then no backend must have heard of it.
    """
    return _resume(await anext(content, b""), content)


async def _resume(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _exactly(length: int, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The content; raises ValueError where it is longer or shorter, which closes the connection."""
    async for piece in content:
        length -= len(piece)
        if length < 0:
            break
        yield piece
    if length:
        raise ValueError("the content of a request is not as long as it was announced")


MAXIMUM_HEAD_BYTES = 64 * 1024
"""Heads of 8 to 16 KiB are the limit of most servers; nothing honest comes near. It also bounds what a backend can
send after the head without any content in it, such as trailers and chunk extensions."""


class ResponseReader:
    """One response after another, from bytes; knows nothing of sockets and clocks."""

    def __init__(self) -> None:
        self.is_complete = True
        self.has_begun = False
        self.head: ResponseHead | None = None
        self.interim: list[ResponseHead] = []
        """What came before it (RFC 9110 15.2) and is to be passed on; who takes them clears the list."""
        self.held_bytes = 0
        self.may_be_followed = False
        """Whether the complete response leaves the connection fit for another one."""
        self.is_tunnel = False
        """Whether the backend has changed the protocol: all that comes now is content, until the connection ends."""

    def expect(self, method: str, expected: Expected = ANY) -> None:
        """Makes ready for the response to a request, which may allow for more than others."""
        self._parser = httptools.HttpResponseParser(self)
        self._method = method
        self._fields: list[Field] = []
        self._pieces: list[bytes] = []
        self._bytes_without_content = 0
        self._is_interim = False
        self._expected = expected
        self.interim = []
        self.head = None
        self.held_bytes = 0
        self.has_begun = self.is_complete = self.may_be_followed = False

    def feed(self, data: bytes) -> None:
        """Takes what has arrived; raises UpstreamBroken for what is no response."""
        if self.is_tunnel:
            self._take_raw(data)
            return
        self.has_begun = True
        self._bytes_without_content += len(data)
        try:
            if self._method == "HEAD":
                self._feed_lines(data)
            else:
                self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._take_raw(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self.may_be_followed = False
            if not self.is_complete:
                words = f"the answer is not HTTP: {error.__context__ or error}"
                raise UpstreamBroken(words, cause=_find_other_protocol(data)) from None
        if self._bytes_without_content > MAXIMUM_HEAD_BYTES and not self.is_complete:
            raise UpstreamBroken(f"more than {MAXIMUM_HEAD_BYTES} bytes without content")

    def feed_end(self) -> None:
        """The backend has closed the connection in good order, which ends a response without any other framing."""
        self.is_complete = self.is_complete or (self.head is not None and self._ends_with_connection)

    def take(self) -> bytes:
        """The content that has arrived since the last time."""
        pieces = self._pieces
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.held_bytes = 0
        return content

    def _take_raw(self, data: bytes) -> None:
        if data:
            self._pieces.append(data)
            self.held_bytes += len(data)

    def _feed_lines(self, data: bytes) -> None:
        """Ends exactly where a response to HEAD does. The parser cannot: it takes the head for that of a GET."""
        for line in data.splitlines(keepends=True):
            if self.is_complete:
                raise httptools.HttpParserError("bytes after the response")
            self._parser.feed_data(line)

    # -- what the parser calls; what is raised here comes out of its feed_data

    def on_message_begin(self) -> None:
        if self.is_complete:
            raise UpstreamBroken("bytes after the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head is None:  # trailers come after the head; they are dropped
            # White space behind a value is no part of it (RFC 9110 5.5); the parser passes no other than SP and HTAB.
            self._fields.append((name.lower(), value.rstrip()))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._is_interim = True
            if status != 100:  # to Expect it is the gateway that says it (RFC 9110 10.1.1)
                self.interim.append(ResponseHead(status, self._fields))
            return
        self._check_head(status)
        self.may_be_followed = self._parser.should_keep_alive() and self._parser.get_http_version() == "1.1"
        self.head = ResponseHead(status, self._fields)
        self.is_tunnel = status == 101
        self.is_complete = self._method == "HEAD"

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self.held_bytes += len(piece)
        self._bytes_without_content = 0

    def on_message_complete(self) -> None:
        if self._is_interim:
            self._is_interim = False
            self._fields = []
        else:
            self.is_complete = not self.is_tunnel

    def _check_head(self, status: int) -> None:
        expected = self._expected
        if not (200 <= status <= 599 or (status == 101 and expected.accept and self._parser.should_upgrade())):
            raise UpstreamBroken(f"the status {status} is none, or nobody asked for it")
        if status == 206 and not expected.part:  # RFC 9110 15.3.7: it would be taken for the whole
            raise UpstreamBroken("a part of the answer came (206), and nobody asked for one")
        if status == 101:
            self._check_handshake(expected)
        if self._bytes_without_content > MAXIMUM_HEAD_BYTES:  # with the content that came in the same packet
            size = sum(len(name) + len(value) + 4 for name, value in self._fields)
            if size > MAXIMUM_HEAD_BYTES:
                raise UpstreamBroken(f"the head is larger than {MAXIMUM_HEAD_BYTES} bytes")
        codings = field_values(self._fields, b"transfer-encoding")
        if codings and (len(codings) > 1 or codings[0].lower() != b"chunked"):
            raise UpstreamBroken(f"the transfer coding {codings!r} is unknown")
        has_length = field_value(self._fields, b"content-length") is not None
        self._ends_with_connection = status == 101 or not (codings or has_length)

    def _check_handshake(self, expected: Expected) -> None:
        """The server's half of the handshake (RFC 6455 4.1): else the two ends would not speak the same protocol."""
        protocols = [value.lower() for value in field_values(self._fields, b"upgrade")]
        if protocols != [b"websocket"]:
            raise UpstreamBroken(f"the connection was changed to {protocols!r}, and nobody asked for that")
        if field_values(self._fields, b"sec-websocket-accept") != [expected.accept]:
            raise UpstreamBroken("Sec-WebSocket-Accept does not belong to the request's key")
        chosen = field_values(self._fields, b"sec-websocket-protocol")
        if len(chosen) > 1 or not set(chosen) <= set(expected.subprotocols):
            raise UpstreamBroken(f"the subprotocol {chosen!r} was not among those that the client offered")


def _find_other_protocol(data: bytes) -> Cause | None:
    """What a backend speaks whose answer begins with this: HTTP/2, if that is the head of a SETTINGS frame."""
    return Cause.HTTP2_ONLY if data[3:9] == b"\x04\0\0\0\0\0" else None  # RFC 9113 3.4, 6.5

"""Requests to a backend as bytes, content and time limits; and its responses, parsed by httptools' strict parser.

A response ends cleanly only if its framing says so (RFC 9112 6.3), however the connection ended.
"""

import base64
import hashlib
from collections.abc import AsyncIterator, Sequence
from enum import Enum, auto
from math import inf
from typing import Any

import httptools
import msgspec

from gateway.core.errors import UpstreamBroken
from gateway.core.http.messages import Field, Inform, ResponseHead, field_value, field_values, without_fields
from gateway.core.policies.model import Upstream
from gateway.core.recognition.lesson import Lesson
from gateway.core.upstream.causes import Cause

_LENGTH = frozenset({b"content-length"})
_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""The constant of the handshake (RFC 6455 1.3)."""


class Framing(Enum):
    """How a backend finds the end of a request's content."""

    LENGTH = auto()
    """The content has a Content-Length, or there is none."""
    CHUNKED = auto()
    TUNNEL = auto()
    """The request asks for another protocol: what follows the answer 101 ends only with the connection."""


class Expected(msgspec.Struct, frozen=True):
    """The answers that a request allows and others do not (RFC 9110 15)."""

    part: bool = False
    """Whether 206 (Partial Content) is expected: the request has a Range."""
    accept: bytes = b""
    """The Sec-WebSocket-Accept of an expected 101 (Switching Protocols); empty if the request asks for no upgrade."""
    subprotocols: tuple[bytes, ...] = ()
    """The offered subprotocols of the WebSocket: the backend may choose one of these, or none."""


ANY = Expected()
"""The expectation of nearly all requests."""
PART = Expected(part=True)
NO_KEY = b"-"
"""Replaces a key that no answer can have: the request had none, or two."""


class Limits(msgspec.Struct, frozen=True):
    """The time limits of a backend, in seconds."""

    response_seconds: float
    idle_seconds: float
    total_seconds: float
    shortest_seconds: float
    """Seconds between two checks of the limits."""


NO_LIMITS = Limits(inf, inf, inf, inf)
"""The limits of a connection that has carried no request yet."""


class OutgoingRequest(msgspec.Struct, frozen=True, gc=False):
    """A request for one target, ready to be written."""

    method: str
    head: bytes
    content: AsyncIterator[bytes] | None
    framing: Framing
    limits: Limits
    expected: Expected = ANY
    inform: Inform | None = None
    """Is called with interim responses."""
    lesson: Lesson | None = None
    """Takes the bytes that are exchanged."""


def limits_of(upstream: Upstream) -> Limits:
    """Return the time limits that a rule gives the backend."""
    total_seconds = inf if upstream.total_timeout_seconds is None else upstream.total_timeout_seconds
    response_seconds, idle_seconds = upstream.response_timeout_seconds, upstream.idle_timeout_seconds
    return Limits(response_seconds, idle_seconds, total_seconds, min(response_seconds, idle_seconds, total_seconds))


def without_times(upstream: Upstream) -> Upstream:
    """Return the upstream without its time limits, so that it is equal for all rules."""
    return msgspec.structs.replace(
        upstream, response_timeout_seconds=inf, idle_timeout_seconds=inf, total_timeout_seconds=None
    )


def frame(
    fields: Sequence[Field], content: AsyncIterator[bytes] | None
) -> tuple[Sequence[Field], AsyncIterator[bytes] | None, Framing]:
    """Return the field lines and content of a request so that they agree, and the content's framing.

    If a length were announced and not sent, the next request on the connection would begin inside this one. So a length
    without content is removed, as for a GET whose answer is fetched for the cache.
    """
    length = field_value(fields, b"content-length")
    if content is None:
        is_plain = length is None or length == b"0"
        return fields if is_plain else without_fields(fields, _LENGTH), None, Framing.LENGTH
    if length is not None:
        return fields, _exactly(int(length), content), Framing.LENGTH
    return fields, content, Framing.CHUNKED if field_value(fields, b"upgrade") is None else Framing.TUNNEL


def expect(fields: Sequence[Field], framing: Framing) -> Expected:
    """Return the answers that a request with these fields allows."""
    if framing is Framing.TUNNEL:
        keys = field_values(fields, b"sec-websocket-key")
        # RFC 6455 4.2.2. SHA-1 proves nothing here but that the other end has read the key.
        digest = hashlib.sha1(keys[0] + _WEBSOCKET_GUID, usedforsecurity=False).digest() if len(keys) == 1 else b""
        offered = b",".join(field_values(fields, b"sec-websocket-protocol")).split(b",")
        subprotocols = tuple(name.strip(b" \t") for name in offered)
        return Expected(accept=base64.b64encode(digest) or NO_KEY, subprotocols=subprotocols)
    return PART if field_value(fields, b"range") is not None else ANY


async def begin(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Wait for the first piece of the content, and return all of it. Raise what the content raises.

    Chunked content can turn out to be malformed with its first byte, and then no backend must have received anything.
    """
    return _resume(await anext(content, b""), content)


async def _resume(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _exactly(length: int, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the content. Raise ValueError if it is longer or shorter than `length`, which closes the connection."""
    async for piece in content:
        length -= len(piece)
        if length < 0:
            break
        yield piece
    if length:
        raise ValueError("the content of a request is not as long as it was announced")


MAXIMUM_HEAD_BYTES = 64 * 1024
"""The most bytes of a head; 8 to 16 KiB are the limit of most servers.

It also bounds what a backend can send after the head without any content, such as trailers and chunk extensions.
"""


class ResponseReader:
    """The parser of one response after another, from bytes; it knows nothing of sockets and clocks."""

    def __init__(self) -> None:
        self.is_complete = True
        self.has_begun = False
        self.head: ResponseHead | None = None
        self.interim: list[ResponseHead] = []
        """Interim responses (RFC 9110 15.2) to pass on; the code that takes them clears the list."""
        self.held_bytes = 0
        self.may_be_followed = False
        """Whether the complete response leaves the connection fit for another one."""
        self.is_tunnel = False
        """Whether the backend has changed the protocol: all that comes now is content, until the connection ends."""
        self._parser: Any = None

    def expect(self, method: str, expected: Expected = ANY) -> None:
        """Prepare for the response to a request, which may allow more than others."""
        self._parser = None
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
        """Parse what has arrived. Raise UpstreamBroken if it is no response."""
        if self.is_tunnel:
            self._take_raw(data)
            return
        self.has_begun = True
        self._bytes_without_content += len(data)
        if self._parser is None:  # made here: an answer that is known is not read
            self._parser = httptools.HttpResponseParser(self)
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
        """Take in that the backend has closed the connection cleanly.

        That ends a response without any other framing.
        """
        self.is_complete = self.is_complete or (self.head is not None and self._ends_with_connection)

    def take(self) -> bytes:
        """Return the content that has arrived since the last call."""
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
        """Feed a response to HEAD line by line, so that it ends exactly after its head: the parser expects content."""
        for line in data.splitlines(keepends=True):
            if self.is_complete:
                raise httptools.HttpParserError("bytes after the response")
            self._parser.feed_data(line)

    # -- callbacks of the parser; its feed_data raises their exceptions

    def on_message_begin(self) -> None:
        if self.is_complete:
            raise UpstreamBroken("bytes after the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head is None:  # trailers come after the head; they are dropped
            # White space after a value is no part of it (RFC 9110 5.5); the parser passes only SP and HTAB.
            self._fields.append((name.lower(), value.rstrip()))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._is_interim = True
            if status != 100:  # the gateway itself answers Expect with it (RFC 9110 10.1.1)
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
        """Check the server's half of the handshake (RFC 6455 4.1): both ends must speak the same protocol.

        Raise UpstreamBroken if it does not match the request.
        """
        protocols = [value.lower() for value in field_values(self._fields, b"upgrade")]
        if protocols != [b"websocket"]:
            raise UpstreamBroken(f"the connection was changed to {protocols!r}, and nobody asked for that")
        if field_values(self._fields, b"sec-websocket-accept") != [expected.accept]:
            raise UpstreamBroken("Sec-WebSocket-Accept does not belong to the request's key")
        chosen = field_values(self._fields, b"sec-websocket-protocol")
        if len(chosen) > 1 or not set(chosen) <= set(expected.subprotocols):
            raise UpstreamBroken(f"the subprotocol {chosen!r} was not among those that the client offered")


def _find_other_protocol(data: bytes) -> Cause | None:
    """Return the protocol of an answer that begins like this: HTTP/2, if that is the head of a SETTINGS frame."""
    return Cause.HTTP2_ONLY if data[3:9] == b"\x04\0\0\0\0\0" else None  # RFC 9113 3.4, 6.5

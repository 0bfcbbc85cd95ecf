"""Responses to the requests on one connection, taken apart by httptools' strict parser.

A response ends cleanly only where its framing says so (RFC 9112 6.3), however the connection went.
"""

import httptools

from gateway.adapters.upstream_request import ANY, Expected
from gateway.core.errors import UpstreamBroken
from gateway.core.messages import Field, ResponseHead, field_value, field_values
from gateway.core.upstream_causes import Cause

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

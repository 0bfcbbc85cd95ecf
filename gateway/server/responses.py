"""Write responses to a connection: heads with the framing of their content (RFC 9112 6), as fast as the client reads.

A line break in a field would turn its value into another field, or into another response. Such a response is not sent.
"""

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from gateway.adapters.streams import PIECE_BYTES, Pieces
from gateway.core.errors import ClientGone, GatewayError, StreamRevoked, UpstreamError
from gateway.core.http.messages import ContentStream, Ended, Field, Response, ResponseHead, end_of_refused, field_value
from gateway.core.http.websockets import Frames
from gateway.core.upstream.causes import Cause

STATUS_LINES: Mapping[int, bytes] = {
    **{status: b"HTTP/1.1 %d " % status for status in range(100, 600)},
    **{status: f"HTTP/1.1 {status:d} {status.phrase}".encode() for status in HTTPStatus},
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE: Field = (b"connection", b"close")
TO_WEBSOCKET: tuple[Field, Field] = ((b"connection", b"Upgrade"), (b"upgrade", b"websocket"))
CHUNKED: Field = (b"transfer-encoding", b"chunked")
LAST_CHUNK = b"0\r\n\r\n"
WITHOUT_CONTENT = frozenset({204, 304})


class UnsendableResponse(GatewayError):
    """A response that is not valid HTTP: a line break in a field, or a content length that differs from the head's."""


class ResponseOptions(msgspec.Struct, frozen=True, gc=False):
    """The properties of a request that determine how its response is sent."""

    is_head: bool = False
    is_http_1_0: bool = False
    is_tunnel: bool = False
    """Whether it asks for a WebSocket: the connection then becomes one, or ends with the answer."""
    stays_open: bool = True


PLAIN = ResponseOptions()
"""The options of nearly all requests."""
LAST = ResponseOptions(stays_open=False)


class Framing(msgspec.Struct, frozen=True):
    """The framing by which the client finds the end of a stream."""

    has_content: bool = True
    is_chunked: bool = False
    length: int | None = None
    """None if the content ends with its last chunk or with the connection."""


def build_whole(head: ResponseHead, content: bytes, options: ResponseOptions) -> bytes:
    """Return the bytes of a complete answer. Raise UnsendableResponse if its length differs from the head's."""
    fields, status = head.fields, head.status
    start = build_start(status, fields if options.stays_open else [*fields, CLOSE])
    length = b"\r\ncontent-length: %d\r\n" % len(content)
    if options.is_head or status in WITHOUT_CONTENT:  # a refusal has content, and its length, whatever the method is
        return start
    if length in start:
        return start + content
    if field_value(fields, b"content-length") is not None:
        raise UnsendableResponse("the content is not as long as the head says")
    return b"".join((start[:-4], length, b"\r\n", content))


def build_start(status: int, fields: list[Field]) -> bytes:
    """Return status line and field lines. Raise UnsendableResponse if one of them contains a line break."""
    start = b"\r\n".join((STATUS_LINES[status], *map(b": ".join, fields), b"\r\n"))
    lines = len(fields) + 2
    if start.count(b"\n") != lines or start.count(b"\r") != lines:
        raise UnsendableResponse("a field of the response has a line break in it")
    return start


def build_stream(head: ResponseHead, options: ResponseOptions) -> tuple[bytes, Framing]:
    """Return the start of an answer whose content follows, and the framing of that content."""
    fields, status = list(head.fields), head.status
    if options.is_tunnel and status == HTTPStatus.SWITCHING_PROTOCOLS:
        return build_start(status, [*fields, *TO_WEBSOCKET]), Framing()
    framing = _find_framing(head, options)
    if framing.is_chunked:
        fields.append(CHUNKED)
    if not options.stays_open:
        fields.append(CLOSE)
    return build_start(status, fields), framing


def _find_framing(head: ResponseHead, options: ResponseOptions) -> Framing:
    if options.is_head or head.status in WITHOUT_CONTENT:
        return Framing(has_content=False)
    length = field_value(head.fields, b"content-length")
    if length is not None:
        return Framing(length=int(length))
    return Framing(is_chunked=not options.is_http_1_0)  # RFC 9112 6.1: HTTP/1.0 knows no chunks


def frame(piece: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a chunk (RFC 9112 7.1) in parts, which need not be copied.

    `piece` is not empty: an empty one would be the last chunk.
    """
    return b"%x\r\n" % len(piece), piece, b"\r\n"


def ending_of(error: Exception) -> tuple[Ended, str]:
    """Return how an answer ended that this error aborted, and why."""
    match error:
        case StreamRevoked():
            return end_of_refused(error.reason), error.reason
        case UpstreamError():
            return Ended.UPSTREAM_BROKEN, error.cause
        case UnsendableResponse():
            return Ended.UPSTREAM_BROKEN, Cause.BROKEN_ANSWER
        case ClientGone():
            return Ended.CLIENT_GONE, ""
    return Ended.INTERNAL_ERROR, ""


def id_of(response: Response | None) -> str:
    """Return the id of the answered request for the log, or a hyphen if it is unknown."""
    value = field_value(response.head.fields, b"x-request-id") if response else None
    return value.decode("latin-1") if value else "-"


ACKNOWLEDGED_LOOKS, LOOK_SECONDS = 200, 0.01
"""How many times, and every how many seconds, to check that a client's system has taken an answer's end."""
TCP_CLOSED = 7
"""The state of a connection that was reset (TCP_CLOSE in Linux' tcp_states.h)."""
_NO_LINGER = struct.pack("ii", 1, 0)
"""The socket option that makes closing a reset."""


class ResponseWriter:
    """The writer of responses, as fast as the client reads them.

    `await_client` is called with True when nothing more can be sent before the client reads, and with False when it
    has.
    """

    def __init__(self, transport: asyncio.Transport, await_client: Callable[[bool], None]) -> None:
        self.may_write = True
        self.has_begun = False
        """Whether a part of the current answer is sent."""
        self.sent_bytes = 0
        """Bytes of its content that are sent."""
        self.tunnel: Frames | None = None
        """The frames that were sent, if the connection is a WebSocket by now."""
        self._transport = transport
        self._await_client = await_client
        self._drained: asyncio.Future[None] | None = None

    def pause(self) -> None:
        """Stop writing: the client does not keep up."""
        self.may_write = False

    def resume(self) -> None:
        """Continue writing: the client has read most of it, or is gone."""
        self.may_write = True
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def drain(self) -> None:
        """Wait until the client has read most of what was sent."""
        if self.may_write:
            return
        self._drained = asyncio.get_running_loop().create_future()
        self._await_client(True)
        try:
            await self._drained
        finally:
            self._drained = None
            self._await_client(False)

    async def send(self, head: ResponseHead, content: bytes | ContentStream, options: ResponseOptions) -> None:
        """Send an answer when the client can take it. Raise UnsendableResponse, and whatever its content raises."""
        if isinstance(content, bytes) and len(content) <= PIECE_BYTES:
            await self.drain()
            self.send_whole(head, content, options)
        else:
            await self.stream(head, Pieces(content) if isinstance(content, bytes) else content, options)

    def send_whole(self, head: ResponseHead, content: bytes, options: ResponseOptions) -> bytes:
        """Send a complete response at once, and return its bytes; raises UnsendableResponse."""
        answer = build_whole(head, content, options)
        self.has_begun = True
        self._transport.write(answer)
        if content and not options.is_head and head.status not in WITHOUT_CONTENT:
            self.sent_bytes = len(content)
        return answer

    async def stream(self, head: ResponseHead, content: ContentStream, options: ResponseOptions) -> None:
        """Send content as it arrives. Raise UnsendableResponse if its length differs from the head's."""
        try:
            await self.drain()
            start, framing = build_stream(head, options)
            self.has_begun = True
            if options.is_tunnel and head.status == HTTPStatus.SWITCHING_PROTOCOLS:
                self.tunnel = Frames()
            self._transport.write(start)
            if framing.has_content:
                await self._send_pieces(content, framing.is_chunked, framing.length)
                if framing.length is not None and self.sent_bytes < framing.length:
                    raise UnsendableResponse("there is less content than the head says")
        finally:
            await content.aclose()

    def close_tunnel(self, last_frame: bytes) -> bool:
        """Send a close frame as the last one of a WebSocket. Return False if none can be sent now, or none is given."""
        frames = self.tunnel
        if not last_frame or frames is None or not frames.is_between or self._transport.get_write_buffer_size():
            return False
        if not frames.is_closed:
            self._transport.write(last_frame)
        return True

    async def _send_pieces(self, content: ContentStream, is_chunked: bool, length: int | None) -> None:
        pieces = aiter(content)
        while True:
            if not self.may_write and self.sent_bytes != length:
                await self.drain()  # before the next piece is read: none is held for a client that stalls
            piece = await anext(pieces, None)
            if piece is None:
                break
            if not piece:
                continue
            if not self.may_write:  # it was exceeded while the piece was read
                await self.drain()
            if length is not None and self.sent_bytes + len(piece) > length:
                raise UnsendableResponse("there is more content than the head says")
            self.sent_bytes += len(piece)
            for part in frame(piece) if is_chunked else (piece,):
                self._transport.write(part)
            if self.tunnel is not None:
                self.tunnel.feed(piece)
        if is_chunked:
            self._transport.write(LAST_CHUNK)


async def was_refused(transport: asyncio.Transport) -> bool:
    """Return whether the client's system has refused what was sent, as it does if the client is gone.

    Wait until the system has acknowledged everything, but at most for ACKNOWLEDGED_LOOKS checks.
    """
    connection = _connection_of(transport)
    for _ in range(ACKNOWLEDGED_LOOKS if connection is not None else 0):
        await asyncio.sleep(LOOK_SECONDS)
        if is_reset(transport):
            return True
        (untaken,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))
        if not (untaken or transport.get_write_buffer_size()):
            break
    return False


def is_reset(transport: asyncio.Transport) -> bool:
    """Return whether the client has reset the connection.

    Event loops do not report it after the client has closed its own side.
    """
    connection = _connection_of(transport)
    return connection is not None and bool(
        connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSED
    )


def has_unread(transport: asyncio.Transport) -> bool:
    """Return whether the client has sent something that the event loop has not read yet."""
    connection = _connection_of(transport)
    return connection is not None and struct.unpack(
        "i", fcntl.ioctl(connection.fileno(), termios.FIONREAD, bytes(4))
    ) > (0,)


def _connection_of(transport: asyncio.Transport) -> Any:
    """Return the socket if it is TCP and the system is Linux, which tells a connection's state; else None."""
    connection = transport.get_extra_info("socket")
    is_tcp = connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6)
    return connection if is_tcp and sys.platform == "linux" else None


def reset(transport: asyncio.Transport) -> None:
    """Reset a connection: closing it, even at once, would tell the client that the answer is complete."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()

"""The way out of a connection: answers, as fast as the client takes them."""

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from gateway.adapters.content import PIECE_BYTES, Pieces
from gateway.core.messages import ContentStream, ResponseHead
from gateway.core.websockets import Frames
from gateway.web.sending import (
    LAST_CHUNK,
    WITHOUT_CONTENT,
    Terms,
    UnsendableResponse,
    build_stream,
    build_whole,
    frame,
)

ACKNOWLEDGED_LOOKS, LOOK_SECONDS = 200, 0.01
"""How often it is looked, and after how long each time, whether a client's system has taken the end of an answer."""
TCP_CLOSED = 7
"""The state of a connection that was reset (TCP_CLOSE in Linux' tcp_states.h)."""
_NO_LINGER = struct.pack("ii", 1, 0)
"""What makes closing a reset."""


class Outgoing:
    """What is sent. `await_client` is told when nothing more is sent before the client takes some, and when it has."""

    def __init__(self, transport: asyncio.Transport, await_client: Callable[[bool], None]) -> None:
        self.may_write = True
        self.has_begun = False
        """Something of the present answer is sent."""
        self.sent_bytes = 0
        """Of its content."""
        self.tunnel: Frames | None = None
        """What went out on a connection that is a WebSocket by now."""
        self._transport = transport
        self._await_client = await_client
        self._drained: asyncio.Future[None] | None = None

    def expect(self) -> None:
        """Gets ready for the next answer."""
        self.has_begun = False
        self.sent_bytes = 0

    def pause(self) -> None:
        """The client does not keep up."""
        self.may_write = False

    def resume(self) -> None:
        """The client has taken most of it, or is gone."""
        self.may_write = True
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def drain(self) -> None:
        """Waits until the client has taken most of what was sent."""
        if self.may_write:
            return
        self._drained = asyncio.get_running_loop().create_future()
        self._await_client(True)
        try:
            await self._drained
        finally:
            self._drained = None
            self._await_client(False)

    async def send(self, head: ResponseHead, content: bytes | ContentStream, terms: Terms) -> None:
        """Sends an answer in its time; raises UnsendableResponse, and what its content raises."""
        if isinstance(content, bytes) and len(content) <= PIECE_BYTES:
            await self.drain()
            self.send_whole(head, content, terms)
        else:
            await self.stream(head, Pieces(content) if isinstance(content, bytes) else content, terms)

    def send_whole(self, head: ResponseHead, content: bytes, terms: Terms) -> None:
        """Sends an answer that is all there, at once; raises UnsendableResponse."""
        answer = build_whole(head, content, terms)
        self.has_begun = True
        self._transport.write(answer)
        if content and not terms.is_head and head.status not in WITHOUT_CONTENT:
            self.sent_bytes = len(content)

    async def stream(self, head: ResponseHead, content: ContentStream, terms: Terms) -> None:
        """Sends what comes as it comes; UnsendableResponse where it is not as long as the head says."""
        try:
            await self.drain()
            start, framing = build_stream(head, terms)
            self.has_begun = True
            if terms.is_tunnel and head.status == HTTPStatus.SWITCHING_PROTOCOLS:
                self.tunnel = Frames()
            self._transport.write(start)
            if framing.has_content:
                await self._send_pieces(content, framing.is_chunked, framing.length)
                if framing.length is not None and self.sent_bytes < framing.length:
                    raise UnsendableResponse("there is less content than the head says")
        finally:
            await content.aclose()

    def close_tunnel(self, last_frame: bytes) -> bool:
        """Sends a close frame as the last one of a WebSocket; False where none can stand here, or none is given."""
        frames = self.tunnel
        if not last_frame or frames is None or not frames.is_between or self._transport.get_write_buffer_size():
            return False
        if not frames.is_closed:
            self._transport.write(last_frame)
        return True

    async def _send_pieces(self, content: ContentStream, is_chunked: bool, length: int | None) -> None:
        async for piece in content:
            if not piece:
                continue
            if not self.may_write:
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
    """Whether the client's system has refused what was sent, as it does if the client is gone.

    It is waited for, but not for long: until it has taken all, too.
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
    """Whether the client has reset the connection: event loops do not tell once it has closed its own side."""
    connection = _connection_of(transport)
    return connection is not None and bool(
        connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSED
    )


def _connection_of(transport: asyncio.Transport) -> Any:
    """The socket, if the system tells the state of what it is; else None."""
    connection = transport.get_extra_info("socket")
    is_tcp = connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6)
    return connection if is_tcp and sys.platform == "linux" else None


def reset(transport: asyncio.Transport) -> None:
    """Ends a connection so that it shows: closing alone, even at once, would tell the client that it has all."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()

"""WebSockets: requests that ask for another protocol on their connection (RFC 6455 4, RFC 9110 7.8).

They are answered like all others. Where the backend agrees (101), the request's content is what the client sends from
then on and the response's content is what the backend sends: bytes, passed on as they come, so that frames, extensions
and close codes are between the two ends. ASGI has no such answer, so uvicorn hands these connections over to the
protocol here, which speaks ASGI's HTTP messages with the application, 101 among them.
"""

import asyncio
import logging
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

import httptools
from litestar.types import HTTPReceiveMessage, Message
from uvicorn import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from gateway.core.messages import Field, Fields, field_value

EXTENSION = "gateway.tunnel"
"""In the scope of a request whose connection can be changed to another protocol."""
HIGH_WATER_BYTES = 64 * 1024
"""Held for a slow backend before the client is made to wait."""
_REFUSED = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"

logger = logging.getLogger(__name__)


class TunnelProtocol(asyncio.Protocol):
    """The one request that asks for a WebSocket, and the connection from then on; uvicorn's `ws`."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        self._app = config.loaded_app
        self._server = server_state
        self._app_state = app_state
        self._transport: asyncio.Transport
        self._answering: asyncio.Task[None] | None = None
        self._received = bytearray()
        self._arrival = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._is_lost = False
        self._status = 0
        """Of the answer's head; 0 before it was sent."""
        self._is_chunked = False
        self._is_complete = False

    # -- what uvicorn and the event loop call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(cast(Any, self))

    def data_received(self, data: bytes) -> None:
        if self._answering is None:  # uvicorn gives the head first, in one piece
            self._begin(data)
            return
        self._received += data
        if len(self._received) > HIGH_WATER_BYTES:
            self._transport.pause_reading()
        self._arrival.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(cast(Any, self))
        self._is_lost = True
        self._arrival.set()
        self._may_write.set()
        if self._answering is not None and self._status != HTTPStatus.SWITCHING_PROTOCOLS:
            self._answering.cancel()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def shutdown(self) -> None:
        """The server stops: an answer that is under way goes to its end, a tunnel has none."""
        if self._status == HTTPStatus.SWITCHING_PROTOCOLS:
            self._transport.close()

    # -- one request

    def _begin(self, head: bytes) -> None:
        scope = self._read_head(head)
        if scope["method"] != "GET" or _has_content(scope["headers"]):  # content could be a second request
            self._transport.write(_REFUSED)
            self._transport.close()
            return
        self._answering = task = asyncio.get_running_loop().create_task(self._answer(scope))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    def _read_head(self, head: bytes) -> dict[str, Any]:
        request_line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        method, target, _ = request_line.split(b" ")
        url = httptools.parse_url(target)
        fields: list[Field] = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method.decode("ascii"),
            "scheme": "https" if is_ssl(self._transport) else "http",
            "path": unquote(url.path.decode("ascii")),
            "raw_path": url.path,
            "query_string": url.query or b"",
            "root_path": "",
            "headers": fields,
            "client": get_remote_addr(self._transport),
            "server": get_local_addr(self._transport),
            "state": self._app_state.copy(),
            "extensions": {EXTENSION: {}},
        }

    async def _answer(self, scope: dict[str, Any]) -> None:
        try:
            await self._app(cast(Any, scope), cast(Any, self._receive), cast(Any, self._send))
        except Exception:
            logger.exception("the application failed on a request for a WebSocket")
        finally:
            if not self._is_complete:
                self._transport.abort()  # never to be taken for an end that was meant

    async def _receive(self) -> HTTPReceiveMessage:
        await self._arrival.wait()
        if self._received:
            data = bytes(self._received)
            self._received.clear()
            if not self._is_lost:
                self._arrival.clear()
                self._transport.resume_reading()
            return {"type": "http.request", "body": data, "more_body": True}
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self._may_write.wait()
        if self._is_lost:
            return
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._send_head(list(cast(Fields, message["headers"])))
        elif message["type"] == "http.response.body":
            piece = message["body"]
            if piece:
                self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._is_chunked else piece)
            if not message["more_body"]:
                self._is_complete = True
                self._transport.write(b"0\r\n\r\n" if self._is_chunked else b"")
                self._transport.close()

    def _send_head(self, fields: list[Field]) -> None:
        if self._status == HTTPStatus.SWITCHING_PROTOCOLS:
            fields += [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
        else:
            fields.append((b"connection", b"close"))
            self._is_chunked = field_value(fields, b"content-length") is None and self._status not in (204, 304)
            fields += [(b"transfer-encoding", b"chunked")] if self._is_chunked else []
        phrase = HTTPStatus(self._status).phrase if self._status in list(HTTPStatus) else ""
        start = f"HTTP/1.1 {self._status} {phrase}\r\n".encode()
        self._transport.write(b"".join((start, *(b"%b: %b\r\n" % field for field in fields), b"\r\n")))


def _has_content(fields: Fields) -> bool:
    return field_value(fields, b"transfer-encoding") is not None or field_value(fields, b"content-length") not in (
        None,
        b"0",
    )

"""Translate between ASGI and the gateway's own heads and contents, for Litestar, which serves the gateway's addresses.

Litestar's answers are small and complete at once, so they are collected and sent like any other response.
"""

import asyncio
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote, unquote

from litestar.types import ASGIApp, HTTPReceiveMessage, HTTPScope, Message, Receive, Send, WebSocketScope

from gateway.core.errors import ClientGone
from gateway.core.http.client_address import plain_address
from gateway.core.http.messages import ContentStream, Ended, Field, Response, ResponseHead
from gateway.server.requests import RawRequest, RequestContent
from gateway.server.responses import ending_of

HTTP_SCHEMES = {"ws": "http", "wss": "https"}
"""The scheme that a WebSocket's request has before the upgrade (RFC 6455 4.1)."""


def read_scope(scope: HTTPScope | WebSocketScope) -> RawRequest:
    """Return the head of a request from an ASGI scope, also of a WebSocket's handshake.

    White space after a field value is not part of it (RFC 9110 5.5), but some servers leave it there. Test clients give
    no raw path, or a raw path that includes the query.
    """
    peer = plain_address(scope["client"][0]) if scope["client"] else ""
    fields: list[Field] = [(name, value.rstrip(b" \t")) for name, value in scope["headers"]]
    path = scope.get("raw_path") or quote(scope["path"]).encode()
    if b"?" in path:
        path = path.partition(b"?")[0]
    method, scheme = str(scope.get("method", "GET")), scope["scheme"]
    return RawRequest(method, path, scope["query_string"], fields, peer, HTTP_SCHEMES.get(scheme, scheme))


async def ask(application: ASGIApp, raw: RawRequest, content: RequestContent | None) -> Response:
    """Return the response of an ASGI application.

    Raise ClientGone if the client leaves before its content is complete.
    """
    status, fields, pieces = int(HTTPStatus.INTERNAL_SERVER_ERROR), list[Field](), list[bytes]()

    async def receive() -> HTTPReceiveMessage:
        piece = b""
        if content is not None:
            async for piece in content:
                return {"type": "http.request", "body": piece, "more_body": True}
        return {"type": "http.request", "body": piece, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            fields.extend((name.lower(), value) for name, value in message["headers"])
        elif message["type"] == "http.response.body":
            pieces.append(message["body"])

    await application(cast(Any, _build_scope(raw)), cast(Receive, receive), cast(Send, send))
    return Response(ResponseHead(status, fields), b"".join(pieces))


async def read_content(receive: Receive, most: int) -> bytes | None:
    """Return the content, or None if it has more than `most` bytes. Raise ClientGone if the client leaves earlier."""
    pieces = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        pieces += message["body"]
        if len(pieces) > most:
            return None
        if not message.get("more_body"):
            return bytes(pieces)


async def reply(response: Response, send: Send, receive: Receive | None = None) -> None:
    """Send a response through an ASGI server and record how it ended. Raise the error that aborts a stream.

    If `receive` reports that the client has left, the stream is closed, because servers drop what is sent after that.
    """
    ended, cause, sent = Ended.STOPPED, "", _Sent()
    try:
        await _send(response, send, receive, sent)
        ended = Ended.CLIENT_GONE if sent.is_left else Ended.COMPLETE
    except OSError:  # servers raise it if the client has left
        ended = Ended.CLIENT_GONE
        raise
    except Exception as error:
        ended, cause = ending_of(error)
        raise
    finally:
        if response.note_end is not None:
            response.note_end(ended, sent.bytes, cause)


class _Sent:
    """The progress of one answer."""

    bytes = 0
    """Bytes of content that were given to the server."""
    is_left = False
    """Return whether the client has disconnected."""


async def _send(response: Response, send: Send, receive: Receive | None, sent: _Sent) -> None:
    content = response.content
    await send({"type": "http.response.start", "status": response.head.status, "headers": response.head.fields})
    if isinstance(content, bytes):
        await send({"type": "http.response.body", "body": content, "more_body": False})
        sent.bytes = len(content)
        return
    leaving = asyncio.create_task(_close_when_left(content, receive, sent)) if receive is not None else None
    try:
        async for piece in content:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            sent.bytes += len(piece)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        if leaving is not None:
            leaving.cancel()
        await content.aclose()


async def _close_when_left(content: ContentStream, receive: Receive, sent: _Sent) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    sent.is_left = True
    await content.aclose()


def _build_scope(raw: RawRequest) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": raw.method,
        "scheme": raw.scheme,
        "path": unquote(raw.path.decode("latin-1")),
        "raw_path": raw.path,
        "query_string": raw.query,
        "root_path": "",
        "headers": raw.fields,
        "client": (raw.peer, 0) if raw.peer else None,
        "server": None,
        "state": {},
    }

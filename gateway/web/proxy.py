"""The public listener's traffic: ASGI messages to request heads and byte streams, and back.

This is the one place where identity fields that a client sent are dropped, in every spelling, before anything else
sees the request.
"""

import logging
import re
from collections.abc import AsyncIterator, Callable
from typing import cast
from uuid import uuid4

from litestar.types import HTTPReceiveMessage, HTTPScope, Receive, Send

from gateway.core.forwarding import is_reserved
from gateway.core.messages import Field, RequestHead, Response, field_values
from gateway.core.problems import build_refusal
from gateway.core.reasons import Reason
from gateway.exchange import Exchange

RESERVED_PATH = "/-/"
"""The gateway's own addresses: never proxied."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_HOST = re.compile(rb"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::[0-9]*)?")

logger = logging.getLogger(__name__)


class Proxy:
    """The ASGI side of `Exchange.answer`; `clock` gives Unix seconds."""

    def __init__(self, exchange: Exchange, clock: Callable[[], float]) -> None:
        self._exchange = exchange
        self._clock = clock

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """One request, accepted, answered and sent."""
        request = accept(scope, self._clock())
        response: Response | None = None
        if isinstance(request, Reason):
            response = build_refusal(request, None, uuid4().hex)
        elif request.path.startswith(RESERVED_PATH):
            response = build_refusal(Reason.NO_MATCHING_RULE, None, request.id)
        else:
            try:
                response = await self._exchange.answer(request, _read_content(request, receive))
            except Exception:
                logger.exception("request %s: the gateway made a mistake", request.id)
                response = build_refusal(Reason.INTERNAL_ERROR, None, request.id)
        await send_response(response, send)


def accept(scope: HTTPScope, now: float) -> RequestHead | Reason:
    """The head of the request in `scope`, without what only the gateway may say of it."""
    fields: list[Field] = [field for field in scope["headers"] if not is_reserved(field[0])]
    hosts = field_values(fields, b"host")
    host = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if host is None:
        return Reason.MALFORMED_TARGET
    client = scope["client"]
    return RequestHead(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        fields=fields,
        scheme=scope["scheme"],
        peer=client[0] if client else "",
        id=_request_id(fields),
        host=host["host"].decode("ascii").lower(),
        received_at=now,
    )


async def send_response(response: Response, send: Send) -> None:
    """Sends head and content. A stream that breaks off ends the connection: the client must not take it for whole."""
    await send({"type": "http.response.start", "status": response.head.status, "headers": response.head.fields})
    if isinstance(response.content, bytes):
        await send({"type": "http.response.body", "body": response.content, "more_body": False})
        return
    async for piece in response.content:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _request_id(fields: list[Field]) -> str:
    """The client's X-Request-Id where it is one that is safe to log, else a new one."""
    values = field_values(fields, b"x-request-id")
    if len(values) == 1 and _REQUEST_ID.fullmatch(values[0]):
        return values[0].decode("ascii")
    return uuid4().hex


def _read_content(request: RequestHead, receive: Receive) -> AsyncIterator[bytes] | None:
    """The request's content as it arrives, None where the head announces none (RFC 9112 6.3)."""
    for name, value in request.fields:
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            return _stream_content(receive)
    return None


async def _stream_content(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = cast(HTTPReceiveMessage, await receive())
        if message["type"] == "http.disconnect":
            raise ClientGone
        if message["body"]:
            yield message["body"]
        if not message["more_body"]:
            return


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""

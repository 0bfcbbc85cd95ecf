"""The public listener's traffic: ASGI messages to request heads and byte streams, and back.

This is the one place where identity fields that a client sent are dropped, in every spelling, before anything else
sees the request.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeAlias, cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPReceiveMessage, HTTPScope, Receive, Scope, Send

from gateway.core.addresses import Networks, client_address, is_trusted
from gateway.core.errors import StreamRevoked, UpstreamError
from gateway.core.fields import parse_host
from gateway.core.forward_auth import ADDRESS
from gateway.core.forwarding import is_reserved
from gateway.core.messages import ContentStream, Field, RequestHead, Response, field_values, single_values
from gateway.core.problems import build_refusal
from gateway.core.reasons import Reason
from gateway.core.targets import MAXIMUM_TARGET_BYTES
from gateway.exchange import Exchange

RESERVED_PATH = "/-/"
"""The gateway's own addresses: never proxied."""
_FORWARD_AUTH_PATH = ADDRESS.encode()
NO_HOST = b"?"
"""In the place of a Host that is missing or repeated, which makes a request malformed (RFC 9112 3.2): it is no host."""
_SCHEMES: Mapping[bytes, str] = {b"http": "http", b"https": "https"}
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")

logger = logging.getLogger(__name__)


Traffic: TypeAlias = Callable[[HTTPScope, Receive, Send], Awaitable[None]]


class PublicListener:
    """Tells proxied traffic and the questions of other proxies from the gateway's own addresses, which Litestar serves.

    Litestar stays off the path of requests: routing there is the policies' business, and its own would cost a fifth of
    what the server does (measured, see ARCHITECTURE.md).
    """

    def __init__(self, proxy: Traffic, forward_auth: Traffic, own: ASGIApp) -> None:
        self._proxy = proxy
        self._forward_auth = forward_auth
        self._own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._own(scope, receive, send)
        elif not scope["path"].startswith(RESERVED_PATH):
            await self._proxy(scope, receive, send)
        elif scope["raw_path"].startswith(_FORWARD_AUTH_PATH):
            await self._forward_auth(scope, receive, send)
        else:
            await self._own(scope, receive, send)


class Proxy:
    """The ASGI side of `Exchange.answer`; `clock` gives Unix seconds, `new_id` an id for each request without one."""

    def __init__(
        self,
        exchange: Exchange,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        trusted: Networks = frozenset(),
    ) -> None:
        self._exchange = exchange
        self._trusted = trusted
        self._clock = clock
        self._new_id = new_id

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """One request, accepted, answered and sent."""
        new_id = self._new_id()
        request = accept(scope, self._clock(), new_id, self._trusted)
        if isinstance(request, Reason):
            await send_response(build_refusal(request, None, new_id), None, send)
            return
        content = _read_content(request, receive)
        try:
            response = await self._exchange.answer(request, content)
        except ClientGone:
            return
        except Exception:
            logger.exception("request %s: the gateway made a mistake", request.id)
            response = build_refusal(Reason.INTERNAL_ERROR, None, request.id)
        try:
            await send_response(response, receive if content is None else None, send)
        except (ClientGone, StreamRevoked, UpstreamError) as error:
            # Returning without an end makes the server close the connection: nobody takes the content for whole.
            logger.warning("request %s: the content broke off: %s", request.id, error)


def accept(scope: HTTPScope, now: float, new_id: str, trusted: Networks) -> RequestHead | Reason:
    """The head of the request in `scope`, without what only the gateway may say of it.

    X-Forwarded-For and -Proto count where the connection comes from a `trusted` proxy.
    """
    fields: list[Field] = [field for field in scope["headers"] if not is_reserved(field[0])]
    single = single_values(fields)
    host = parse_host(single.get(b"host", NO_HOST))
    if host is None:
        return Reason.MALFORMED_TARGET
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAXIMUM_TARGET_BYTES:
        return Reason.TARGET_TOO_LONG
    peer = scope["client"][0] if scope["client"] else ""
    forwarded_for, scheme, client = peer, scope["scheme"], peer
    if is_trusted(peer, trusted):
        entries = field_values(fields, b"x-forwarded-for")
        forwarded_for = b", ".join([*entries, peer.encode()]).decode("latin-1")
        scheme = _SCHEMES.get(single.get(b"x-forwarded-proto", b""), scheme)
        client = client_address(peer, entries, trusted)
    return RequestHead(
        method=scope["method"],
        path=scope["raw_path"].decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        fields=fields,
        scheme=scheme,
        client=client,
        forwarded_for=forwarded_for,
        id=_read_id(single.get(b"x-request-id", b"")) or new_id,
        host=host,
        received_at=now,
    )


async def send_response(response: Response, receive: Receive | None, send: Send) -> None:
    """Sends head and content; raises UpstreamError where a stream breaks off.

    With `receive`, which is given where the request's own content is not still being read, a client that leaves ends
    the stream, and with it the backend's work.
    """
    await send({"type": "http.response.start", "status": response.head.status, "headers": response.head.fields})
    if isinstance(response.content, bytes):
        await send({"type": "http.response.body", "body": response.content, "more_body": False})
        return
    try:
        if receive is None:
            await _send_stream(response.content, send)
        else:
            await _send_while_present(response.content, receive, send)
    finally:
        await response.content.aclose()


async def _send_while_present(content: ContentStream, receive: Receive, send: Send) -> None:
    sending = asyncio.create_task(_send_stream(content, send))
    leaving = asyncio.create_task(_wait_for_disconnect(receive))
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, leaving):
            task.cancel()
        await asyncio.wait({sending, leaving})
    if not sending.cancelled():
        sending.result()


def _read_id(value: bytes) -> str | None:
    """The client's X-Request-Id where it is one that is safe to log."""
    return value.decode("ascii") if value and _REQUEST_ID.fullmatch(value) else None


def _read_content(request: RequestHead, receive: Receive) -> AsyncIterator[bytes] | None:
    """The request's content as it arrives, None where the head announces none (RFC 9112 6.3)."""
    for name, value in request.fields:
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            return _stream_content(receive)
    return None


async def _send_stream(content: ContentStream, send: Send) -> None:
    async for piece in content:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait_for_disconnect(receive: Receive) -> None:
    """Returns when the client has gone; drops what it may still send of content that nobody wants."""
    while (await receive())["type"] != "http.disconnect":
        pass


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

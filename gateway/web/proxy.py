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
from gateway.core.messages import Field, RequestHead, Response, field_values, single_values
from gateway.core.problems import build_refusal
from gateway.core.reasons import Reason
from gateway.core.targets import MAXIMUM_TARGET_BYTES
from gateway.exchange import Exchange
from gateway.web.departures import Departures
from gateway.web.server import write_whole
from gateway.web.tunnels import EXTENSION

RESERVED_PATH = "/-/"
"""The gateway's own addresses: never proxied."""
WEBSOCKET = b"websocket"
"""The one protocol that uvicorn hands over (web/tunnels.py)."""
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
        self._departures = Departures()

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """One request, accepted, answered and sent."""
        new_id = self._new_id()
        request = accept(scope, self._clock(), new_id, self._trusted)
        if isinstance(request, Reason):
            await send_response(build_refusal(request, None, new_id), send)
            return
        content = RequestContent(receive) if request.upgrade else _find_content(request, receive)
        task = self._departures.enter(receive, content)
        has_left = False
        try:
            try:
                await send_response(await self._answer(request, content), send)
            finally:
                has_left = self._departures.leave(task)
        except ClientGone:
            return
        except asyncio.CancelledError:
            if not has_left:
                raise
        except (StreamRevoked, UpstreamError) as error:
            # Returning without an end makes the server close the connection: nobody takes the content for whole.
            logger.warning("request %s: the content broke off: %s", request.id, error)

    async def _answer(self, request: RequestHead, content: "RequestContent | None") -> Response:
        try:
            return await self._exchange.answer(request, content)
        except ClientGone:
            raise
        except Exception:
            logger.exception("request %s: the gateway made a mistake", request.id)
            return self._exchange.give_up(request)


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
        upgrade=WEBSOCKET if EXTENSION in (scope.get("extensions") or ()) else b"",
    )


async def send_response(response: Response, send: Send) -> None:
    """Sends head and content, in one write if they are whole; raises UpstreamError where a stream breaks off."""
    head, content = response.head, response.content
    if isinstance(content, bytes) and write_whole(head, content, send):
        return
    await send({"type": "http.response.start", "status": head.status, "headers": head.fields})
    if isinstance(content, bytes):
        await send({"type": "http.response.body", "body": content, "more_body": False})
        return
    try:
        async for piece in content:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        await content.aclose()


def _read_id(value: bytes) -> str | None:
    """The client's X-Request-Id where it is one that is safe to log."""
    return value.decode("ascii") if value and _REQUEST_ID.fullmatch(value) else None


def _find_content(request: RequestHead, receive: Receive) -> "RequestContent | None":
    """The request's content as it arrives, None where the head announces none (RFC 9112 6.3)."""
    for name, value in request.fields:
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            return RequestContent(receive)
    return None


class RequestContent:
    """What a client sends, as it is asked for; ClientGone where it leaves before the end."""

    def __init__(self, receive: Receive) -> None:
        self.is_complete = False
        self._receive = receive

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self.is_complete:
            message = cast(HTTPReceiveMessage, await self._receive())
            if message["type"] == "http.disconnect":
                raise ClientGone
            self.is_complete = not message["more_body"]
            if message["body"]:
                return message["body"]
        raise StopAsyncIteration


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""

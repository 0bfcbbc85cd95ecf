"""The public listener: it selects the part of the gateway that answers a request, and holds the part that proxies it.

Requests in progress are limited: a full worker refuses more while that is still cheap. A queued request is answered
late, after its client has given up; a refused one can be sent to another worker, or be retried. The limit is each
worker's own, and spares the gateway's own addresses; uvicorn's limit_concurrency counts idle connections, spares no
address, and names no Retry-After.
"""

import logging
from collections.abc import Awaitable
from typing import Protocol

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.core.errors import ClientGone
from gateway.core.http.messages import Response
from gateway.core.http.reasons import Reason
from gateway.core.http.targets import parse_path
from gateway.core.own_addresses import AUTHORIZE, TAKING, OwnAddresses
from gateway.pipeline.exchange import Exchange
from gateway.pipeline.recognition import Recognition
from gateway.server.arrival import Arrivals
from gateway.server.asgi import ask
from gateway.server.connection import Deadlines
from gateway.server.requests import RawRequest, RequestAcceptor, RequestContent

RETRY_SECONDS = 1
"""Retry-After of a refused request: a full worker answers all that it has within about a second."""

logger = logging.getLogger(__name__)


class Capacity:
    """The limit of requests that one worker has in progress, streams and WebSockets included."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._refused = 0
        """Refused requests since the worker was last half empty."""

    def has_room(self, in_progress: int) -> bool:
        """Return whether there is room for one more request, which `in_progress` already counts."""
        if in_progress > self._maximum:
            if not self._refused:
                logger.warning("overloaded: %d requests are in progress, more are refused", self._maximum)
            self._refused += 1
            return False
        if self._refused and in_progress * 2 <= self._maximum:
            logger.warning("no longer overloaded: %d requests were refused", self._refused)
            self._refused = 0
        return True

    def may_take(self, in_progress: int) -> bool:
        """Return whether one more request may go on beside `in_progress`; a refusal is the matter of `has_room`."""
        return in_progress < self._maximum and self.has_room(in_progress + 1)


class Traffic(Protocol):
    """A part of the gateway that answers one kind of request."""

    def handle(self, raw: RawRequest, content: RequestContent | None, has_room: bool) -> Awaitable[Response]:
        """Return the response. `content` is None if the request has none; `has_room` is False if the worker is full."""
        ...


class PublicListener:
    """The router between proxied traffic, forward-auth, and the gateway's own addresses, which Litestar serves.

    Litestar is not on the path of proxied requests: the policies route there, and Litestar's routing would cost a fifth
    of what the server does (docs/decisions/0006). Requests come from server/connection.py; only the start and the end
    of the process come through ASGI.
    """

    def __init__(
        self,
        proxy: Traffic,
        forward_auth: Traffic,
        operations: ASGIApp,
        own: OwnAddresses,
        capacity: Capacity,
        recognition: Recognition | None = None,
        arrivals: Arrivals | None = None,
    ) -> None:
        self.deadlines = Deadlines()
        self.arrivals = arrivals or Arrivals()
        self.recognition = recognition
        self._capacity = capacity
        self._proxy = proxy
        self._forward_auth = forward_auth
        self._operations = operations
        self._own = own
        self._prefix = f"{own.prefix}/".encode()
        self._authorize = f"{own.path(AUTHORIZE)}/".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the lifespan of the process. Raise RuntimeError for a request: these do not come through ASGI."""
        if scope["type"] in list(ScopeType):
            raise RuntimeError("requests come by gateway.server.connection:Connection, as `gateway serve` sets it up")
        await self._operations(scope, receive, send)

    def handle_request(self, raw: RawRequest, content: RequestContent | None, in_progress: int) -> Awaitable[Response]:
        """Return the response to any request; `in_progress` counts the requests of the worker, this one included.

        The gateway's own addresses answer even if the worker is full, because monitoring needs them then, but for those
        that take content.
        """
        if raw.fault is not None:
            return self._proxy.handle(raw, content, has_room=True)
        path = raw.path
        name = self._find_own(path) if path.startswith(self._prefix) or b"%" in path[: 3 * len(self._prefix)] else None
        if name in TAKING and not self._capacity.has_room(in_progress):
            return self._proxy.handle(raw, content, has_room=False)
        if name is not None and name != AUTHORIZE:
            return ask(self._operations, raw, content)
        # A request that Redis was asked about is charged already, and had room then.
        has_room = raw.answered is not None or self._capacity.has_room(in_progress)
        traffic = self._proxy if name is None else self._forward_auth
        return traffic.handle(raw, content, has_room)

    def _find_own(self, path: bytes) -> str | None:
        """Return the name of the gateway's own address that a path is, or None.

        After Envoy's, an ambiguous path may follow.
        """
        if path.startswith(self._authorize):
            return AUTHORIZE
        segments = parse_path(path.decode("latin-1"))
        return self._own.find(segments) if segments else None


class Proxy:
    """The server's side of `Exchange.handle`."""

    def __init__(self, exchange: Exchange, acceptor: RequestAcceptor) -> None:
        self._exchange = exchange
        self._acceptor = acceptor

    async def handle(self, raw: RawRequest, content: RequestContent | None, has_room: bool) -> Response:
        """Parse one request and answer it."""
        exchange = self._exchange
        request = self._acceptor.accept(raw)
        if not has_room:
            return exchange.refuse(request, Reason.OVERLOADED, RETRY_SECONDS)
        try:
            return await exchange.handle(request, content)
        except ClientGone:
            raise
        except Exception:
            logger.exception("request %s: internal error", request.id)
            return exchange.refuse(request, Reason.INTERNAL_ERROR)

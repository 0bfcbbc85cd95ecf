"""The public listener: which part of the gateway answers a request, and the part that passes it on.

Requests in progress: a worker takes so many, and refuses more while that is still cheap.

What waits in a queue is answered late, after its client has given up; a refusal can be sent elsewhere, or come back.
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
from gateway.core.own_addresses import AUTHORIZE, OwnAddresses
from gateway.pipeline.exchange import Exchange
from gateway.server.asgi import ask
from gateway.server.connection import Deadlines
from gateway.server.requests import RawRequest, RequestAcceptor, RequestContent

RETRY_SECONDS = 1
"""Retry-After of what is refused: a worker that is full answers all it has within about a second."""

logger = logging.getLogger(__name__)


class Capacity:
    """How many requests one worker has in progress, streams and WebSockets included."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._refused = 0
        """Since it was last half empty."""

    def has_room(self, in_progress: int) -> bool:
        """Whether a request may go on that is the last of so many."""
        if in_progress > self._maximum:
            if not self._refused:
                logger.warning("overloaded: %d requests are in progress, more are refused", self._maximum)
            self._refused += 1
            return False
        if self._refused and in_progress * 2 <= self._maximum:
            logger.warning("no longer overloaded: %d requests were refused", self._refused)
            self._refused = 0
        return True


class Traffic(Protocol):
    """What answers a kind of requests."""

    def handle(self, raw: RawRequest, content: RequestContent | None, has_room: bool) -> Awaitable[Response]:
        """The response; `content` is None where the request has none, `has_room` False where too much is under way."""
        ...


class PublicListener:
    """Tells proxied traffic and the questions of other proxies from the gateway's own addresses, which Litestar serves.

    Litestar stays off the path of requests: routing there is the policies' business, and its own would cost a fifth of
    what the server does (docs/decisions/0006). Requests come from server/connection.py; by ASGI come only the
    start and the end of the process.
    """

    def __init__(
        self, proxy: Traffic, forward_auth: Traffic, operations: ASGIApp, own: OwnAddresses, capacity: Capacity
    ) -> None:
        self.deadlines = Deadlines()
        self._capacity = capacity
        self._proxy = proxy
        self._forward_auth = forward_auth
        self._operations = operations
        self._own = own
        self._prefix = f"{own.prefix}/".encode()
        self._authorize = f"{own.path(AUTHORIZE)}/".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The lifespan of the process."""
        if scope["type"] in list(ScopeType):
            raise RuntimeError("requests come by gateway.server.connection:Connection, as `gateway serve` sets it up")
        await self._operations(scope, receive, send)

    def handle_request(self, raw: RawRequest, content: RequestContent | None, in_progress: int) -> Awaitable[Response]:
        """The response to any request; `in_progress` are those of the worker, this one included.

        Its own addresses answer however busy it is: what looks after the gateway has to see it then.
        """
        if raw.fault is not None:
            return self._proxy.handle(raw, content, has_room=True)
        path = raw.path
        name = self._find_own(path) if path.startswith(self._prefix) or b"%" in path[: 3 * len(self._prefix)] else None
        if name is None:
            return self._proxy.handle(raw, content, self._capacity.has_room(in_progress))
        if name == AUTHORIZE:
            return self._forward_auth.handle(raw, content, self._capacity.has_room(in_progress))
        return ask(self._operations, raw, content)

    def _find_own(self, path: bytes) -> str | None:
        """Which of its own addresses a path is; in Envoy's questions a path follows that may be ambiguous."""
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
        """One request, accepted and answered."""
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

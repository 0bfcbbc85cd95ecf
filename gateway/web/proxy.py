"""The public listener: which part of the gateway answers a request, and the part that passes it on."""

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.core.addresses import TrustedProxies
from gateway.core.errors import ClientGone
from gateway.core.messages import Response
from gateway.core.own_addresses import AUTHORIZE, OwnAddresses
from gateway.core.reasons import Reason
from gateway.core.targets import parse_path
from gateway.exchange import Exchange
from gateway.web.asgi import ask
from gateway.web.capacity import RETRY_SECONDS, Capacity
from gateway.web.deadlines import Deadlines
from gateway.web.receiving import Received, RequestContent, accept

logger = logging.getLogger(__name__)


class Traffic(Protocol):
    """What answers a kind of requests."""

    def answer(self, received: Received, content: RequestContent | None, has_room: bool) -> Awaitable[Response]:
        """The response; `content` is None where the request has none, `has_room` False where too much is under way."""
        ...


class PublicListener:
    """Tells proxied traffic and the questions of other proxies from the gateway's own addresses, which Litestar serves.

    Litestar stays off the path of requests: routing there is the policies' business, and its own would cost a fifth of
    what the server does (docs/decisions/0006). Requests come from web/connections.py; by ASGI come only the start
    and the end of the process.
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
            raise RuntimeError("requests come by gateway.web.connections:Connection, as `gateway serve` sets it up")
        await self._operations(scope, receive, send)

    def answer(self, received: Received, content: RequestContent | None, in_progress: int) -> Awaitable[Response]:
        """The response to any request; `in_progress` are those of the worker, this one included.

        Its own addresses answer however busy it is: what looks after the gateway has to see it then.
        """
        if received.fault is not None:
            return self._proxy.answer(received, content, has_room=True)
        path = received.path
        name = self._find_own(path) if path.startswith(self._prefix) or b"%" in path[: 3 * len(self._prefix)] else None
        if name is None:
            return self._proxy.answer(received, content, self._capacity.has_room(in_progress))
        if name == AUTHORIZE:
            return self._forward_auth.answer(received, content, self._capacity.has_room(in_progress))
        return ask(self._operations, received, content)

    def _find_own(self, path: bytes) -> str | None:
        """Which of its own addresses a path is; in Envoy's questions a path follows that may be ambiguous."""
        if path.startswith(self._authorize):
            return AUTHORIZE
        segments = parse_path(path.decode("latin-1"))
        return self._own.find(segments) if segments else None


class Proxy:
    """The web's side of `Exchange.answer`; `clock` gives Unix seconds, `new_id` an id for each request without one."""

    def __init__(
        self,
        exchange: Exchange,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        trusted: TrustedProxies,
    ) -> None:
        self._exchange = exchange
        self._trusted = trusted
        self._clock = clock
        self._new_id = new_id

    async def answer(self, received: Received, content: RequestContent | None, has_room: bool) -> Response:
        """One request, accepted and answered."""
        exchange = self._exchange
        request = accept(received, self._clock(), self._new_id(), self._trusted, exchange.masking)
        if not has_room:
            return exchange.refuse(request, Reason.OVERLOADED, RETRY_SECONDS)
        try:
            return await exchange.answer(request, content)
        except ClientGone:
            raise
        except Exception:
            logger.exception("request %s: the gateway made a mistake", request.id)
            return exchange.refuse(request, Reason.INTERNAL_ERROR)

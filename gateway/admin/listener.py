"""The admin listener as the server sees it: its requests have the limits of the public listener's.

Requests come from server/connection.py: heads that are too large, too slow or could be read in two ways never reach the
application, and content that no handler reads is not awaited.
"""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec.structs import replace

from gateway.core.http.fields import build_http_date
from gateway.core.http.messages import Response
from gateway.core.http.problems import build_refusal
from gateway.core.own_addresses import DEFAULT_PREFIX
from gateway.pipeline.recognition import Recognition
from gateway.server.asgi import ask
from gateway.server.connection import Deadlines
from gateway.server.requests import RawRequest, RequestAcceptor, RequestContent

_OWN = f"{DEFAULT_PREFIX}/".encode()


class AdminListener:
    """How a product's own API for tokens speaks: see the module."""

    def __init__(self, application: ASGIApp, acceptor: RequestAcceptor) -> None:
        self.deadlines = Deadlines()
        self.recognition: Recognition | None = None
        """Nothing is recognised here: people and their tools change tokens, and each call is read."""
        self._application = application
        self._acceptor = acceptor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the lifespan of the process. Raise RuntimeError for a request: these do not come through ASGI."""
        if scope["type"] in list(ScopeType):
            raise RuntimeError("requests come by gateway.server.connection:Connection, as `gateway serve` sets it up")
        await self._application(scope, receive, send)

    def may_take(self, in_progress: int) -> bool:
        """Return True: the listener has no limit of its own."""
        return True

    async def handle_request(self, raw: RawRequest, content: RequestContent | None, in_progress: int) -> Response:
        """Return the response to any request. HEAD gets the head that GET would get (RFC 9110 9.3.2), on every address.

        A health check need not name a host, as on the public listener. The application decides which methods an address
        has: nothing is passed on from here.
        """
        as_get, response = replace(raw, method="GET"), None
        if raw.fault is not None or not raw.path.startswith(_OWN):
            request = self._acceptor.accept(as_get)
            response = build_refusal(request.fault, None, request.id) if request.fault is not None else None
        if response is None:
            response = await ask(self._application, as_get if raw.method == "HEAD" else raw, content)
        response.head.fields.append((b"date", build_http_date(int(self._acceptor.clock()))))
        return response

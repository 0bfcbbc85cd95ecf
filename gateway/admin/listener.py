"""The admin listener as the server sees it: its requests have the limits of the public listener's.

Requests come from server/connection.py: heads that are too large, too slow or could be read in two ways never reach the
application, and content that no handler reads is not awaited.
"""

from collections.abc import Callable

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec.structs import replace

from gateway.core.http.client_address import TrustedProxies
from gateway.core.http.fields import build_http_date
from gateway.core.http.messages import Response
from gateway.core.http.problems import build_refusal
from gateway.core.masking import Masking
from gateway.core.own_addresses import DEFAULT_PREFIX
from gateway.server.asgi import ask
from gateway.server.connection import Deadlines
from gateway.server.requests import Received, RequestContent, accept

_OWN = f"{DEFAULT_PREFIX}/".encode()


class AdminListener:
    """The listener that passes requests on to the application. `clock` gives Unix seconds, `new_id` ids of requests.

    `masking` returns that of the current policies: no refusal repeats what looks like a token.
    """

    def __init__(
        self,
        application: ASGIApp,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        trusted: TrustedProxies,
        masking: Callable[[], Masking],
    ) -> None:
        self._masking = masking
        self.deadlines = Deadlines()
        self._application = application
        self._clock = clock
        self._new_id = new_id
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the lifespan of the process. Raise RuntimeError for a request: these do not come through ASGI."""
        if scope["type"] in list(ScopeType):
            raise RuntimeError("requests come by gateway.server.connection:Connection, as `gateway serve` sets it up")
        await self._application(scope, receive, send)

    async def answer(self, received: Received, content: RequestContent | None, in_progress: int) -> Response:
        """Return the response to any request. HEAD gets the head that GET would get (RFC 9110 9.3.2), on every address.

        A health check need not name a host, as on the public listener. The application decides which methods an address
        has: nothing is passed on from here.
        """
        as_get, response = replace(received, method="GET"), None
        if received.fault is not None or not received.path.startswith(_OWN):
            request = accept(as_get, self._clock(), self._new_id(), self._trusted, self._masking())
            response = build_refusal(request.fault, None, request.id) if request.fault is not None else None
        if response is None:
            response = await ask(self._application, as_get if received.method == "HEAD" else received, content)
        response.head.fields.append((b"date", build_http_date(int(self._clock()))))
        return response

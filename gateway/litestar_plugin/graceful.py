"""WebSockets of an app under uvicorn, for a stop that gives them as much time as requests.

uvicorn's own protocol closes every WebSocket with 1012 as soon as the server is to stop. With this one, the server
waits for the handlers, as long as it waits for requests (--timeout-graceful-shutdown), and cancels those that are left.

    uvicorn app:app --ws gateway.litestar_plugin.graceful:GracefulWebSocket --timeout-graceful-shutdown 30
"""

import asyncio
from typing import Any, cast

from uvicorn import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from gateway.core.http.websockets import GOING_AWAY


class GracefulWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket that a stop leaves to its handler; if the server cancels the handler in the end, it gets 1001."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._app = self.app
        self.app = cast(Any, self._serve)
        self._is_stopping = False

    def shutdown(self) -> None:
        """Prepare for the server's stop: close the WebSocket only if it is not open."""
        self._is_stopping = True
        if self.close_sent or not self.handshake_complete:
            super().shutdown()

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise
            if not (self.close_sent or self.transport.is_closing()):
                await self.send({"type": "websocket.close", "code": GOING_AWAY, "reason": ""})

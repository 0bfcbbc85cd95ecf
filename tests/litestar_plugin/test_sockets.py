"""An open WebSocket between a server and a handler, which is ended meanwhile. See system/test_plugin.py."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from litestar.types import Receive, Scope, Send

from gateway.core.errors import StreamRevoked
from gateway.core.http.reasons import Reason
from gateway.litestar_plugin.websockets import OpenSocket

ACCEPT, HELLO = {"type": "websocket.accept"}, {"type": "websocket.send", "text": "hello"}
CLOSE = {"type": "websocket.close", "code": 1000, "reason": ""}
CLOSED = {"type": "websocket.close", "code": 1008, "reason": "invalid_token"}
CONNECT, SAID = {"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hello"}
LEFT = {"type": "websocket.disconnect", "code": 1001, "reason": ""}

Handler = Callable[["Server", Any, Any], Awaitable[None]]


class Server:
    """Whose client has sent all `messages` already; as ASGI has it, none more comes before there is one."""

    def __init__(self, *messages: Any, is_client_gone: bool = False) -> None:
        self.socket = OpenSocket(self._receive, self._send)
        self.sent: list[Any] = []
        self.has_closed = asyncio.Event()
        self._messages = list(messages)
        self._is_client_gone = is_client_gone

    async def serve(self, handler: Handler) -> None:
        async def app(_: Scope, receive: Receive, send: Send) -> None:
            await handler(self, receive, send)

        async with asyncio.timeout(10):
            await self.socket.serve(app, {})  # type: ignore[typeddict-item]

    async def _receive(self) -> Any:
        return self._messages.pop(0)

    async def _send(self, message: Any) -> None:
        if self._is_client_gone:
            raise ConnectionResetError
        self.sent.append(message)
        if message["type"] == "websocket.close":
            self.has_closed.set()


async def test_a_busy_handler_holds_nobody_up() -> None:
    """The client is told although the handler neither reads nor sends."""

    async def be_busy(server: Server, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        server.socket.abort(Reason.EXPIRED_TOKEN)
        await server.has_closed.wait()

    server = Server()
    with pytest.raises(StreamRevoked) as caught:
        await server.serve(be_busy)
    assert [ACCEPT, CLOSED] == server.sent
    assert Reason.EXPIRED_TOKEN == caught.value.reason


async def test_nothing_passes_once_it_is_ended() -> None:
    """Neither what the client has said meanwhile nor what the handler says; it is closed once."""

    async def go_on(server: Server, receive: Any, send: Any) -> None:
        await send(ACCEPT)
        assert CONNECT == await receive()
        server.socket.abort(Reason.EXPIRED_TOKEN)
        server.socket.abort(Reason.EXPIRED_TOKEN)
        expected = {"type": "websocket.disconnect", "code": 1008, "reason": "invalid_token"}
        assert [expected, expected] == [await receive(), await receive()]
        await send(CLOSE)
        await send(HELLO)

    server = Server(CONNECT, SAID, SAID)
    with pytest.raises(StreamRevoked):
        await server.serve(go_on)
    assert [ACCEPT, CLOSED] == server.sent


async def test_a_handler_that_sends_is_told_as_by_a_server() -> None:
    """By the error that ASGI has for a client that has left."""

    async def go_on(server: Server, receive: Any, send: Any) -> None:
        server.socket.abort(Reason.EXPIRED_TOKEN)
        with pytest.raises(OSError, match="closed"):
            await send(HELLO)
        raise RuntimeError("a mistake of the handler's own")

    with pytest.raises(RuntimeError):
        await Server().serve(go_on)


@pytest.mark.parametrize("is_left", [True, False], ids=["client", "handler"])
async def test_what_is_over_is_not_closed_again(is_left: bool) -> None:
    """Whoever closed it: to servers a second close is a mistake of the app."""

    async def finish(server: Server, receive: Any, send: Any) -> None:
        if is_left:
            assert LEFT == await receive()
        else:
            await send(CLOSE)
        server.socket.abort(Reason.EXPIRED_TOKEN)

    server = Server(LEFT)
    await server.serve(finish)
    assert ([] if is_left else [CLOSE]) == server.sent


async def test_a_client_that_has_left_meanwhile_is_no_mistake() -> None:
    """The server says so when it is to close, and when a handler sends."""

    async def send_on(server: Server, receive: Any, send: Any) -> None:
        server.socket.abort(Reason.EXPIRED_TOKEN)
        await send(HELLO)

    async def be_left(server: Server, receive: Any, send: Any) -> None:
        await send(HELLO)

    with pytest.raises(StreamRevoked):
        await Server(is_client_gone=True).serve(send_on)
    with pytest.raises(ConnectionResetError):
        await Server(is_client_gone=True).serve(be_left)

"""WebSockets: how one is refused, and how one stays open as long as another would be admitted."""

import asyncio
import logging
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, cast

import msgspec
from litestar.types import ASGIApp, Receive, Send, WebSocketScope

from gateway.core.errors import StreamRevoked
from gateway.core.http.messages import Ended, RequestHead, Response
from gateway.core.http.reasons import Reason
from gateway.core.http.websockets import POLICY_VIOLATION
from gateway.core.policies.model import Policy
from gateway.core.tokens.credentials import build_credential

DENIAL = "websocket.http.response"
"""The extension of ASGI by which a WebSocket is refused with a complete answer."""
REVOKED = {"code": POLICY_VIOLATION, "reason": "invalid_token"}
"""The close of both ends: it says no more than refusals do. Before a WebSocket is open, the client gets 403."""
TOKEN_SUBPROTOCOL = "gateway.token."
"""The prefix of a browser's token in Sec-WebSocket-Protocol (RFC 6455 1.9), because it cannot set Authorization."""
PLAIN_SUBPROTOCOL = "gateway"
"""The subprotocol that it offers besides, so that one can be agreed on if the handler chooses none."""
LAST = {"websocket.close", "websocket.disconnect", f"{DENIAL}.start"}
"""Messages after which nothing is left to close."""


class Carried(msgspec.Struct, frozen=True):
    """The token and the subprotocol of a WebSocket's handshake."""

    token: str = ""
    answer: str = ""
    """The subprotocol that is agreed on if the handler chooses none; otherwise a browser would close the WebSocket."""

    def present(self, request: RequestHead, policy: Policy) -> RequestHead:
        """Return the request with the token in the policy's field; with two credentials it is ambiguous as any."""
        if not self.token:
            return request
        field = build_credential(self.token, policy.credentials[0])
        return msgspec.structs.replace(request, fields=[*request.fields, field])


def take_token(scope: WebSocketScope) -> Carried:
    """Take the token out of the subprotocols of a handshake: nothing behind the gate sees or repeats it."""
    offered = scope.get("subprotocols") or []
    tokens = [one for one in offered if one.startswith(TOKEN_SUBPROTOCOL) and one.isascii()]
    if not tokens:
        return Carried()
    left = [one for one in offered if one not in tokens]
    scope["subprotocols"] = left
    fields = [field for field in scope["headers"] if field[0] != b"sec-websocket-protocol"]
    scope["headers"] = [*fields, (b"sec-websocket-protocol", ", ".join(left).encode("latin-1"))] if left else fields
    answer = PLAIN_SUBPROTOCOL if PLAIN_SUBPROTOCOL in left else ""
    # Several are several credentials; the first would hide that.
    return Carried(", ".join(one.removeprefix(TOKEN_SUBPROTOCOL) for one in tokens), answer)


class OpenSocket:
    """An admitted WebSocket between server and handler; to its handler, `end` looks like a client that leaves.

    Rule 1: once it has ended, no message of the client reaches the handler, and none of the handler the client.
    Rule 2: the client is told without waiting for the handler, which may be busy or never look.
    """

    def __init__(self, receive: Receive, send: Send, subprotocol: str = "") -> None:
        self._receive = receive
        self._send = send
        self._subprotocol = subprotocol
        """The subprotocol that is agreed on if the handler chooses none."""
        self._is_over = False
        self._closing: asyncio.Task[None] | None = None
        """The task that closes it, once it was ended."""
        self._reason = Reason.UNKNOWN_TOKEN
        """The reason for that."""

    async def serve(self, app: ASGIApp, scope: WebSocketScope) -> None:
        """Let the handler have it. Raise StreamRevoked after `end`."""
        try:
            await app(scope, self._pass_in, self._pass_out)
        except OSError:  # servers raise it if the client has left
            if self._closing is None:
                raise
        if self._closing is not None:
            await self._closing  # a server may take the handler's end for an abrupt one
            raise StreamRevoked(self._reason)

    def abort(self, reason: Reason) -> None:
        """Close it, without waiting for the client."""
        if self._closing is None and not self._is_over:
            self._reason = reason
            self._closing = asyncio.create_task(self._close())

    async def _close(self) -> None:
        with suppress(OSError):  # the client has left meanwhile
            await self._send(cast(Any, {"type": "websocket.close", **REVOKED}))

    async def _pass_in(self) -> Any:
        message = await self._receive()  # it comes to an end when the server has closed
        if self._closing is not None:
            return {"type": "websocket.disconnect", **REVOKED}
        self._is_over = self._is_over or message["type"] in LAST
        return message

    async def _pass_out(self, message: Any) -> None:
        if self._closing is None:
            self._is_over = self._is_over or message["type"] in LAST
            if message["type"] == "websocket.accept" and self._subprotocol and not message.get("subprotocol"):
                message = {**message, "subprotocol": self._subprotocol}
            await self._send(message)
        elif message["type"] not in LAST:
            raise ConnectionAbortedError("this WebSocket was closed: its token may no longer have it")


DENIED: ContextVar[bool] = ContextVar("denied", default=False)
"""Whether the WebSocket of the current task was refused with a complete answer."""


class QuietDenials(logging.Filter):
    """A filter that keeps uvicorn from logging such a refusal as a mistake of the app.

    uvicorn (0.40 to 0.54) takes the answer, and then misses a handshake. If it says so in other words, they are logged.
    """

    MISSED = "ASGI callable returned without completing handshake."

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be logged."""
        return not (record.msg == self.MISSED and DENIED.get())


async def deny(refusal: Response, scope: WebSocketScope, send: Send) -> None:
    """Refuse a WebSocket that is not open yet, with the complete answer if the server can send one; note its end."""
    if refusal.note_end is not None:
        refusal.note_end(Ended.COMPLETE, len(refusal.content) if isinstance(refusal.content, bytes) else 0, "")
    if DENIAL not in (scope.get("extensions") or {}):
        await send(cast(Any, {"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""}))
        return
    DENIED.set(True)
    head = refusal.head
    await send(cast(Any, {"type": f"{DENIAL}.start", "status": head.status, "headers": head.fields}))
    await send(cast(Any, {"type": f"{DENIAL}.body", "body": refusal.content, "more_body": False}))

"""Run a handler in the request's own ASGI call: its hooks, errors and background work are as without the gate.

Rule 1: admission comes before it, and the fields of every answer are added to the head it sends. All else is unchanged.
Rule 2: the request is in flight, and watched, until the last byte of its answer; what the handler does after that is
neither counted nor ended.
"""

import asyncio
from typing import Any, cast

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Send

from gateway.core.errors import StreamRevoked
from gateway.core.http.messages import Field, ResponseHead
from gateway.core.http.reasons import Reason
from gateway.pipeline.exchange import Permission

OWN = frozenset({b"x-request-id"})
"""Fields that the gate sets instead of the handler."""


class OwnCall:
    """One call of a handler; `end` aborts its answer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._permission: Permission
        self._task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._has_begun = False
        self._ended: StreamRevoked | None = None

    def abort(self, reason: Reason) -> None:
        """Abort the answer, wherever the handler waits."""
        self._ended = StreamRevoked(reason)
        if self._has_begun:
            self._task.cancel()

    async def serve(self, app: ASGIApp, scope: HTTPScope, receive: Receive, permission: Permission) -> None:
        """Run the handler to the end of its background work. Raise what it raises, and StreamRevoked after `end`."""
        self._permission = permission
        error: BaseException | None = None
        try:
            await app(scope, receive, self._pass_out)
        except asyncio.CancelledError as cancelled:
            if self._ended is None or not self._has_begun or self._task.uncancel() > 0:
                error = cancelled
                raise
            error = self._ended
            raise self._ended from None
        except BaseException as raised:
            error = raised
            raise
        finally:
            permission.close(error)

    async def _pass_out(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            head = await self._permission.begin(ResponseHead(message["status"], _read(message)))
            await self._send(cast(Any, {**message, "headers": head.fields}))
            self._has_begun = True
            # A complete answer ends before that, as nearly all do.
            asyncio.get_running_loop().call_soon(self._permission.follow)
            return
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if is_last:
            self._permission.release()  # before the client can ask again
        await self._send(message)
        if message["type"] == "http.response.body":
            self._permission.sent_bytes += len(message.get("body", b""))
            if is_last:
                self._permission.is_complete = True
                self._has_begun = False  # there is nothing left to abort
                self._permission.close()


def _read(message: Any) -> list[Field]:
    """Return the fields of the handler's answer, but for those that the gate sets."""
    return [
        (folded, bytes(value))
        for name, value in message.get("headers", ())
        if (folded := bytes(name).lower()) not in OWN
    ]

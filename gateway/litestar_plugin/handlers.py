"""Handlers whose answers are stored: they answer what the exchange sends, as the backends of their own requests.

So a handler's export has all that the gateway does for a backend's: entity tags, codings, stale answers, variants, one
call for all that want the same. The handler gets the request as the exchange has made it: without the credential, with
the identity fields.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextvars import ContextVar
from typing import Any, cast
from urllib.parse import unquote

from litestar import Litestar
from litestar.types import ASGIApp, HTTPScope, Message, Receive

from gateway.core.errors import ClientGone, UpstreamBroken
from gateway.core.http.messages import Field, Inform, Response, ResponseHead
from gateway.core.policies.model import Upstream
from gateway.core.recognition.lesson import Lesson
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import token_id
from gateway.core.upstream.forwarding import PSEUDONYM, Principal, parse_principal
from gateway.litestar_plugin.guards import STATE_KEY, Admitted

ROUTED = ("path_params", "path_template", "route_handler")
"""Keys of the scope that the router sets again for another path."""
OF_FRAMEWORK = "_ls_"
"""The prefix of Litestar's own keys in the state of a request."""
OF_ANSWER = "http.response."
"""The prefix of extensions about an answer that is sent as it is made."""
VIA = (b"via", b"1.1 " + PSEUDONYM)
"""A field that only an intermediary sends."""
AHEAD = 2
"""Messages that a handler may be ahead of a slow client."""

logger = logging.getLogger(__name__)


class Call:
    """The request for which a handler is called. Others may get the answer too, so this client cannot abort it."""

    def __init__(self, by: object, app: ASGIApp, scope: HTTPScope, path: str, scopes: tuple[str, ...]) -> None:
        self.by = by
        """The gate that received the request."""
        self.path = path
        """The path of the request."""
        self.scope = scope
        self._app = app
        self.scopes = scopes
        """The scopes that its rule needs."""
        self._runs: list[asyncio.Task[None]] = []
        self._is_over = False

    def start(self, handler_run: "HandlerRun", scope: HTTPScope) -> "asyncio.Task[None]":
        """Start a run of the handler behind the gate, or of the one that a rule's `source` names."""
        app = self._app if "route_handler" in scope else Litestar.from_scope(self.scope).asgi_router
        task = asyncio.create_task(handler_run.do(app, scope, _receive_nothing()))
        self._runs.append(task)
        task.add_done_callback(self._log_failure)
        return task

    async def finish(self) -> None:
        """Wait for its handler's work after the answer, and raise what fails there, as without the gate."""
        while self._runs:
            run = self._runs.pop(0)
            await asyncio.wait([run])
            if not run.cancelled() and (error := run.exception()) is not None:
                raise error
        self._is_over = True

    def _log_failure(self, task: "asyncio.Task[None]") -> None:
        """Log what failed in a run that nothing awaits any more."""
        if self._is_over and not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a handler failed after its answer", exc_info=error)


CALL: ContextVar[Call] = ContextVar("call")
"""The call of the current task, and of those that it started."""


class AppUpstreams:
    """The implementation of ports.Upstreams. Its requests have no content, so that their answers can be shared."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    async def send(
        self,
        address: Upstream,
        method: str,
        target: str,
        fields: Sequence[Field],
        content: AsyncIterator[bytes] | None,
        inform: Inform | None = None,
        lesson: Lesson | None = None,
    ) -> Response:
        """Return the handler's answer. Raise what it raises before its answer begins."""
        call, run = CALL.get(), HandlerRun()
        task = call.start(run, build_scope(call, method, target, fields))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await run.read_response(task)

    async def drain(self) -> None:
        """Wait for the handlers that are still at work, also behind their answers."""
        if self._running:
            await asyncio.wait(self._running)


def build_scope(call: Call, method: str, target: str, fields: Sequence[Field]) -> HTTPScope:
    """Build the scope of a request that the gate has admitted."""
    path, _, query = target.partition("?")
    root_path, principal = call.scope.get("root_path", ""), parse_principal(fields)
    state = {name: value for name, value in call.scope["state"].items() if not name.startswith(OF_FRAMEWORK)}
    extensions = call.scope.get("extensions") or {}
    is_routed = path == call.path
    scope: dict[str, Any] = {
        **{name: value for name, value in call.scope.items() if is_routed or name not in ROUTED},
        "method": method,
        "path": call.scope["path"] if is_routed else root_path + unquote(path),
        "raw_path": (root_path + path).encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "headers": without_intermediary(fields),
        "extensions": {name: value for name, value in extensions.items() if not name.startswith(OF_ANSWER)},
        "state": state | {STATE_KEY: Admitted(call.by, call.scopes, principal)},
    }
    if principal is not None:
        scope |= {"user": principal, "auth": principal.scopes}
    return cast(HTTPScope, scope)


def identify(record: TokenRecord, scopes: str) -> Principal:
    """Return who asks with a token, and its effective scopes."""
    identity = token_id(record.digest)
    return Principal(identity, record.name, record.project, record.owner, frozenset(scopes.split()))


def without_intermediary(fields: Sequence[Field]) -> list[Field]:
    """Return the fields of a request for a backend as the app itself gets them, without those of an intermediary."""
    return [field for field in fields if field != VIA]


class HandlerRun:
    """One run of a handler, whose messages become an answer; it is the stream of an answer that comes in parts."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Message | Exception | None] = asyncio.Queue(AHEAD)
        self._task: asyncio.Task[None]
        self._first = b""
        self._is_complete = False

    async def do(self, app: ASGIApp, scope: HTTPScope, receive: Receive) -> None:
        """Run it to its end. Raise what it raises after its answer."""
        try:
            await app(scope, receive, self._messages.put)
        except Exception as error:
            if self._is_complete:
                raise
            await self._messages.put(error)
        else:
            await self._messages.put(None)

    async def read_response(self, task: asyncio.Task[None]) -> Response:
        """Return the head, with complete content if all of it comes at once."""
        self._task = task
        try:
            head = await self._next_head()
            if not self._messages.empty():  # a handler that has all of it sends it without a pause
                self._first = await self._next_piece()
        except BaseException:
            task.cancel()
            raise
        return Response(head, self._first if self._is_complete else self)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            piece, self._first = self._first, b""
            return piece
        if self._is_complete:
            raise StopAsyncIteration
        try:
            return await self._next_piece()
        except ClientGone:
            raise
        except Exception as error:
            raise UpstreamBroken(f"the handler failed in its content: {error!r}") from error

    async def aclose(self) -> None:
        """Cancel the handler, unless its answer is complete; a reader that waits for more is woken."""
        if self._is_complete:
            return
        self._task.cancel()
        while not self._messages.empty():
            self._messages.get_nowait()
        self._messages.put_nowait(None)

    async def _next_head(self) -> ResponseHead:
        message = await self._next()
        if message is None:
            raise UpstreamBroken("the handler ended without an answer")
        if message["type"] != "http.response.start":
            raise UpstreamBroken(f"the handler began with {message['type']}")
        return ResponseHead(message["status"], [(name.lower(), value) for name, value in message["headers"]])

    async def _next_piece(self) -> bytes:
        message = await self._next()
        if message is None:  # the handler was told, and stopped before the end of the content
            raise ClientGone
        if message["type"] != "http.response.body":
            raise UpstreamBroken(f"the handler went on with {message['type']}")
        self._is_complete = not message.get("more_body", False)
        return message.get("body", b"")

    async def _next(self) -> Message | None:
        message = await self._messages.get()
        if isinstance(message, Exception):
            raise message
        return message


def _receive_nothing() -> Receive:
    """Return a `receive` of a client that has sent everything, and stays."""
    messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Any:
        message = next(messages, None)
        return message if message is not None else await asyncio.Event().wait()

    return receive

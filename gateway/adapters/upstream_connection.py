"""One HTTP/1.1 connection to a backend, over httptools' strict parser.

A response ends cleanly only where its framing says so (RFC 9112 6.3): content that breaks off is UpstreamBroken,
however the connection went. Reading pauses while the client does not take what has arrived, and the clock stops too.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import cast

import httptools

from gateway.core.errors import UpstreamBroken, UpstreamError, UpstreamTimeout
from gateway.core.messages import Field, Response, ResponseHead, field_values

HIGH_WATER_BYTES = 64 * 1024
"""Content held for a slow client before the backend is made to wait: what a socket buffer holds."""
MAXIMUM_HEAD_BYTES = 64 * 1024
"""Heads of 8 to 16 KiB are the limit of most servers; nothing honest comes near."""


class UpstreamConnection(asyncio.Protocol):
    """A connection that carries one request after another. `is_reusable` says whether it can carry the next."""

    def __init__(self) -> None:
        self.is_reusable = False
        self.has_answered = False
        """Whether any byte of the present response has arrived."""
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._fields: list[Field]
        self._is_paused: bool
        self._timer: asyncio.TimerHandle | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._start_response("", 0.0)
        self._is_complete = True

    # -- what the pool calls

    async def send(
        self,
        method: str,
        head: bytes,
        content: AsyncIterator[bytes] | None,
        *,
        is_chunked: bool,
        timeout_seconds: float,
    ) -> Response:
        """Sends a request and gives its response; raises UpstreamTimeout or UpstreamBroken."""
        self._start_response(method, timeout_seconds)
        self._transport.write(head)
        self._timer = self._loop.call_later(timeout_seconds, self._check_progress)
        upload = asyncio.create_task(self._upload(content, is_chunked)) if content is not None else None
        try:
            response_head = await self._head
        except BaseException:
            self._stop_timer()
            self.abort()
            await _end(upload)
            raise
        if self._is_complete and self._error is None:
            await _end(upload)  # answered before it had all: the rest is of no use to the backend
            self._settle(upload)
            return Response(response_head, b"".join(self._pieces))
        return Response(response_head, self._stream(upload))

    def abort(self) -> None:
        """Closes at once; whatever was under way ends with an error."""
        self.is_reusable = False
        self._transport.abort()

    def close(self) -> None:
        """Closes an idle connection."""
        self.is_reusable = False
        self._transport.close()

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_reusable = True

    def data_received(self, data: bytes) -> None:
        if self._is_complete:
            self.abort()  # bytes that nobody asked for: the next response could not be told from them
            return
        self.has_answered = True
        self._progressed_at = self._loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(UpstreamBroken("the backend switched protocols unasked"))
        except httptools.HttpParserError as error:
            if not self._is_complete:  # after a complete response to HEAD the parser waits for content in vain
                self._fail(UpstreamBroken(f"the backend's answer is not HTTP: {error}"))
            self.is_reusable = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_reusable = False
        self._may_write.set()
        if self._is_complete:
            return
        if exc is None and self._head.done() and self._ends_with_connection:
            self.on_message_complete()
        else:
            self._fail(UpstreamBroken("the backend closed the connection before its answer was complete"))

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._progressed_at = self._loop.time()
        self._may_write.set()

    # -- what the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAXIMUM_HEAD_BYTES:
            raise httptools.HttpParserError(f"the head is larger than {MAXIMUM_HEAD_BYTES} bytes")
        if not self._is_complete and not self._head.done():  # trailers come after the head; they are dropped
            self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._is_interim = True
            return
        if not 200 <= status <= 599:
            raise httptools.HttpParserError(f"the status {status} is none")
        codings = field_values(self._fields, b"transfer-encoding")
        lengths = field_values(self._fields, b"content-length")
        self._ends_with_connection = not lengths and not (codings and codings[-1].lower().endswith(b"chunked"))
        self._keeps_alive = self._parser.should_keep_alive()
        if not self._head.done():
            self._head.set_result(ResponseHead(status, self._fields))
        if self._method == "HEAD":
            self.on_message_complete()

    def on_body(self, piece: bytes) -> None:
        if self._is_complete:
            raise httptools.HttpParserError("content after the end of the response")
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes > HIGH_WATER_BYTES and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._arrived.set()

    def on_message_complete(self) -> None:
        if self._is_interim:
            self._is_interim = False
            self._fields = []
            return
        self._is_complete = True
        self._arrived.set()

    # -- the response under way

    def _start_response(self, method: str, timeout_seconds: float) -> None:
        self._method = method
        self._timeout_seconds = timeout_seconds
        self._parser = httptools.HttpResponseParser(self)
        self._head: asyncio.Future[ResponseHead] = self._loop.create_future()
        self._fields = []
        self._head_bytes = 0
        self._pieces: deque[bytes] = deque()
        self._held_bytes = 0
        self._arrived = asyncio.Event()
        self._error: UpstreamError | None = None
        self._is_complete = self._is_interim = self._is_paused = self.has_answered = False
        self._ends_with_connection = self._keeps_alive = False
        self._progressed_at = self._loop.time()

    async def _upload(self, content: AsyncIterator[bytes], is_chunked: bool) -> None:
        """Passes the request's content on as fast as the backend takes it."""
        try:
            async for piece in content:
                await self._may_write.wait()
                if self._transport.is_closing():
                    return
                self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
                self._progressed_at = self._loop.time()
            if is_chunked:
                self._transport.write(b"0\r\n\r\n")
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._fail(UpstreamBroken(f"the request's content broke off: {error!r}"))
            self.abort()

    async def _stream(self, upload: "asyncio.Task[None] | None") -> AsyncIterator[bytes]:
        try:
            while True:
                while self._pieces:
                    piece = self._pieces.popleft()
                    self._held_bytes -= len(piece)
                    yield piece
                if self._error is not None:
                    raise self._error
                if self._is_complete:
                    return
                self._arrived.clear()
                self._resume_reading()
                await self._arrived.wait()
        finally:
            self._stop_timer()
            await _end(upload)
            if self._is_complete and not self._pieces:
                self._settle(upload)
            else:
                self.abort()

    def _settle(self, upload: "asyncio.Task[None] | None") -> None:
        """The response is over: is the connection fit for another request?"""
        self._stop_timer()
        self._resume_reading()
        is_sent = upload is None or (upload.done() and not upload.cancelled())
        if not (self._keeps_alive and is_sent and self.is_reusable):
            self.close()

    def _resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._progressed_at = self._loop.time()
            self._transport.resume_reading()

    def _fail(self, error: UpstreamError) -> None:
        self._stop_timer()
        self._error = self._error or error
        if not self._head.done():
            self._head.set_exception(self._error)
        self._arrived.set()
        self.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_progress(self) -> None:
        """Times out a backend that neither sends nor takes anything; a slow client is not the backend's fault."""
        now = self._loop.time()
        since = now if self._is_paused else self._progressed_at
        if now - since >= self._timeout_seconds:
            self._fail(UpstreamTimeout(f"the backend was silent for {self._timeout_seconds:g} s"))
        else:
            self._timer = self._loop.call_later(since + self._timeout_seconds - now, self._check_progress)


async def _end(upload: "asyncio.Task[None] | None") -> None:
    if upload is not None:
        upload.cancel()
        await asyncio.wait([upload])

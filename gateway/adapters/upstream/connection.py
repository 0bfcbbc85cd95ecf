"""One HTTP/1.1 connection to a backend: it sends requests, receives responses piece by piece, and enforces timeouts.

Whatever ends a response before its framing does is an UpstreamError, and the connection is closed at once: an idle one
has nothing on the wire, in either direction.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Protocol, Self, cast

from gateway.adapters.ports import Clock, Timer
from gateway.adapters.streams import PIECE_BYTES
from gateway.adapters.upstream.wire import NO_LIMITS, Framing, OutgoingRequest, ResponseReader
from gateway.core.errors import UpstreamBroken, UpstreamDropped, UpstreamTimeout
from gateway.core.http.messages import Inform, Response, ResponseHead, field_value
from gateway.core.recognition.lesson import Lesson, TakeAnswer
from gateway.core.upstream.causes import Cause


class Source(Protocol):
    """The connection that the content comes from."""

    def read(self) -> Awaitable[tuple[bytes, bool]]:
        """Return more content, and whether that is the rest."""
        ...

    def abandon(self) -> Awaitable[None]:
        """Close before the end of the content."""
        ...

    def close(self) -> None:
        """Close at once."""
        ...


class ResponseContent:
    """The content of a response as it arrives.

    A reader that does not read it to its end calls `aclose`, which closes the connection; dropping it does the same.
    """

    def __init__(self, connection: Source) -> None:
        self._connection: Source | None = connection
        self._loop = asyncio.get_running_loop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._connection is None:
            raise StopAsyncIteration
        try:
            piece, is_last = await self._connection.read()
        except BaseException:
            self._connection = None
            raise
        if is_last:
            self._connection = None  # it may be carrying another request by now
            if not piece:
                raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Close what has not been read."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.abandon()

    def __del__(self) -> None:
        if self._connection is not None:
            with suppress(RuntimeError):  # the loop is gone, and the connection with it
                self._loop.call_soon_threadsafe(self._connection.close)


BRIEF_SECONDS = 0.005
"""How long the rest of a short answer is waited for that is taken or learnt as a whole: many backends write head and
content one after the other."""
HIGH_WATER_BYTES = 64 * 1024
"""Content held for a slow client before the backend is paused: what a socket buffer holds."""


class UpstreamConnection(asyncio.Protocol):
    """A connection that carries one request after another, or a tunnel (RFC 9110 7.8) as the last.

    `ended` is called with it once for each request, when that is over: `is_reusable` says whether it can carry the
    next. The timeouts of a request do not run while the gateway itself waits for the client to send or to read content.
    """

    def __init__(self, ended: Callable[["UpstreamConnection"], None], clock: Clock) -> None:
        self.is_reusable = False
        self.idle_since = 0.0
        self._limits = NO_LIMITS
        self._ended = ended
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._reader = ResponseReader()
        self._inform: Inform | None = None
        self._take: TakeAnswer | None = None
        """Is given an answer instead of the reader: see `begin`."""
        self._early = b""
        """What has come of the answer, and was not read yet because more of it is to be taken."""
        self._was_early = False
        """Whether it was waited for already, and not taken."""
        self._late: Timer | None = None
        self._is_resumed = False
        self._pieces: list[bytes] | None = None
        """What has come of the answer, if that is to be learnt."""
        self._is_busy = False
        """True from `send` until `ended` is called."""
        self._error: Exception | None = None
        self._arrival: asyncio.Future[None] | None = None
        """Done when the reader has something new or there is an error."""
        self._upload: asyncio.Task[None] | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._unsent_bytes = 0
        self._is_paused = False
        self._progressed_at = 0.0
        self._ends_at = 0.0
        self._timer: Timer | None = None

    # -- called by the target and the reader of the content

    async def send(self, request: OutgoingRequest) -> Response:
        """Send a request and return its response. Raise UpstreamTimeout, UpstreamBroken or what its content raises."""
        self.begin(request)
        return await self.resume(request)

    def begin(self, request: OutgoingRequest, take: TakeAnswer | None = None) -> None:
        """Send the head of a request, which `resume` goes on with.

        Until then, and if it has no content, `take` may be given what comes: see ports.Passages.
        """
        self._reader.expect(request.method, request.expected)
        self._take = take
        self._is_resumed = self._was_early = False
        self._pieces = [] if take is not None or request.lesson is not None else None
        self._is_busy = True
        self._unsent_bytes = 0
        self._progressed_at = self._clock.time()
        self._ends_at = self._progressed_at + request.limits.total_seconds
        if self._timer is not None and request.limits is not self._limits:
            self._timer.cancel()  # it was set for the request before
            self._timer = None
        self._limits = request.limits
        if self._timer is None:
            self._timer = self._clock.call_at(self._progressed_at + self._limits.shortest_seconds, self._check_progress)
        if not self.is_reusable:  # lost just before
            self._error = UpstreamDropped("the connection to the backend ended as the request left")
        self._transport.write(request.head)

    async def resume(self, request: OutgoingRequest) -> Response:
        """Return the response to a request that was begun; see `send`."""
        reader = self._reader
        self._take = None
        self._inform = request.inform
        self._is_resumed = True
        if reader.interim:
            self._pass_on_interim()
        if request.content is not None and request.framing is not Framing.TUNNEL:
            self._upload = self._loop.create_task(self._pass_on(request.content, request.framing))
        try:
            while reader.head is None and self._error is None:
                await self._next_arrival()
            if reader.head is None or not self._was_early:
                self._raise_error()
            if request.lesson is not None:
                await self._learn(request, request.lesson)
        except BaseException:
            await self.abandon()
            raise
        if reader.is_tunnel and request.content is not None:
            self._upload = self._loop.create_task(self._pass_on(request.content, Framing.TUNNEL))
        response_head = cast(ResponseHead, reader.head)
        return Response(response_head, await self._take_rest() if reader.is_complete else ResponseContent(self))

    async def read(self) -> tuple[bytes, bool]:
        """Return more of the response's content, and whether that is the rest; raise as `send` does."""
        reader = self._reader
        try:
            while not (reader.held_bytes or reader.is_complete):
                self._raise_error()
                if self._is_paused:
                    self._is_paused = False
                    self._progressed_at = self._clock.time()
                    self._transport.resume_reading()
                await self._next_arrival()
        except BaseException:
            await self.abandon()
            raise
        if reader.is_complete:
            return await self._take_rest(), True
        return reader.take(), False

    def complete(self) -> None:
        """Take in that the whole response was taken without being read: the connection is free for the next request."""
        self._reader.is_complete = True
        self._end()

    def leave(self) -> None:
        """Let what has come, and what comes, wait for `resume`."""
        self._take = None
        self._end_early()

    async def _learn(self, request: OutgoingRequest, lesson: Lesson) -> None:
        """Tell a lesson what was exchanged, if the answer is short and comes at once."""
        reader = self._reader
        length = field_value(reader.head.fields, b"content-length") if reader.head is not None else None
        if not (reader.is_complete or self._was_early) and length is not None and int(length) <= PIECE_BYTES:
            await self._wait_briefly()
        pieces, self._pieces = self._pieces or (), None
        is_whole = reader.is_complete and reader.may_be_followed and self.is_reusable
        lesson.sent, lesson.received = request.head, b"".join(pieces) if is_whole else b""

    async def _wait_briefly(self) -> None:
        reader, ends_at = self._reader, self._clock.time() + BRIEF_SECONDS
        timer = self._clock.call_at(ends_at, self._announce)
        try:
            while not (reader.is_complete or self._error or self._is_paused or self._clock.time() >= ends_at):
                await self._next_arrival()
        finally:
            timer.cancel()

    async def abandon(self) -> None:
        """Close the connection and wait for the end of the request's content."""
        self.close()
        upload, self._upload = self._upload, None
        if upload is not None:
            await asyncio.wait([upload])

    def close(self) -> None:
        """Close at once. There is nothing to flush: an idle connection has sent all, and any other is abandoned."""
        self.is_reusable = False
        self._take = None
        self._early = b""
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if self._upload is not None:
            self._upload.cancel()
        self._transport.abort()
        self._end()

    # -- callbacks of the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_reusable = True

    def data_received(self, data: bytes) -> None:
        take = self._take
        if take is not None:
            self._offer(take, data)
            return
        reader = self._reader
        if reader.is_complete or self._error is not None:
            self.close()  # unrequested bytes, which could not be distinguished from the next response
            return
        if self._pieces is not None:
            self._pieces.append(data)
        try:
            reader.feed(data)
        except UpstreamBroken as error:
            self._fail(error)
            return
        if reader.interim:
            self._pass_on_interim()
        if reader.head is None:
            return  # a head that trickles in is not progress
        self._progressed_at = self._clock.time()
        if reader.held_bytes > HIGH_WATER_BYTES and not (reader.is_complete or self._is_paused):
            self._is_paused = True
            self._transport.pause_reading()
        self._announce()

    def _offer(self, take: TakeAnswer, data: bytes) -> None:
        """Give what has come to whoever takes whole answers, and read it if it is not taken."""
        early, self._early, self._take = self._early, b"", None
        late, data = self._late, early + data
        is_taken = take(data)
        if is_taken is None:
            self._take, self._early = take, data
            self._late = late or self._clock.call_at(self._clock.time() + BRIEF_SECONDS, self._refuse_early)
            return
        if late is not None:
            late.cancel()
            self._late = None
        if not is_taken:
            self._was_early = bool(early)
            self.data_received(data)

    def _refuse_early(self) -> None:
        """Take in that the rest of an answer has not come, or does not come in time."""
        if self._take is not None and self._early:
            self._take(b"")  # which calls `leave`

    def _end_early(self) -> None:
        """Read what has come, and was to be taken."""
        early, self._early = self._early, b""
        late, self._late = self._late, None
        if late is not None:
            late.cancel()
        if early:
            self._was_early = True
            self.data_received(early)

    def eof_received(self) -> None:
        self._refuse_early()
        self._reader.feed_end()
        self._fail(self._broken("the backend closed the connection before its answer was complete"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._refuse_early()
        self._fail(self._broken(f"the connection to the backend broke: {exc or 'no end was announced'}"))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause_writing(self) -> None:
        self._unsent_bytes = self._transport.get_write_buffer_size()
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._progressed_at = self._clock.time()
        self._may_write.set()

    # -- the request and response under way

    async def _pass_on(self, content: AsyncIterator[bytes], framing: Framing) -> None:
        """Send the request's content as fast as the backend takes it."""
        try:
            async for piece in content:
                if piece:  # an empty chunk would be the last one
                    is_chunk = framing is Framing.CHUNKED
                    for part in (b"%x\r\n" % len(piece), piece, b"\r\n") if is_chunk else (piece,):
                        self._transport.write(part)
                    self._progressed_at = self._clock.time()
                    await self._may_write.wait()
            if framing is Framing.CHUNKED:
                self._transport.write(b"0\r\n\r\n")
            self._progressed_at = self._clock.time()
        except Exception as error:
            self._fail(error)

    def _pass_on_interim(self) -> None:
        if not self._is_resumed:
            return
        interim, self._reader.interim = self._reader.interim, []
        if self._inform is not None:
            for head in interim:
                self._inform(head)

    async def _take_rest(self) -> bytes:
        """Return the rest of a complete response; the connection is then free for the next request, or closed."""
        rest = self._reader.take()
        if self._upload is not None:
            if not self._upload.done() or self._transport.get_write_buffer_size():
                await self.abandon()  # answered before it had everything: the backend does not need the rest
            self._upload = None
        if self.is_reusable and self._reader.may_be_followed:
            self._end()
        else:
            self.close()
        return rest

    def _end(self) -> None:
        if self._is_busy:
            self._is_busy = False
            self._ended(self)

    async def _next_arrival(self) -> None:
        self._arrival = self._loop.create_future()
        await self._arrival

    def _announce(self) -> None:
        take, self._take = self._take, None
        if take is not None:
            take(b"")
        elif self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self._reader.is_complete and self._error is None:
            self._error = error
        self._announce()
        self.close()

    def _broken(self, message: str) -> UpstreamBroken:
        if self._reader.has_begun:
            return UpstreamBroken(message, cause=Cause.CONNECTION_LOST)
        return UpstreamDropped(message)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _check_progress(self) -> None:
        """Abandon a backend that neither sends nor takes anything; a slow client is not the backend's fault."""
        self._timer = None
        self._refuse_early()
        reader, limits = self._reader, self._limits
        if reader.is_complete or reader.is_tunnel:
            return
        now = self._clock.time()
        unsent = self._transport.get_write_buffer_size()
        awaits_client = self._upload is not None and not self._upload.done() and self._may_write.is_set()
        if self._is_paused or awaits_client or unsent < self._unsent_bytes:
            self._progressed_at = now
        self._unsent_bytes = unsent
        seconds = limits.response_seconds if reader.head is None else limits.idle_seconds
        if now >= self._ends_at:
            self._fail(UpstreamTimeout(f"the answer took longer than {limits.total_seconds:g} s"))
        elif now >= self._progressed_at + seconds:
            self._fail(UpstreamTimeout(f"the backend was silent for {seconds:g} s"))
        else:
            due = min(self._progressed_at + seconds, self._ends_at, now + limits.shortest_seconds)
            self._timer = self._clock.call_at(due, self._check_progress)

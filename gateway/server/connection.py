"""One connection to a client. Requests are answered in order, and a request is cancelled if its client disconnects.

This works below ASGI: a request is a head and its content, and a complete answer is one write. What uvicorn's own
protocol does beyond that, for any application, costs as much as an admission (docs/decisions/0006).

This module also enforces the deadlines of connections. It checks all connections once a second, because a timer for
each request would cost more than everything else that the server does with it.
"""

import asyncio
import hashlib
import logging
import socket
from collections import deque
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any, Protocol, cast

import msgspec

from gateway.adapters.ports import Clock
from gateway.adapters.streams import PIECE_BYTES
from gateway.core.errors import ClientGone, StreamRevoked
from gateway.core.http.client_address import LOCAL, plain_address
from gateway.core.http.messages import Ended, Response, ResponseHead
from gateway.core.http.reasons import Reason
from gateway.core.http.websockets import GOING_AWAY, POLICY_VIOLATION, build_close
from gateway.core.recognition.lesson import Answered, Lesson
from gateway.pipeline.recognition import PARTIAL, Asking, Passing, Recognised, Recognition, is_candidate
from gateway.server.requests import PendingRequest, RawRequest, RequestContent, RequestReader
from gateway.server.responses import (
    CONTINUE,
    LAST,
    PLAIN,
    ResponseWriter,
    build_start,
    ending_of,
    has_unread,
    id_of,
    is_reset,
    reset,
    was_refused,
)

LOOK_SECONDS = 1.0
"""Seconds between two checks of all deadlines: the most by which a connection can outlive its deadline."""
NEVER = inf


class Expiring(Protocol):
    """A connection with a deadline."""

    deadline: float
    """By the clock of Deadlines; NEVER if nothing is expected of the client."""

    def expire(self, now: float) -> None:
        """Act on the deadline, which has passed at `now`."""
        ...


class Deadlines:
    """The open connections and their deadlines. `clock` schedules the checks; by default the event loop does."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self._connections: set[Expiring] = set()
        self._is_looking = False

    def add(self, connection: Expiring) -> Clock:
        """Check the connection's deadline from now on, and return the clock that the deadline is measured by."""
        self._connections.add(connection)
        self._clock = self._clock or asyncio.get_running_loop()
        if not self._is_looking:
            self._is_looking = True
            self._wait(self._clock)
        return self._clock

    def discard(self, connection: Expiring) -> None:
        """Forget a connection that is closed."""
        self._connections.discard(connection)

    def _wait(self, clock: Clock) -> None:
        clock.call_at(clock.time() + LOOK_SECONDS, partial(self._look, clock))

    def _look(self, clock: Clock) -> None:
        now = clock.time()
        for connection in [one for one in self._connections if one.deadline <= now]:
            connection.expire(now)
        self._is_looking = bool(self._connections)
        if self._is_looking:
            self._wait(clock)


HEAD_SECONDS = 10.0
"""Seconds for a whole head, as HAProxy usually has. A client cannot hold a connection with a byte now and then."""
IDLE_SECONDS = 75.0
"""Seconds between requests, as nginx: longer than load balancers keep a connection (60 s), so that they close first."""
CONTENT_SECONDS = 60.0
"""Seconds for the next piece of content that a backend waits for, as nginx."""
STALLED_SECONDS = 60.0
"""Seconds for a client to read some of what waits for it, as nginx."""
LINGER_SECONDS = 2.0
"""Seconds for a client to read its answer while it still sends content that is discarded (RFC 9112 9.6)."""
ASK_SECONDS = 2.0
"""Seconds after a client has closed its side until it is probed, and then until the result is checked."""
HALF_CLOSED_SECONDS = 5.0
"""Seconds for which an answer to such a client may pause. Only more data would show whether it is still there."""
REVOKED = build_close(POLICY_VIOLATION, "invalid_token")
"""The close frame of a WebSocket whose token was revoked; it says no more than a refusal does."""
STOPPING = build_close(GOING_AWAY)
"""The close frame of a WebSocket that is still open when the stop's grace period ends."""

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """The part that answers requests: the "application" that uvicorn loads."""

    @property
    def deadlines(self) -> Deadlines: ...

    @property
    def recognition(self) -> Recognition | None:
        """What answers requests whose bytes were seen before; None: nothing does."""
        ...

    def handle_request(self, raw: RawRequest, content: RequestContent | None, in_progress: int) -> Awaitable[Response]:
        """Return the response to a request, also to a malformed one.

        `content` is None if the request has none. `in_progress` counts the requests of the worker, this one included.
        """
        ...


class Loaded(Protocol):
    """The part of `uvicorn.Config` that a connection uses."""

    loaded_app: Any
    """The Listener."""


class ServerState(Protocol):
    """The part of uvicorn's server that a connection uses. On a stop, it calls `shutdown` of all connections."""

    connections: set[Any]
    tasks: set[asyncio.Task[None]]
    total_requests: int


class Connection(asyncio.Protocol):
    """The protocol class that uvicorn's setting `http` names. uvicorn's server passes all arguments by name."""

    def __init__(
        self, config: Loaded, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None, *, peer: str = ""
    ) -> None:
        self.deadline = NEVER
        self._peer = peer
        """The client's address, if a load balancer has told it; empty: it is the connection's other end."""
        self._listener: Listener = config.loaded_app
        self._server = server_state
        self._loop = asyncio.get_running_loop()
        self._clock: Clock
        self._transport: asyncio.Transport
        self._reader: RequestReader
        self._writer: ResponseWriter
        self._pending: deque[PendingRequest] = deque()
        """Requests that wait for the answer before theirs."""
        self._task: asyncio.Task[None] | None = None
        self._options = PLAIN
        self._is_lost = False
        self._is_half_closed = False
        """Whether the client sends no more, and may still read."""
        self._is_asked = False
        """Whether the client was probed since it closed its side."""
        self._is_paused = False
        """Whether reading is paused, because content arrives faster than the backend takes it."""
        self._recognition: Recognition | None = self._listener.recognition
        self._hasher: hashlib.blake2b
        self._origin = ("", "")
        """The address of the other end, and the scheme."""
        self._asking: Asking | None = None
        """The recognised request that is being answered, or was answered and is not all sent."""
        self._recognised: Recognised | None = None
        """Its answer, while the client is slow to take it."""
        self._passing: Passing | None = None
        """That request, while its backend is asked."""
        self._left: tuple[Answered, Lesson] | None = None
        """What Redis said of a request that has left the short way and is not taken up by its task yet."""
        self._is_ended = False
        """Whether nothing more is sent."""
        self._asked_bytes = b""
        self._later = b""
        """What has arrived behind it."""
        self._is_stopping = False
        """The server stops: the connection ends with the present answer."""
        self._unsent_bytes = 0
        self._seen_bytes = 0
        """Bytes of the answer that were sent at the last check of a client that has closed its side."""

    # -- callbacks of the event loop and the server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._writer = ResponseWriter(self._transport, self._await_client)
        address = self._peer or peer_of(self._transport)
        scheme = "https" if self._transport.get_extra_info("sslcontext") else "http"
        make_content = partial(RequestContent, self)
        self._reader = RequestReader(address, scheme, self._take, make_content, self._inform, self.is_gone)
        self._origin = (address, scheme)
        if self._recognition is not None:
            self._hasher = self._recognition.hasher(address, scheme)
        self._server.connections.add(self)
        self._clock = self._listener.deadlines.add(self)
        self.deadline = self._clock.time() + HEAD_SECONDS

    def data_received(self, data: bytes) -> None:
        if self._asking is not None:
            self._later += data
            self._transport.pause_reading()
        elif self._recognition is None or self._task is not None or not is_candidate(data):
            self._read(data)
        elif self._reader.is_between and not (self._is_half_closed or self._is_ended or self._pending):
            self._recognise(data, self._recognition)
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        reader = self._reader
        was_in_head = reader.is_in_head
        reader.feed(data)
        if reader.is_in_head and not was_in_head and self._task is None:
            self.deadline = self._clock.time() + HEAD_SECONDS

    def eof_received(self) -> bool:
        """Keep answering if the client has closed its own side only (RFC 9293 3.6). Return whether that is so.

        A client that has closed both sides looks the same until the gateway sends it something.
        """
        self._leave_passing()
        is_idle = self._task is None and self._asking is None
        if is_idle or self._writer.tunnel is not None or not self._transport.can_write_eof():
            return False
        self._is_half_closed = True
        self._seen_bytes = self._writer.sent_bytes
        content = self._reader.content
        if content is not None and not content.is_complete:
            content.truncate()
        self._rest()
        return True

    def is_gone(self) -> bool:
        """Return whether the client has disconnected."""
        return self._is_lost

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._listener.deadlines.discard(self)
        self._is_lost = True
        self._pending.clear()
        if self._writer.tunnel is not None and self._reader.content is not None:
            self._reader.content.truncate()  # the content that came before the end is still passed on
        elif self._task is not None:
            self._task.cancel()
        self._record_recognised(Ended.CLIENT_GONE)
        self._leave_gone()
        self._reader.forget()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._writer.pause()

    def resume_writing(self) -> None:
        self._writer.resume()

    def shutdown(self) -> None:
        """Prepare for the server's stop: a request in progress goes on until it ends or the server cancels it."""
        self._is_stopping = True
        self._leave_passing()
        if self._task is not None or self._asking is not None:
            self._options = msgspec.structs.replace(self._options, stays_open=False)
        elif self._reader.begun_requests == 0 or has_unread(self._transport):
            # Its request is on the way. Closing now would reset the connection, and the request would be lost.
            self.deadline = min(self.deadline, self._clock.time() + LINGER_SECONDS)
        else:
            self._transport.close()

    def expire(self, now: float) -> None:
        """Act on a deadline that the client has missed."""
        unsent = self._transport.get_write_buffer_size()
        if unsent and (unsent < self._unsent_bytes or not self._unsent_bytes):
            self._unsent_bytes, self.deadline = unsent, now + STALLED_SECONDS
        elif unsent:
            reset(self._transport)
        elif self._is_half_closed and self._task is not None:
            self._look_for_client()
        elif self._asking is not None:
            return  # Redis and backends answer in bounded time, and what is not sent yet is looked at above
        elif self._writer.has_begun or (self._task is None and not self._reader.is_in_head):
            self._transport.close()
        elif self._task is None:
            self._reader.refuse(Reason.REQUEST_TIMEOUT)
        elif self._reader.content is not None:
            self._reader.content.truncate(Reason.REQUEST_TIMEOUT)

    def _look_for_client(self) -> None:
        """Probe a client that may have closed both sides: it resets the connection if it receives something."""
        sent_bytes = self._writer.sent_bytes
        if is_reset(self._transport) or (self._writer.has_begun and sent_bytes == self._seen_bytes):
            self._transport.abort()
        elif not (self._writer.has_begun or self._is_asked or self._options.is_http_1_0):
            self._is_asked = True
            self._transport.write(CONTINUE)  # any client takes it before its answer (RFC 9110 15.2)
        self._seen_bytes = sent_bytes
        self._rest()

    def _rest(self) -> None:
        """Set the deadline for a client of which nothing is expected but that it is still there."""
        seconds = HALF_CLOSED_SECONDS if self._writer.has_begun else ASK_SECONDS
        self.deadline = self._clock.time() + seconds if self._is_half_closed else NEVER

    # -- requests, in their order

    def _take(self, pending: PendingRequest) -> None:
        if self._task is None and not self._pending:
            self._begin(pending)
        else:
            self._pending.append(pending)
            self._set_reading()

    def _begin(self, pending: PendingRequest) -> None:
        options = pending[2]
        self._options = msgspec.structs.replace(options, stays_open=False) if self._is_stopping else options
        self.deadline = NEVER
        if self._is_half_closed:
            self._rest()
        self._task = self._loop.create_task(self._serve(pending[0], pending[1]))

    async def _serve(self, raw: RawRequest, content: RequestContent | None) -> None:
        response: Response | None = None
        is_answered = False
        ended, cause = Ended.STOPPED, ""
        last_frame = b""
        self._server.tasks.add(cast(Any, self._task))  # here: a task that is cancelled before it runs gets no further
        self._left = None
        try:
            response = await self._listener.handle_request(raw, content, self._in_progress)
            if content is not None and (content.awaits_continue or content.fault is not None):
                # It is unknown whether the rest of the content comes, and where it ends.
                self._options = msgspec.structs.replace(self._options, stays_open=False)
            if isinstance(response.content, bytes) and len(response.content) <= PIECE_BYTES and self._writer.may_write:
                sent = self._writer.send_whole(response.head, response.content, self._options)  # nearly all
                self._learn(raw.lesson, response, sent)
            else:
                self._learn(raw.lesson, response, b"")
                await self._writer.send(response.head, response.content, self._options)
            if not self._writer.may_write:
                await self._writer.drain()  # in progress until the client has it: so what waits has a limit
            is_answered = True
            ended = Ended.COMPLETE
            if self._is_half_closed or self._is_lost:
                ended = await self._find_end()
        except asyncio.CancelledError:
            if not self._is_lost:
                last_frame = STOPPING
                raise
            ended = self._note_refused() if is_answered else Ended.CLIENT_GONE
        except Exception as error:
            ended, cause = ending_of(error)
            last_frame = REVOKED if isinstance(error, StreamRevoked) else b""
            _log_aborted(ended, error, response)
        finally:
            self._server.tasks.discard(cast(Any, self._task))
            self._task = None
            if raw.lesson is not None:
                raw.lesson.clear_out()
            if response is not None and response.note_end is not None:
                response.note_end(ended, self._writer.sent_bytes, cause)
            if not self._is_lost:
                self._finish_request(raw, content, is_answered, last_frame)

    async def _find_end(self) -> Ended:
        """Return how an answer ended that was sent to its end; the client may have left without reading it."""
        if self._is_lost:  # a tunnel's end, which is not cancelled
            return Ended.CLIENT_GONE
        return self._note_refused() if await was_refused(self._transport) else Ended.COMPLETE

    def _note_refused(self) -> Ended:
        """Record that the client was gone before it received the answer."""
        self._writer.sent_bytes = 0
        return Ended.CLIENT_GONE

    def _inform(self, head: ResponseHead) -> None:
        """Send an interim response to the current request, or drop it if it comes too late (RFC 9110 15.2)."""
        writer = self._writer
        if self._task is not None and not self._is_lost and not writer.has_begun and writer.may_write:
            self._transport.write(build_start(head.status, head.fields))

    def _finish_request(
        self, raw: RawRequest | None, content: RequestContent | None, is_answered: bool, last_frame: bytes
    ) -> None:
        self._server.total_requests += 1
        is_all_read = content is None or content.is_complete
        fault = None if content is None else content.fault
        if raw is not None and fault is not None and not (is_answered or self._writer.has_begun):
            # Its content is malformed: the answer refuses that.
            self._begin((msgspec.structs.replace(raw, fault=fault), None, LAST))
        elif not is_answered:
            self._abort_response(content, last_frame)
        elif fault is not None or not self._options.stays_open or (self._is_half_closed and not self._pending):
            # One request has one final answer (RFC 9110 15); a client that has closed its side sends no more requests.
            self._close(is_all_read)
        else:
            if content is not None and not is_all_read:
                content.discard()
            self._writer.has_begun, self._writer.sent_bytes = False, 0
            self.deadline = self._clock.time() + (HEAD_SECONDS if self._reader.is_in_head else IDLE_SECONDS)
            if self._pending:
                self._begin(self._pending.popleft())
                self._set_reading()

    def _abort_response(self, content: RequestContent | None, last_frame: bytes) -> None:
        """Abort the response so that the client cannot take it for complete; without framing, only a reset shows that.

        A reset also discards buffered data that a client with a revoked token must not get. A WebSocket gets a close
        frame if one can be sent at once, so that its client can complete the closing handshake.
        """
        if content is not None and self._writer.close_tunnel(last_frame):
            content.discard()
            self._close(is_all_read=False)
            return
        must_take_back = last_frame is REVOKED and self._transport.get_write_buffer_size()
        if must_take_back or self._writer.tunnel is not None or self._options.is_http_1_0:
            reset(self._transport)
        else:
            self._transport.close()

    def _close(self, is_all_read: bool) -> None:
        self._is_ended = True
        if is_all_read or not self._transport.can_write_eof():
            self._transport.close()
        else:
            self._transport.write_eof()
            self.deadline = self._clock.time() + LINGER_SECONDS

    # -- recognised requests

    @property
    def _in_progress(self) -> int:
        """Requests that the worker has in progress."""
        return len(self._server.tasks) + (0 if self._recognition is None else self._recognition.in_progress)

    def _recognise(self, data: bytes, recognition: Recognition) -> None:
        """Answer a request whose bytes are known, or read it."""
        hasher = self._hasher.copy()
        hasher.update(data)
        key = hasher.digest()
        known = recognition.look_up(key)
        if known is None:
            self._read_for(data, recognition.sight(key))
        elif recognition.may_take(self._in_progress):
            self.deadline = NEVER
            self._asked_bytes = data
            self._asking = recognition.ask(known, key, self._take_reply)
        else:
            self._read(data)

    def _read_for(self, data: bytes, lesson: Lesson | None, answered: Answered | None = None) -> None:
        """Read a request, and learn how it is answered if it is one, alone, complete and without content.

        A backend is sent what it was sent before: the head alone, after which it would wait for the content.
        """
        reader = self._reader
        reader.lesson, reader.answered, before = lesson, answered, reader.begun_requests
        self._read(data)
        if lesson is not None:
            is_one = reader.is_between and reader.begun_requests == before + 1
            lesson.is_whole = is_one and reader.content is None
        reader.lesson = reader.answered = None

    def _learn(self, lesson: Lesson | None, response: Response, sent: bytes) -> None:
        """Learn how a request is answered; `sent` is empty if its answer is not sent at once."""
        if lesson is None or self._recognition is None:
            return
        if sent and self._options is PLAIN:
            self._recognition.learn(lesson, response, sent)
        else:
            self._recognition.miss(lesson)

    def _take_reply(self, asking: Asking, now: int, reply: Any) -> None:
        """Answer the request that Redis was asked about."""
        recognition = self._recognition
        if asking is not self._asking or recognition is None:  # it came too late, and was answered without it
            return
        recognition.in_progress -= 1
        if self._is_lost:
            self._asking = None
            self._leave(recognition.answered(asking, now, reply, is_left=True))
            return
        is_plain = self._writer.may_write and not (self._is_half_closed or self._is_stopping)
        is_alone = is_plain and not recognition.verifies
        try:
            found = recognition.conclude(asking, now, reply)
            if is_alone and isinstance(found, Passing) and recognition.begin(found, self._take_answer):
                self._passing = found
                return
        except Exception:
            logger.exception("request %s: internal error of recognition", asking.request_id)
            found = None
        if is_alone and isinstance(found, Recognised):
            self._send_recognised(found)
        else:
            lesson = Lesson(asking.key)
            lesson.expected = found if is_plain and recognition.verifies else None
            self._leave_recognised(recognition.answered(asking, now, reply), lesson)

    def _send_recognised(self, found: Recognised) -> None:
        """Send the answer to a recognised request."""
        if self._recognition is not None:
            self._recognition.account(found)
        self._asking, self._recognised, self._options = None, found, PLAIN
        self._reader.begun_requests += 1  # though it was not read: the connection is one that has been used
        self._writer.sent_bytes = len(found.content)
        self._writer.has_begun = True
        self._transport.write(found.head + found.content)
        if self._writer.may_write:
            self._record_recognised(Ended.COMPLETE)
            self._server.total_requests += 1
            self._writer.has_begun, self._writer.sent_bytes = False, 0
            self.deadline = self._clock.time() + IDLE_SECONDS
        else:
            self._task = self._loop.create_task(self._await_taken())
            self._server.tasks.add(self._task)
        self._read_later()

    def _leave_recognised(self, answered: Answered, lesson: Lesson) -> None:
        """Go on the long way, with the same reply."""
        self._asking, self._left = None, (answered, lesson)
        self._read_for(self._asked_bytes, lesson, answered)
        self._read_later()

    def _take_answer(self, data: bytes) -> bool | None:
        """Answer with what the backend has sent, if that is known; else leave it to the long way. See TakeAnswer."""
        recognition, passing = self._recognition, self._passing
        if recognition is None or passing is None or passing.begun is None:
            return False
        try:
            found = recognition.conclude_answer(passing, data) if self._writer.may_write else None
        except Exception:
            logger.exception("request %s: internal error of recognition", passing.asking.request_id)
            found = None
        if found is None:
            self._leave_passing()
            return False
        if found is PARTIAL:
            return None
        self._passing = None
        recognition.in_progress -= 1
        passing.begun.complete()
        self._send_recognised(found)
        return True

    def _leave_passing(self) -> None:
        """Go on the long way with a request whose backend is asked: it is not sent again."""
        if self._passing is not None:
            passing, answered = self._end_passing(self._passing)
            lesson = Lesson(passing.asking.key)
            lesson.begun = passing.begun
            self._leave_recognised(answered, lesson)

    def _leave_gone(self) -> None:
        """Have a request recorded whose client has left, and close the connection on which its backend is asked."""
        begun, answered = None, None
        if self._passing is not None:
            passing, answered = self._end_passing(self._passing)
            begun, self._asking = passing.begun, None
        elif self._left is not None:  # its task ends before it begins
            answered, lesson = self._left
            begun, self._left = lesson.begun, None
        if begun is not None:
            begun.close()
        if answered is not None:
            self._leave(msgspec.structs.replace(answered, is_left=True))

    def _end_passing(self, passing: Passing) -> tuple[Passing, Answered]:
        """Let nobody take the answer of a backend that is asked; return what the long way has to know."""
        recognition, self._passing = cast(Recognition, self._recognition), None
        recognition.in_progress -= 1
        if passing.begun is not None:
            passing.begun.leave()
        return passing, recognition.answered(passing.asking, passing.now, passing.reply)

    async def _record_left(self, answered: Answered) -> None:
        """Have a request counted and recorded whose client has left while Redis was asked."""
        pending: list[PendingRequest] = []
        reader = RequestReader(*self._origin, pending.append, partial(RequestContent, self))
        reader.answered = answered
        reader.feed(self._asked_bytes)
        reader.forget()
        with suppress(ClientGone):
            await self._listener.handle_request(pending[0][0], None, self._in_progress)

    def _leave(self, answered: Answered) -> None:
        task = self._loop.create_task(self._record_left(answered))
        self._server.tasks.add(task)
        task.add_done_callback(self._server.tasks.discard)

    async def _await_taken(self) -> None:
        """Wait until the client has taken a recognised answer, or most of it, as `_serve` does."""
        is_answered, ended = False, Ended.STOPPED
        try:
            await self._writer.drain()
            is_answered, ended = True, Ended.COMPLETE
            if self._is_half_closed or self._is_lost:
                ended = await self._find_end()
        except asyncio.CancelledError:
            if not self._is_lost:
                raise
            ended = self._note_refused() if is_answered else Ended.CLIENT_GONE
        finally:
            self._server.tasks.discard(cast(Any, self._task))
            self._task = None
            self._record_recognised(ended)
            if not self._is_lost:
                self._finish_request(None, None, is_answered, b"")

    def _record_recognised(self, ended: Ended) -> None:
        found, self._recognised = self._recognised, None
        if found is not None and self._recognition is not None:
            self._recognition.record(found, ended, self._writer.sent_bytes)

    def _read_later(self) -> None:
        """Read what has arrived behind a recognised request."""
        later, self._later = self._later, b""
        if later:
            self._set_reading()
            self.data_received(later)

    # -- content that comes in

    def send_continue(self) -> None:
        """Send 100 (Continue), unless the answer has begun: the client waits for it (RFC 9110 10.1.1)."""
        if not self._writer.has_begun:
            self._transport.write(CONTINUE)

    def await_content(self, is_awaited: bool) -> None:
        """Start the deadline for the client's next piece of content, or stop it."""
        if self._writer.tunnel is None:
            if is_awaited:
                self.deadline = self._clock.time() + CONTENT_SECONDS
            else:
                self._rest()

    def pause_content(self) -> None:
        """Pause reading from the client: its content comes faster than it is read."""
        self._is_paused = True
        self._set_reading()

    def resume_content(self) -> None:
        """Resume reading from the client, unless requests wait for their turn."""
        self._is_paused = False
        self._set_reading()

    def abort(self) -> None:
        """Close the connection: the client sends too much content that is discarded."""
        self._transport.close()

    def close_lingering(self) -> None:
        """Close the connection once the client had time to read its answer: it sent malformed content after that."""
        self._close(is_all_read=False)

    def _await_client(self, is_awaited: bool) -> None:
        """Set the deadline for a client that must read before more can be sent, or clear it once it has read."""
        self._unsent_bytes = self._transport.get_write_buffer_size()
        if is_awaited:
            self.deadline = self._clock.time() + STALLED_SECONDS
        else:
            self._rest()

    def _set_reading(self) -> None:
        """Pause reading while requests are queued or the backend does not take content, else resume it."""
        if self._is_paused or self._pending:
            self._transport.pause_reading()
        elif not self._is_half_closed:
            self._transport.resume_reading()


def _log_aborted(ended: Ended, error: Exception, response: Response | None) -> None:
    """Log why an answer was aborted; a client that has left is no error of the gateway."""
    if ended is Ended.INTERNAL_ERROR:
        logger.error("request %s: internal error", id_of(response), exc_info=error)
    elif ended is not Ended.CLIENT_GONE:
        logger.warning("request %s: the response was aborted: %s", id_of(response), error)


def peer_of(transport: asyncio.Transport) -> str:
    """Return the client's IP address, LOCAL for one on a Unix socket, and nothing for one that has left already."""
    try:
        peer = transport.get_extra_info("peername")
    except OSError:  # uvloop asks the system at this moment, asyncio has asked it before
        return ""
    if isinstance(peer, tuple):
        return plain_address(str(peer[0]))
    own = transport.get_extra_info("socket")
    return LOCAL if own is not None and own.family == socket.AF_UNIX else ""

"""The backends: policies' upstreams with their targets. One that is no longer in any policy is removed.

A request goes to the target with the fewest in progress, and to another one if no target can have acted upon it.

A target has its address, its connections, the requests that wait for one, and its health.

Connections are kept open and reused, the newest first. The backend may have closed one just as the next request leaves:
then the request is sent again, once and on a new connection, if core/upstream/balancing.py lets it be repeated.

Health checks request a path of each target in turn, on a connection of their own.
"""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from gateway.adapters.descriptors import NO_DESCRIPTOR, lacks_descriptor
from gateway.adapters.ports import Clock, Timer
from gateway.adapters.streams import close_unread
from gateway.adapters.upstream.connection import UpstreamConnection
from gateway.adapters.upstream.failures import FailureLog, find_connect_cause
from gateway.adapters.upstream.tls import TlsContexts
from gateway.adapters.upstream.wire import (
    Framing,
    Limits,
    OutgoingRequest,
    begin,
    expect,
    frame,
    limits_of,
    without_times,
)
from gateway.core.errors import UpstreamBusy, UpstreamDropped, UpstreamError, UpstreamUnreachable
from gateway.core.http.messages import Field, Inform, Response, ResponseHead
from gateway.core.policies.model import CLIENT_HOST, TARGET_HOST, UNIX, FieldEdits, HealthCheck, Upstream
from gateway.core.recognition.form import Values
from gateway.core.recognition.lesson import BegunRequest, Lesson, TakeAnswer
from gateway.core.recognition.passage import Passage
from gateway.core.upstream import balancing
from gateway.core.upstream.causes import Cause
from gateway.core.upstream.forwarding import edit_fields, rewrite_target

IDLE_SECONDS = 4.0
"""Seconds until an idle connection is closed: less than the five of common application servers (Node, uvicorn)."""

logger = logging.getLogger(__name__)


class Target:
    """The one target of `address`."""

    def __init__(self, address: Upstream, contexts: TlsContexts, clock: Clock) -> None:
        (self.url,) = address.targets
        self.health = balancing.WELL
        self.failures = FailureLog(self.url, clock)
        self._address = address
        self._clock = clock
        self._is_retired = False
        self._in_use = 0
        """Requests that have a connection, or the right to open one."""
        self._idle: deque[UpstreamConnection] = deque()
        self._waiting: dict[asyncio.Future[UpstreamConnection | None], None] = {}
        """Requests that wait, in their order. Each gets a connection, or None, which is the right to open one."""
        self._path = self.url.removeprefix(UNIX) if self.url.startswith(UNIX) else None
        url = urlsplit("http://localhost" if self._path else self.url)
        self._contexts = contexts if url.scheme == "https" else None
        self._host = url.hostname or ""
        self._port = url.port or (443 if self._contexts else 80)
        self.authority = url.netloc if address.host in (CLIENT_HOST, TARGET_HOST) else address.host
        """The Host of requests that no client has made, such as health checks."""
        self._host_field: tuple[Field, ...] = (
            ((b"host", url.netloc.encode("ascii")),) if address.host == TARGET_HOST else ()
        )
        self._prefix = url.path
        self.kind = b"%b %b" % (self._prefix.encode(), self._host_field[0][1] if self._host_field else b"")
        """What heads of requests depend on: targets of one kind get the same one."""

    @property
    def outstanding(self) -> int:
        """Requests whose answers have not ended."""
        return self._in_use + len(self._waiting)

    def is_available(self) -> bool:
        """Return whether requests should go here."""
        return balancing.is_available(self.health, self._clock.time())

    async def send(
        self,
        method: str,
        target: str,
        fields: Sequence[Field],
        content: AsyncIterator[bytes] | None,
        framing: Framing,
        limits: Limits,
        inform: Inform | None,
        lesson: Lesson | None = None,
        begun: UpstreamConnection | None = None,
    ) -> Response:
        """Send a request and return the answer as it arrives. Raise one of the UpstreamErrors.

        `begun` is the connection on which it was sent already.
        """
        head = build_head(method, self._prefix + target, (*self._host_field, *fields), framing)
        request = OutgoingRequest(method, head, content, framing, limits, expect(fields, framing), inform, lesson)
        if lesson is not None:
            lesson.target_kind = self.kind
        kept = begun or self.take_idle() or await self._find_room()
        if kept is not None and (begun is not None or kept.is_reusable):
            try:
                return await (kept.send(request) if begun is None else kept.resume(request))
            except UpstreamDropped as error:
                if not balancing.may_repeat(error, method, has_content=content is not None):
                    raise
            kept = await self._find_room()
            if kept is not None:
                kept.close()
        return await (await self._open()).send(request)

    async def connect(self, ended: Callable[[UpstreamConnection], None]) -> UpstreamConnection:
        """Return a new connection. Raise UpstreamUnreachable, or UpstreamBusy if no file descriptor is left."""
        loop = asyncio.get_running_loop()

        def make() -> UpstreamConnection:
            return UpstreamConnection(ended, self._clock)

        tls = self._find_tls()
        try:
            async with asyncio.timeout(self._address.connect_timeout_seconds):
                if self._path is not None:
                    return (await loop.create_unix_connection(make, self._path))[1]
                name = (self._address.tls.server_name or None) if tls else None
                return (await loop.create_connection(make, self._host, self._port, ssl=tls, server_hostname=name))[1]
        except (OSError, ValueError) as error:  # also TimeoutError, TLS, and invalid names
            if lacks_descriptor(error):  # the target may work
                raise UpstreamBusy(f"{self.url}: {NO_DESCRIPTOR}", cause=Cause.NO_DESCRIPTOR) from error
            words = str(error) or "none in time"
            cause = find_connect_cause(error, has_tls=tls is not None)
            raise UpstreamUnreachable(f"no connection to {self.url}: {words}", cause=cause) from error

    def _find_tls(self) -> ssl.SSLContext | None:
        try:
            return self._contexts.find(self._address.tls) if self._contexts else None
        except (OSError, ValueError) as error:
            words = f"no connection to {self.url}: the policy's tls: {error}"
            raise UpstreamUnreachable(words, cause=Cause.TLS_FAILED) from error

    def note_check(self, why: str) -> None:
        """Take in the end of a health check: why it failed, or nothing."""
        before, self.health = self.health, balancing.after_check(self.health, is_good=not why)
        if balancing.fails_checks(self.health) and not balancing.fails_checks(before):
            logger.warning("backend %s: no requests go there, its health checks fail: %s", self.url, why)
        elif balancing.fails_checks(before) and not why:
            logger.warning("backend %s: its health checks are good again", self.url)

    def note_failure(self, error: UpstreamError) -> None:
        """Take in that a request failed."""
        self.health = balancing.after_failure(self.health, error, self._clock.time())
        self.failures.record_failure(error)

    def note_answer(self) -> None:
        """Take in that a request was answered."""
        self.health = balancing.after_answer(self.health)
        self.failures.record_success()

    def retire(self) -> None:
        """Close idle connections and keep none from now on; those in use are used to their end."""
        self._is_retired = True
        while self._idle:
            self._idle.pop().close()

    def take_idle(self) -> UpstreamConnection | None:
        """Return the newest idle connection that the backend probably still holds open, or None."""
        oldest = self._clock.time() - IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable and connection.idle_since > oldest:
                self._in_use += 1
                return connection
            connection.close()
        return None

    async def _find_room(self) -> UpstreamConnection | None:
        """Wait until one more request may be sent; return a connection that became free, or None for a new one.

        Raise UpstreamBusy if too many wait, or if the wait takes too long.
        """
        if self._in_use < self._address.max_connections:
            self._in_use += 1
            return None
        if len(self._waiting) >= self._address.max_waiting:
            raise UpstreamBusy(f"{len(self._waiting)} requests wait for {self.url} already")
        place: asyncio.Future[UpstreamConnection | None] = asyncio.get_running_loop().create_future()
        self._waiting[place] = None
        timer = self._clock.call_at(
            self._clock.time() + self._address.connect_timeout_seconds, lambda: self._turn_away(place)
        )
        try:
            return await place
        except asyncio.CancelledError:
            if not place.cancelled() and place.exception() is None:  # it was given just as the client left
                self._pass_on(place.result())
            raise
        finally:
            self._waiting.pop(place, None)
            timer.cancel()

    def _turn_away(self, place: "asyncio.Future[UpstreamConnection | None]") -> None:
        if not place.done():
            place.set_exception(UpstreamBusy(f"no connection to {self.url} became free in time"))

    async def _open(self) -> UpstreamConnection:
        """Return a new connection for a request that has the right to one."""
        while self._idle and self._in_use + len(self._idle) > self._address.max_connections:
            self._idle.popleft().close()
        try:
            return await self.connect(self._end)
        except BaseException:
            self._pass_on(None)
            raise

    def _end(self, connection: UpstreamConnection) -> None:
        if self._is_retired:
            connection.close()
        self._pass_on(connection if connection.is_reusable else None)

    def _pass_on(self, connection: UpstreamConnection | None) -> None:
        """Give a connection, or the right to open one, to the request that waited longest; keep it if none waits."""
        while self._waiting:
            place = next(iter(self._waiting))
            del self._waiting[place]
            if not place.done():
                place.set_result(connection)
                return
        self._in_use -= 1
        if connection is not None:
            self._keep(connection)

    def _keep(self, connection: UpstreamConnection) -> None:
        now = self._clock.time()
        connection.idle_since = now
        self._idle.append(connection)
        while self._idle[0].idle_since <= now - IDLE_SECONDS:  # the newest are taken first: the others grow old
            self._idle.popleft().close()


def build_head(method: str, path: str, fields: Sequence[Field], framing: Framing) -> bytes:
    """Build the request head: only what is given, and the transfer coding if needed."""
    start = f"{method} {path} HTTP/1.1\r\n".encode("latin-1")
    lines = [b"%b: %b\r\n" % field for field in fields]
    return b"".join((start, *lines, b"transfer-encoding: chunked\r\n\r\n" if framing is Framing.CHUNKED else b"\r\n"))


_FIELDS = ((b"user-agent", b"token-gateway health check"), (b"accept", b"*/*"), (b"connection", b"close"))


class HealthChecks:
    """The checks of one target, at once and then every `interval_seconds`, until closed."""

    def __init__(self, target: Target, check: HealthCheck, clock: Clock) -> None:
        self._target = target
        self._check = check
        self._clock = clock
        self._limits = Limits(
            check.timeout_seconds, check.timeout_seconds, check.timeout_seconds, check.timeout_seconds
        )
        self._timer: Timer | None = None
        self._asking: asyncio.Task[None] | None = None
        self._begin()

    def stop(self) -> None:
        """Stop the checks."""
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()

    def _begin(self) -> None:
        self._asking = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        self._target.note_check(await self._find_failure())
        self._timer = self._clock.call_at(self._clock.time() + self._check.interval_seconds, self._begin)

    async def _find_failure(self) -> str:
        """Return why the target is unhealthy, in a few words; empty if it is healthy."""
        fields = ((b"host", self._target.authority.encode("ascii")), *_FIELDS)
        head = build_head("GET", self._check.path, fields, Framing.LENGTH)
        connection: UpstreamConnection | None = None
        try:
            connection = await self._target.connect(lambda _: None)
            answer = await connection.send(OutgoingRequest("GET", head, None, Framing.LENGTH, self._limits))
            await close_unread(answer.content)
        except UpstreamError as error:
            return f"{error.cause}: {error}"
        finally:
            if connection is not None:
                connection.close()
        return f"status {answer.head.status}" if answer.head.status >= 400 else ""


class HttpUpstreams:
    """The implementation of ports.Upstreams. `clock` measures timeouts; by default the event loop does."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self._contexts = TlsContexts()
        self._ways: dict[Upstream, Way] = {}
        """By the backends of rules, time limits included."""
        self._groups: dict[Upstream, Group] = {}
        """By the backends without time limits: rules that differ only in these share connections and health."""
        self._targets: dict[Upstream, Target] = {}
        """By the properties of connections: the upstream with this one target. Policies with equal ones share them."""
        self._checks: dict[Upstream, HealthChecks] = {}

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
        """Send a request and return the answer as it arrives. Content that is a stream is a `ResponseContent`.

        Host is among `fields` unless the target's own is used. `content` must be as long as a Content-Length among
        `fields` says, or raise. Its exceptions are raised here, or where the response's content is read. It is not
        closed here. With Upgrade among `fields`, it is what the client sends after the answer 101, whose content is
        what the backend sends then. See ports.Upstreams for `lesson`.
        """
        begun = lesson.begun if lesson is not None else None
        way = begun.way if isinstance(begun, Begun) else self._ways.get(address) or self._find_way(address)
        group, limits = way
        if lesson is not None:
            lesson.route = way
        if address.request_edits is not None:
            fields = edit_fields(fields, address.request_edits)
        if address.rewrite is not None:
            target = rewrite_target(target, address.rewrite)
        fields, content, framing = frame(fields, content)
        if framing is Framing.CHUNKED and content is not None:
            content = await begin(content)
        edits = address.response_edits
        if edits is None:
            return await group.send(method, target, fields, content, framing, limits, inform, lesson)
        if inform is not None:
            inform = _editing(inform, edits)
        response = await group.send(method, target, fields, content, framing, limits, inform, lesson)
        return Response(_edit(response.head, edits), response.content)

    def begin(self, passage: Passage, values: Values, take: TakeAnswer) -> BegunRequest | None:
        """Send a request at once, or return None: see ports.Passages."""
        way: Way = passage.route
        return way.group.begin(way, passage, values, take)

    def keep(self, upstreams: Iterable[Upstream]) -> None:
        """Prepare for these backends, and begin their health checks.

        Remove all others, except for requests in progress.
        """
        present = {without_times(address) for address in upstreams}
        self._ways.clear()
        for address in present:
            if address not in self._groups:
                self._add(address)
        self._groups = {address: group for address, group in self._groups.items() if address in present}
        targets = {one for address in present for one in _single(address)}
        for one in self._targets.keys() - targets:
            self._targets.pop(one).retire()
            self._checks.pop(one).stop() if one in self._checks else None
        for one in targets - self._checks.keys():
            if one.health is not None:
                self._checks[one] = HealthChecks(self._targets[one], one.health, self._clock_in_use())

    async def close(self) -> None:
        """End health checks and close the idle connections."""
        self.keep(())
        await asyncio.sleep(0)  # the event loop releases them in its next iteration

    def _find_way(self, address: Upstream) -> "Way":
        shared = without_times(address)
        way = self._ways[address] = Way(self._groups.get(shared) or self._add(shared), limits_of(address))
        return way

    def _add(self, address: Upstream) -> "Group":
        for one in _single(address):
            if one not in self._targets:
                self._targets[one] = Target(one, self._contexts, self._clock_in_use())
        group = Group([self._targets[one] for one in _single(address)], address.retries, self._clock_in_use())
        self._groups[address] = group
        return group

    def _clock_in_use(self) -> Clock:
        return self._clock or asyncio.get_running_loop()


class Group:
    """The targets of one upstream, which answer alike."""

    def __init__(self, targets: list[Target], retries: int, clock: Clock) -> None:
        self._targets = targets
        self._retries = retries
        self._clock = clock
        self._turn = 0
        self._breaker = balancing.CLOSED

    async def send(
        self,
        method: str,
        target: str,
        fields: Sequence[Field],
        content: AsyncIterator[bytes] | None,
        framing: Framing,
        limits: Limits,
        inform: Inform | None,
        lesson: Lesson | None = None,
    ) -> Response:
        """Return the answer of one of them. Raise the UpstreamError of the last that was tried."""
        left = self._targets
        if not left:
            raise UpstreamUnreachable("the policy has no backend")
        begun = lesson.begun if lesson is not None and isinstance(lesson.begun, Begun) else None
        kept = begun.take_up() if begun is not None else None
        if self._breaker is not balancing.CLOSED and kept is None:
            self._try_again()
        while True:
            if begun is not None and kept is not None:
                chosen = begun.target
            else:
                chosen = left[0] if len(left) == 1 else self._choose(left)
            try:
                response = await chosen.send(method, target, fields, content, framing, limits, inform, lesson, kept)
            except UpstreamError as error:
                kept = None
                chosen.note_failure(error)
                self._note_attempt(error)
                left = [other for other in left if other is not chosen]
                tried = len(self._targets) - len(left)
                may_repeat = balancing.may_repeat(error, method, has_content=content is not None)
                if not left or tried > self._retries or not may_repeat:
                    raise
            else:
                self.note_answer(chosen)
                return response

    def begin(self, way: "Way", passage: Passage, values: Values, take: TakeAnswer) -> "Begun | None":
        """Send a request without content if an idle connection carries it to the target that `send` would choose."""
        if self._breaker is not balancing.CLOSED or not self._targets:
            return None
        turn = self._turn
        chosen = self._targets[0] if len(self._targets) == 1 else self._choose(self._targets)
        form = passage.requests.get(chosen.kind)
        connection = chosen.take_idle() if form is not None else None
        if form is None or connection is None:
            self._turn = turn  # `send` chooses again
            return None
        connection.begin(OutgoingRequest("GET", form.fill(values), None, Framing.LENGTH, way.limits), take)
        return Begun(way, chosen, connection)

    def note_answer(self, target: Target) -> None:
        """Take in that a target has answered."""
        if target.health is not balancing.WELL or target.failures.cause is not None:
            target.note_answer()
            self._note_attempt(None)

    def _try_again(self) -> None:
        """Let one request after the other try a lone target that has refused, and refuse the rest.

        Raise UpstreamUnreachable while the breaker is open.
        """
        now = self._clock.time()
        if not balancing.may_try(self._breaker, now):
            (target,) = self._targets
            raise UpstreamUnreachable(f"{target.url} could not be reached a moment ago", cause=target.failures.cause)
        self._breaker = balancing.while_trying(self._breaker, now)

    def _note_attempt(self, error: UpstreamError | None) -> None:
        if len(self._targets) == 1:
            self._breaker = balancing.after_attempt(self._breaker, error, self._clock.time())

    def _choose(self, left: list[Target]) -> Target:
        self._turn += 1
        return left[balancing.choose(left, self._clock.time(), self._turn)]


class Way(NamedTuple):
    """The group that a rule's requests go to, and their time limits."""

    group: Group
    limits: Limits


class Begun:
    """A request that was sent without the rest of the gateway: see recognition.lesson.BegunRequest."""

    def __init__(self, way: Way, target: Target, connection: UpstreamConnection) -> None:
        self.way = way
        self.target = target
        self._connection: UpstreamConnection | None = connection
        """None if it is no longer the matter of this: it may carry another request by now."""

    def complete(self) -> None:
        """Take in that the whole answer has come."""
        connection = self.take_up()
        if connection is not None:
            connection.complete()
            self.way.group.note_answer(self.target)

    def leave(self) -> None:
        """Give nobody the answer, until it is taken up."""
        if self._connection is not None:
            self._connection.leave()

    def close(self) -> None:
        """Close the connection, unless it was taken up."""
        connection = self.take_up()
        if connection is not None:
            connection.close()

    def take_up(self) -> UpstreamConnection | None:
        """Return the connection the first time: whoever gets it goes on with the request."""
        connection, self._connection = self._connection, None
        return connection


def _edit(head: ResponseHead, edits: FieldEdits) -> ResponseHead:
    return ResponseHead(head.status, edit_fields(head.fields, edits))


def _editing(inform: Inform, edits: FieldEdits) -> Inform:
    return lambda head: inform(_edit(head, edits))


def _single(address: Upstream) -> list[Upstream]:
    """Return the upstream with each of its targets alone."""
    return [msgspec.structs.replace(address, targets=(target,)) for target in address.targets]

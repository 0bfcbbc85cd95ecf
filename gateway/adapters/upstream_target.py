"""One target: where it is, its connections, those who wait for one, and what is known of its health.

Connections are kept open and reused, the newest first. One can have been closed by the backend just as the next request
leaves: then the request is sent again, once and on a new connection, if core/balancing.py lets it be repeated.
"""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from urllib.parse import urlsplit

from gateway.adapters.clock import Clock
from gateway.adapters.descriptors import NO_DESCRIPTOR, lacks_descriptor
from gateway.adapters.upstream_connection import UpstreamConnection
from gateway.adapters.upstream_failures import FailureLog, find_connect_cause
from gateway.adapters.upstream_request import Framing, Limits, OutgoingRequest, expect
from gateway.adapters.upstream_tls import TlsContexts
from gateway.core import balancing
from gateway.core.errors import UpstreamBusy, UpstreamDropped, UpstreamError, UpstreamUnreachable
from gateway.core.messages import Field, Inform, Response
from gateway.core.policies.upstream import CLIENT_HOST, TARGET_HOST, UNIX, Upstream
from gateway.core.upstream_causes import Cause

IDLE_SECONDS = 4.0
"""Shorter than the five seconds after which common application servers (Node, uvicorn) close an idle connection."""

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
        """In their order. Each is given a connection, or None: the right to open one."""
        self._path = self.url.removeprefix(UNIX) if self.url.startswith(UNIX) else None
        url = urlsplit("http://localhost" if self._path else self.url)
        self._contexts = contexts if url.scheme == "https" else None
        self._host = url.hostname or ""
        self._port = url.port or (443 if self._contexts else 80)
        self.authority = url.netloc if address.host in (CLIENT_HOST, TARGET_HOST) else address.host
        """What it is asked by where no client asks."""
        self._host_field: tuple[Field, ...] = (
            ((b"host", url.netloc.encode("ascii")),) if address.host == TARGET_HOST else ()
        )
        self._prefix = url.path

    @property
    def outstanding(self) -> int:
        """Requests that have not been answered to their end."""
        return self._in_use + len(self._waiting)

    def is_available(self) -> bool:
        """Whether requests should go here."""
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
    ) -> Response:
        """The answer, as it arrives; raises one of the UpstreamErrors."""
        head = build_head(method, self._prefix + target, (*self._host_field, *fields), framing)
        request = OutgoingRequest(method, head, content, framing, limits, expect(fields, framing), inform)
        kept = self._take_idle() or await self._find_room()
        if kept is not None and kept.is_reusable:
            try:
                return await kept.send(request)
            except UpstreamDropped as error:
                if not balancing.may_repeat(error, method, has_content=content is not None):
                    raise
            kept = await self._find_room()
            if kept is not None:
                kept.close()
        return await (await self._open()).send(request)

    async def connect(self, ended: Callable[[UpstreamConnection], None]) -> UpstreamConnection:
        """A new connection; raises UpstreamUnreachable."""
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
        except (OSError, ValueError) as error:  # also TimeoutError, TLS, and names that are none
            if lacks_descriptor(error):  # the target may be well
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
        """Takes in the end of a health check: why it failed, or nothing."""
        before, self.health = self.health, balancing.after_check(self.health, is_good=not why)
        if balancing.fails_checks(self.health) and not balancing.fails_checks(before):
            logger.warning("backend %s: no requests go there, its health checks fail: %s", self.url, why)
        elif balancing.fails_checks(before) and not why:
            logger.warning("backend %s: its health checks are good again", self.url)

    def note_failure(self, error: UpstreamError) -> None:
        """Takes in that a request failed."""
        self.health = balancing.after_failure(self.health, error, self._clock.time())
        self.failures.note(error)

    def note_answer(self) -> None:
        """Takes in that a request was answered."""
        self.health = balancing.after_answer(self.health)
        self.failures.end()

    def retire(self) -> None:
        """Keeps no connections any more; those in use are used to their end."""
        self._is_retired = True
        while self._idle:
            self._idle.pop().close()

    def _take_idle(self) -> UpstreamConnection | None:
        """The newest idle connection that the backend can be expected to hold open."""
        oldest = self._clock.time() - IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable and connection.idle_since > oldest:
                self._in_use += 1
                return connection
            connection.close()
        return None

    async def _find_room(self) -> UpstreamConnection | None:
        """Waits until one more request may be sent; a connection that became free meanwhile, or None for a new one."""
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
        """A new connection for who has the right to it."""
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
        """Gives a connection, or the right to open one, to who has waited longest; keeps it where nobody waits."""
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
    """Return the request head: nothing but what is given, and the transfer coding where one is needed."""
    start = f"{method} {path} HTTP/1.1\r\n".encode("latin-1")
    lines = [b"%b: %b\r\n" % field for field in fields]
    return b"".join((start, *lines, b"transfer-encoding: chunked\r\n\r\n" if framing is Framing.CHUNKED else b"\r\n"))

"""The backends: connections kept open and reused, the newest first.

A kept connection can have been closed by the backend just as the next request leaves. Such a request is sent again,
once and on a new connection, if nothing of an answer had come and it may be repeated: idempotent and without content
(RFC 9110 9.2.2).
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

from gateway.adapters.clock import Clock
from gateway.adapters.upstream_connection import UpstreamConnection
from gateway.core.errors import UpstreamBroken, UpstreamUnreachable
from gateway.core.messages import Field, Response, field_value
from gateway.core.policies.rules import Upstream

IDLE_SECONDS = 4.0
"""Shorter than the five seconds after which common application servers (Node, uvicorn) close an idle connection."""
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


class HttpUpstreams:
    """See protocols.Upstreams. `tls` says which certificates are trusted; without it, those that the system trusts.

    `clock` measures time-outs; without it, the event loop does.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, clock: Clock | None = None) -> None:
        self._tls = tls
        self._clock = clock
        self._backends: dict[Upstream, Backend] = {}

    async def send(
        self,
        address: Upstream,
        method: str,
        target: str,
        fields: Sequence[Field],
        content: AsyncIterator[bytes] | None,
    ) -> Response:
        """The backend's answer as it arrives. Content that is a stream is a `ResponseContent`.

        `content` is as long as a Content-Length among `fields` says. What it raises comes out here, or where the
        response's content is read. It is not closed here.
        """
        backend = self._backends.get(address) or self._add(address)
        is_chunked = content is not None and field_value(fields, b"content-length") is None
        head = backend.build_head(method, target, fields, is_chunked)
        connection = backend.take_idle()
        if connection is not None:
            try:
                return await connection.send(method, head, content, is_chunked)
            except UpstreamBroken:
                if connection.has_answered or content is not None or method not in IDEMPOTENT:
                    raise
        connection = await backend.connect()
        return await connection.send(method, head, content, is_chunked)

    async def close(self) -> None:
        """Closes the idle connections."""
        for backend in self._backends.values():
            backend.close()
        await asyncio.sleep(0)  # the event loop lets go of them in its next round

    def _add(self, address: Upstream) -> "Backend":
        if address.url.startswith("https:") and self._tls is None:
            self._tls = ssl.create_default_context()
        self._backends[address] = backend = Backend(address, self._tls, self._clock or asyncio.get_running_loop())
        return backend


class Backend:
    """What one address needs: where to connect, how to address it, and its idle connections."""

    def __init__(self, address: Upstream, tls: ssl.SSLContext | None, clock: Clock) -> None:
        url = urlsplit(address.url)
        self._address = address
        self._clock = clock
        self._tls = tls if url.scheme == "https" else None
        self._host = url.hostname or ""
        self._port = url.port or (443 if self._tls else 80)
        self._authority = url.netloc.rpartition("@")[2]
        self._prefix = url.path
        self._idle: deque[UpstreamConnection] = deque()

    def build_head(self, method: str, target: str, fields: Sequence[Field], is_chunked: bool) -> bytes:
        """The request head: nothing but what is given, Host, and the transfer coding where one is needed."""
        start = f"{method} {self._prefix}{target} HTTP/1.1\r\nhost: {self._authority}\r\n".encode("latin-1")
        lines = [b"%b: %b\r\n" % field for field in fields]
        return b"".join((start, *lines, b"transfer-encoding: chunked\r\n\r\n" if is_chunked else b"\r\n"))

    async def connect(self) -> UpstreamConnection:
        """A new connection; raises UpstreamUnreachable."""
        try:
            async with asyncio.timeout(self._address.connect_timeout_seconds):
                _, connection = await asyncio.get_running_loop().create_connection(
                    self._open, self._host, self._port, ssl=self._tls
                )
        except (OSError, UnicodeError) as error:  # also TimeoutError, TLS, and names that are none
            raise UpstreamUnreachable(f"no connection to {self._authority}: {str(error) or 'none in time'}") from error
        return connection

    def take_idle(self) -> UpstreamConnection | None:
        """The newest idle connection that the backend can be expected to hold open."""
        oldest = self._clock.time() - IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable and connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    def close(self) -> None:
        """Closes the idle connections."""
        while self._idle:
            self._idle.pop().close()

    def _open(self) -> UpstreamConnection:
        return UpstreamConnection(self._address.response_timeout_seconds, self._keep, self._clock)

    def _keep(self, connection: UpstreamConnection) -> None:
        now = self._clock.time()
        connection.idle_since = now
        self._idle.append(connection)
        while self._idle[0].idle_since <= now - IDLE_SECONDS:  # the newest are taken first: the others grow old
            self._idle.popleft().close()

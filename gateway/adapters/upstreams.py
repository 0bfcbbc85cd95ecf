"""The backends: connections kept open and reused, the newest first.

A kept connection can have been closed by the backend just as the next request leaves. Such a request is sent again,
once and on a new connection, if nothing of an answer had come and it may be repeated: idempotent and without content
(RFC 9110 9.2.2).
"""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from urllib.parse import SplitResult, urlsplit

from gateway.adapters.upstream_connection import UpstreamConnection
from gateway.core.errors import UpstreamBroken, UpstreamUnreachable
from gateway.core.messages import Field, Response, field_value
from gateway.core.policies.rules import Upstream

IDLE_SECONDS = 4.0
"""Shorter than the five seconds after which common application servers (Node, uvicorn) close an idle connection."""
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


class HttpUpstreams:
    """See protocols.Upstreams."""

    def __init__(self) -> None:
        self._idle: defaultdict[str, list[UpstreamConnection]] = defaultdict(list)

    async def send(
        self,
        address: Upstream,
        method: str,
        target: str,
        fields: Sequence[Field],
        content: AsyncIterator[bytes] | None,
    ) -> Response:
        """The backend's answer as it arrives."""
        is_chunked = content is not None and field_value(fields, b"content-length") is None
        head = _build_head(address, method, target, fields, is_chunked)
        connection = self._take_idle(address.url)
        if connection is not None:
            try:
                return await self._send(connection, address, method, head, content, is_chunked)
            except UpstreamBroken:
                if connection.has_answered or content is not None or method not in IDEMPOTENT:
                    raise
        connection = await _connect(address)
        return await self._send(connection, address, method, head, content, is_chunked)

    async def close(self) -> None:
        """Closes the idle connections."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _send(
        self,
        connection: UpstreamConnection,
        address: Upstream,
        method: str,
        head: bytes,
        content: AsyncIterator[bytes] | None,
        is_chunked: bool,
    ) -> Response:
        response = await connection.send(
            method, head, content, is_chunked=is_chunked, timeout_seconds=address.response_timeout_seconds
        )
        if isinstance(response.content, bytes):
            self._keep(address.url, connection)
            return response
        return Response(response.head, self._stream(response.content, address.url, connection))

    async def _stream(
        self, content: AsyncIterator[bytes], url: str, connection: UpstreamConnection
    ) -> AsyncIterator[bytes]:
        async for piece in content:
            yield piece
        self._keep(url, connection)

    def _take_idle(self, url: str) -> UpstreamConnection | None:
        idle = self._idle[url]
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while idle:
            connection = idle.pop()
            if connection.is_reusable and connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    def _keep(self, url: str, connection: UpstreamConnection) -> None:
        if connection.is_reusable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle[url].append(connection)


async def _connect(address: Upstream) -> UpstreamConnection:
    url = urlsplit(address.url)
    context = ssl.create_default_context() if url.scheme == "https" else None
    try:
        async with asyncio.timeout(address.connect_timeout_seconds):
            _, connection = await asyncio.get_running_loop().create_connection(
                UpstreamConnection, url.hostname or "", _port(url), ssl=context
            )
    except (OSError, TimeoutError) as error:
        raise UpstreamUnreachable(f"no connection to {url.netloc}: {error or type(error).__name__}") from error
    return connection


def _build_head(address: Upstream, method: str, target: str, fields: Sequence[Field], is_chunked: bool) -> bytes:
    url = urlsplit(address.url)
    lines = [f"{method} {url.path}{target} HTTP/1.1\r\nhost: {url.netloc}\r\n".encode("ascii")]
    lines += [b"%b: %b\r\n" % field for field in fields]
    if is_chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)

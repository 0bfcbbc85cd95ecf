"""What comes before HTTP on a connection: the header of the PROXY protocol, then TLS. Then Connection takes over.

The order is that of the bytes: a load balancer writes its header in front of the client's first TLS record. A listener
with neither has no use for this module.

A transport reads whatever has arrived, and what is read cannot be given back to TLS. So the socket is taken from its
first transport before that reads, the header is read to its last byte, and the rest of the connection gets another
transport.
"""

import asyncio
import logging
import os
import socket
import ssl
from functools import partial
from typing import Any, Protocol, cast

import msgspec

from gateway.core.http.client_address import Networks, is_trusted
from gateway.core.http.proxy_protocol import START_BYTES, parse_proxy_source, parse_proxy_start
from gateway.server.connection import Connection, Loaded, ServerState, peer_of

ARRIVAL_SECONDS = 10.0
"""Seconds for the header and the handshake together, as for a head."""

logger = logging.getLogger(__name__)


class Contexts(Protocol):
    """The source of the TLS context for a new connection."""

    def find_context(self) -> ssl.SSLContext: ...


class Arrivals(msgspec.Struct, frozen=True):
    """What a listener expects before HTTP."""

    tls: Contexts | None = None
    proxy_networks: Networks = frozenset()
    """The load balancers that begin each connection with a header of the PROXY protocol."""


class Arriving(Protocol):
    """The listener, as far as a new connection needs it."""

    @property
    def arrivals(self) -> Arrivals: ...


class Arrival(asyncio.Protocol):
    """The protocol class in place of Connection, until a connection has come to its first byte of HTTP."""

    def __init__(self, config: Loaded, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None) -> None:
        listener: Arriving = config.loaded_app
        self._arrivals = listener.arrivals
        self._connect = partial(Connection, config, server_state, app_state)
        self._server = server_state
        self._taken: socket.socket | None = None
        """The socket, until a transport has it."""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        first = cast(asyncio.Transport, transport)
        peer = peer_of(first)
        try:
            taken = socket.socket(fileno=os.dup(first.get_extra_info("socket").fileno()))
        except OSError as error:  # too many open files, or the client has left already
            logger.warning("connection from %s closed: %s", peer, error)
            return
        finally:
            first.abort()
        taken.setblocking(False)
        self._server.connections.add(self)
        self._taken = taken
        self._task = asyncio.create_task(self._arrive(taken, peer))
        self._task.add_done_callback(self._leave)  # not in the task: one that is cancelled early never runs

    def shutdown(self) -> None:
        """Close the connection, as the server stops: no request of it has begun."""
        if self._task is not None:
            self._task.cancel()

    async def _arrive(self, taken: socket.socket, peer: str) -> None:
        loop = asyncio.get_running_loop()
        tls = self._arrivals.tls
        try:
            async with asyncio.timeout(ARRIVAL_SECONDS):
                if is_trusted(peer, self._arrivals.proxy_networks):
                    peer = await _read_source(taken) or peer
                context = tls.find_context() if tls is not None else None
                await loop.connect_accepted_socket(partial(self._connect, peer=peer), taken, ssl=context)
                self._taken = None
        except OSError as error:  # no TLS, no common version, no certificate, too late, or gone: the client's matter
            logger.debug("connection from %s closed: %s", peer, error or "not in time")
        except ValueError as error:  # behind OSError: a certificate that does not verify is both
            logger.warning("connection from %s closed: %s", peer, error)

    def _leave(self, _: asyncio.Task[None]) -> None:
        self._server.connections.discard(self)
        if self._taken is not None:
            self._taken.close()


async def _read_source(taken: socket.socket) -> str | None:
    """Return the client's address that a load balancer names, or None. Raise ValueError if its header is malformed."""
    start = parse_proxy_start(await _read_exactly(taken, START_BYTES))
    return parse_proxy_source(start, await _read_exactly(taken, start.length))


async def _read_exactly(taken: socket.socket, count: int) -> bytes:
    """Return `count` bytes, or fewer if the other end has closed its side."""
    loop = asyncio.get_running_loop()
    read = bytearray()
    while len(read) < count and (piece := await loop.sock_recv(taken, count - len(read))):
        read += piece
    return bytes(read)

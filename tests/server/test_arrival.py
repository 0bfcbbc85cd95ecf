"""The time that a connection has before HTTP, and its end if the server stops meanwhile."""

import asyncio
import socket
from contextlib import suppress
from typing import Any

import pytest

from gateway.core.http.client_address import parse_networks
from gateway.core.http.proxy_protocol import SIGNATURE
from gateway.server import arrival
from gateway.server.arrival import Arrival, Arrivals


class Waiting:
    """The server's and the listener's side of connections that never come to HTTP."""

    def __init__(self) -> None:
        self.loaded_app = self
        self.arrivals = Arrivals(proxy_networks=parse_networks("127.0.0.1"))
        self.connections: set[Any] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.total_requests = 0

    async def end_of_half_a_header(self, *, is_stopped: bool = False) -> bytes:
        """What a load balancer gets that sends half a header, in time or once the server has stopped."""
        loop = asyncio.get_running_loop()
        async with await loop.create_server(lambda: Arrival(self, self, {}), "127.0.0.1", 0) as server:
            with socket.socket() as balancer:
                balancer.setblocking(False)
                await loop.sock_connect(balancer, server.sockets[0].getsockname())
                await loop.sock_sendall(balancer, SIGNATURE[:6])
                while is_stopped and not self.connections:
                    await asyncio.sleep(0)
                for connection in self.connections if is_stopped else ():
                    connection.shutdown()
                with suppress(ConnectionResetError):  # what had not been read yet was lost
                    return await loop.sock_recv(balancer, 1)
                return b""


async def test_a_connection_that_does_not_come_to_http_in_time_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a header holds a connection no longer than half a head does."""
    monkeypatch.setattr(arrival, "ARRIVAL_SECONDS", 0.01)
    waiting = Waiting()
    assert b"" == await waiting.end_of_half_a_header()
    assert set() == waiting.connections


async def test_a_stop_waits_for_no_header() -> None:
    """The server closes a connection that has not come to HTTP."""
    waiting = Waiting()
    assert b"" == await waiting.end_of_half_a_header(is_stopped=True)
    assert set() == waiting.connections

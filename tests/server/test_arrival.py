"""The time that a connection has before HTTP, and its end if the server stops meanwhile."""

import asyncio
import socket
import ssl
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.core.http.client_address import parse_networks
from gateway.core.http.proxy_protocol import SIGNATURE
from gateway.server import arrival
from gateway.server.arrival import Arrival, Arrivals
from gateway.server.listener_tls import ListenerTls, TlsFiles
from tests.support.certificates import issue, make_authority


class Waiting:
    """The server's and the listener's side of connections that never come to HTTP."""

    def __init__(self) -> None:
        self.loaded_app = self
        self.arrivals = Arrivals(proxy_networks=parse_networks("127.0.0.1"))
        self.recognition = None
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


async def test_a_strangers_certificate_is_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Anybody may present one: the log would be theirs to fill."""
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        make_authority(tmp_path / name, name)
        issue(tmp_path / name, "own", "DNS:localhost")
    pair = [(str(tmp_path / name / "own.pem"), str(tmp_path / name / "own.key")) for name in ("ours", "theirs")]
    waiting = Waiting()
    waiting.arrivals = Arrivals(tls=ListenerTls(TlsFiles(*pair[0], str(tmp_path / "ours" / "ca.pem"))))
    context = ssl.create_default_context(cafile=str(tmp_path / "ours" / "ca.pem"))
    context.load_cert_chain(*pair[1])
    caplog.set_level("DEBUG", "gateway.server.arrival")
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: Arrival(waiting, waiting, {}), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with suppress(OSError):  # an alert, or a reset
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
            with closing(writer):
                assert b"" == await reader.read()
        while waiting.connections:
            await asyncio.sleep(0)
    (record,) = [record for record in caplog.records if record.name == "gateway.server.arrival"]
    assert "certificate verify failed" in record.getMessage()
    assert record.levelname == "DEBUG"

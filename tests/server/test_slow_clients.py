"""Clients that dawdle, over real sockets: the kernel holds what they do not take, a clock of ours says how long."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from typing import Any, cast

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from gateway.adapters.streams import PIECE_BYTES
from gateway.core.errors import UpstreamBroken
from gateway.core.http.messages import ContentStream, Response, ResponseHead
from gateway.server.connection import (
    CONTENT_SECONDS,
    HEAD_SECONDS,
    IDLE_SECONDS,
    STALLED_SECONDS,
    Connection,
    Deadlines,
)
from gateway.server.requests import RawRequest, RequestContent
from gateway.server.responses import PLAIN, ResponseWriter
from tests.adapters.raw_backend import ManualClock, on_both_loops, settle, until
from tests.server.wire import GET, refuse, whole

PIECE = bytes(64 << 10)
POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello"


class Endless:
    """Content without an end; it counts what was taken of it."""

    def __init__(self) -> None:
        self.pieces = 0
        self.breaks_after = inf
        self.is_closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        self.pieces += 1
        if self.pieces > self.breaks_after:
            raise UpstreamBroken("it ended early")
        return PIECE

    async def aclose(self) -> None:
        self.is_closed = True


class Server:
    """Connections to real sockets, answered with an echo, or with what is `endless`."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.deadlines = Deadlines(self.clock)
        self.recognition = None
        self.endless = Endless()
        self.state = ServerState()
        self.config = Config(app=cast(Any, self), lifespan="off")
        self.config.loaded_app = cast(Any, self)

    async def handle_request(self, received: RawRequest, content: RequestContent | None, _: int) -> Response:
        if received.fault is not None:
            return await refuse(received.fault)
        if received.path == b"/endless":
            return Response(ResponseHead(200, []), cast(ContentStream, self.endless))
        if received.path == b"/long":
            return whole(bytes(PIECE_BYTES))
        return whole(b"".join([piece async for piece in content]) if content else b"-")

    async def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds) + 2):
            self.clock.advance(1)
            await settle()


@asynccontextmanager
async def client_of(
    server: Server, *, is_narrow: bool = False
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to it; if it is narrow, the kernel keeps next to nothing at both ends."""
    socket_ = socket.create_server(("127.0.0.1", 0))
    client = socket.socket()
    for end, option in ((socket_, socket.SO_SNDBUF), (client, socket.SO_RCVBUF)):
        if is_narrow:
            end.setsockopt(socket.SOL_SOCKET, option, 4096)
    listener = await asyncio.get_running_loop().create_server(
        lambda: Connection(server.config, server.state, {}), sock=socket_
    )
    client.connect(socket_.getsockname())
    reader, writer = await asyncio.open_connection(sock=client)
    await until(lambda: bool(server.state.connections))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        listener.close()
        await until(lambda: not (server.state.connections or server.state.tasks))


@pytest.mark.parametrize("sent", [b"G", b"GET /a HTTP/1.1\r\nHost: a\r\nX-A: ", GET + b"GET /b HTTP/1.1\r\n"])
@on_both_loops
async def test_a_slow_head(sent: bytes) -> None:
    """408 and the end of the connection (RFC 9110 15.5.9); a byte now and then does not put it off."""
    server = Server()
    async with client_of(server) as (reader, writer):
        for byte in (sent, b"E", b"T"):
            writer.write(byte)
            await settle()
            await server.pass_time(HEAD_SECONDS // 3)
        answer = await reader.read()
        assert answer.rpartition(b"HTTP/1.1 ")[2].startswith(b"408 ")
        assert answer.startswith(b"HTTP/1.1 200 " if sent.startswith(GET) else b"HTTP/1.1 408 ")


@pytest.mark.parametrize(("sent", "seconds"), [(b"", HEAD_SECONDS), (GET, IDLE_SECONDS)])
@on_both_loops
async def test_a_silent_connection(sent: bytes, seconds: float) -> None:
    """It is closed without a word where nothing was begun: nobody waits for an answer."""
    server = Server()
    async with client_of(server) as (reader, writer):
        writer.write(sent)
        await settle()
        await server.pass_time(seconds)
        assert bool(sent) == (await reader.read()).startswith(b"HTTP/1.1 200 ")


@on_both_loops
async def test_slow_content() -> None:
    """Content that is waited for and does not come is 408."""
    server = Server()
    async with client_of(server) as (reader, writer):
        writer.write(POST)
        await until(lambda: bool(server.state.tasks))
        await settle()
        await server.pass_time(CONTENT_SECONDS)
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


@on_both_loops
async def test_a_slow_reader() -> None:
    """What the backend sends waits with it; after a while the connection is reset and the backend's work ended."""
    server = Server()
    async with client_of(server) as (reader, writer):
        cast(asyncio.Transport, writer.transport).pause_reading()
        writer.write(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: server.endless.pieces > 0)
        taken = -1
        while taken != server.endless.pieces:  # until the kernel takes no more
            taken = server.endless.pieces
            await settle()
        assert not server.endless.is_closed
        await server.pass_time(STALLED_SECONDS)
        await server.pass_time(STALLED_SECONDS)
        assert server.endless.is_closed
        assert set() == server.state.connections
        cast(asyncio.Transport, writer.transport).resume_reading()
        with pytest.raises(ConnectionResetError):
            while await reader.read(1 << 20):
                pass


@on_both_loops
async def test_an_answer_that_its_client_does_not_take_is_in_progress() -> None:
    """Also one that is written at once: it counts among the requests of the worker, which are limited."""
    server = Server()
    async with client_of(server, is_narrow=True) as (reader, writer):
        cast(asyncio.Transport, writer.transport).pause_reading()
        writer.write(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: bool(server.state.tasks))
        await settle()
        assert 1 == len(server.state.tasks)
        cast(asyncio.Transport, writer.transport).resume_reading()
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert bytes(PIECE_BYTES) == await reader.readexactly(PIECE_BYTES)
        await until(lambda: not server.state.tasks)
        writer.write(GET)
        assert b"HTTP/1.1 200 OK\r\n" == await reader.readline()


@on_both_loops
async def test_an_answer_that_its_client_never_takes_is_given_up() -> None:
    """After the time that a slow reader has, as any other."""
    server = Server()
    async with client_of(server, is_narrow=True) as (_, writer):
        cast(asyncio.Transport, writer.transport).pause_reading()
        writer.write(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: bool(server.state.tasks))
        await settle()
        await server.pass_time(STALLED_SECONDS)
        await server.pass_time(STALLED_SECONDS)
        assert set() == server.state.tasks
        assert set() == server.state.connections


async def test_no_piece_is_asked_for_before_the_client_has_taken_the_last() -> None:
    """It would be held, for every client that takes nothing."""
    endless = Endless()

    class Stuck:
        def write(self, _: bytes) -> None:
            writer.pause()

    writer = ResponseWriter(cast(Any, Stuck()), lambda _: None)
    sending = asyncio.create_task(writer.stream(ResponseHead(200, []), cast(ContentStream, endless), PLAIN))
    asked = []
    for _ in range(4):
        await settle()
        asked.append(endless.pieces)
        writer.resume()
    assert [0, 1, 2, 3] == asked
    sending.cancel()
    await asyncio.wait([sending])


@pytest.mark.parametrize(("version", "is_reset"), [(b"1.1", False), (b"1.0", True)])
@on_both_loops
async def test_content_that_breaks_off(version: bytes, is_reset: bool) -> None:
    """Chunks lack the last one. Where nothing but the connection's end would tell, it is no end but a reset."""
    server = Server()
    server.endless.breaks_after = 2
    async with client_of(server) as (reader, writer):
        writer.write(b"GET /endless HTTP/%b\r\nHost: a\r\n\r\n" % version)
        if is_reset:
            with pytest.raises(ConnectionResetError):
                await reader.read()
        else:
            assert not (await reader.read()).endswith(b"\r\n0\r\n\r\n")

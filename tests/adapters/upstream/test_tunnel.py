"""Connections that change their protocol: bytes in both directions after the answer 101."""

import asyncio

import pytest

from gateway.adapters.upstream.wire import without_times
from gateway.core.errors import UpstreamBroken
from gateway.core.http.messages import Field
from tests.adapters.raw_backend import (
    OK,
    ManualClock,
    Peer,
    RawBackend,
    http_upstreams,
    on_both_loops,
    once,
    settle,
    until,
)
from tests.adapters.under_way import KERNEL_BYTES, ClientLeft, Upload, read_nothing

FIELDS = [
    (b"connection", b"upgrade"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"sec-websocket-protocol", b"chat, superchat"),
]
"""The handshake of RFC 6455 1.3."""
ACCEPT = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + ACCEPT + b"X-A: 1\r\n\r\n"
)


class Dialogue:
    """What the client sends after the answer: what the test puts in."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self.asked = 0

    def __aiter__(self) -> "Dialogue":
        return self

    async def __anext__(self) -> bytes:
        self.asked += 1
        piece = await self.pieces.get()
        if isinstance(piece, Exception):
            raise piece
        return piece


async def echo(peer: Peer) -> None:
    """Greets in the same packet as the answer, then sends back what it gets until that is `bye`."""
    await peer.read_head()
    peer.writer.write(SWITCHING + b"hello")
    while (data := await peer.reader.read(65536)) and data != b"bye":
        peer.writer.write(data)


@on_both_loops
async def test_bytes_in_both_directions() -> None:
    """Nothing is framed, what comes with the answer's head is not lost, and the backend's end is the end."""
    client = Dialogue()
    async with RawBackend(echo) as backend, http_upstreams() as upstreams:
        response = await upstreams.send(backend.address(), "GET", "/ws", FIELDS, client)
        assert 101 == response.head.status
        assert (b"x-a", b"1") == response.head.fields[-1]
        assert not isinstance(response.content, bytes)
        content = aiter(response.content)
        assert b"hello" == await anext(content)
        for piece in (b"\x81\x05first", b"\x00" * 3):
            client.pieces.put_nowait(piece)
            assert piece == await anext(content)
        client.pieces.put_nowait(b"bye")
        with pytest.raises(StopAsyncIteration):
            await anext(content)
        assert b"transfer-encoding" not in backend.heads[0]
        assert 0 == upstreams._targets[without_times(backend.address())].outstanding


@on_both_loops
async def test_no_limit_on_silence() -> None:
    """A tunnel may be silent for longer than any time-out: its two ends have their own pings."""
    clock, client = ManualClock(), Dialogue()
    async with RawBackend(echo) as backend, http_upstreams(clock) as upstreams:
        response = await upstreams.send(backend.address(response=5), "GET", "/ws", FIELDS, client)
        assert not isinstance(response.content, bytes)
        content = aiter(response.content)
        assert b"hello" == await anext(content)
        for _ in range(5):
            clock.advance(100)
            client.pieces.put_nowait(b"still here")
            assert b"still here" == await anext(content)
        await response.content.aclose()


@on_both_loops
async def test_a_backend_that_does_not_agree() -> None:
    """Its answer is like any other, and what the client might say is never asked for."""

    async def refuse(peer: Peer) -> None:
        await peer.answer(OK)

    client = Dialogue()
    async with RawBackend(refuse) as backend, http_upstreams() as upstreams:
        response = await upstreams.send(backend.address(), "GET", "/ws", FIELDS, client)
        assert 200 == response.head.status
        assert b"ok" == response.content
        assert 0 == client.asked


@on_both_loops
@pytest.mark.parametrize("head", [SWITCHING, b"HTTP/1.1 101 Switching Protocols\r\n\r\n"])
@pytest.mark.parametrize("asks", [True, False])
async def test_an_answer_101_that_means_nothing(head: bytes, asks: bool) -> None:
    """Without having been asked for, or without saying to which protocol, it is broken."""
    if asks and head is SWITCHING:
        return

    async def switch(peer: Peer) -> None:
        await peer.answer(head)
        await peer.read_to_end()

    async with RawBackend(switch) as backend, http_upstreams() as upstreams:
        with pytest.raises(UpstreamBroken, match="nobody asked for it"):
            await upstreams.send(backend.address(), "GET", "/", FIELDS if asks else [], Dialogue() if asks else None)


@on_both_loops
@pytest.mark.parametrize(
    ("head", "fields", "problem"),
    [
        (SWITCHING.replace(ACCEPT, b""), FIELDS, "Sec-WebSocket-Accept"),
        (SWITCHING.replace(b"s3pP", b"S3pP"), FIELDS, "Sec-WebSocket-Accept"),
        (SWITCHING.replace(ACCEPT, ACCEPT * 2), FIELDS, "Sec-WebSocket-Accept"),
        (SWITCHING, [*FIELDS, FIELDS[2]], "Sec-WebSocket-Accept"),
        (SWITCHING, [field for field in FIELDS if field[0] != b"sec-websocket-key"], "Sec-WebSocket-Accept"),
        (SWITCHING.replace(b"Upgrade: websocket", b"Upgrade: h2c"), FIELDS, "h2c"),
        (SWITCHING.replace(b"Upgrade: websocket", b"Upgrade: websocket, h2c"), FIELDS, "h2c"),
        (SWITCHING.replace(b"X-A: 1", b"Sec-WebSocket-Protocol: other"), FIELDS, "subprotocol"),
    ],
)
async def test_a_handshake_that_is_none(head: bytes, fields: list[Field], problem: str) -> None:
    """Another protocol than was asked for, or an answer to another key, is broken (RFC 6455 4.1, 4.2.2)."""

    async def switch(peer: Peer) -> None:
        await peer.answer(head)
        await peer.read_to_end()

    async with RawBackend(switch) as backend, http_upstreams() as upstreams:
        with pytest.raises(UpstreamBroken, match=problem):
            await upstreams.send(backend.address(), "GET", "/", fields, Dialogue())


@on_both_loops
async def test_a_subprotocol_that_was_offered() -> None:
    """The backend chooses one of them, in whatever case and case alone."""
    head = SWITCHING.replace(b"X-A: 1", b"Sec-WebSocket-Protocol: superchat").replace(b": websocket", b": WebSocket")
    async with RawBackend(once(head)) as backend, http_upstreams() as upstreams:
        response = await upstreams.send(backend.address(), "GET", "/", FIELDS, Dialogue())
        assert 101 == response.head.status
        assert not isinstance(response.content, bytes)
        await response.content.aclose()


@on_both_loops
async def test_a_client_that_leaves_ends_the_tunnel() -> None:
    """What its content raises comes out where the backend's is read, and the backend sees the end."""
    client = Dialogue()
    async with RawBackend(echo) as backend, http_upstreams() as upstreams:
        response = await upstreams.send(backend.address(), "GET", "/ws", FIELDS, client)
        assert not isinstance(response.content, bytes)
        content = aiter(response.content)
        assert b"hello" == await anext(content)
        client.pieces.put_nowait(ClientLeft())
        with pytest.raises(ClientLeft):
            await anext(content)
        await until((await backend.peer()).reader.at_eof)


@on_both_loops
async def test_a_backend_that_reads_nothing_makes_the_client_wait() -> None:
    """No more is taken from the client than the kernel holds."""

    async def switch_and_read_nothing(peer: Peer) -> None:
        peer.writer.write(SWITCHING)
        await read_nothing(peer)

    upload = Upload(bytes(65536), repeats=1000)
    async with RawBackend(switch_and_read_nothing) as backend, http_upstreams() as upstreams:
        response = await upstreams.send(backend.address(), "GET", "/ws", FIELDS, aiter(upload))
        await settle()
        assert 0 < upload.given_bytes < KERNEL_BYTES
        assert not isinstance(response.content, bytes)
        await response.content.aclose()
        (await backend.peer()).may_end.set()

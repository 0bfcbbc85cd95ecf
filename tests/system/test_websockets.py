"""WebSockets through the running gateway, with a real client and a real backend."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.typing import Subprotocol

from tests.support.client import ask
from tests.support.command_line import run_json
from tests.support.processes import GatewayServer, is_listening, wait_until
from tests.support.raw import send_raw
from tests.system.conftest import Serve, Share, mint
from tests.system.test_bad_backends import write_policy

PATIENCE_SECONDS = 20

Gateway = TypeVar("Gateway", bound=GatewayServer)
Token = dict[str, str]


@pytest.fixture
def token(redis_url: str, policies: Path) -> Token:
    return mint(redis_url, policies)


async def echo(connection: ServerConnection) -> None:
    """Says who asks, then sends everything back."""
    await connection.send(connection.request.headers["X-Gateway-Token-Id"] if connection.request else "")
    async for message in connection:
        await connection.send(message)


@asynccontextmanager
async def gateway_before(
    behave: Callable[[ServerConnection], Awaitable[None]], policies: Path, start: Callable[[], Gateway]
) -> AsyncIterator[Gateway]:
    """The gateway in front of a backend that is a WebSocket server; at the end its log has no mistake."""
    async with serve_websockets(behave, "127.0.0.1", 0, subprotocols=[Subprotocol("chat")]) as backend:
        port = next(iter(backend.sockets)).getsockname()[1]
        write_policy(policies, port, response_timeout="5s")
        gateway = await asyncio.to_thread(start)
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield gateway
    assert "Traceback" not in gateway.text()


def open_websocket(gateway: GatewayServer, token: str | None, **options: object) -> connect:
    """A connection that presents the token."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    options = {"subprotocols": ["chat"], "additional_headers": headers, **options}
    return connect(f"ws://127.0.0.1:{gateway.port}/chat", **options)  # type: ignore[arg-type]


async def test_messages_in_both_directions(share: Share, policies: Path, token: Token) -> None:
    """Text, binary, empty and large messages, with the extension and subprotocol that the two ends agree on."""
    async with gateway_before(echo, policies, share) as gateway:
        async with open_websocket(gateway, token["token"]) as client:
            assert token["id"] == await client.recv()
            assert "chat" == client.subprotocol
            assert client.response is not None
            assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
            for message in ("hello", "", b"\x00\xff", "ü" * 1000, bytes(range(256)) * 4000):
                await client.send(message)
                assert message == await client.recv()
            await (await client.ping())
        assert 1000 == client.close_code
        records = await asyncio.to_thread(gateway.records_of, token["id"])
        assert [101] == [record["status"] for record in records]


@pytest.mark.parametrize("credential", [None, "sys_" + "0" * 40])
async def test_no_websocket_without_a_token(share: Share, policies: Path, credential: str | None) -> None:
    """The handshake is authorised like any request: 401, and the backend hears nothing of it."""

    async def never(_: ServerConnection) -> None:
        raise AssertionError("nobody was to come here")

    async with gateway_before(never, policies, share) as gateway:
        with pytest.raises(InvalidStatus) as caught:
            async with open_websocket(gateway, credential):
                pass
        response = caught.value.response
        assert 401 == response.status_code
        assert b'"status":401' in (response.body or b"")
        assert "WWW-Authenticate" in response.headers


async def test_a_revoked_token_ends_its_websocket(share: Share, redis_url: str, policies: Path, token: Token) -> None:
    """The client is told, the backend sees the connection break, and another token's goes on."""
    kept = await asyncio.to_thread(mint, redis_url, policies)
    has_ended = asyncio.Event()

    async def behave(connection: ServerConnection) -> None:
        try:
            await echo(connection)
        except ConnectionClosedError:
            has_ended.set()

    async with (
        gateway_before(behave, policies, share) as gateway,
        open_websocket(gateway, token["token"]) as cut,
        open_websocket(gateway, kept["token"]) as going,
    ):
        await cut.recv()
        await going.recv()
        await asyncio.to_thread(run_json, "token", "revoke", token["id"], "--redis", redis_url)
        with pytest.raises(ConnectionClosedError):
            await cut.recv()
        assert (1008, "invalid_token") == (cut.close_code, cut.close_reason)
        await has_ended.wait()
        await going.send("still here")
        assert "still here" == await going.recv()


async def test_each_end_may_close(share: Share, policies: Path, token: Token) -> None:
    """Close codes reach the other end; a client that vanishes without one ends the backend's work."""
    seen = asyncio.Queue[int | None]()

    async def behave(connection: ServerConnection) -> None:
        await connection.send("hello")
        if await connection.recv() == "close":
            await connection.close(4001, "enough")
        await connection.wait_closed()
        seen.put_nowait(connection.close_code)

    async def say(client: ClientConnection, message: str) -> None:
        assert "hello" == await client.recv()
        await client.send(message)

    async with gateway_before(behave, policies, share) as gateway:
        async with open_websocket(gateway, token["token"]) as client:
            await say(client, "close")
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert 4001 == client.close_code
            assert "enough" == client.close_reason
            assert 4001 == await seen.get()
        async with open_websocket(gateway, token["token"]) as client:
            await say(client, "wait")
            await client.close(4002)
            assert 4002 == await seen.get()
        async with open_websocket(gateway, token["token"]) as client:
            await say(client, "wait")
            client.transport.abort()
            assert 1006 == await seen.get()


async def test_what_is_no_proper_handshake(share: Share, policies: Path, token: Token) -> None:
    """The backend judges it; content beside it, which could hide a second request, is refused here."""
    own = [b"Host: a", b"Authorization: Bearer " + token["token"].encode()]
    own += [b"Upgrade: websocket", b"Connection: Upgrade"]

    async with gateway_before(echo, policies, share) as gateway:

        async def send(*lines: bytes, target: bytes = b"/chat", content: bytes = b"", method: bytes = b"GET") -> bytes:
            head = b"\r\n".join((method + b" " + target + b" HTTP/1.1", *own, *lines, b"", b""))
            return await asyncio.to_thread(send_raw, gateway.port, head + content)

        for line in (b"Content-Length: 5", b"Transfer-Encoding: chunked"):
            answer = await send(line, content=b"hello")
            assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
            assert b"connection: close\r\n" in answer
            assert b'"code":"malformed_request"' in answer
        assert (await send(method=b"HEAD")).startswith(b"HTTP/1.1 400 ")
        answer = await send(b"Sec-WebSocket-Version: 13")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"Sec-WebSocket-Key" in answer
        answer = await send(target=b"/%2d/health")  # the gateway's own addresses have no WebSockets, however written
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"policies":"current"' in answer


async def test_a_stopping_gateway_gives_its_websockets_time(
    serve: Serve, redis_url: str, policies: Path, token: Token
) -> None:
    """After SIGTERM one goes on like a request, and may come to its own end; one that does not is told by 1001."""

    async def behave(connection: ServerConnection) -> None:
        with suppress(ConnectionClosedError):
            await echo(connection)

    def start() -> GatewayServer:
        return serve(redis_url, environment={"GATEWAY_STOP_TIMEOUT": "2"})

    async with (
        gateway_before(behave, policies, start) as gateway,
        open_websocket(gateway, token["token"]) as ending,
        open_websocket(gateway, token["token"]) as lasting,
    ):
        for client in (ending, lasting):
            await client.recv()
        gateway.send(signal.SIGTERM)
        await asyncio.to_thread(wait_until, lambda: not is_listening(gateway.port), "the gateway stops")
        for client in (ending, lasting):
            await client.send("still here")
            assert "still here" == await client.recv()
        await ending.close()
        assert 1000 == ending.close_code
        with pytest.raises(ConnectionClosedOK):
            await lasting.recv()
        assert 1001 == lasting.close_code
        assert 0 == await asyncio.to_thread(gateway.popen.wait, PATIENCE_SECONDS)


async def test_a_slow_reader_makes_the_other_end_wait(share: Share, policies: Path, token: Token) -> None:
    """A client that sends to a backend that does not read is held up by backpressure, not by the gateway's memory."""
    taken, may_read = 0, asyncio.Event()
    size = 64 << 20

    async def behave(connection: ServerConnection) -> None:
        await connection.send("hello")
        connection.transport.pause_reading()
        await may_read.wait()
        connection.transport.resume_reading()
        async for message in connection:
            await connection.send(str(len(message)))

    async def send(client: ClientConnection) -> None:
        nonlocal taken
        for _ in range(size >> 18):
            await client.send(bytes(1 << 18))
            taken += 1 << 18

    async with (
        gateway_before(behave, policies, share) as gateway,
        open_websocket(gateway, token["token"], compression=None) as client,
    ):
        await client.recv()
        sending = asyncio.create_task(send(client))
        for _ in range(50):  # the gateway has time to take what it would take
            await asyncio.to_thread(ask, gateway.port, "GET", "/-/health")
        assert 0 < taken < size // 2
        may_read.set()
        assert [str(1 << 18)] * (size >> 18) == [await client.recv() for _ in range(size >> 18)]
        await sending

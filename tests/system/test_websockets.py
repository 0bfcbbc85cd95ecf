"""WebSockets through the running gateway, with a real client and a real backend."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

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
from tests.system.conftest import Serve, mint
from tests.system.test_bad_backends import write_policy

pytestmark = pytest.mark.redis

PATIENCE_SECONDS = 20


async def echo(connection: ServerConnection) -> None:
    """Says who asks, then sends everything back."""
    await connection.send(connection.request.headers["X-Gateway-Token-Id"] if connection.request else "")
    async for message in connection:
        await connection.send(message)


def converse(
    serve: Serve,
    redis_url: str,
    policies: Path,
    work: Callable[[GatewayServer, Callable[..., connect]], Awaitable[None]],
    behave: Callable[[ServerConnection], Awaitable[None]] = echo,
    stop_timeout: str = "30",
) -> GatewayServer:
    """Runs `work` with a gateway in front of a backend that is a WebSocket server."""

    async def run() -> GatewayServer:
        async with serve_websockets(behave, "127.0.0.1", 0, subprotocols=[Subprotocol("chat")]) as backend:
            port = next(iter(backend.sockets)).getsockname()[1]
            write_policy(policies, port, response_timeout="5s")
            gateway = await asyncio.to_thread(serve, redis_url, environment={"GATEWAY_STOP_TIMEOUT": stop_timeout})

            def open_websocket(token: str | None, **options: object) -> connect:
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                options = {"subprotocols": ["chat"], "additional_headers": headers, **options}
                return connect(f"ws://127.0.0.1:{gateway.port}/chat", **options)  # type: ignore[arg-type]

            async with asyncio.timeout(PATIENCE_SECONDS):
                await work(gateway, open_websocket)
            return gateway

    gateway = asyncio.run(run())
    assert "Traceback" not in gateway.text()
    return gateway


def test_messages_in_both_directions(serve: Serve, redis_url: str, policies: Path) -> None:
    """Text, binary, empty and large messages, with the extension and subprotocol that the two ends agree on."""
    token = mint(redis_url, policies)

    async def work(_: GatewayServer, open_websocket: Callable[..., connect]) -> None:
        async with open_websocket(token["token"]) as client:
            assert token["id"] == await client.recv()
            assert "chat" == client.subprotocol
            assert client.response is not None
            assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
            for message in ("hello", "", b"\x00\xff", "ü" * 1000, bytes(range(256)) * 4000):
                await client.send(message)
                assert message == await client.recv()
            await (await client.ping())
        assert 1000 == client.close_code

    gateway = converse(serve, redis_url, policies, work)
    gateway.stop()
    assert '"status":101' in gateway.access_log.read_text()


@pytest.mark.parametrize("credential", [None, "sys_" + "0" * 40])
def test_no_websocket_without_a_token(serve: Serve, redis_url: str, policies: Path, credential: str | None) -> None:
    """The handshake is authorised like any request: 401, and the backend hears nothing of it."""

    async def work(_: GatewayServer, open_websocket: Callable[..., connect]) -> None:
        with pytest.raises(InvalidStatus) as caught:
            async with open_websocket(credential):
                pass
        assert 401 == caught.value.response.status_code
        assert b'"status":401' in (caught.value.response.body or b"")
        assert "WWW-Authenticate" in caught.value.response.headers

    async def never(_: ServerConnection) -> None:
        raise AssertionError("nobody was to come here")

    converse(serve, redis_url, policies, work, never)


def test_a_revoked_token_ends_its_websocket(serve: Serve, redis_url: str, policies: Path) -> None:
    """The client is told, the backend sees the connection break, and another token's goes on."""
    revoked, kept = mint(redis_url, policies), mint(redis_url, policies)
    has_ended = asyncio.Event()

    async def behave(connection: ServerConnection) -> None:
        try:
            await echo(connection)
        except ConnectionClosedError:
            has_ended.set()

    async def work(_: GatewayServer, open_websocket: Callable[..., connect]) -> None:
        async with open_websocket(revoked["token"]) as cut, open_websocket(kept["token"]) as going:
            await cut.recv()
            await going.recv()
            await asyncio.to_thread(run_json, "token", "revoke", revoked["id"], "--redis", redis_url)
            with pytest.raises(ConnectionClosedError):
                await cut.recv()
            assert (1008, "invalid_token") == (cut.close_code, cut.close_reason)
            await has_ended.wait()
            await going.send("still here")
            assert "still here" == await going.recv()

    converse(serve, redis_url, policies, work, behave)


def test_each_end_may_close(serve: Serve, redis_url: str, policies: Path) -> None:
    """Close codes reach the other end; a client that vanishes without one ends the backend's work."""
    token, seen = mint(redis_url, policies)["token"], asyncio.Queue[int | None]()

    async def behave(connection: ServerConnection) -> None:
        await connection.send("hello")
        if await connection.recv() == "close":
            await connection.close(4001, "enough")
        await connection.wait_closed()
        seen.put_nowait(connection.close_code)

    async def say(client: ClientConnection, message: str) -> None:
        assert "hello" == await client.recv()
        await client.send(message)

    async def work(_: GatewayServer, open_websocket: Callable[..., connect]) -> None:
        async with open_websocket(token) as client:
            await say(client, "close")
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert (4001, "enough") == (client.close_code, client.close_reason)
            assert 4001 == await seen.get()
        async with open_websocket(token) as client:
            await say(client, "wait")
            await client.close(4002)
            assert 4002 == await seen.get()
        async with open_websocket(token) as client:
            await say(client, "wait")
            client.transport.abort()
            assert 1006 == await seen.get()

    converse(serve, redis_url, policies, work, behave)


def test_what_is_no_proper_handshake(serve: Serve, redis_url: str, policies: Path) -> None:
    """The backend judges it; content beside it, which could hide a second request, is refused here."""
    token = mint(redis_url, policies)["token"].encode()

    async def work(gateway: GatewayServer, _: Callable[..., connect]) -> None:
        async def send(*lines: bytes, target: bytes = b"/chat", content: bytes = b"", method: bytes = b"GET") -> bytes:
            own = (b"Host: a", b"Authorization: Bearer " + token, b"Upgrade: websocket", b"Connection: Upgrade")
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

    converse(serve, redis_url, policies, work)


def test_a_stopping_gateway_gives_its_websockets_time(serve: Serve, redis_url: str, policies: Path) -> None:
    """After SIGTERM one goes on like a request, and may come to its own end; one that does not is told by 1001."""
    token = mint(redis_url, policies)["token"]

    async def work(gateway: GatewayServer, open_websocket: Callable[..., connect]) -> None:
        async with open_websocket(token) as ending, open_websocket(token) as lasting:
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

    async def behave(connection: ServerConnection) -> None:
        with suppress(ConnectionClosedError):
            await echo(connection)

    converse(serve, redis_url, policies, work, behave, stop_timeout="2")


def test_a_slow_reader_makes_the_other_end_wait(serve: Serve, redis_url: str, policies: Path) -> None:
    """A client that sends to a backend that does not read is held up by backpressure, not by the gateway's memory."""
    token, taken, may_read = mint(redis_url, policies)["token"], 0, asyncio.Event()
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

    async def work(gateway: GatewayServer, open_websocket: Callable[..., connect]) -> None:
        async with open_websocket(token, compression=None) as client:
            await client.recv()
            sending = asyncio.create_task(send(client))
            for _ in range(50):  # the gateway has time to take what it would take
                await asyncio.to_thread(ask, gateway.port, "GET", "/-/health")
            assert 0 < taken < size // 2
            may_read.set()
            assert [str(1 << 18)] * (size >> 18) == [await client.recv() for _ in range(size >> 18)]
            await sending

    converse(serve, redis_url, policies, work, behave)

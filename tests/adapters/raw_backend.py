"""A backend that says exactly the bytes a test wants, and the frame in which such tests run.

Nothing here sleeps: the backend and the gateway share one event loop, and tests wait for what has to happen.
"""

import asyncio
import functools
import gc
import inspect
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Self, TypeAlias

import pytest
import uvloop

from gateway.adapters.upstream.connection import UpstreamConnection
from gateway.adapters.upstream.pool import HttpUpstreams
from gateway.core.http.messages import Field, Response, ResponseHead
from gateway.core.policies.model import Tls, Upstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PATIENCE_SECONDS = 20
"""No test takes this long; one that does hangs."""


class Peer:
    """The backend's end of one connection. `number` counts the connections from 1."""

    def __init__(self, backend: "RawBackend", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backend.peers.append(self)
        self.number = len(backend.peers)
        self.reader = reader
        self.writer = writer
        self.closed = asyncio.Event()
        """Set when the script has seen the end of the connection."""
        self.may_end = asyncio.Event()
        self._backend = backend

    async def read_head(self) -> bytes:
        head = await self.reader.readuntil(b"\r\n\r\n")
        self._backend.heads.append(head)
        return head

    async def answer(self, *answers: bytes) -> None:
        """Gives each request one of the answers, in order."""
        for answer in answers:
            await self.read_head()
            self.writer.write(answer)
        await self.writer.drain()

    async def read_to_end(self) -> bytes:
        """All that still comes until the connection ends, in whatever way."""
        pieces: list[bytes] = []
        with suppress(ConnectionError):
            while piece := await self.reader.read(65536):
                pieces.append(piece)
        self.closed.set()
        return b"".join(pieces)

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        """Ends the connection with RST."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script: TypeAlias = Callable[[Peer], Awaitable[None]]


def always(answer: bytes) -> Script:
    """Answers every request on every connection in the same way."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.answer(answer)

    return script


def once(answer: bytes, *, end: str = "keep") -> Script:
    """Answers one request; then keeps the connection open, or ends it with a FIN ("close").

    "reset" ends it with an RST once the test sets `may_end`: an RST takes with it what has not been read.
    """

    async def script(peer: Peer) -> None:
        await peer.answer(answer)
        if end == "close":
            await peer.close()
        elif end == "reset":
            await peer.may_end.wait()
            peer.reset()
        else:
            await peer.read_to_end()

    return script


class RawBackend:
    """Runs `script` for each connection; `heads` are the request heads of all of them."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.heads: list[bytes] = []
        self.peers: list[Peer] = []
        self.mistakes: list[Exception] = []
        self._script = script
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._converse, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()
        assert self.mistakes == []

    def url(self, prefix: str = "") -> str:
        scheme, host = ("https", "localhost") if self._tls else ("http", "127.0.0.1")
        return f"{scheme}://{host}:{self.port}{prefix}"

    def address(self, prefix: str = "", *, connect: float = 5.0, response: float = 5.0, tls: Tls = Tls()) -> Upstream:  # noqa: B008 - a frozen value
        return Upstream((self.url(prefix),), connect, response, response, tls=tls)

    async def peer(self, number: int = 1) -> Peer:
        await until(lambda: len(self.peers) >= number)
        return self.peers[number - 1]

    def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._run(Peer(self, reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, peer: Peer) -> None:
        try:
            await self._script(peer)
        except (asyncio.IncompleteReadError, ConnectionError):
            peer.closed.set()
        except Exception as error:
            self.mistakes.append(error)
        finally:
            peer.writer.transport.abort()
            with suppress(ConnectionError, ssl.SSLError):
                await peer.writer.wait_closed()


async def until(condition: Callable[[], bool]) -> None:
    """Lets everything else run until the condition holds."""
    async with asyncio.timeout(PATIENCE_SECONDS / 2):
        while not condition():
            await asyncio.sleep(0)


async def settle() -> None:
    """Lets everything run that can run without waiting for time to pass."""
    for _ in range(200):
        await asyncio.sleep(0)


class ManualClock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._timers: list[ManualTimer] = []

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[[], object], /) -> "ManualTimer":
        timer = ManualTimer(when, callback)
        self._timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Lets seconds pass; what is due by then is called."""
        self._now += seconds
        due = [timer for timer in self._timers if timer.when <= self._now]
        self._timers = [timer for timer in self._timers if timer.when > self._now]
        for timer in due:
            if not timer.is_cancelled:
                timer.callback()


class ManualTimer:
    """A call to come by a ManualClock."""

    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.when = when
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Arrivals:
    """Counts the bytes that reach the connections of the client under test."""

    def __init__(self) -> None:
        self.bytes = 0

    def __enter__(self) -> "Arrivals":
        self._data_received = UpstreamConnection.data_received

        def count(connection: UpstreamConnection, data: bytes) -> None:
            self._data_received(connection, data)
            self.bytes += len(data)

        setattr(UpstreamConnection, "data_received", count)  # noqa: B010 - for the length of a test
        return self

    def __exit__(self, *_: object) -> None:
        setattr(UpstreamConnection, "data_received", self._data_received)  # noqa: B010 - as it was

    async def reach(self, total: int) -> None:
        """Returns when so many bytes have arrived."""
        await until(lambda: self.bytes >= total)


@asynccontextmanager
async def http_upstreams(clock: ManualClock | None = None) -> AsyncIterator[HttpUpstreams]:
    upstreams = HttpUpstreams(clock)
    try:
        yield upstreams
    finally:
        await upstreams.close()


async def read_all(response: Response) -> bytes:
    if isinstance(response.content, bytes):
        return response.content
    return b"".join([piece async for piece in response.content])


async def fetch(
    upstreams: HttpUpstreams,
    address: Upstream,
    method: str = "GET",
    target: str = "/",
    fields: Sequence[Field] = (),
    content: AsyncIterator[bytes] | None = None,
) -> tuple[ResponseHead, bytes]:
    """Head and whole content of the answer."""
    response = await upstreams.send(address, method, target, fields, content)
    return response.head, await read_all(response)


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs an async test on uvloop and on asyncio's own loop, and lets it leave nothing behind."""

    @functools.wraps(test)
    def run(new_loop: Callable[[], asyncio.AbstractEventLoop], **arguments: object) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(_watch(test(**arguments)))

    parameter = inspect.Parameter("new_loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.signature(test)
    run.__signature__ = signature.replace(parameters=[parameter, *signature.parameters.values()])  # type: ignore[attr-defined]
    loops = [asyncio.new_event_loop, uvloop.new_event_loop]
    on_each: Callable[..., None] = pytest.mark.parametrize("new_loop", loops, ids=["asyncio", "uvloop"])(run)
    return on_each


async def _watch(test: Coroutine[Any, Any, None]) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    gc.freeze()  # what was there before is not the test's: to look through it takes longer than the test
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await test
        await settle()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        gc.collect()
        await asyncio.sleep(0)
    finally:
        gc.unfreeze()
    assert others == set()
    assert complaints == []

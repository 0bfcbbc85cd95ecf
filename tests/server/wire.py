"""A connection without a socket: what a client sends is fed to it, what goes out is kept."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

from uvicorn import Config
from uvicorn.server import ServerState

from gateway.core.http.messages import Response, ResponseHead
from gateway.core.http.problems import build_refusal
from gateway.core.http.reasons import Reason
from gateway.server.connection import Connection, Deadlines
from gateway.server.requests import RawRequest, RequestContent
from tests.adapters.raw_backend import ManualClock, settle

GET = b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
LAST_HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"


class Transport(asyncio.Transport):
    """Keeps what is written; `takes` says whether the client does."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.unsent_bytes = 0
        self.reads = True
        self.end = ""
        self.protocol: Connection
        self.peer: Callable[[], Any] = lambda: ("192.0.2.1", 1)
        self.socket: Any = None

    @property
    def sent(self) -> bytes:
        return b"".join(self.writes)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.end, "nothing is written after the end"
        if data:
            self.writes.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.end = "half"

    def close(self) -> None:
        self.end = "closed"

    def abort(self) -> None:
        self.end = "reset"

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.peer() if name == "peername" else self.socket if name == "socket" else default


Answer = Callable[[RawRequest, RequestContent | None], Awaitable[Response]]


class Wire:
    """A connection whose requests get what `answer` says, and a clock for it."""

    def __init__(self, answer: Answer, transport: Transport | None = None) -> None:
        self.clock = ManualClock()
        self.received: list[RawRequest] = []
        self.faults: list[RawRequest] = []
        self.deadlines = Deadlines(self.clock)
        self.recognition = None
        self.server = ServerState()
        self.transport = transport or Transport()
        self._answer = answer
        self.config = Config(app=cast(Any, self), lifespan="off")
        self.config.loaded_app = cast(Any, self)
        self.connection = Connection(self.config, self.server, {})
        self.connection.connection_made(self.transport)

    def handle_request(self, raw: RawRequest, content: RequestContent | None, in_progress: int) -> Awaitable[Response]:
        assert len(self.server.tasks) == in_progress
        if raw.fault is not None:
            self.faults.append(raw)
            return refuse(raw.fault)
        self.received.append(raw)
        return self._answer(raw, content)

    async def feed(self, *pieces: bytes) -> bytes:
        """What goes out for the pieces."""
        before = len(self.transport.sent)
        for piece in pieces:
            self.connection.data_received(piece)
            await settle()
        return self.transport.sent[before:]

    async def lose(self) -> None:
        """The client is gone."""
        self.connection.connection_lost(None)
        await settle()

    async def pass_time(self, seconds: float) -> None:
        """A second at a time, as connections are looked at."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            await settle()


async def refuse(fault: Reason) -> Response:
    """The answer to a request at fault."""
    return build_refusal(fault, None, "id")


def whole(content: bytes = b"hello", status: int = 200) -> Response:
    """A response that is all there."""
    return Response(ResponseHead(status, [(b"content-length", b"%d" % len(content))]), content)


def whole_bytes(content: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(content), content)


def always(response: Response) -> Answer:
    """The same response to each request, whose content is not read."""

    async def answer(_: RawRequest, __: RequestContent | None) -> Response:
        return Response(ResponseHead(response.head.status, list(response.head.fields)), response.content)

    return answer


async def read_all(_: RawRequest, content: RequestContent | None) -> Response:
    """A backend that answers with what it was sent."""
    return whole(b"".join([piece async for piece in content]) if content else b"-")


class Stream:
    """Content that comes when the test says so."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.is_closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self.pieces.get()
        if piece is None:
            raise StopAsyncIteration
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def aclose(self) -> None:
        self.is_closed = True

    async def put(self, *pieces: bytes | Exception | None) -> None:
        for piece in pieces:
            self.pieces.put_nowait(piece)
        await settle()

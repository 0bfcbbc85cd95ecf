"""Answers that are written whole, by a real uvicorn to a raw socket."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from litestar.types import Receive, Scope, Send

from gateway.core.messages import Field
from gateway.web.server import send_whole

SLOW_CONTENT = b"x" * (1 << 20)


class Answering:
    """An application that gives one answer; `taken` says of each request whether it was written whole."""

    def __init__(self, status: int, fields: list[Field], content: bytes) -> None:
        self.answer = (status, fields, content)
        self.taken: list[bool | str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, fields, content = self.answer
        try:
            self.taken.append(send_whole(send, status, fields, content))
        except RuntimeError as error:
            self.taken.append(str(error))
        if self.taken[-1] is not True:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


@asynccontextmanager
async def serving(app: Answering, http: str = "httptools") -> AsyncIterator[int]:
    """The port of a uvicorn that serves the application."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=http,
        lifespan="off",
        log_config=None,
        server_header=False,
        date_header=False,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await running


def exchange(app: Answering, request: bytes, http: str = "httptools") -> bytes:
    """Everything that comes back until the connection ends."""

    async def work() -> bytes:
        async with asyncio.timeout(10), serving(app, http) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            received = await reader.read()
            writer.close()
            return received

    return asyncio.run(work())


GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


HEAD = LAST.replace(b"GET", b"HEAD")
OLD = b"GET / HTTP/1.0\r\n\r\n"
LENGTH = (b"content-length", b"2")


@pytest.mark.parametrize(
    ("asked", "status", "fields", "content", "head"),
    [
        (LAST, 200, [(b"a", b"b")], b"ab", b"200 OK\r\na: b\r\ncontent-length: 2"),
        (LAST, 200, [LENGTH], b"ab", b"200 OK\r\ncontent-length: 2"),
        (LAST, 304, [(b"a", b"b")], b"", b"304 Not Modified\r\na: b"),
        (LAST, 204, [], b"", b"204 No Content"),
        (HEAD, 200, [LENGTH], b"", b"200 OK\r\ncontent-length: 2"),
        (HEAD, 200, [(b"a", b"b")], b"", b"200 OK\r\na: b"),
        (OLD, 200, [], b"a", b"200 OK\r\ncontent-length: 1"),
    ],
)
def test_an_answer_is_written_as_http_says(
    asked: bytes, status: int, fields: list[Field], content: bytes, head: bytes
) -> None:
    """Its length is told where there is content and nothing says it, and the end of the connection where it ends."""
    app = Answering(status, fields, content)
    assert b"HTTP/1.1 " + head + b"\r\nconnection: close\r\n\r\n" + content == exchange(app, asked)
    assert [True] == app.taken


def test_pipelined_requests_are_answered_in_order() -> None:
    """Each request that is there already is answered, and the connection ends with the one that asks for it."""
    app = Answering(200, [], b"a")
    one = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n"
    assert one + b"\r\na" + one + b"\r\na" + one + b"connection: close\r\n\r\na" == exchange(app, GET + GET + LAST)


@pytest.mark.parametrize(
    "field", [(b"a", b"b\r\nc: d"), (b"a", b"b\nc"), (b"a", b"b\rc"), (b"a\r\n", b"b"), (b"a", b"\0")]
)
def test_no_field_becomes_two(field: Field) -> None:
    """A line break in a field is an error, and nothing of that answer is written."""
    app = Answering(200, [field], b"a")
    assert b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" == exchange(app, LAST)
    assert ["a field of the response holds a line break or NUL"] == app.taken


def test_another_server_gets_messages() -> None:
    """Where the server is not the one that is known, nothing is written past it."""
    app = Answering(200, [], b"a")
    assert exchange(app, LAST, "h11").startswith(b"HTTP/1.1 200")
    assert [False] == app.taken


def test_a_client_that_does_not_read_is_waited_for() -> None:
    """Answers to pipelined requests do not heap up: while the client reads nothing, no further one is written."""
    app = Answering(200, [], SLOW_CONTENT)

    async def work() -> None:
        async with asyncio.timeout(10), serving(app) as port:
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(GET * 100)
            while False not in app.taken:
                await asyncio.sleep(0)
            assert len(app.taken) < 50
            client.close()

    asyncio.run(work())

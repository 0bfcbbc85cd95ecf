"""Whole answers in one write: the same bytes as uvicorn's own, and what is not plain goes its way."""

import asyncio
from typing import Any, cast

import pytest
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.core.messages import Field, Response, ResponseHead
from gateway.web.proxy import PIECE_BYTES, send_response
from tests.adapters.raw_backend import settle

GET = b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n"
LENGTH_5 = [(b"x-a", b"1"), (b"content-length", b"5"), (b"x-a", b"caf\xe9")]


class Transport(asyncio.Transport):
    """Keeps each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data:
            self.writes.append(bytes(data))

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in {"peername", "sockname"} else default


async def serve(response: Response, *requests: bytes, by_messages: bool = False) -> Transport:
    """What goes out for requests on one connection, one after the other's answer, that all get the response."""

    async def app(_: Any, receive: Any, send: Any) -> None:
        head = ResponseHead(response.head.status, list(response.head.fields))
        wrapped: Any = lambda message: send(message)  # noqa: E731, PLW0108 - as a middleware would have it
        await send_response(Response(head, response.content), wrapped if by_messages else send)

    config = Config(app=app, access_log=False, lifespan="off", ws="none", date_header=False, server_header=False)
    config.load()
    config.loaded_app = cast(Any, app)
    protocol, transport = HttpToolsProtocol(config, ServerState(), {}), Transport()
    protocol.connection_made(transport)
    for request in requests:
        protocol.data_received(request)
        await settle()
    protocol.connection_lost(None)
    return transport


@pytest.mark.parametrize(
    ("request_", "status", "fields", "content", "is_one"),
    [
        (GET, 200, LENGTH_5, b"hello", True),
        (GET, 499, [(b"content-length", b"0")], b"", True),
        (GET, 304, [(b"etag", b'W/"1"')], b"", True),
        (GET, 204, [], b"", True),
        (GET, 200, [(b"x-a", b"1")], b"hello", False),
        (GET.replace(b"GET", b"HEAD"), 200, LENGTH_5, b"", True),
        (GET.replace(b"1.1", b"1.0"), 200, LENGTH_5, b"hello", False),
        (GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), 200, LENGTH_5, b"hello", False),
        (
            GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\nab"),
            200,
            LENGTH_5,
            b"hello",
            True,
        ),
    ],
)
def test_the_same_bytes_in_fewer_writes(
    request_: bytes, status: int, fields: list[Field], content: bytes, is_one: bool
) -> None:
    """For every kind of answer, the connection goes on or ends as it would have."""

    async def work() -> None:
        response = Response(ResponseHead(status, fields), content)
        theirs = await serve(response, request_, request_, by_messages=True)
        ours = await serve(response, request_, request_)
        assert (b"".join(theirs.writes), theirs.is_closed) == (b"".join(ours.writes), ours.is_closed)
        if is_one and not ours.is_closed:
            assert 2 == len(ours.writes)

    asyncio.run(work())


@pytest.mark.parametrize(
    "fields",
    [
        [(b"x-a", b"1\r\nx-b: 2"), (b"content-length", b"5")],
        [(b"x-a", b"1\n"), (b"content-length", b"5")],
        [(b"x-a\r", b"1"), (b"content-length", b"5")],
        [(b"content-length", b"4")],
        [(b"content-length", b"6")],
    ],
)
def test_what_cannot_be_sent_is_refused_as_by_uvicorn(fields: list[Field]) -> None:
    """A line break in a field, or a length that is not that of the content, never gets out as it stands."""

    async def work() -> None:
        response = Response(ResponseHead(200, fields), b"hello")
        theirs, ours = await serve(response, GET, by_messages=True), await serve(response, GET)
        assert (theirs.writes, theirs.is_closed) == (ours.writes, ours.is_closed)

    asyncio.run(work())


def test_streams_are_sent_as_they_come() -> None:
    """The head of a stream does not wait for its content."""

    class Late:
        def __aiter__(self) -> "Late":
            return self

        async def __anext__(self) -> bytes:
            await asyncio.Event().wait()
            raise AssertionError

        async def aclose(self) -> None:
            return

    async def work() -> None:
        response = Response(ResponseHead(200, []), cast(Any, Late()))
        transport = await serve(response, GET)
        assert [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"] == transport.writes
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await settle()

    asyncio.run(work())


@pytest.mark.parametrize("length", [PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
def test_long_content_goes_out_in_pieces(length: int) -> None:
    """So that others are answered in between; the client gets the same bytes, framed by the same length."""
    content = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
    fields: list[Field] = [(b"content-length", b"%d" % length)]
    transport = asyncio.run(serve(Response(ResponseHead(200, fields), content), GET, GET))
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % length
    assert (head + content) * 2 == b"".join(transport.writes)
    assert PIECE_BYTES + len(head) >= max(map(len, transport.writes))

"""Requests of a connection are answered in order, whole and honestly; who leaves is served no longer."""

import asyncio
import socket
from collections.abc import Callable
from types import SimpleNamespace

import msgspec
import pytest

from gateway.adapters.streams import PIECE_BYTES
from gateway.core.errors import UpstreamBroken
from gateway.core.http.messages import Field, Inform, Response, ResponseHead
from gateway.server.connection import Connection
from gateway.server.requests import RawRequest, RequestContent
from tests.adapters.raw_backend import settle
from tests.server.wire import GET, HELLO, LAST_HELLO, Stream, Transport, Wire, always, whole

pytestmark = pytest.mark.usefixtures("nothing_is_left")


async def test_one_request_after_the_other() -> None:
    """The connection stays open, and the head is what was sent."""
    wire = Wire(always(whole()))
    assert HELLO == await wire.feed(GET)
    assert HELLO == await wire.feed(GET[:9], GET[9:])
    assert 2 == len(wire.transport.writes)  # an answer that is whole is one write
    assert "" == wire.transport.end
    assert 2 == wire.server.total_requests
    expected = RawRequest("GET", b"/a", b"b", [(b"host", b"a")], "192.0.2.1", "http")
    assert [expected] * 2 == [
        msgspec.structs.replace(received, inform=None, is_gone=None) for received in wire.received
    ]
    assert not wire.server.tasks


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (GET.replace(b"1.1", b"1.0"), LAST_HELLO),
        (GET.replace(b"1.1", b"1.0").replace(b"Host", b"Connection: keep-alive\r\nHost"), LAST_HELLO),
        (GET.replace(b"Host", b"Connection: close\r\nHost"), LAST_HELLO),
    ],
)
async def test_the_last_request(request_: bytes, answer: bytes) -> None:
    """Its answer says that the connection ends, and it does; what comes behind it is not read."""
    wire = Wire(always(whole()))
    assert answer == await wire.feed(request_ + GET)
    assert "closed" == wire.transport.end
    assert 1 == len(wire.received)


HINTS = ResponseHead(103, [(b"link", b"</a>")])
HINTS_BYTES = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"


async def test_interim_answers_go_out_before_the_answer() -> None:
    """RFC 9110 15.2: to the request that they are for and to nobody else, and never behind the answer's beginning."""
    informs: list[Inform] = []
    goes_on = asyncio.Event()

    async def answer(received: RawRequest, _: RequestContent | None) -> Response:
        assert received.inform is not None
        informs.append(received.inform)
        received.inform(HINTS)
        await goes_on.wait()
        return whole()

    wire = Wire(answer)
    assert HINTS_BYTES == await wire.feed(GET)
    informs[0](HINTS)
    wire.connection.pause_writing()
    informs[0](HINTS)  # a client that does not keep up does not get what it can do without
    wire.connection.resume_writing()
    goes_on.set()
    await settle()
    informs[0](HINTS)
    assert HINTS_BYTES * 2 + HELLO == wire.transport.sent
    await wire.lose()
    informs[0](HINTS)


async def test_an_answer_that_has_begun_has_no_interim_answers() -> None:
    """What comes late is dropped: it would be content."""
    stream = Stream()
    informs: list[Inform | None] = []

    async def answer(received: RawRequest, _: RequestContent | None) -> Response:
        informs.append(received.inform)
        return Response(ResponseHead(200, [(b"content-length", b"5")]), stream)

    wire = Wire(answer)
    begun = await wire.feed(GET)
    assert informs[0] is not None
    informs[0](HINTS)
    assert begun == wire.transport.sent
    await wire.lose()


async def test_http_1_0_knows_no_interim_answers() -> None:
    """RFC 9110 15.2: a server must not send them."""
    wire = Wire(always(whole()))
    await wire.feed(GET.replace(b"1.1", b"1.0"))
    assert [None] == [received.inform for received in wire.received]


def refuse_to_tell() -> None:
    raise OSError(107, "Transport endpoint is not connected")


@pytest.mark.parametrize(("family", "address"), [(socket.AF_UNIX, "unix:"), (socket.AF_INET, "")])
@pytest.mark.parametrize("peer", ["", None])
async def test_a_client_on_a_unix_socket_has_a_name(family: int, address: str, peer: str | None) -> None:
    """It can be trusted by that name, and a client that has left its IP socket cannot pass for it."""
    transport = Transport()
    transport.peer, transport.socket = lambda: peer, SimpleNamespace(family=family)
    wire = Wire(always(whole()), transport)
    await wire.feed(GET)
    assert [address] == [received.peer for received in wire.received]


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (lambda: ("2001:db8::1", 50000, 0, 0), "2001:db8::1"),
        (lambda: "", ""),  # a client on what is no socket
        (lambda: None, ""),  # asyncio, if the client has left already
        (refuse_to_tell, ""),  # uvloop, if the client has left already
    ],
)
async def test_the_address_is_that_of_the_socket(peer: Callable[[], object], address: str) -> None:
    """A client that has no IP address, or has left before it was looked at, is served without one."""
    transport = Transport()
    transport.peer = peer
    wire = Wire(always(whole()), transport)
    await wire.feed(GET)
    assert [address] == [received.peer for received in wire.received]


@pytest.mark.parametrize("length", [PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
async def test_long_content_goes_out_in_pieces(length: int) -> None:
    """So that others are answered in between; the client gets the same bytes, framed by the same length."""
    content = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
    wire = Wire(always(whole(content)))
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % length
    assert (head + content) * 2 == await wire.feed(GET, GET)
    assert PIECE_BYTES + len(head) >= max(map(len, wire.transport.writes))
    assert "" == wire.transport.end
    await wire.lose()


async def test_a_pipeline_is_answered_in_order() -> None:
    """Nothing more is read while a request waits; the order is that of the requests, not of the backends."""
    gates = [asyncio.Event(), asyncio.Event(), asyncio.Event()]
    count = iter(range(3))

    async def answer(_: RawRequest, __: RequestContent | None) -> Response:
        number = next(count)
        await gates[number].wait()
        return whole(b"%d" % number)

    wire = Wire(answer)
    assert b"" == await wire.feed(GET + GET + GET[:10])
    assert 1 == len(wire.received)
    assert not wire.transport.reads
    gates[1].set()
    gates[0].set()
    await settle()
    assert [b"0", b"1"] == [write[-1:] for write in wire.transport.writes]
    assert wire.transport.reads
    gates[2].set()
    assert (await wire.feed(GET[10:])).endswith(b"2")


async def test_who_leaves_is_served_no_longer() -> None:
    """The request is cancelled, one that waited behind it is not begun, and nothing is written."""
    ends = []

    async def answer(_: RawRequest, __: RequestContent | None) -> Response:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("ended")
        raise AssertionError

    wire = Wire(answer)
    await wire.feed(GET + GET)
    await wire.lose()
    assert ["ended"] == ends
    assert 1 == len(wire.received)
    assert b"" == wire.transport.sent
    assert set() == wire.server.connections
    assert set() == wire.server.tasks


async def test_who_leaves_at_once_leaves_nothing() -> None:
    """Also where its request has not even begun to be answered: no task is waited for, and none counts for ever."""
    wire = Wire(always(whole()))
    for _ in range(3):
        connection = Connection(wire.config, wire.server, {})
        connection.connection_made(Transport())
        connection.data_received(GET)
        connection.connection_lost(None)
        await settle()
    assert set() == wire.server.tasks
    assert (await wire.feed(GET)).startswith(b"HTTP/1.1 200 ")


async def test_who_leaves_in_mid_stream_ends_it() -> None:
    """The backend's stream is closed."""
    stream = Stream()
    wire = Wire(always(Response(ResponseHead(200, []), stream)))
    await wire.feed(GET)
    await wire.lose()
    assert stream.is_closed


async def test_a_cancellation_from_elsewhere_is_passed_on() -> None:
    """A server that stops cancels its requests: that is no client that left."""

    async def answer(_: RawRequest, __: RequestContent | None) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    wire = Wire(answer)
    await wire.feed(GET)
    (task,) = wire.server.tasks
    task.cancel()
    await settle()
    assert task.cancelled()
    assert "closed" == wire.transport.end


@pytest.mark.parametrize(
    ("fields", "start", "end"),
    [
        ([], b"transfer-encoding: chunked\r\n\r\n", b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"),
        ([(b"content-length", b"5")], b"content-length: 5\r\n\r\n", b"abcde"),
    ],
)
async def test_a_stream_is_sent_as_it_comes(fields: list[Field], start: bytes, end: bytes) -> None:
    """The head does not wait for the content, nor a piece for the next; empty pieces are nothing."""
    stream = Stream()
    wire = Wire(always(Response(ResponseHead(200, fields), stream)))
    assert b"HTTP/1.1 200 OK\r\n" + start == await wire.feed(GET)
    await stream.put(b"ab", b"")
    before = wire.transport.sent
    assert b"ab" in before
    await stream.put(b"cde", None)
    assert wire.transport.sent.endswith(end)
    assert "" == wire.transport.end
    assert stream.is_closed


@pytest.mark.parametrize(
    ("request_", "fields", "pieces", "end"),
    [
        (GET, [], [b"ab", UpstreamBroken("gone")], "closed"),
        (GET, [(b"content-length", b"5")], [b"ab", None], "closed"),
        (GET, [(b"content-length", b"5")], [b"abcdefg"], "closed"),
        (GET.replace(b"1.1", b"1.0"), [], [b"ab", UpstreamBroken("gone")], "reset"),
    ],
)
async def test_a_stream_that_breaks_off_is_never_ended_cleanly(
    request_: bytes, fields: list[Field], pieces: list[bytes | Exception | None], end: str
) -> None:
    """No last chunk, nothing beyond the length; where only the connection's end ends it, it is reset."""
    stream = Stream()
    wire = Wire(always(Response(ResponseHead(200, fields), stream)))
    await wire.feed(request_)
    await stream.put(*pieces)
    assert end == wire.transport.end
    assert stream.is_closed
    assert not wire.transport.sent.endswith((b"0\r\n\r\n", b"g"))


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
async def test_what_is_no_response_is_not_sent(fields: list[Field]) -> None:
    """A line break in a field, or a length that is not that of the content: the connection ends without an answer."""
    wire = Wire(always(Response(ResponseHead(200, fields), b"hello")))
    assert b"" == await wire.feed(GET)
    assert "closed" == wire.transport.end


async def test_a_mistake_of_ours_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    """And is in the log."""

    async def answer(_: RawRequest, __: RequestContent | None) -> Response:
        raise LookupError("ours")

    wire = Wire(answer)
    assert b"" == await wire.feed(GET)
    assert "closed" == wire.transport.end
    assert "LookupError" in caplog.text


async def test_a_stopping_server_lets_answers_end() -> None:
    """Who waits between requests is let go; an answer under way is the last."""
    gate = asyncio.Event()

    async def answer(_: RawRequest, __: RequestContent | None) -> Response:
        await gate.wait()
        return whole()

    idle, busy = Wire(always(whole())), Wire(answer)
    await idle.feed(GET)
    await busy.feed(GET)
    for wire in (idle, busy):
        wire.connection.shutdown()
    assert "closed" == idle.transport.end
    assert "" == busy.transport.end
    gate.set()
    await settle()
    assert LAST_HELLO == busy.transport.sent
    assert "closed" == busy.transport.end


async def test_a_stop_answers_a_request_that_is_on_its_way() -> None:
    """A connection that has sent nothing yet is not closed at once: its request gets an answer, which is the last."""
    wire = Wire(always(whole()))
    wire.connection.shutdown()
    assert "" == wire.transport.end
    assert LAST_HELLO == await wire.feed(GET)
    assert "closed" == wire.transport.end


async def test_a_stop_does_not_wait_for_a_client_that_asks_nothing() -> None:
    """It is closed after a moment."""
    wire = Wire(always(whole()))
    wire.connection.shutdown()
    await wire.pass_time(4)
    assert "closed" == wire.transport.end

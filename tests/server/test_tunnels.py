"""WebSockets that the gateway relays, and how it ends them: with a close frame where one can stand, else by a reset."""

import asyncio

import pytest

from gateway.core.errors import StreamRevoked, UpstreamBroken
from gateway.core.http.messages import Response, ResponseHead
from gateway.core.http.reasons import Reason
from gateway.server.connection import LINGER_SECONDS
from gateway.server.requests import MAXIMUM_DISCARDED_BYTES
from tests.adapters.raw_backend import settle
from tests.server.wire import GET, Stream, Wire, always

pytestmark = pytest.mark.usefixtures("nothing_is_left")

OPEN = (
    b"GET /a HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
FRAME = b"\x81\x05hello"
REVOKED = b"\x88\x0f\x03\xf0invalid_token"
STOPPING = b"\x88\x02\x03\xe9"
CLOSED_BY_BACKEND = b"\x88\x02\x03\xe8"


async def open_tunnel() -> tuple[Wire, Stream]:
    """A connection that is a WebSocket, and what its backend sends."""
    stream = Stream()
    wire = Wire(always(Response(ResponseHead(101, []), stream)))
    assert (await wire.feed(OPEN)).startswith(b"HTTP/1.1 101 ")
    return wire, stream


async def sent_for(wire: Wire, stream: Stream, *pieces: bytes | Exception | None) -> bytes:
    """What goes out for the pieces."""
    before = len(wire.transport.sent)
    await stream.put(*pieces)
    return wire.transport.sent[before:]


async def test_a_tunnel_whose_token_may_no_longer_ends_with_a_close_frame() -> None:
    """1008 behind whole frames, then nothing; the client may say goodbye, and the connection ends soon in any case."""
    wire, stream = await open_tunnel()
    assert FRAME + REVOKED == await sent_for(wire, stream, FRAME[:3], FRAME[3:], StreamRevoked(Reason.EXPIRED_TOKEN))
    assert "half" == wire.transport.end
    assert stream.is_closed
    assert b"" == await wire.feed(b"\x88\x82" + bytes(4) + b"\x03\xf0")
    await wire.pass_time(LINGER_SECONDS + 1)
    assert "closed" == wire.transport.end


async def test_a_client_that_goes_on_behind_a_close_frame_is_cut_off() -> None:
    """What it sends is read and thrown away, up to a bound."""
    wire, stream = await open_tunnel()
    await stream.put(StreamRevoked(Reason.EXPIRED_TOKEN))
    await wire.feed(bytes(MAXIMUM_DISCARDED_BYTES))
    assert wire.transport.reads
    assert "half" == wire.transport.end
    await wire.feed(b"x")
    assert "closed" == wire.transport.end


@pytest.mark.parametrize("piece", [FRAME[:1], FRAME[:4], b"no frame at all"])
async def test_no_close_frame_stands_in_a_frame(piece: bytes) -> None:
    """Where a frame has begun, or bytes are none, the connection is reset, and nothing more is sent."""
    wire, stream = await open_tunnel()
    assert piece == await sent_for(wire, stream, piece, StreamRevoked(Reason.EXPIRED_TOKEN))
    assert "reset" == wire.transport.end


async def test_who_takes_nothing_gets_no_close_frame() -> None:
    """What waits for the client is taken back by a reset: a frame behind it would come too late."""
    wire, stream = await open_tunnel()
    wire.transport.unsent_bytes = 1
    assert b"" == await sent_for(wire, stream, StreamRevoked(Reason.EXPIRED_TOKEN))
    assert "reset" == wire.transport.end


async def test_a_backends_own_close_frame_is_the_last() -> None:
    """None follows it."""
    wire, stream = await open_tunnel()
    sent = await sent_for(wire, stream, CLOSED_BY_BACKEND, StreamRevoked(Reason.EXPIRED_TOKEN))
    assert CLOSED_BY_BACKEND == sent
    assert "half" == wire.transport.end


async def test_a_backend_that_breaks_off_is_not_spoken_for() -> None:
    """The client sees the connection break, as the gateway did."""
    wire, stream = await open_tunnel()
    assert FRAME == await sent_for(wire, stream, FRAME, UpstreamBroken("gone"))
    assert "reset" == wire.transport.end


@pytest.mark.parametrize(("piece", "sent", "end"), [(FRAME, STOPPING, "half"), (FRAME[:3], b"", "reset")])
async def test_a_stop_lets_a_tunnel_go_on_as_long_as_requests(piece: bytes, sent: bytes, end: str) -> None:
    """What comes is passed on, until the server has waited long enough and cancels it: then 1001, if it can stand."""
    wire, stream = await open_tunnel()
    wire.connection.shutdown()
    await settle()
    assert "" == wire.transport.end
    assert piece == await sent_for(wire, stream, piece)
    before = len(wire.transport.sent)
    (task,) = wire.server.tasks
    task.cancel()
    await settle()
    assert sent == wire.transport.sent[before:]
    assert end == wire.transport.end
    assert task.cancelled()


@pytest.mark.parametrize(
    ("version", "unsent", "end"), [(b"1.1", 0, "closed"), (b"1.1", 1, "reset"), (b"1.0", 0, "reset")]
)
async def test_another_stream_breaks_off(version: bytes, unsent: int, end: str) -> None:
    """Nobody takes what came for whole, and what the client has not taken yet is taken back."""
    stream = Stream()
    wire = Wire(always(Response(ResponseHead(200, []), stream)))
    await wire.feed(GET.replace(b"1.1", version))
    wire.transport.unsent_bytes = unsent
    await stream.put(b"ab", StreamRevoked(Reason.OWNER_BLOCKED))
    assert end == wire.transport.end
    assert not wire.transport.sent.endswith(b"0\r\n\r\n")


async def test_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    """In the words of the access log's reasons."""
    _, stream = await open_tunnel()
    await stream.put(StreamRevoked(Reason.PARENT_ENDED))
    await asyncio.sleep(0)
    (record,) = caplog.records
    assert (
        "request -: the response was aborted: a request for it would be refused by now: parent_ended" == record.message
    )

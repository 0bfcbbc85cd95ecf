"""Each thing that a client is waited for has its time; what others take is not held against it."""

import asyncio

import pytest

from gateway.core.http.messages import Response, ResponseHead
from gateway.server.connection import CONTENT_SECONDS, HEAD_SECONDS, IDLE_SECONDS, LINGER_SECONDS, STALLED_SECONDS
from gateway.server.requests import RawRequest, RequestContent
from tests.adapters.raw_backend import settle
from tests.server.wire import GET, HELLO, LAST_HELLO, POST, Stream, Wire, always, read_all, whole

pytestmark = pytest.mark.usefixtures("nothing_is_left")


@pytest.mark.parametrize(
    ("begun", "seconds", "status"),
    [
        (b"", HEAD_SECONDS, b""),
        (GET[:5], HEAD_SECONDS, b"HTTP/1.1 408 "),
        (GET + GET[:5], HEAD_SECONDS, b"HTTP/1.1 408 "),
        (GET, IDLE_SECONDS, b""),
        (POST + b"he", CONTENT_SECONDS, b"HTTP/1.1 408 "),
    ],
)
async def test_who_dawdles_is_cut_off(begun: bytes, seconds: float, status: bytes) -> None:
    """A head, content that is waited for, the next request: each has its time, and a word where one is waited for."""
    wire = Wire(read_all)
    await wire.feed(begun)
    await wire.pass_time(seconds - 2)
    assert "" == wire.transport.end
    before = len(wire.transport.sent)
    await wire.pass_time(4)
    assert wire.transport.sent[before:].startswith(status)
    assert "closed" == wire.transport.end
    assert bool(status) == (len(wire.transport.sent) > before)
    await wire.lose()


async def test_a_slow_backend_is_not_the_clients_fault() -> None:
    """No deadline runs while the answer is waited for."""
    gate = asyncio.Event()

    async def answer(_: RawRequest, __: RequestContent | None) -> Response:
        await gate.wait()
        return whole()

    wire = Wire(answer)
    await wire.feed(GET)
    await wire.pass_time(200)
    gate.set()
    await settle()
    assert HELLO == wire.transport.sent
    assert "" == wire.transport.end


async def test_a_slow_reader_stalls_the_stream_and_is_cut_off_in_the_end() -> None:
    """The backend waits with it. Whoever takes a little now and then may go on."""
    stream = Stream()
    wire = Wire(always(Response(ResponseHead(200, []), stream)))
    await wire.feed(GET)
    wire.connection.pause_writing()
    wire.transport.unsent_bytes = 900
    await stream.put(b"ab")
    assert b"ab" not in wire.transport.sent
    for unsent in (800, 700):
        wire.transport.unsent_bytes = unsent
        await wire.pass_time(STALLED_SECONDS + 1)
        assert not wire.transport.end
    wire.connection.resume_writing()
    await settle()
    assert wire.transport.sent.endswith(b"ab\r\n")
    wire.connection.pause_writing()
    await stream.put(b"cd")
    await wire.pass_time(STALLED_SECONDS + 1)
    assert "reset" == wire.transport.end
    await wire.lose()
    assert stream.is_closed


async def test_an_answer_is_seen_by_a_client_that_still_sends() -> None:
    """Our end is ended, theirs a little later: a reset would take the answer with it."""
    wire = Wire(always(whole()))
    last = POST.replace(b"Host", b"Connection: close\r\nHost")
    assert LAST_HELLO == await wire.feed(last)
    assert "half" == wire.transport.end
    await wire.pass_time(LINGER_SECONDS + 2)
    assert "closed" == wire.transport.end

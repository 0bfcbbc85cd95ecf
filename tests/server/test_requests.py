"""What comes in on a connection: content reaches its reader within bounds, and what is no request is refused."""

import asyncio

import pytest

from gateway.core.http.messages import Response, ResponseHead
from gateway.server.connection import LINGER_SECONDS
from gateway.server.requests import HIGH_WATER_BYTES, MAXIMUM_DISCARDED_BYTES, RawRequest, RequestContent
from tests.adapters.raw_backend import settle
from tests.server.wire import GET, HELLO, LAST_HELLO, POST, Stream, Wire, always, read_all, whole, whole_bytes

pytestmark = pytest.mark.usefixtures("nothing_is_left")


async def test_content_reaches_its_reader() -> None:
    """By length and in chunks; what comes behind it is the next request, and trailers are nobody's."""
    wire = Wire(read_all)
    assert (await wire.feed(POST + b"he", b"llo" + GET)).endswith(b"hello" + whole_bytes(b"-"))
    chunked = POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
    assert (await wire.feed(chunked, b"5\r\nhel", b"lo\r\n0\r\nX-Late: 1\r\n\r\n")).endswith(b"\r\n\r\nhello")
    assert not [received for received in wire.received if b"x-late" in dict(received.fields)]


async def test_a_fast_client_waits_for_a_slow_backend() -> None:
    """No more is held than HIGH_WATER_BYTES and what was on its way."""
    goes_on = asyncio.Event()

    async def answer(_: RawRequest, content: RequestContent | None) -> Response:
        await goes_on.wait()
        return await read_all(_, content)

    wire = Wire(answer)
    long = POST.replace(b"5", b"%d" % (HIGH_WATER_BYTES + 9))
    await wire.feed(long, b"x" * HIGH_WATER_BYTES)
    assert wire.transport.reads
    await wire.feed(b"x")
    assert not wire.transport.reads
    goes_on.set()
    await settle()
    assert wire.transport.reads
    assert (await wire.feed(b"x" * 8)).endswith(b"x" * 9)


async def test_content_that_waits_for_an_invitation() -> None:
    """It is invited when somebody asks for it; where nobody does, the connection ends with the answer."""
    expecting = POST.replace(b"Host", b"Expect: 100-continue\r\nHost")
    wire = Wire(read_all)
    assert b"HTTP/1.1 100 Continue\r\n\r\n" == await wire.feed(expecting)
    assert whole_bytes(b"hello") == await wire.feed(b"hello")
    wire = Wire(always(whole()))
    assert LAST_HELLO == await wire.feed(expecting)
    assert "half" == wire.transport.end


async def test_content_that_nobody_wants_is_dropped() -> None:
    """An early answer does not break the connection, unless the rest is too much."""
    wire = Wire(always(whole(status=403)))
    assert (await wire.feed(POST + b"he")).startswith(b"HTTP/1.1 403 ")
    assert (await wire.feed(b"llo" + GET)).startswith(b"HTTP/1.1 403 ")
    endless = POST.replace(b"5", b"%d" % (2 * MAXIMUM_DISCARDED_BYTES))
    await wire.feed(endless, b"x" * MAXIMUM_DISCARDED_BYTES)
    assert "" == wire.transport.end
    await wire.feed(b"x")
    assert "closed" == wire.transport.end


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", b"400", b"malformed_request"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", b"505", b"unknown_version"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: 1\r\n" * 100 + b"\r\n", b"431", b"head_too_large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\na: " + b"x" * 65536 + b"\r\n\r\n", b"431", b"head_too_large"),
    ],
)
async def test_what_is_no_request(sent: bytes, status: bytes, code: bytes) -> None:
    """It is answered in its turn, with the reason, and the connection ends."""
    for data in (sent, GET + sent):
        wire = Wire(always(whole()))
        answer = (await wire.feed(data)).removeprefix(HELLO)
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert b'"code":"' + code + b'"' in answer
        assert b"connection: close\r\n" in answer
        assert "closed" == wire.transport.end


async def test_a_head_without_end() -> None:
    """It is refused before it is complete."""
    wire = Wire(always(whole()))
    answer = await wire.feed(GET[:-2] + b"a: ", *[b"x" * 30_000] * 3)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert "closed" == wire.transport.end


@pytest.mark.parametrize("endless", [b"0\r\nX-Late: ", b"5;a=", b"0" * 9])
async def test_trailers_and_extensions_without_end(endless: bytes) -> None:
    """What is dropped is not gathered either."""
    wire = Wire(read_all)
    chunked = POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
    await wire.feed(chunked, b"5\r\nhello\r\n", endless)
    answer = await wire.feed(*[b"0" * 30_000] * 4)
    assert answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
    assert "closed" == wire.transport.end


async def test_malformed_content_ends_its_request() -> None:
    """The backend gets an end that is none, and the client the reason."""
    wire = Wire(read_all)
    chunked = POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
    answer = await wire.feed(chunked, b"5\r\nhelloX")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert "closed" == wire.transport.end


CHUNKED = POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
TROUBLE = [b"0x5\r\n", b"5\r\nhelloX", b"5\r\nhello\r\n-1\r\n", b"0\r\nContent-Length: 5\r\n\r\n"]


@pytest.mark.parametrize("malformed", TROUBLE)
async def test_a_request_that_is_malformed_at_once_is_never_begun(malformed: bytes) -> None:
    """What a single piece shows to be malformed is refused before anybody is asked about it (RFC 9112 7.1)."""
    wire = Wire(always(whole()))
    answer = await wire.feed(CHUNKED + malformed)
    assert 1 == answer.count(b"HTTP/1.1 ")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert [] == wire.received
    assert "closed" == wire.transport.end


@pytest.mark.parametrize("malformed", TROUBLE)
async def test_an_answered_request_has_no_second_answer(malformed: bytes) -> None:
    """Where the answer has gone out before the content turns out to be malformed, the connection ends (RFC 9110 15)."""
    wire = Wire(always(whole()))
    answers = await wire.feed(CHUNKED, malformed, GET)
    assert HELLO == answers
    assert "half" == wire.transport.end
    await wire.pass_time(LINGER_SECONDS + 1)
    assert "closed" == wire.transport.end


@pytest.mark.parametrize("malformed", TROUBLE)
async def test_an_answer_that_has_begun_is_the_only_one(malformed: bytes) -> None:
    """Where it has begun and goes on, it comes to its own end, and the connection to its end with it."""
    stream = Stream()
    wire = Wire(always(Response(ResponseHead(200, [(b"content-length", b"5")]), stream)))
    begun = await wire.feed(CHUNKED)
    assert begun == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    assert b"" == await wire.feed(malformed)
    await stream.put(b"hello", None)
    assert begun + b"hello" == wire.transport.sent
    assert "half" == wire.transport.end
    await wire.lose()


async def test_an_answer_that_does_not_read_malformed_content_says_that_it_is_the_last() -> None:
    """A refusal that was on its way when the content broke is the one answer, with Connection: close."""
    goes_on = asyncio.Event()

    async def answer(_: RawRequest, __: RequestContent | None) -> Response:
        await goes_on.wait()
        return whole()

    wire = Wire(answer)
    assert b"" == await wire.feed(CHUNKED, b"5\r\nhelloX")
    goes_on.set()
    assert LAST_HELLO == await wire.feed(GET)
    assert "half" == wire.transport.end


async def test_white_space_behind_a_value_is_no_part_of_it() -> None:
    """RFC 9110 5.5: neither SP nor HTAB, in a request as a client or a CI system's padded secret has it."""
    wire = Wire(read_all)
    sent = (
        b"POST / HTTP/1.1\r\nHost: a \r\nAuthorization: Bearer T \t \r\nContent-Length: 5 \r\nX-A:\t b c\t\r\n\r\nhello"
    )
    assert whole_bytes(b"hello") == await wire.feed(sent)
    expected = [(b"host", b"a"), (b"authorization", b"Bearer T"), (b"content-length", b"5"), (b"x-a", b"b c")]
    assert expected == wire.received[0].fields


async def test_an_upgrade_to_what_is_not_known_is_ignored() -> None:
    """Java's client asks each server for HTTP/2 so: it is a request like any other, and others follow."""
    wire = Wire(read_all)
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nHost"
    asking = GET.replace(b"Host", upgrade)
    assert whole_bytes(b"-") * 2 == await wire.feed(asking + GET)
    for content in (
        (b"Content-Length: 5\r\n\r\n", b"hello"),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
    ):
        sent = asking.replace(b"GET", b"POST").removesuffix(b"\r\n") + b"".join(content)
        assert whole_bytes(b"hello") + whole_bytes(b"-") == await wire.feed(sent + GET)
        assert whole_bytes(b"hello") + whole_bytes(b"-") == await wire.feed(sent[:-8], sent[-8:], GET)
    assert {b""} == {received.upgrade for received in wire.received}

"""What comes in on a connection: content reaches its reader within bounds, and what is no request is refused."""

import asyncio

import pytest

from gateway.core.messages import Response
from gateway.web.receiving import HIGH_WATER_BYTES, MAXIMUM_DISCARDED_BYTES, Received, RequestContent
from tests.adapters.raw_backend import settle
from tests.web.wire import GET, HELLO, LAST_HELLO, POST, Wire, always, read_all, whole, whole_bytes

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

    async def answer(_: Received, content: RequestContent | None) -> Response:
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

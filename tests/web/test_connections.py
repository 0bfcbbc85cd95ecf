"""Requests of a connection are answered in order, whole and honestly; who leaves or dawdles is served no longer."""

import asyncio

import pytest

from gateway.core.errors import UpstreamBroken
from gateway.core.messages import Field, Response, ResponseHead
from gateway.web.connections import (
    CONTENT_SECONDS,
    HEAD_SECONDS,
    IDLE_SECONDS,
    LINGER_SECONDS,
    STALLED_SECONDS,
    Connection,
)
from gateway.web.outgoing import PIECE_BYTES
from gateway.web.receiving import HIGH_WATER_BYTES, MAXIMUM_DISCARDED_BYTES, Received, RequestContent
from tests.adapters.raw_backend import settle
from tests.web.wire import GET, Stream, Transport, Wire, always, run, whole

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
LAST_HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"
POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"


async def read_all(_: Received, content: RequestContent | None) -> Response:
    """A backend that answers with what it was sent."""
    return whole(b"".join([piece async for piece in content]) if content else b"-")


def test_one_request_after_the_other() -> None:
    """The connection stays open, and the head is what was sent."""

    async def work() -> None:
        wire = Wire(always(whole()))
        assert [HELLO, HELLO] == [await wire.feed(GET), await wire.feed(GET[:9], GET[9:])]
        assert 2 == len(wire.transport.writes)  # an answer that is whole is one write
        assert ("", 2) == (wire.transport.end, wire.server.total_requests)
        fields = [(b"host", b"a")]
        assert [Received("GET", b"/a", b"b", fields, "192.0.2.1", "http")] * 2 == wire.received
        assert not wire.server.tasks

    run(work)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (GET.replace(b"1.1", b"1.0"), LAST_HELLO),
        (GET.replace(b"1.1", b"1.0").replace(b"Host", b"Connection: keep-alive\r\nHost"), LAST_HELLO),
        (GET.replace(b"Host", b"Connection: close\r\nHost"), LAST_HELLO),
    ],
)
def test_the_last_request(request_: bytes, answer: bytes) -> None:
    """Its answer says that the connection ends, and it does; what comes behind it is not read."""

    async def work() -> None:
        wire = Wire(always(whole()))
        assert answer == await wire.feed(request_ + GET)
        assert ("closed", 1) == (wire.transport.end, len(wire.received))

    run(work)


@pytest.mark.parametrize("length", [PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
def test_long_content_goes_out_in_pieces(length: int) -> None:
    """So that others are answered in between; the client gets the same bytes, framed by the same length."""

    async def work() -> None:
        content = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
        wire = Wire(always(whole(content)))
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % length
        assert (head + content) * 2 == await wire.feed(GET, GET)
        assert PIECE_BYTES + len(head) >= max(map(len, wire.transport.writes))
        assert "" == wire.transport.end
        await wire.lose()

    run(work)


def test_a_pipeline_is_answered_in_order() -> None:
    """Nothing more is read while a request waits; the order is that of the requests, not of the backends."""

    async def work() -> None:
        gates = [asyncio.Event(), asyncio.Event(), asyncio.Event()]
        count = iter(range(3))

        async def answer(_: Received, __: RequestContent | None) -> Response:
            number = next(count)
            await gates[number].wait()
            return whole(b"%d" % number)

        wire = Wire(answer)
        assert b"" == await wire.feed(GET + GET + GET[:10])
        assert (1, False) == (len(wire.received), wire.transport.reads)
        gates[1].set()
        gates[0].set()
        await settle()
        assert [b"0", b"1"] == [write[-1:] for write in wire.transport.writes]
        assert wire.transport.reads
        gates[2].set()
        assert (await wire.feed(GET[10:])).endswith(b"2")

    run(work)


def test_who_leaves_is_served_no_longer() -> None:
    """The request is cancelled, one that waited behind it is not begun, and nothing is written."""

    async def work() -> None:
        ends = []

        async def answer(_: Received, __: RequestContent | None) -> Response:
            try:
                await asyncio.Event().wait()
            finally:
                ends.append("ended")
            raise AssertionError

        wire = Wire(answer)
        await wire.feed(GET + GET)
        await wire.lose()
        assert (["ended"], 1, b"") == (ends, len(wire.received), wire.transport.sent)
        assert (set(), set()) == (wire.server.connections, wire.server.tasks)

    run(work)


def test_who_leaves_at_once_leaves_nothing() -> None:
    """Also where its request has not even begun to be answered: no task is waited for, and none counts for ever."""

    async def work() -> None:
        wire = Wire(always(whole()))
        for _ in range(3):
            connection = Connection(wire.config, wire.server, {})
            connection.connection_made(Transport())
            connection.data_received(GET)
            connection.connection_lost(None)
            await settle()
        assert set() == wire.server.tasks
        assert (await wire.feed(GET)).startswith(b"HTTP/1.1 200 ")

    run(work)


def test_who_leaves_in_mid_stream_ends_it() -> None:
    """The backend's stream is closed."""

    async def work() -> None:
        stream = Stream()
        wire = Wire(always(Response(ResponseHead(200, []), stream)))
        await wire.feed(GET)
        await wire.lose()
        assert stream.is_closed

    run(work)


def test_a_cancellation_from_elsewhere_is_passed_on() -> None:
    """A server that stops cancels its requests: that is no client that left."""

    async def work() -> None:
        async def answer(_: Received, __: RequestContent | None) -> Response:
            await asyncio.Event().wait()
            raise AssertionError

        wire = Wire(answer)
        await wire.feed(GET)
        (task,) = wire.server.tasks
        task.cancel()
        await settle()
        assert (True, "closed") == (task.cancelled(), wire.transport.end)

    run(work)


@pytest.mark.parametrize(
    ("fields", "start", "end"),
    [
        ([], b"transfer-encoding: chunked\r\n\r\n", b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"),
        ([(b"content-length", b"5")], b"content-length: 5\r\n\r\n", b"abcde"),
    ],
)
def test_a_stream_is_sent_as_it_comes(fields: list[Field], start: bytes, end: bytes) -> None:
    """The head does not wait for the content, nor a piece for the next; empty pieces are nothing."""

    async def work() -> None:
        stream = Stream()
        wire = Wire(always(Response(ResponseHead(200, fields), stream)))
        assert b"HTTP/1.1 200 OK\r\n" + start == await wire.feed(GET)
        await stream.put(b"ab", b"")
        before = wire.transport.sent
        assert b"ab" in before
        await stream.put(b"cde", None)
        assert wire.transport.sent.endswith(end)
        assert ("", True) == (wire.transport.end, stream.is_closed)

    run(work)


@pytest.mark.parametrize(
    ("request_", "fields", "pieces", "end"),
    [
        (GET, [], [b"ab", UpstreamBroken("gone")], "closed"),
        (GET, [(b"content-length", b"5")], [b"ab", None], "closed"),
        (GET, [(b"content-length", b"5")], [b"abcdefg"], "closed"),
        (GET.replace(b"1.1", b"1.0"), [], [b"ab", UpstreamBroken("gone")], "reset"),
    ],
)
def test_a_stream_that_breaks_off_is_never_ended_cleanly(
    request_: bytes, fields: list[Field], pieces: list[bytes | Exception | None], end: str
) -> None:
    """No last chunk, nothing beyond the length; where only the connection's end ends it, it is reset."""

    async def work() -> None:
        stream = Stream()
        wire = Wire(always(Response(ResponseHead(200, fields), stream)))
        await wire.feed(request_)
        await stream.put(*pieces)
        assert (end, True) == (wire.transport.end, stream.is_closed)
        assert not wire.transport.sent.endswith((b"0\r\n\r\n", b"g"))

    run(work)


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
def test_what_is_no_response_is_not_sent(fields: list[Field]) -> None:
    """A line break in a field, or a length that is not that of the content: the connection ends without an answer."""

    async def work() -> None:
        wire = Wire(always(Response(ResponseHead(200, fields), b"hello")))
        assert (b"", "closed") == (await wire.feed(GET), wire.transport.end)

    run(work)


def test_a_mistake_of_ours_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    """And is in the log."""

    async def work() -> None:
        async def answer(_: Received, __: RequestContent | None) -> Response:
            raise LookupError("ours")

        wire = Wire(answer)
        assert (b"", "closed") == (await wire.feed(GET), wire.transport.end)

    run(work)
    assert "LookupError" in caplog.text


def test_content_reaches_its_reader() -> None:
    """By length and in chunks; what comes behind it is the next request, and trailers are nobody's."""

    async def work() -> None:
        wire = Wire(read_all)
        assert (await wire.feed(POST + b"he", b"llo" + GET)).endswith(b"hello" + whole_bytes(b"-"))
        chunked = POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
        assert (await wire.feed(chunked, b"5\r\nhel", b"lo\r\n0\r\nX-Late: 1\r\n\r\n")).endswith(b"\r\n\r\nhello")
        assert not [received for received in wire.received if b"x-late" in dict(received.fields)]

    run(work)


def whole_bytes(content: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(content), content)


def test_a_fast_client_waits_for_a_slow_backend() -> None:
    """No more is held than HIGH_WATER_BYTES and what was on its way."""

    async def work() -> None:
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

    run(work)


def test_content_that_waits_for_an_invitation() -> None:
    """It is invited when somebody asks for it; where nobody does, the connection ends with the answer."""
    expecting = POST.replace(b"Host", b"Expect: 100-continue\r\nHost")

    async def work() -> None:
        wire = Wire(read_all)
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == await wire.feed(expecting)
        assert whole_bytes(b"hello") == await wire.feed(b"hello")
        wire = Wire(always(whole()))
        assert (LAST_HELLO, "half") == (await wire.feed(expecting), wire.transport.end)

    run(work)


def test_content_that_nobody_wants_is_dropped() -> None:
    """An early answer does not break the connection, unless the rest is too much."""

    async def work() -> None:
        wire = Wire(always(whole(status=403)))
        assert (await wire.feed(POST + b"he")).startswith(b"HTTP/1.1 403 ")
        assert (await wire.feed(b"llo" + GET)).startswith(b"HTTP/1.1 403 ")
        endless = POST.replace(b"5", b"%d" % (2 * MAXIMUM_DISCARDED_BYTES))
        await wire.feed(endless, b"x" * MAXIMUM_DISCARDED_BYTES)
        ends = [wire.transport.end]
        await wire.feed(b"x")
        assert ["", "closed"] == [*ends, wire.transport.end]

    run(work)


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", b"400", b"malformed_request"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", b"505", b"unknown_version"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: 1\r\n" * 100 + b"\r\n", b"431", b"head_too_large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\na: " + b"x" * 65536 + b"\r\n\r\n", b"431", b"head_too_large"),
    ],
)
def test_what_is_no_request(sent: bytes, status: bytes, code: bytes) -> None:
    """It is answered in its turn, with the reason, and the connection ends."""

    async def work() -> None:
        for data in (sent, GET + sent):
            wire = Wire(always(whole()))
            answer = (await wire.feed(data)).removeprefix(HELLO)
            assert answer.startswith(b"HTTP/1.1 " + status)
            assert b'"code":"' + code + b'"' in answer
            assert b"connection: close\r\n" in answer
            assert "closed" == wire.transport.end

    run(work)


def test_a_head_without_end() -> None:
    """It is refused before it is complete."""

    async def work() -> None:
        wire = Wire(always(whole()))
        answer = await wire.feed(GET[:-2] + b"a: ", *[b"x" * 30_000] * 3)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert "closed" == wire.transport.end

    run(work)


@pytest.mark.parametrize("endless", [b"0\r\nX-Late: ", b"5;a=", b"0" * 9])
def test_trailers_and_extensions_without_end(endless: bytes) -> None:
    """What is dropped is not gathered either."""

    async def work() -> None:
        wire = Wire(read_all)
        chunked = POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
        await wire.feed(chunked, b"5\r\nhello\r\n", endless)
        answer = await wire.feed(*[b"0" * 30_000] * 4)
        assert answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
        assert "closed" == wire.transport.end

    run(work)


def test_malformed_content_ends_its_request() -> None:
    """The backend gets an end that is none, and the client the reason."""

    async def work() -> None:
        wire = Wire(read_all)
        chunked = POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
        answer = await wire.feed(chunked, b"5\r\nhelloX")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert "closed" == wire.transport.end

    run(work)


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
def test_who_dawdles_is_cut_off(begun: bytes, seconds: float, status: bytes) -> None:
    """A head, content that is waited for, the next request: each has its time, and a word where one is waited for."""

    async def work() -> None:
        wire = Wire(read_all)
        await wire.feed(begun)
        await wire.pass_time(seconds - 2)
        assert not wire.transport.end
        before = len(wire.transport.sent)
        await wire.pass_time(4)
        assert (True, "closed") == (wire.transport.sent[before:].startswith(status), wire.transport.end)
        assert bool(status) == (len(wire.transport.sent) > before)
        await wire.lose()

    run(work)


def test_a_slow_backend_is_not_the_clients_fault() -> None:
    """No deadline runs while the answer is waited for."""

    async def work() -> None:
        gate = asyncio.Event()

        async def answer(_: Received, __: RequestContent | None) -> Response:
            await gate.wait()
            return whole()

        wire = Wire(answer)
        await wire.feed(GET)
        await wire.pass_time(200)
        gate.set()
        await settle()
        assert (HELLO, "") == (wire.transport.sent, wire.transport.end)

    run(work)


def test_a_slow_reader_stalls_the_stream_and_is_cut_off_in_the_end() -> None:
    """The backend waits with it. Whoever takes a little now and then may go on."""

    async def work() -> None:
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

    run(work)


def test_an_answer_is_seen_by_a_client_that_still_sends() -> None:
    """Our end is ended, theirs a little later: a reset would take the answer with it."""

    async def work() -> None:
        wire = Wire(always(whole()))
        last = POST.replace(b"Host", b"Connection: close\r\nHost")
        assert (LAST_HELLO, "half") == (await wire.feed(last), wire.transport.end)
        await wire.pass_time(LINGER_SECONDS + 2)
        assert "closed" == wire.transport.end

    run(work)


def test_a_stopping_server_lets_answers_end() -> None:
    """Who waits between requests is let go; an answer under way is the last."""

    async def work() -> None:
        gate = asyncio.Event()

        async def answer(_: Received, __: RequestContent | None) -> Response:
            await gate.wait()
            return whole()

        idle, busy = Wire(always(whole())), Wire(answer)
        await idle.feed(GET)
        await busy.feed(GET)
        for wire in (idle, busy):
            wire.connection.shutdown()
        assert ("closed", "") == (idle.transport.end, busy.transport.end)
        gate.set()
        await settle()
        assert (LAST_HELLO, "closed") == (busy.transport.sent, busy.transport.end)

    run(work)


def test_an_upgrade_to_what_is_not_known_is_ignored() -> None:
    """Java's client asks each server for HTTP/2 so: it is a request like any other, and others follow."""

    async def work() -> None:
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

    run(work)

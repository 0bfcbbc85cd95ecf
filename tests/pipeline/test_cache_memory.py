"""Long exports where memory has no room for them to wait in: read as they are taken, passed through, or 503."""

import random

import pytest

from gateway.adapters.streams import PIECE_BYTES, HeldBytes
from gateway.core.http.messages import ContentStream, Field, Response
from gateway.core.http.reasons import Reason
from tests.support.exchange_harness import TEXT, ExchangeHarness, Pieces, asked, cache_status, field, ok, open_exchange

LONG = b"".join(b"%07d\n" % number for number in range(PIECE_BYTES // 2))
"""Four pieces, and much less in a coding."""
NOISE = random.Random(1).randbytes(len(LONG)).hex().encode()[: len(LONG)]
"""Four pieces, and two in a coding."""
JSON = (b"content-type", b"application/json")
BROTLI: Field = (b"accept-encoding", b"br")


async def read(answer: Response) -> bytes:
    assert not isinstance(answer.content, bytes)
    return b"".join([piece async for piece in answer.content])


async def whole(answer: Response) -> bytes:
    return answer.content if isinstance(answer.content, bytes) else await read(answer)


def give_room(harness: ExchangeHarness, size: int) -> HeldBytes:
    harness.content_store.held = HeldBytes(size)
    return harness.content_store.held


def lose_memory(harness: ExchangeHarness) -> None:
    """As if other exports had been asked for meanwhile."""
    harness.exports.forget()


async def test_a_stored_export_that_finds_no_room_is_read_as_it_is_taken() -> None:
    """The same head and content, of which the worker holds nothing; the backend is not asked, and it is counted."""
    async with open_exchange(ok(content=LONG)) as harness:
        first = await harness.ask("GET /export")
        assert LONG == await read(first)
        lose_memory(harness)
        held = give_room(harness, 0)
        again = await harness.ask("GET /export")
        assert (cache_status(again) or b"").startswith(b"gateway; hit")
        assert field(first, b"etag") == field(again, b"etag")
        assert b"%d" % len(LONG) == field(again, b"content-length")
        assert LONG == await read(again)
        assert 0 == held.used
        assert 1 == harness.exports.counts["memory-full"]
        assert 1 == len(harness.upstreams.sent)


@pytest.mark.parametrize(
    ("part", "content_range"), [("5-9", b"5-9"), ("300000-", b"300000-1048575"), ("-2", b"1048574-1048575")]
)
async def test_a_part_of_it_is_read_as_it_is_taken(part: str, content_range: bytes) -> None:
    """206, and not a byte more than was asked for."""
    first, _, last = content_range.partition(b"-")
    async with open_exchange(ok((b"etag", b'"v1"'), content=LONG)) as harness:
        await harness.ask("GET /export")
        give_room(harness, 0)
        answer = await harness.ask("GET /export", (b"range", f"bytes={part}".encode()))
        assert 206 == answer.head.status
        assert b"bytes " + content_range + b"/1048576" == field(answer, b"content-range")
        assert LONG[int(first) : int(last) + 1] == await whole(answer)


@pytest.mark.parametrize("content", [LONG, NOISE])
async def test_an_export_is_sent_in_its_coding_if_it_is_stored_so_and_else_as_it_is(content: bytes) -> None:
    """Nothing is encoded where there is no room for it."""
    async with open_exchange(ok(JSON, content=content)) as harness:
        encoded = await whole(await harness.ask("GET /export", BROTLI))
        lose_memory(harness)
        held = give_room(harness, 0)
        for accepted, coding, sent in ((b"br", b"br", encoded), (b"gzip", None, content)):
            answer = await harness.ask("GET /export", (b"accept-encoding", accepted))
            assert coding == field(answer, b"content-encoding")
            assert b"%d" % len(sent) == field(answer, b"content-length")
            assert sent == await whole(answer)
        assert 0 == held.used


async def test_what_waits_in_a_coding_is_counted_as_it_is_sent() -> None:
    """Not by the length that it has without."""
    async with open_exchange(ok(JSON, content=NOISE)) as harness:
        held = give_room(harness, 4 * len(NOISE))
        answer = await harness.ask("GET /export", BROTLI)
        assert field(answer, b"content-length") == b"%d" % held.used
        assert held.used < 0.7 * len(NOISE)
        await closed(answer)
        assert 0 == held.used


async def test_what_waits_for_clients_is_counted_until_they_have_it() -> None:
    """The same for all who want the same: a hundred clients of one export need no more room than one."""
    async with open_exchange(ok(content=LONG)) as harness:
        held = give_room(harness, 4 * len(LONG))
        answers = [await harness.ask("GET /export") for _ in range(100)]
        assert len(LONG) == held.used
        for answer in answers[1:]:
            assert LONG == await read(answer)
            await closed(answer)
        assert len(LONG) == held.used
        await closed(answers[0])
        assert 0 == held.used


async def test_an_answer_that_finds_no_room_passes_through() -> None:
    """It is not stored, nor waited for in memory, and those who wait for the same ask by themselves."""
    async with open_exchange(ok(content=Pieces(*pieces(LONG))), ok(content=LONG)) as harness:
        held = give_room(harness, len(LONG) // 2)
        answer = await harness.ask("GET /export")
        assert b"gateway; fwd=uri-miss; detail=memory-full" == cache_status(answer)
        assert LONG == await read(answer)
        await closed(answer)
        assert 0 == held.used
        assert 1 == harness.exports.counts["memory-full"]


async def test_an_answer_that_is_stored_is_read_from_there_if_it_may_not_wait() -> None:
    """There was room to collect it, and there is none for its client's time: the next one can be collected."""
    async with open_exchange(ok(content=Pieces(*pieces(LONG)))) as harness:
        held = give_room(harness, len(LONG))
        answer = await harness.ask("GET /export")
        assert b"gateway; fwd=uri-miss; stored" == cache_status(answer)
        assert 0 == held.used
        assert LONG == await read(answer)


async def test_an_answer_that_can_be_read_from_nowhere_else_is_refused() -> None:
    """503 with Retry-After, and not held without bounds: its content is in this worker's memory only."""
    async with open_exchange(ok(content=LONG)) as harness:
        await closed(await harness.ask("GET /export"))
        give_room(harness, 0)
        (content,) = await harness.connection.client.keys("gw1:content:*")
        await harness.connection.client.delete(content)
        answer = await harness.ask("GET /export")
        assert 503 == answer.head.status
        assert b"1" == field(answer, b"retry-after")
        assert Reason.OVERLOADED == harness.records[-1].reason


async def test_a_refused_or_unmodified_answer_holds_nothing() -> None:
    """304, HEAD, and a 416."""
    async with open_exchange(ok((b"etag", b'"v1"'), content=LONG)) as harness:
        held = give_room(harness, 4 * len(LONG))
        await closed(await harness.ask("GET /export"))
        assert 304 == (await harness.ask("GET /export", (b"if-none-match", b'"v1"'))).head.status
        assert 416 == (await harness.ask("GET /export", (b"range", b"bytes=9999999-"))).head.status
        assert 206 == (await harness.ask("GET /export", (b"range", b"bytes=1-9"))).head.status
        assert 200 == (await harness.ask("HEAD /export", text=TEXT)).head.status
        assert 0 == held.used
        assert 1 == len(harness.upstreams.sent), asked


def pieces(content: bytes) -> list[bytes]:
    return [content[start : start + 65536] for start in range(0, len(content), 65536)]


async def closed(answer: Response) -> ContentStream:
    assert not isinstance(answer.content, bytes)
    await answer.content.aclose()
    return answer.content

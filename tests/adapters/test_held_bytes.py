"""How much long content answers hold: what is counted, until when, and what becomes of content that finds no room."""

import pytest

from gateway.adapters.streams import PIECE_BYTES, HeldBytes, HeldContent, Hold, collect
from gateway.core.http.messages import ContentStream
from tests.support.exchange_harness import Pieces

LIMIT = 8 * PIECE_BYTES


def held_or_fail(held: HeldBytes, key: object, size: int) -> Hold:
    hold = held.wait(key, size)
    assert hold is not None
    return hold


async def read(stream: ContentStream) -> bytes:
    return b"".join([piece async for piece in stream])


def test_what_waits_has_half_of_the_room() -> None:
    """The other half is for what is being collected, whoever takes nothing."""
    held = HeldBytes(LIMIT)
    first, second = held_or_fail(held, "a", LIMIT // 4), held_or_fail(held, "b", LIMIT // 4)
    assert None is held.wait("c", 1)
    collecting = held.begin()
    assert collecting.grow(LIMIT // 2)
    assert not collecting.grow(LIMIT // 2 + 1)
    assert LIMIT == held.used
    first.release()
    held_or_fail(held, "c", LIMIT // 4).release()
    collecting.release()
    second.release()
    assert 0 == held.used


def test_what_is_collected_leaves_no_room_to_what_waits() -> None:
    """The limit is for both together."""
    held = HeldBytes(LIMIT)
    assert held.begin().grow(LIMIT)
    assert None is held.wait("a", 1)


def test_the_same_content_is_counted_once() -> None:
    """However many clients wait for it, until the last of them has it."""
    held = HeldBytes(LIMIT)
    holds = [held_or_fail(held, "a", LIMIT // 2) for _ in range(100)]
    assert LIMIT // 2 == held.used
    for hold in holds[1:]:
        hold.release()
    assert LIMIT // 2 == held.used
    holds[0].release()
    assert 0 == held.used
    held_or_fail(held, "a", LIMIT // 2)


@pytest.mark.parametrize("way", ["sent", "given up", "given up half way", "taken", "forgotten"])
async def test_content_is_counted_until_it_is_sent_or_nobody_wants_it(way: str) -> None:
    """A stream that is closed twice gives back once."""
    held = HeldBytes(LIMIT)
    other = held_or_fail(held, "other", 1)
    content = bytes(3 * PIECE_BYTES)
    stream = HeldContent(content, held_or_fail(held, "a", len(content)))
    assert len(content) + 1 == held.used
    if way == "sent":
        assert content == await read(stream)
    elif way == "given up half way":
        await anext(stream)
    elif way == "taken":
        assert content is await collect(stream, LIMIT)
    if way == "forgotten":
        del stream
    else:
        await stream.aclose()
        await stream.aclose()
    assert 1 == held.used
    other.release()
    assert 0 == held.used


async def test_content_that_finds_no_room_streams_through() -> None:
    """All of it, and what was taken until then is counted until it is sent."""
    held = HeldBytes(LIMIT)
    pieces = [bytes([number]) * PIECE_BYTES for number in range(12)]
    with held.begin() as hold:
        stream = await collect(Pieces(*pieces), 100 * LIMIT, hold)
        assert not isinstance(stream, bytes)
    assert LIMIT == held.used
    assert b"".join(pieces) == await read(stream)
    assert 0 == held.used
    with held.begin() as hold:
        stream = await collect(Pieces(*pieces), 100 * LIMIT, hold)
        assert not isinstance(stream, bytes)
    await stream.aclose()
    assert 0 == held.used


async def test_short_content_is_not_counted() -> None:
    """There is at most so much of it as there are requests in progress."""
    held = HeldBytes(0)
    with held.begin() as hold:
        assert bytes(PIECE_BYTES) == await collect(Pieces(bytes(PIECE_BYTES)), LIMIT, hold)
        assert not isinstance(await collect(Pieces(bytes(PIECE_BYTES), b"1"), LIMIT, hold), bytes)

"""Open streams and the tokens they belong to."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from gateway.adapters.stream_watch import StreamWatch
from gateway.core.errors import StoreUnavailable, StreamRevoked

SOON = 0.001


class Endless:
    """Content whose next piece comes when it is asked for, until it is given up."""

    def __init__(self) -> None:
        self.is_closed = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.is_closed.is_set():
            raise StopAsyncIteration
        await self.is_closed.wait()
        raise StopAsyncIteration  # as a connection does that was abandoned

    async def aclose(self) -> None:
        self.is_closed.set()


async def test_a_stream_ends_when_its_token_is_revoked() -> None:
    """Its reader gets an error, never a clean end; a stream of another token is left alone."""
    asked: list[list[str]] = []

    async def are_revoked(token_ids: Sequence[str]) -> list[bool]:
        asked.append(sorted(token_ids))
        return [token_id == "bad" and len(asked) > 1 for token_id in token_ids]

    watch = StreamWatch(are_revoked, SOON)
    bad, good = Endless(), Endless()
    streams = [watch.watch(["bad"], bad), watch.watch(["good"], good)]
    async with asyncio.timeout(10):
        with pytest.raises(StreamRevoked):
            async for _ in streams[0]:
                raise AssertionError("there is no piece")
    assert bad.is_closed.is_set()
    assert not good.is_closed.is_set()
    assert ["bad", "good"] == asked[0]
    await streams[1].aclose()
    watch.close()


async def test_nothing_is_asked_without_an_open_stream() -> None:
    """The watch ends with the last stream, and begins again with the next."""
    is_asked = asyncio.Event()

    async def are_revoked(token_ids: Sequence[str]) -> list[bool]:
        is_asked.set()
        return [False for _ in token_ids]

    watch = StreamWatch(are_revoked, SOON)
    for _ in range(2):
        is_asked.clear()
        stream = watch.watch(["token"], Endless())
        async with asyncio.timeout(10):
            await is_asked.wait()
            watching = watch._watching
            await stream.aclose()
            assert watching is not None
            await asyncio.wait([watching])
        assert None is watch._watching


async def test_a_stream_that_ends_while_redis_is_asked() -> None:
    """It is neither ended again nor asked about for ever, whatever the answer is."""
    is_asked, may_answer, ended = asyncio.Event(), asyncio.Event(), []

    async def are_revoked(token_ids: Sequence[str]) -> list[bool]:
        is_asked.set()
        await may_answer.wait()
        return [True for _ in token_ids]

    async def end() -> None:
        ended.append("again")

    watch = StreamWatch(are_revoked, SOON)
    async with asyncio.timeout(10):
        with watch.until_revoked(["token"], end):
            await is_asked.wait()
        may_answer.set()
        assert watch._watching is not None
        await asyncio.wait([watch._watching])
    assert [] == ended


@pytest.mark.parametrize("revoked", ["child", "parent"])
async def test_what_is_open_until_a_revocation_is_ended_once(revoked: str) -> None:
    """By the first of its tokens that is revoked, however long it takes to end."""
    asked: list[list[str]] = []
    is_asked_again, ended = asyncio.Event(), []

    async def are_revoked(token_ids: Sequence[str]) -> list[bool]:
        asked.append(sorted(token_ids))
        if len(asked) > 2:
            is_asked_again.set()
        return [token_id == revoked for token_id in token_ids]

    async def end() -> None:
        ended.append(len(asked))

    watch = StreamWatch(are_revoked, SOON)
    async with asyncio.timeout(10):
        with watch.until_revoked(["child", "parent"], end):
            await is_asked_again.wait()
    assert [1] == ended
    assert ["child", "parent"] == asked[0]
    assert revoked not in asked[1]
    watch.close()


async def test_a_redis_that_is_away_ends_no_stream() -> None:
    """Nobody can revoke there; the question is asked again."""
    asked = 0

    async def are_revoked(token_ids: Sequence[str]) -> list[bool]:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise StoreUnavailable("away")
        return [True for _ in token_ids]

    stream = StreamWatch(are_revoked, SOON).watch(["token"], Endless())
    async with asyncio.timeout(10):
        with pytest.raises(StreamRevoked):
            await anext(aiter(stream))
    assert 3 == asked


@pytest.mark.parametrize("is_same_token", [False, True])
async def test_an_end_that_fails_keeps_no_other_from_its_end(
    caplog: pytest.LogCaptureFixture, is_same_token: bool
) -> None:
    """Of the same token, of another one, or of one that is revoked later; the log names the token and the failure."""
    revoked = {"first", "second"}

    async def are_revoked(token_ids: Sequence[str]) -> list[bool]:
        return [token_id in revoked for token_id in token_ids]

    async def fail() -> None:
        raise RuntimeError("no end")

    watch = StreamWatch(are_revoked, SOON)
    others = [Endless() for _ in range(4)]
    async with asyncio.timeout(10):
        with watch.until_revoked(["first"], fail):
            for stream in others:  # a set has no order: some of them are ended after the one that fails
                watch.watch(["first" if is_same_token else "second"], stream)
            for stream in others:
                await stream.is_closed.wait()
        late = Endless()
        revoked.add("later")
        watch.watch(["later"], late)
        await late.is_closed.wait()
    watch.close()
    (record,) = caplog.records
    assert "a stream of the revoked token first could not be ended" == record.message
    assert "no end" in (record.exc_text or "")


async def test_a_question_that_fails_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the mistake was, it is told of and the watch goes on."""
    asked = 0

    async def are_revoked(token_ids: Sequence[str]) -> list[bool]:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise RuntimeError("no answer")
        return [True for _ in token_ids] if asked > 2 else []  # too short an answer is a mistake, too

    stream = StreamWatch(are_revoked, SOON).watch(["token"], Endless())
    async with asyncio.timeout(10):
        with pytest.raises(StreamRevoked):
            await anext(aiter(stream))
    assert 3 == asked
    failed, cut_short = (record.exc_text or "" for record in caplog.records)
    assert "no answer" in failed
    assert "ValueError" in cut_short

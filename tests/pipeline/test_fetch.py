"""Many who want the same are one request to the backend; a write or a purge ends what it was to bring."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.core.errors import UpstreamTimeout
from tests.support.exchange_harness import NOW, OTHER, Pieces, cache_status, field, ok, open_exchange
from tests.support.policies import make_record


async def test_many_at_once_are_one_request_and_each_is_charged() -> None:
    """One answer is stored, the others are collapsed; the quota counts them all."""
    async with open_exchange(ok(), plan="pro") as harness:
        answers = await asyncio.gather(*(harness.ask("GET /export") for _ in range(20)))
        statuses = [cache_status(answer) for answer in answers]
        assert 1 == statuses.count(b"gateway; fwd=uri-miss; stored")
        assert 19 == statuses.count(b"gateway; fwd=uri-miss; collapsed")
        assert {b'"minute";r=%d;t=60' % left for left in range(31, 51)} == {field(one, b"ratelimit") for one in answers}
        assert 19 == harness.export_cache.counts["collapsed"]


async def test_two_projects_never_wait_for_each_other() -> None:
    """Each fetches its own, also at the same moment."""
    async with open_exchange(ok(content=b"one"), ok(content=b"two")) as harness:
        await harness.create(make_record(OTHER, plan="open", project="other"))
        answers = await asyncio.gather(harness.ask("GET /export"), harness.ask("GET /export", text=OTHER))
        assert {b"one", b"two"} == {answer.content for answer in answers}


async def test_those_who_waited_for_another_variant_fetch_theirs_together() -> None:
    """What varies is known only from the first answer: then each language is one request, however many want it."""
    vary = (b"vary", b"accept-language")
    async with open_exchange(ok(vary, content=b"de"), ok(vary, content=b"fr")) as harness:
        languages = [b"de", b"fr", b"fr", b"de", b"fr"]
        answers = await asyncio.gather(*(harness.ask("GET /export", (b"accept-language", one)) for one in languages))
        assert [b"de", b"fr", b"fr", b"de", b"fr"] == [answer.content for answer in answers]
        assert 2 == len(harness.upstreams.sent)


@pytest.mark.parametrize("refusal", [(b"cache-control", b"private"), (b"set-cookie", b"a=1"), (b"vary", b"*")])
async def test_what_is_not_for_others_is_fetched_by_each(refusal: tuple[bytes, bytes]) -> None:
    """Nobody gets another one's answer by waiting for it."""
    async with open_exchange(*(ok(refusal, content=b"%d" % number) for number in range(3))) as harness:
        answers = await asyncio.gather(*(harness.ask("GET /export") for _ in range(3)))
        assert {b"0", b"1", b"2"} == {answer.content for answer in answers}


async def test_a_failure_is_shared_by_those_who_wait() -> None:
    """A backend that does not answer is asked once, not once by each."""
    all_wait = asyncio.Event()

    class Failing(Pieces):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            await all_wait.wait()
            yield b"half"
            raise UpstreamTimeout("x")

    async with open_exchange(ok(content=Failing())) as harness:
        asked = [asyncio.create_task(harness.ask("GET /export")) for _ in range(5)]
        while not harness.upstreams.sent:
            await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0)
        all_wait.set()
        answers = await asyncio.gather(*asked)
        assert [504] * 5 == [answer.head.status for answer in answers]
        assert 1 == len(harness.upstreams.sent)


async def test_a_write_ends_what_is_stored_and_what_is_being_fetched() -> None:
    """The answer to a fetch that began before the write is given, and not stored."""
    async with open_exchange(ok(), ok(status=204, content=b""), ok(content=b"new"), ok(content=b"raced")) as harness:
        await harness.ask("GET /export")
        harness.now = NOW + 1
        assert 204 == (await harness.ask("DELETE /export")).head.status
        harness.now = NOW + 2
        assert b"new" == (await harness.ask("GET /export")).content
        harness.now = NOW + 1
        await harness.exports.purge("small", ["all"])
        raced = await harness.ask("GET /export")
        assert b"raced" == raced.content
        assert b"gateway; fwd=uri-miss" == cache_status(raced)


async def test_who_comes_after_a_purge_gets_nothing_from_before_it() -> None:
    """Not even by waiting for a fetch that began before: those who waited ask anew, together."""
    purging = asyncio.Event()

    class Slow(Pieces):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            await purging.wait()
            yield b"old"

    async with open_exchange(ok(content=Slow()), ok(content=b"new")) as harness:
        before = asyncio.create_task(harness.ask("GET /export"))
        while not harness.upstreams.sent:
            await asyncio.sleep(0)
        harness.now = NOW + 1
        await harness.exports.purge("small", ["all"])
        harness.now = NOW + 2
        after = [asyncio.create_task(harness.ask("GET /export")) for _ in range(3)]
        for _ in range(50):
            await asyncio.sleep(0)
        purging.set()
        assert b"old" == (await before).content
        assert [b"new"] * 3 == [answer.content for answer in await asyncio.gather(*after)]
        assert 2 == len(harness.upstreams.sent)

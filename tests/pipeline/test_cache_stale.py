"""What is stored and no longer fresh: asked about, refreshed, or in the place of a failing backend."""

import asyncio

import pytest

from gateway.adapters.redis.fetch_leases import RedisFetches
from gateway.core.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from gateway.core.http.messages import Response
from gateway.core.tokens.text import build_checksum
from tests.support.exchange_harness import NOW, OTHER, Pieces, asked, cache_status, field, ok, open_exchange
from tests.support.policies import make_record, small_policy

TAGGED = (b"etag", b'"v1"')
STALE = small_policy('fresh = "1m", stale_if_error = "1h"')
REVALIDATED = small_policy('fresh = "1m", stale_while_revalidate = "1h"')


async def test_an_export_that_is_no_longer_fresh_is_asked_for_again() -> None:
    """After the rule's minute the backend is asked, also where the store still has the old answer."""
    async with open_exchange(ok(), ok(content=b"new")) as harness:
        await harness.ask("GET /export")
        harness.now = NOW + 60_000
        answer = await harness.ask("GET /export")
        assert b"new" == answer.content
        assert b"gateway; fwd=stale; stored" == field(answer, b"cache-status")


async def test_a_stale_export_is_asked_about_with_the_backends_own_validators() -> None:
    """304: the stored content again, fresh from now on, with the fields that the backend says anew."""
    first = ok(TAGGED, (b"last-modified", b"then"), (b"x", b"1"))
    async with open_exchange(first, ok((b"x", b"2"), status=304, content=b"")) as harness:
        await harness.ask("GET /export")
        harness.now = NOW + 61_000
        validated = await harness.ask("GET /export", (b"if-none-match", b'"other"'))
        assert 200 == validated.head.status
        assert b"content" == validated.content
        assert b"gateway; fwd=stale; fwd-status=304; stored" == cache_status(validated)
        assert b"2" == field(validated, b"x")
        assert b'"v1"' == asked(harness, 1, b"if-none-match")
        assert b"then" == asked(harness, 1, b"if-modified-since")
        harness.now = NOW + 120_000
        again = await harness.ask("GET /export")
        assert b"gateway; hit; ttl=1" == cache_status(again)
        assert b"59" == field(again, b"age")
        assert b"2" == field(again, b"x")


async def test_a_client_that_has_what_was_validated_gets_304() -> None:
    """The backend's 304 to the gateway, and the gateway's to the client, are two things."""
    async with open_exchange(ok(TAGGED), ok(status=304, content=b"")) as harness:
        await harness.ask("GET /export")
        harness.now = NOW + 61_000
        answer = await harness.ask("GET /export", (b"if-none-match", b'W/"v1"'))
        assert 304 == answer.head.status
        assert b"gateway; fwd=stale; fwd-status=304; stored" == cache_status(answer)


async def test_a_made_tag_is_not_asked_about() -> None:
    """A backend that has given no validator does not know the gateway's own tag: it is asked for the whole."""
    async with open_exchange(ok(), ok(), policy=small_policy('fresh = "1m", keep = "1h"')) as harness:
        await harness.ask("GET /export")
        harness.now = NOW + 61_000
        answer = await harness.ask("GET /export")
        assert None is asked(harness, 1, b"if-none-match")
        assert b"gateway; fwd=stale; stored" == cache_status(answer)


async def test_no_cache_asks_about_what_is_stored() -> None:
    """A client's no-cache is end-to-end validation, and so is a backend's for each use."""
    unchanged = ok(status=304, content=b"")
    async with open_exchange(ok(TAGGED), unchanged, ok(TAGGED, (b"cache-control", b"no-cache")), unchanged) as harness:
        await harness.ask("GET /export?client")
        answer = await harness.ask("GET /export?client", (b"cache-control", b"no-cache"))
        assert b'"v1"' == asked(harness, 1, b"if-none-match")
        assert b"gateway; fwd=request; fwd-status=304; stored" == cache_status(answer)
        await harness.ask("GET /export?backend")
        answer = await harness.ask("GET /export?backend")
        assert b'"v1"' == asked(harness, 3, b"if-none-match")
        assert b"gateway; fwd=stale; fwd-status=304; stored" == cache_status(answer)


@pytest.mark.parametrize(
    "failure", [UpstreamUnreachable("x"), UpstreamTimeout("x"), UpstreamBroken("x"), ok(status=500), ok(status=503)]
)
async def test_a_stale_export_stands_in_for_a_failing_backend(failure: Response | Exception) -> None:
    """Content and 304 alike, saying so, until stale_if_error is over; authorisation holds all the same."""
    async with open_exchange(ok(), failure, failure, failure, policy=STALE) as harness:
        tag = field(await harness.ask("GET /export"), b"etag") or b""
        harness.now = NOW + 61_000
        stale = await harness.ask("GET /export")
        assert 200 == stale.head.status
        assert b"content" == stale.content
        assert b"61" == field(stale, b"age")
        assert b"gateway; hit; ttl=-1; detail=stale-if-error" == field(stale, b"cache-status")
        assert 304 == (await harness.ask("GET /export", (b"if-none-match", tag))).head.status
        harness.now = NOW + 60_000 + 3_600_000
        assert (await harness.ask("GET /export")).head.status >= 500
        assert 401 == (await harness.ask("GET /export", text=OTHER)).head.status


async def test_a_backend_that_is_back_is_asked_again() -> None:
    """A stale export stands in for failures only: the first good answer replaces it, and other errors pass."""
    broken = Pieces(b"oops")
    answers = ok(), ok(status=502, content=broken), ok(status=404), ok(content=b"new")
    async with open_exchange(*answers, policy=STALE) as harness:
        await harness.ask("GET /export")
        harness.now = NOW + 61_000
        assert b"content" == (await harness.ask("GET /export")).content
        assert broken.is_closed
        assert 404 == (await harness.ask("GET /export")).head.status
        assert b"new" == (await harness.ask("GET /export")).content


async def test_without_stale_if_error_a_failure_is_a_failure() -> None:
    """A rule that does not ask for it gets no stale answers."""
    async with open_exchange(ok(), UpstreamUnreachable("x")) as harness:
        await harness.ask("GET /export")
        harness.now = NOW + 61_000
        assert 502 == (await harness.ask("GET /export")).head.status


async def test_keep_says_how_long_the_last_good_answer_stands_in() -> None:
    """Without `stale_if_error` it is for as long as it is kept."""
    failure = UpstreamUnreachable("x")
    async with open_exchange(ok(), failure, failure, policy=small_policy('fresh = "1m", keep = "1h"')) as harness:
        await harness.ask("GET /export")
        harness.now = NOW + 60_000 + 3_599_000
        assert 200 == (await harness.ask("GET /export")).head.status
        harness.now = NOW + 60_000 + 3_600_000
        assert 502 == (await harness.ask("GET /export")).head.status


async def test_while_a_backend_fails_the_stale_answer_is_there_at_once() -> None:
    """For a moment after a failure the backend is not asked again by who has something to fall back on."""
    async with open_exchange(ok(), UpstreamUnreachable("x"), policy=STALE) as harness:
        harness.fetches = RedisFetches(harness.connection, look_seconds=0, marks={"failed": 600})
        harness.export_cache._fetches = harness.export_cache._fetcher._fetches = harness.fetches
        harness.now = NOW
        await harness.ask("GET /export")
        harness.now = NOW + 61_000
        for _ in range(3):
            assert b"content" == (await harness.ask("GET /export")).content
        assert 2 == len(harness.upstreams.sent)
        assert 3 == harness.export_cache.counts["stood-in"]


async def test_a_refused_answer_ends_what_was_stored_before_it() -> None:
    """After a 404 the old answer does not come back when the backend fails."""
    async with open_exchange(ok(), ok(status=404), UpstreamUnreachable("x"), policy=STALE) as harness:
        await harness.ask("GET /export")
        harness.now = NOW + 61_000
        statuses = [(await harness.ask("GET /export")).head.status for _ in range(2)]
        assert [404, 502] == statuses


async def test_a_revoked_token_gets_nothing_stale() -> None:
    """Stale answers are given under the same admission as fresh ones: unknown and over-quota tokens are refused."""
    failure = UpstreamUnreachable("x")
    async with open_exchange(ok(), failure, failure, policy=STALE) as harness:
        await harness.create(make_record(OTHER, plan="free", scopes="read"))
        await harness.ask("GET /export")
        harness.now = NOW + 61_000
        statuses = [(await harness.ask("GET /export", text=OTHER)).head.status for _ in range(3)]
        assert [200, 200, 429] == statuses
        assert (
            401
            == (
                await harness.ask("GET /export", text="sml_" + "8" * 34 + build_checksum("sml_" + "8" * 34))
            ).head.status
        )


async def test_a_stale_answer_is_refreshed_behind_the_client() -> None:
    """Who comes in the time of stale-while-revalidate waits for nothing; after HEAD too, the whole is asked for."""
    async with open_exchange(ok(), ok(content=b"new"), policy=REVALIDATED) as harness:
        await harness.ask("GET /export")
        harness.now = NOW + 61_000
        stale = await harness.ask("HEAD /export")
        assert b"gateway; hit; ttl=-1; detail=stale-while-revalidate" == cache_status(stale)
        await asyncio.gather(*harness.export_cache._refreshing.values())
        assert b"new" == (await harness.ask("GET /export")).content
        assert ["GET", "GET"] == [sent.method for sent in harness.upstreams.sent]


async def test_a_refreshing_that_fails_is_nobodys_failure(caplog: pytest.LogCaptureFixture) -> None:
    """The stale answer goes on being used for its time, and the log says why."""
    failure = UpstreamUnreachable("nobody there")
    async with open_exchange(ok(), failure, failure, policy=REVALIDATED) as harness:
        await harness.ask("GET /export")
        harness.now = NOW + 61_000
        assert 200 == (await harness.ask("GET /export")).head.status
        await asyncio.gather(*harness.export_cache._refreshing.values())
        assert 200 == (await harness.ask("GET /export")).head.status
        await asyncio.gather(*harness.export_cache._refreshing.values())
    assert "could not be refreshed: nobody there" in caplog.text

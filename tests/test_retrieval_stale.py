"""What is stored and no longer fresh: asked about, refreshed, or in the place of a failing backend."""

import asyncio

import pytest

from gateway.adapters.redis_fetches import RedisFetches
from gateway.core.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from gateway.core.messages import Response
from gateway.core.tokens import build_checksum
from tests.support.policies import make_record, small_policy
from tests.support.room import NOW, OTHER, Pieces, Room, asked, cache_status, field, ok, run

TAGGED = (b"etag", b'"v1"')
STALE = small_policy('fresh = "1m", stale_if_error = "1h"')


def test_an_export_that_is_no_longer_fresh_is_asked_for_again() -> None:
    """After the rule's minute the backend is asked, also where the store still has the old answer."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 60_000
        answer = await room.ask("GET /export")
        assert (b"new", b"gateway; fwd=stale; stored") == (answer.content, field(answer, b"cache-status"))

    run(work, ok(), ok(content=b"new"))


def test_a_stale_export_is_asked_about_with_the_backends_own_validators() -> None:
    """304: the stored content again, fresh from now on, with the fields that the backend says anew."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 61_000
        validated = await room.ask("GET /export", (b"if-none-match", b'"other"'))
        assert (200, b"content", b"gateway; fwd=stale; fwd-status=304; stored", b"2") == (
            validated.head.status,
            validated.content,
            cache_status(validated),
            field(validated, b"x"),
        )
        assert (b'"v1"', b"then") == (asked(room, 1, b"if-none-match"), asked(room, 1, b"if-modified-since"))
        room.now = NOW + 120_000
        again = await room.ask("GET /export")
        assert (b"gateway; hit; ttl=1", b"59", b"2") == (cache_status(again), field(again, b"age"), field(again, b"x"))

    run(work, ok(TAGGED, (b"last-modified", b"then"), (b"x", b"1")), ok((b"x", b"2"), status=304, content=b""))


def test_a_client_that_has_what_was_validated_gets_304() -> None:
    """The backend's 304 to the gateway, and the gateway's to the client, are two things."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 61_000
        answer = await room.ask("GET /export", (b"if-none-match", b'W/"v1"'))
        assert (304, b"gateway; fwd=stale; fwd-status=304; stored") == (answer.head.status, cache_status(answer))

    run(work, ok(TAGGED), ok(status=304, content=b""))


def test_a_made_tag_is_not_asked_about() -> None:
    """A backend that has given no validator does not know the gateway's own tag: it is asked for the whole."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 61_000
        answer = await room.ask("GET /export")
        assert (None, b"gateway; fwd=stale; stored") == (asked(room, 1, b"if-none-match"), cache_status(answer))

    run(work, ok(), ok(), policy=small_policy('fresh = "1m", keep = "1h"'))


def test_no_cache_asks_about_what_is_stored() -> None:
    """A client's no-cache is end-to-end validation, and so is a backend's for each use."""

    async def work(room: Room) -> None:
        await room.ask("GET /export?client")
        answer = await room.ask("GET /export?client", (b"cache-control", b"no-cache"))
        assert (b'"v1"', b"gateway; fwd=request; fwd-status=304; stored") == (
            asked(room, 1, b"if-none-match"),
            cache_status(answer),
        )
        await room.ask("GET /export?backend")
        answer = await room.ask("GET /export?backend")
        assert (b'"v1"', b"gateway; fwd=stale; fwd-status=304; stored") == (
            asked(room, 3, b"if-none-match"),
            cache_status(answer),
        )

    unchanged = ok(status=304, content=b"")
    run(work, ok(TAGGED), unchanged, ok(TAGGED, (b"cache-control", b"no-cache")), unchanged)


@pytest.mark.parametrize(
    "failure", [UpstreamUnreachable("x"), UpstreamTimeout("x"), UpstreamBroken("x"), ok(status=500), ok(status=503)]
)
def test_a_stale_export_stands_in_for_a_failing_backend(failure: Response | Exception) -> None:
    """Content and 304 alike, saying so, until stale_if_error is over; authorisation holds all the same."""

    async def work(room: Room) -> None:
        tag = field(await room.ask("GET /export"), b"etag") or b""
        room.now = NOW + 61_000
        stale = await room.ask("GET /export")
        assert (200, b"content", b"61", b"gateway; hit; ttl=-1; detail=stale-if-error") == (
            stale.head.status,
            stale.content,
            field(stale, b"age"),
            field(stale, b"cache-status"),
        )
        assert 304 == (await room.ask("GET /export", (b"if-none-match", tag))).head.status
        room.now = NOW + 60_000 + 3_600_000
        assert (await room.ask("GET /export")).head.status >= 500
        assert 401 == (await room.ask("GET /export", text=OTHER)).head.status

    run(work, ok(), failure, failure, failure, policy=STALE)


def test_a_backend_that_is_back_is_asked_again() -> None:
    """A stale export stands in for failures only: the first good answer replaces it, and other errors pass."""
    broken = Pieces(b"oops")

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 61_000
        assert b"content" == (await room.ask("GET /export")).content
        assert broken.is_closed
        assert 404 == (await room.ask("GET /export")).head.status
        assert b"new" == (await room.ask("GET /export")).content

    run(work, ok(), ok(status=502, content=broken), ok(status=404), ok(content=b"new"), policy=STALE)


def test_without_stale_if_error_a_failure_is_a_failure() -> None:
    """A rule that does not ask for it gets no stale answers."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 61_000
        assert 502 == (await room.ask("GET /export")).head.status

    run(work, ok(), UpstreamUnreachable("x"))


def test_keep_says_how_long_the_last_good_answer_stands_in() -> None:
    """Without `stale_if_error` it is for as long as it is kept."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 60_000 + 3_599_000
        assert 200 == (await room.ask("GET /export")).head.status
        room.now = NOW + 60_000 + 3_600_000
        assert 502 == (await room.ask("GET /export")).head.status

    failure = UpstreamUnreachable("x")
    run(work, ok(), failure, failure, policy=small_policy('fresh = "1m", keep = "1h"'))


def test_while_a_backend_fails_the_stale_answer_is_there_at_once() -> None:
    """For a moment after a failure the backend is not asked again by who has something to fall back on."""

    async def work(room: Room) -> None:
        room.fetches = RedisFetches(room.connection, look_seconds=0, marks={"failed": 600})
        room.retrieval._fetches = room.retrieval._fetching._fetches = room.fetches
        room.now = NOW
        await room.ask("GET /export")
        room.now = NOW + 61_000
        for _ in range(3):
            assert b"content" == (await room.ask("GET /export")).content
        assert (2, 3) == (len(room.upstreams.sent), room.retrieval.counts["stood-in"])

    run(work, ok(), UpstreamUnreachable("x"), policy=STALE)


def test_a_refused_answer_ends_what_was_stored_before_it() -> None:
    """After a 404 the old answer does not come back when the backend fails."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 61_000
        statuses = [(await room.ask("GET /export")).head.status for _ in range(2)]
        assert [404, 502] == statuses

    run(work, ok(), ok(status=404), UpstreamUnreachable("x"), policy=STALE)


def test_a_revoked_token_gets_nothing_stale() -> None:
    """Stale answers are given under the same admission as fresh ones: unknown and over-quota tokens are refused."""

    async def work(room: Room) -> None:
        await room.create(make_record(OTHER, plan="free", scopes="read"))
        await room.ask("GET /export")
        room.now = NOW + 61_000
        statuses = [(await room.ask("GET /export", text=OTHER)).head.status for _ in range(3)]
        assert [200, 200, 429] == statuses
        assert (
            401
            == (await room.ask("GET /export", text="sml_" + "8" * 34 + build_checksum("sml_" + "8" * 34))).head.status
        )

    failure = UpstreamUnreachable("x")
    run(work, ok(), failure, failure, policy=STALE)


def test_a_stale_answer_is_refreshed_behind_the_client() -> None:
    """Who comes in the time of stale-while-revalidate waits for nothing; after HEAD too, the whole is asked for."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 61_000
        stale = await room.ask("HEAD /export")
        assert b"gateway; hit; ttl=-1; detail=stale-while-revalidate" == cache_status(stale)
        await asyncio.gather(*room.retrieval._refreshing.values())
        assert b"new" == (await room.ask("GET /export")).content
        assert ["GET", "GET"] == [sent.method for sent in room.upstreams.sent]

    run(work, ok(), ok(content=b"new"), policy=small_policy('fresh = "1m", stale_while_revalidate = "1h"'))


def test_a_refreshing_that_fails_is_nobodys_failure(caplog: pytest.LogCaptureFixture) -> None:
    """The stale answer goes on being used for its time, and the log says why."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 61_000
        assert 200 == (await room.ask("GET /export")).head.status
        await asyncio.gather(*room.retrieval._refreshing.values())
        assert 200 == (await room.ask("GET /export")).head.status
        await asyncio.gather(*room.retrieval._refreshing.values())

    failure = UpstreamUnreachable("nobody there")
    run(work, ok(), failure, failure, policy=small_policy('fresh = "1m", stale_while_revalidate = "1h"'))
    assert "could not be refreshed: nobody there" in caplog.text

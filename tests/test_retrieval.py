"""What the cache and the backend have to do with one request: the embedded store, scripted backends, all else real."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.adapters.redis_fetches import RedisFetches
from gateway.core.errors import UpstreamTimeout, UpstreamUnreachable
from gateway.core.messages import Response, field_value
from gateway.core.tokens import build_checksum
from tests.support.policies import SMALL, make_record
from tests.test_exchange import NOW, TEXT, Pieces, Room, field, ok, run

TAGGED = (b"etag", b'"v1"')


def policy(cache: str) -> str:
    """The small policy with another cache."""
    return SMALL.replace('cache = { fresh = "1m" }', f"cache = {{ {cache} }}", 1)


BACKEND_SAYS = policy('shared_by = "project"')
SECOND = "sml_" + "5" * 34 + build_checksum("sml_" + "5" * 34)


def asked(room: Room, number: int, name: bytes) -> bytes | None:
    """A field of what the backend was asked."""
    return field_value(room.upstreams.sent[number].fields, name)


def status_of(answer: Response) -> bytes | None:
    return field(answer, b"cache-status")


def test_a_stale_export_is_asked_about_with_the_backends_own_validators() -> None:
    """304: the stored content again, fresh from now on, with the fields that the backend says anew."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 61_000
        validated = await room.ask("GET /export", (b"if-none-match", b'"other"'))
        assert (200, b"content", b"gateway; fwd=stale; fwd-status=304; stored", b"2") == (
            validated.head.status,
            validated.content,
            status_of(validated),
            field(validated, b"x"),
        )
        assert (b'"v1"', b"then") == (asked(room, 1, b"if-none-match"), asked(room, 1, b"if-modified-since"))
        room.now = NOW + 120_000
        again = await room.ask("GET /export")
        assert (b"gateway; hit; ttl=1", b"59", b"2") == (status_of(again), field(again, b"age"), field(again, b"x"))

    run(work, ok(TAGGED, (b"last-modified", b"then"), (b"x", b"1")), ok((b"x", b"2"), status=304, content=b""))


def test_a_client_that_has_what_was_validated_gets_304() -> None:
    """The backend's 304 to the gateway, and the gateway's to the client, are two things."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 61_000
        answer = await room.ask("GET /export", (b"if-none-match", b'W/"v1"'))
        assert (304, b"gateway; fwd=stale; fwd-status=304; stored") == (answer.head.status, status_of(answer))

    run(work, ok(TAGGED), ok(status=304, content=b""))


def test_a_made_tag_is_not_asked_about() -> None:
    """A backend that has given no validator does not know the gateway's own tag: it is asked for the whole."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 61_000
        answer = await room.ask("GET /export")
        assert (None, b"gateway; fwd=stale; stored") == (asked(room, 1, b"if-none-match"), status_of(answer))

    run(work, ok(), ok(), policy=policy('fresh = "1m", keep = "1h"'))


def test_no_cache_asks_about_what_is_stored() -> None:
    """A client's no-cache is end-to-end validation, and so is a backend's for each use."""

    async def work(room: Room) -> None:
        await room.ask("GET /export?client")
        answer = await room.ask("GET /export?client", (b"cache-control", b"no-cache"))
        assert (b'"v1"', b"gateway; fwd=request; fwd-status=304; stored") == (
            asked(room, 1, b"if-none-match"),
            status_of(answer),
        )
        await room.ask("GET /export?backend")
        answer = await room.ask("GET /export?backend")
        assert (b'"v1"', b"gateway; fwd=stale; fwd-status=304; stored") == (
            asked(room, 3, b"if-none-match"),
            status_of(answer),
        )

    unchanged = ok(status=304, content=b"")
    run(work, ok(TAGGED), unchanged, ok(TAGGED, (b"cache-control", b"no-cache")), unchanged)


def test_variants_are_kept_side_by_side() -> None:
    """Each language is fetched once."""

    async def work(room: Room) -> None:
        for language, content in [(b"de", b"Inhalt"), (b"fr", b"contenu")] * 2:
            assert content == (await room.ask("GET /export", (b"accept-language", language))).content
        assert 2 == len(room.upstreams.sent)

    vary = (b"vary", b"accept-language")
    run(work, ok(vary, content=b"Inhalt"), ok(vary, content=b"contenu"))


def test_ranges_are_cut_from_one_whole() -> None:
    """The first range has the whole fetched and stored; the next ones are cut from that."""

    async def work(room: Room) -> None:
        for wanted, content in ((b"bytes=0-2", b"con"), (b"bytes=-2", b"nt")):
            answer = await room.ask("GET /export", (b"range", wanted))
            assert (206, content) == (answer.head.status, answer.content)
        assert (1, None) == (len(room.upstreams.sent), asked(room, 0, b"range"))
        resumed = await room.ask("GET /export", (b"range", b"bytes=3-"), (b"if-range", field(answer, b"etag") or b""))
        assert (200, b"content") == (resumed.head.status, resumed.content)

    run(work, ok())


def test_who_wants_only_what_is_stored_costs_the_backend_nothing() -> None:
    """504 with a reason of its own where there is nothing, and the answer where there is."""

    async def work(room: Room) -> None:
        only = (b"cache-control", b"only-if-cached")
        assert 504 == (await room.ask("GET /export", only)).head.status
        assert "not_stored" == room.records[-1].reason
        await room.ask("GET /export")
        assert 200 == (await room.ask("GET /export", only)).head.status
        assert 1 == len(room.upstreams.sent)

    run(work, ok())


def test_many_at_once_are_one_request_and_each_is_charged() -> None:
    """One answer is stored, the others are collapsed; the quota counts them all."""

    async def work(room: Room) -> None:
        answers = await asyncio.gather(*(room.ask("GET /export") for _ in range(20)))
        statuses = [status_of(answer) for answer in answers]
        assert (1, 19) == (
            statuses.count(b"gateway; fwd=uri-miss; stored"),
            statuses.count(b"gateway; fwd=uri-miss; collapsed"),
        )
        assert {b'"minute";r=%d;t=60' % left for left in range(31, 51)} == {field(one, b"ratelimit") for one in answers}
        assert 19 == room.retrieval.counts["collapsed"]

    run(work, ok(), plan="pro")


def test_two_projects_never_wait_for_each_other() -> None:
    """Each fetches its own, also at the same moment."""

    async def work(room: Room) -> None:
        await room.create(make_record(SECOND, plan="open", project="other"))
        answers = await asyncio.gather(room.ask("GET /export"), room.ask("GET /export", text=SECOND))
        assert {b"one", b"two"} == {answer.content for answer in answers}

    run(work, ok(content=b"one"), ok(content=b"two"))


def test_those_who_waited_for_another_variant_fetch_theirs_together() -> None:
    """What varies is known only from the first answer: then each language is one request, however many want it."""

    async def work(room: Room) -> None:
        languages = [b"de", b"fr", b"fr", b"de", b"fr"]
        answers = await asyncio.gather(*(room.ask("GET /export", (b"accept-language", one)) for one in languages))
        assert [b"de", b"fr", b"fr", b"de", b"fr"] == [answer.content for answer in answers]
        assert 2 == len(room.upstreams.sent)

    vary = (b"vary", b"accept-language")
    run(work, ok(vary, content=b"de"), ok(vary, content=b"fr"))


@pytest.mark.parametrize("refusal", [(b"cache-control", b"private"), (b"set-cookie", b"a=1"), (b"vary", b"*")])
def test_what_is_not_for_others_is_fetched_by_each(refusal: tuple[bytes, bytes]) -> None:
    """Nobody gets another one's answer by waiting for it."""

    async def work(room: Room) -> None:
        answers = await asyncio.gather(*(room.ask("GET /export") for _ in range(3)))
        assert {b"0", b"1", b"2"} == {answer.content for answer in answers}

    run(work, *(ok(refusal, content=b"%d" % number) for number in range(3)))


def test_a_failure_is_shared_by_those_who_wait() -> None:
    """A backend that does not answer is asked once, not once by each."""

    async def work(room: Room) -> None:
        answers = await asyncio.gather(*(room.ask("GET /export") for _ in range(5)))
        assert [504] * 5 == [answer.head.status for answer in answers]
        assert 1 == len(room.upstreams.sent)

    run(work, UpstreamTimeout("x"))


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

    run(work, ok(), UpstreamUnreachable("x"), policy=policy('fresh = "1m", stale_if_error = "1h"'))


def test_keep_says_how_long_the_last_good_answer_stands_in() -> None:
    """Without `stale_if_error` it is for as long as it is kept."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 60_000 + 3_599_000
        assert 200 == (await room.ask("GET /export")).head.status
        room.now = NOW + 60_000 + 3_600_000
        assert 502 == (await room.ask("GET /export")).head.status

    failure = UpstreamUnreachable("x")
    run(work, ok(), failure, failure, policy=policy('fresh = "1m", keep = "1h"'))


def test_a_refused_answer_ends_what_was_stored_before_it() -> None:
    """After a 404 the old answer does not come back when the backend fails."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 61_000
        statuses = [(await room.ask("GET /export")).head.status for _ in range(2)]
        assert [404, 502] == statuses

    run(work, ok(), ok(status=404), UpstreamUnreachable("x"), policy=policy('fresh = "1m", stale_if_error = "1h"'))


def test_what_one_client_forbids_ends_nothing_for_others() -> None:
    """A no-store of a request is about its own answer: what is stored stays."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        private = await room.ask("GET /export", (b"cache-control", b"no-store"))
        assert (b"own", b"gateway; fwd=request") == (private.content, status_of(private))
        assert b"content" == (await room.ask("GET /export")).content

    run(work, ok(), ok(content=b"own"))


def test_a_stale_answer_is_refreshed_behind_the_client() -> None:
    """Who comes in the time of stale-while-revalidate waits for nothing; after HEAD too, the whole is asked for."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 61_000
        stale = await room.ask("HEAD /export")
        assert b"gateway; hit; ttl=-1; detail=stale-while-revalidate" == status_of(stale)
        await asyncio.gather(*room.retrieval._refreshing.values())
        assert b"new" == (await room.ask("GET /export")).content
        assert ["GET", "GET"] == [sent.method for sent in room.upstreams.sent]

    run(work, ok(), ok(content=b"new"), policy=policy('fresh = "1m", stale_while_revalidate = "1h"'))


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
    run(work, ok(), failure, failure, policy=policy('fresh = "1m", stale_while_revalidate = "1h"'))
    assert "could not be refreshed: nobody there" in caplog.text


def test_a_revoked_token_gets_nothing_stale() -> None:
    """Stale answers are given under the same admission as fresh ones: unknown and over-quota tokens are refused."""

    async def work(room: Room) -> None:
        await room.create(make_record(SECOND, plan="free", scopes="read"))
        await room.ask("GET /export")
        room.now = NOW + 61_000
        statuses = [(await room.ask("GET /export", text=SECOND)).head.status for _ in range(3)]
        assert [200, 200, 429] == statuses
        assert (
            401
            == (await room.ask("GET /export", text="sml_" + "8" * 34 + build_checksum("sml_" + "8" * 34))).head.status
        )

    failure = UpstreamUnreachable("x")
    run(work, ok(), failure, failure, policy=policy('fresh = "1m", stale_if_error = "1h"'))


def test_a_write_ends_what_is_stored_and_what_is_being_fetched() -> None:
    """The answer to a fetch that began before the write is given, and not stored."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        room.now = NOW + 1
        assert 204 == (await room.ask("DELETE /export")).head.status
        room.now = NOW + 2
        assert b"new" == (await room.ask("GET /export")).content
        room.now = NOW + 1
        await room.exports.purge("small", ["all"])
        raced = await room.ask("GET /export")
        assert (b"raced", b"gateway; fwd=uri-miss") == (raced.content, status_of(raced))

    run(work, ok(), ok(status=204, content=b""), ok(content=b"new"), ok(content=b"raced"))


def test_who_comes_after_a_purge_gets_nothing_from_before_it() -> None:
    """Not even by waiting for a fetch that began before: those who waited ask anew, together."""
    purging = asyncio.Event()

    class Slow(Pieces):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            await purging.wait()
            yield b"old"

    async def work(room: Room) -> None:
        before = asyncio.create_task(room.ask("GET /export"))
        while not room.upstreams.sent:
            await asyncio.sleep(0)
        room.now = NOW + 1
        await room.exports.purge("small", ["all"])
        room.now = NOW + 2
        after = [asyncio.create_task(room.ask("GET /export")) for _ in range(3)]
        for _ in range(50):
            await asyncio.sleep(0)
        purging.set()
        assert b"old" == (await before).content
        assert [b"new"] * 3 == [answer.content for answer in await asyncio.gather(*after)]
        assert 2 == len(room.upstreams.sent)

    run(work, ok(content=Slow()), ok(content=b"new"))


def test_an_errors_time_is_the_backends_to_say() -> None:
    """A 404 with a time is stored for it; it has no tag of the gateway's, and is never 304."""

    async def work(room: Room) -> None:
        for expected in (b"gateway; fwd=uri-miss; stored", b"gateway; hit; ttl=9"):
            answer = await room.ask("GET /export", (b"if-none-match", b"*"))
            assert (404, expected, None) == (answer.head.status, status_of(answer), field(answer, b"etag"))
            room.now = NOW + 1

    run(work, ok((b"cache-control", b"max-age=10"), status=404), policy=BACKEND_SAYS)


def test_a_rule_passes_the_backends_cache_control() -> None:
    """From the cache as from the backend; by default clients are told to ask for each use."""

    async def work(room: Room) -> None:
        for _ in range(2):
            assert b"max-age=10" == field(await room.ask("GET /export"), b"cache-control")

    cached = ok((b"cache-control", b"max-age=10"))
    run(work, cached, policy=policy('shared_by = "project", client_cache_control = "backend"'))


def test_a_digest_for_who_wants_one() -> None:
    """Repr-Digest from the backend's answer and from the stored one alike (RFC 9530)."""

    async def work(room: Room) -> None:
        want = (b"want-repr-digest", b"sha-256=1")
        digests = {field(await room.ask("GET /export", want), b"repr-digest") for _ in range(2)}
        assert {b"sha-256=:7XACtDnprIRfIjV9giusFERzD722AW0+yUMil7nsn3M=:"} == digests
        assert None is field(await room.ask("GET /export"), b"repr-digest")

    run(work, ok())


def test_long_content_is_not_collected_where_its_length_is_told() -> None:
    """It streams from its first byte, and nobody waits for it."""
    long = Pieces(b"x")

    async def work(room: Room) -> None:
        answer = await room.ask("GET /export")
        assert not isinstance(answer.content, bytes)
        await answer.content.aclose()
        assert long.is_closed

    run(work, ok((b"content-length", b"9000000"), content=long))


class Events:
    """A stream of events: one, and then nothing until it is given up."""

    def __init__(self) -> None:
        self.is_closed = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await self.is_closed.wait()

    async def aclose(self) -> None:
        self.is_closed.set()


@pytest.mark.parametrize("status", [200, 404])
def test_a_stream_of_events_is_passed_on_as_it_comes(status: int) -> None:
    """Its first event is there while it has no end; nobody waits for it, and nothing of it is stored."""
    streams = [Events() for _ in range(4)]

    async def work(room: Room) -> None:
        async with asyncio.timeout(10):
            answers = list(await asyncio.gather(*(room.ask("GET /export") for _ in range(3))))
            answers.append(await room.ask("GET /export"))
            assert {b"gateway; fwd=uri-miss"} == {status_of(answer) for answer in answers}
            assert {None} == {field(answer, b"etag") for answer in answers}
            for answer in answers:
                assert not isinstance(answer.content, bytes)
                assert b"data: 1\n\n" == await anext(aiter(answer.content))
                await answer.content.aclose()
        assert all(stream.is_closed.is_set() for stream in streams)

    fields = ((b"content-type", b"text/event-stream;charset=utf-8"), (b"cache-control", b"max-age=60"))
    run(work, *(ok(*fields, content=stream, status=status) for stream in streams))


def test_a_head_that_nobody_can_read_is_not_there() -> None:
    """What another version of the gateway has stored is a miss, and is replaced."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        (name,) = await room.connection.client.keys("gw1:export:*")
        (variant,) = await room.connection.client.hkeys(name)
        await room.connection.client.hset(name, variant, b"0000000000000nonsense")
        assert b"new" == (await room.ask("GET /export")).content
        assert b"new" == (await room.ask("GET /export")).content

    run(work, ok(), ok(content=b"new"))


def test_public_answers_are_shared_by_all() -> None:
    """A rule that is public and whose answers are for everybody: no token, one entry."""
    text = policy('fresh = "1m"').replace('scopes = ["read"]\ncache', "public = true\ncache", 1)

    async def work(room: Room) -> None:
        answers = [await room.ask("GET /export", text=one) for one in (None, TEXT, None)]
        assert [b"gateway; fwd=uri-miss; stored", b"gateway; hit; ttl=60", b"gateway; hit; ttl=60"] == [
            status_of(answer) for answer in answers
        ]

    run(work, ok(), policy=text)

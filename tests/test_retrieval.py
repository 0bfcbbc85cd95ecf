"""What is stored answers the next request: which answers are, for whom, and what of them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.core.caching.storing import MAXIMUM_EXPORT_BYTES
from gateway.core.messages import Field, Response, ResponseHead
from gateway.core.tokens import build_checksum
from tests.support.policies import SMALL, make_record, small_policy
from tests.support.room import NOW, TEXT, Pieces, Room, asked, cache_status, field, ok, run

BACKEND_SAYS = small_policy('shared_by = "project"')


def test_an_export_is_stored_reused_and_not_sent_again() -> None:
    """Asked once of the backend: then the same answer with its age, and 304 for who has it."""

    async def work(room: Room) -> None:
        first = await room.ask("GET /export?a=1")
        assert b"gateway; fwd=uri-miss; stored" == field(first, b"cache-status")
        tag = field(first, b"etag") or b""
        assert tag.startswith(b'W/"')
        assert b"private, no-cache" == field(first, b"cache-control")
        room.now = NOW + 2500
        second = await room.ask("GET /export?a=1")
        assert (b"content", b"2", b"gateway; hit; ttl=57") == (
            second.content,
            field(second, b"age"),
            field(second, b"cache-status"),
        )
        assert tag == field(second, b"etag")
        for if_none_match in (tag, tag.removeprefix(b"W/"), b'"a", ' + tag + b', "b"', b"*"):
            third = await room.ask("GET /export?a=1", (b"if-none-match", if_none_match))
            assert (304, b"", tag) == (third.head.status, third.content, field(third, b"etag"))
        assert 1 == len(room.upstreams.sent)
        assert b'W/"other"' != tag
        assert 200 == (await room.ask("GET /export?a=1", (b"if-none-match", b'W/"other"'))).head.status

    run(work, ok((b"content-type", b"text/css")))


def test_a_304_carries_what_the_200_would_have() -> None:
    """Content-Location, Date, ETag, Vary, Cache-Control and Expires, and no field of the content itself."""

    async def work(room: Room) -> None:
        stored = await room.ask("GET /export")
        answer = await room.ask("GET /export", (b"if-none-match", b"*"))
        kept = {name for name, _ in answer.head.fields}
        expected = {b"content-location", b"date", b"etag", b"vary", b"cache-control", b"expires"}
        assert expected | {b"age", b"cache-status", b"x-request-id"} == kept
        assert field(stored, b"date") == field(answer, b"date")

    fields = [
        (b"content-location", b"/x"),
        (b"date", b"Sat, 21 Nov 2026 06:00:00 GMT"),
        (b"vary", b"accept-language"),
        (b"expires", b"Sat, 21 Nov 2026 07:00:00 GMT"),
        (b"content-type", b"text/plain"),
        (b"content-language", b"de"),
        (b"last-modified", b"Sat, 21 Nov 2026 05:00:00 GMT"),
    ]
    run(work, ok(*fields))


def test_a_fresh_answer_that_the_client_has_is_304_too() -> None:
    """The backend is asked for all of it, unconditionally, and the client is told that nothing has changed."""

    async def work(room: Room) -> None:
        tag = field(await room.ask("GET /export?1"), b"etag") or b""
        answer = await room.ask("GET /export?2", (b"if-none-match", tag), (b"range", b"bytes=0-1"))
        assert (304, b"") == (answer.head.status, answer.content)
        assert [] == [name for name, _ in room.upstreams.sent[1].fields if name in (b"if-none-match", b"range")]

    run(work, ok(), ok())


def test_exports_are_shared_within_a_project_and_not_beyond() -> None:
    """A second token of the project gets the stored answer, one of another project makes the backend be asked."""

    async def work(room: Room) -> None:
        texts = [f"sml_{digit * 34}" for digit in "123"]
        texts = [text + build_checksum(text) for text in texts]
        for text, project in zip(texts, ("website", "other", ""), strict=True):
            await room.create(make_record(text, plan="open", project=project))
        await room.ask("GET /export")
        contents = [(await room.ask("GET /export", text=text)).content for text in texts]
        assert [b"first", b"second", b"third"] == contents
        assert b"fourth" == (await room.ask("GET /export", text=texts[2])).content

    run(work, *(ok(content=content) for content in (b"first", b"second", b"third", b"fourth")))


@pytest.mark.parametrize(
    "answer",
    [
        ok((b"cache-control", b"no-store")),
        ok((b"cache-control", b"private")),
        ok((b"set-cookie", b"a=1")),
        ok((b"vary", b"*")),
        ok(status=203),
        ok(status=404),
        ok((b"gateway-cache-control", b"no-store"), (b"cache-control", b"public, max-age=60")),
    ],
)
def test_what_may_not_be_stored_is_asked_for_again(answer: Response) -> None:
    """The backend's own word, a cookie, Vary: * or another status keep an answer out of the cache."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        again = await room.ask("GET /export")
        assert b"gateway; fwd=uri-miss; stored" == field(again, b"cache-status")
        assert 2 == len(room.upstreams.sent)

    run(work, answer, ok())


def test_a_variant_is_reused_for_the_same_fields_only() -> None:
    """Vary: another language makes the backend be asked."""

    async def work(room: Room) -> None:
        german, french = (b"accept-language", b"de"), (b"accept-language", b"fr")
        await room.ask("GET /export", german)
        assert b"content" == (await room.ask("GET /export", german)).content
        missed = await room.ask("GET /export", french)
        assert (b"contenu", b"gateway; fwd=vary-miss; stored") == (missed.content, field(missed, b"cache-status"))

    run(work, ok((b"vary", b"Accept-Language")), ok((b"vary", b"Accept-Language"), content=b"contenu"))


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


def test_what_one_client_forbids_ends_nothing_for_others() -> None:
    """A no-store of a request is about its own answer: what is stored stays."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        private = await room.ask("GET /export", (b"cache-control", b"no-store"))
        assert (b"own", b"gateway; fwd=request") == (private.content, cache_status(private))
        assert b"content" == (await room.ask("GET /export")).content

    run(work, ok(), ok(content=b"own"))


def test_content_that_has_gone_is_asked_for_again() -> None:
    """A head whose content Redis no longer has, and memory neither, is a miss."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        (name,) = await room.connection.client.keys("gw1:content:*")
        await room.connection.client.delete(name)
        room.exports.forget()
        assert b"new" == (await room.ask("GET /export")).content

    run(work, ok(), ok(content=b"new"))


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
            assert {b"gateway; fwd=uri-miss"} == {cache_status(answer) for answer in answers}
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


def test_a_write_passes_by_the_cache() -> None:
    """It is neither answered from what is stored nor stored."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        written = await room.ask("POST /export")
        assert (201, None) == (written.head.status, field(written, b"cache-status"))

    run(work, ok(), ok(status=201))


@pytest.mark.parametrize("fields", [[], [(b"range", b"bytes=0-1")], [(b"if-none-match", b'"x"')]])
def test_head_before_the_first_get_has_the_fields_of_get(fields: list[Field]) -> None:
    """RFC 9110 9.3.2: the same tag, length and Cache-Control. The whole is fetched for it, once, and stored."""

    async def work(room: Room) -> None:
        head = await room.ask("HEAD /export", *fields)
        assert b"" == head.content
        whole = await room.ask("GET /other-export")
        assert whole.head == head.head
        assert ["GET", "GET"] == [sent.method for sent in room.upstreams.sent]
        assert b"gateway; hit; ttl=60" == cache_status(await room.ask("GET /export"))

    policy = SMALL.replace('match = "GET /export"', 'match = "GET /{export}"')
    run(work, ok((b"etag", b'"v1"')), ok((b"etag", b'"v1"')), policy=policy)


@pytest.mark.parametrize(
    "answer",
    [
        ok((b"cache-control", b"no-store")),
        ok((b"content-length", b"99999999"), content=Pieces(b"x")),
        ok((b"content-type", b"text/event-stream"), content=Pieces(b"x")),
        ok(status=404),
    ],
)
def test_head_of_what_is_not_stored_leaves_no_stream(answer: Response) -> None:
    """The head is what GET would have; the backend's work on the content is ended."""

    async def work(room: Room) -> None:
        head = await room.ask("HEAD /export")
        assert answer.head.status == head.head.status
        assert b"" == head.content
        assert not isinstance(answer.content, Pieces) or answer.content.is_closed

    run(work, answer)


def test_if_match_is_for_the_backend_to_evaluate() -> None:
    """RFC 9110 13.1.1, 13.1.4: it is passed on with what is stored unused, and its 412 changes nothing for others."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        conditions = [(b"if-match", b'"old"'), (b"if-unmodified-since", b"Sat, 21 Nov 2026 06:00:00 GMT")]
        refused = await room.ask("GET /export", *conditions, (b"if-none-match", b'"x"'))
        assert (412, b"gateway; fwd=request") == (refused.head.status, cache_status(refused))
        assert [value for _, value in conditions] == [asked(room, 1, name) for name, _ in conditions]
        assert b'"v1"' == asked(room, 1, b"if-none-match")
        assert b"gateway; hit; ttl=60" == cache_status(await room.ask("GET /export"))
        holds = await room.ask("GET /export", (b"if-match", b'"v1"'))
        assert (200, b"gateway; fwd=request; fwd-status=304; stored") == (holds.head.status, cache_status(holds))
        head = await room.ask("HEAD /export", (b"if-match", b'"old"'))
        assert (412, b"") == (head.head.status, head.content)

    failed = ok((b"cache-control", b"max-age=60"), status=412)
    run(work, ok((b"etag", b'"v1"')), failed, ok(status=304, content=b""), failed)


def test_content_in_pieces_is_stored_whole_or_streamed() -> None:
    """An export in pieces is collected and tagged; one beyond the limit streams through as it is."""
    huge = Pieces(b"x" * MAXIMUM_EXPORT_BYTES, b"y", b"z")

    async def work(room: Room) -> None:
        small = await room.ask("GET /export?small")
        assert (b"one two", b"7") == (small.content, field(small, b"content-length"))
        large = await room.ask("GET /export?large")
        assert not isinstance(large.content, bytes)
        assert MAXIMUM_EXPORT_BYTES + 2 == sum([len(piece) async for piece in large.content])
        await large.content.aclose()
        assert (None, True) == (field(large, b"etag"), huge.is_closed)

    run(work, ok(content=Pieces(b"one ", b"two")), ok(content=huge))


def test_long_content_is_not_collected_where_its_length_is_told() -> None:
    """It streams from its first byte, and nobody waits for it."""
    long = Pieces(b"x")

    async def work(room: Room) -> None:
        answer = await room.ask("GET /export")
        assert not isinstance(answer.content, bytes)
        await answer.content.aclose()
        assert long.is_closed

    run(work, ok((b"content-length", b"9000000"), content=long))


def test_an_errors_time_is_the_backends_to_say() -> None:
    """A 404 with a time is stored for it; it has no tag of the gateway's, and is never 304."""

    async def work(room: Room) -> None:
        for expected in (b"gateway; fwd=uri-miss; stored", b"gateway; hit; ttl=9"):
            answer = await room.ask("GET /export", (b"if-none-match", b"*"))
            assert (404, expected, None) == (answer.head.status, cache_status(answer), field(answer, b"etag"))
            room.now = NOW + 1

    run(work, ok((b"cache-control", b"max-age=10"), status=404), policy=BACKEND_SAYS)


def test_a_rule_passes_the_backends_cache_control() -> None:
    """From the cache as from the backend; by default clients are told to ask for each use."""

    async def work(room: Room) -> None:
        for _ in range(2):
            assert b"max-age=10" == field(await room.ask("GET /export"), b"cache-control")

    cached = ok((b"cache-control", b"max-age=10"))
    run(work, cached, policy=small_policy('shared_by = "project", client_cache_control = "backend"'))


def test_a_digest_for_who_wants_one() -> None:
    """Repr-Digest from the backend's answer and from the stored one alike (RFC 9530)."""

    async def work(room: Room) -> None:
        want = (b"want-repr-digest", b"sha-256=1")
        digests = {field(await room.ask("GET /export", want), b"repr-digest") for _ in range(2)}
        assert {b"sha-256=:7XACtDnprIRfIjV9giusFERzD722AW0+yUMil7nsn3M=:"} == digests
        assert None is field(await room.ask("GET /export"), b"repr-digest")

    run(work, ok())


def test_public_answers_are_shared_by_all() -> None:
    """A rule that is public and whose answers are for everybody: no token, one entry."""
    text = small_policy('fresh = "1m"').replace('scopes = ["read"]\ncache', "public = true\ncache", 1)

    async def work(room: Room) -> None:
        answers = [await room.ask("GET /export", text=one) for one in (None, TEXT, None)]
        assert [b"gateway; fwd=uri-miss; stored", b"gateway; hit; ttl=60", b"gateway; hit; ttl=60"] == [
            cache_status(answer) for answer in answers
        ]

    run(work, ok(), policy=text)


def test_interim_answers_reach_the_client_whose_request_they_are_for() -> None:
    """From the cache's fetch and past it: without what is about a connection, and with the gateway's Via."""
    hints = ok((b"link", b"</a>"), (b"connection", b"x-hop"), (b"x-hop", b"1"), status=103)

    async def work(room: Room) -> None:
        got: list[ResponseHead] = []
        for request in ("GET /export", "POST /other", "HEAD /export?2"):
            await room.ask(request, inform=got.append)
        await room.ask("GET /export", inform=got.append)
        assert [ResponseHead(103, [(b"link", b"</a>"), (b"via", b"1.1 gateway")])] * 3 == got

    run(work, hints, ok(), hints, ok(), hints, ok())


def test_who_waits_for_another_ones_fetch_gets_no_interim_answers() -> None:
    """What is refreshed behind a client's back, and for others, informs nobody."""

    async def work(room: Room) -> None:
        got: list[ResponseHead] = []
        await room.ask("GET /export", inform=got.append)
        room.now = NOW + 61_000
        answer = await room.ask("GET /export", inform=got.append)
        assert b"gateway; hit; ttl=-1; detail=stale-while-revalidate" == cache_status(answer)
        await asyncio.gather(*room.retrieval._refreshing.values())
        assert 2 == len(room.upstreams.sent)
        assert [] == got

    policy = small_policy('fresh = "1m", stale_while_revalidate = "1h"')
    run(work, ok(), ok(status=103), ok(), policy=policy)


@pytest.mark.parametrize("request_", ["GET /export", "HEAD /export", "GET /other", "POST /export"])
def test_a_request_that_comes_back_is_refused(request_: str) -> None:
    """508 (RFC 5842 7.2) where the same policy has passed it on before, before it waits for its own fetch."""

    async def work(room: Room) -> None:
        await room.ask("GET /costly", (b"cdn-loop", b"other.example"))
        mark = room.upstreams.sent[0].fields[-1]
        assert b"cdn-loop" == mark[0]
        again = await room.ask(request_, mark)
        assert 508 == again.head.status
        assert 1 == len(room.upstreams.sent)

    run(work, ok())


def test_what_is_stored_answers_a_request_that_comes_back() -> None:
    """Nothing is passed on for it."""

    async def work(room: Room) -> None:
        await room.ask("GET /export")
        assert 200 == (await room.ask("GET /export", room.upstreams.sent[0].fields[-1])).head.status

    run(work, ok())

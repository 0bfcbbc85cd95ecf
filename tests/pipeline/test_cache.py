"""What is stored answers the next request: which answers are, for whom, and what of them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.core.cache.storing import MAXIMUM_EXPORT_BYTES
from gateway.core.http.messages import Field, Response, ResponseHead, field_value
from gateway.core.tokens.text import build_checksum
from tests.support.exchange_harness import NOW, TEXT, Pieces, asked, cache_status, field, ok, open_exchange
from tests.support.policies import SMALL, make_record, small_policy

BACKEND_SAYS = small_policy('shared_by = "project"')


async def test_an_export_is_stored_reused_and_not_sent_again() -> None:
    """Asked once of the backend: then the same answer with its age, and 304 for who has it."""
    async with open_exchange(ok((b"content-type", b"text/css"))) as harness:
        first = await harness.ask("GET /export?a=1")
        assert b"gateway; fwd=uri-miss; stored" == field(first, b"cache-status")
        tag = field(first, b"etag") or b""
        assert tag.startswith(b'W/"')
        assert b"private, no-cache" == field(first, b"cache-control")
        harness.now = NOW + 2500
        second = await harness.ask("GET /export?a=1")
        assert b"content" == second.content
        assert b"2" == field(second, b"age")
        assert b"gateway; hit; ttl=57" == field(second, b"cache-status")
        assert tag == field(second, b"etag")
        for if_none_match in (tag, tag.removeprefix(b"W/"), b'"a", ' + tag + b', "b"', b"*"):
            third = await harness.ask("GET /export?a=1", (b"if-none-match", if_none_match))
            assert 304 == third.head.status
            assert b"" == third.content
            assert tag == field(third, b"etag")
        assert 1 == len(harness.upstreams.sent)
        assert b'W/"other"' != tag
        assert 200 == (await harness.ask("GET /export?a=1", (b"if-none-match", b'W/"other"'))).head.status


async def test_a_304_carries_what_the_200_would_have() -> None:
    """Content-Location, Date, ETag, Vary, Cache-Control and Expires, and no field of the content itself."""
    fields = [
        (b"content-location", b"/x"),
        (b"date", b"Sat, 21 Nov 2026 06:00:00 GMT"),
        (b"vary", b"accept-language"),
        (b"expires", b"Sat, 21 Nov 2026 07:00:00 GMT"),
        (b"content-type", b"text/plain"),
        (b"content-language", b"de"),
        (b"last-modified", b"Sat, 21 Nov 2026 05:00:00 GMT"),
    ]
    async with open_exchange(ok(*fields)) as harness:
        stored = await harness.ask("GET /export")
        answer = await harness.ask("GET /export", (b"if-none-match", b"*"))
        kept = {name for name, _ in answer.head.fields}
        expected = {b"content-location", b"date", b"etag", b"vary", b"cache-control", b"expires"}
        assert expected | {b"age", b"cache-status", b"x-request-id"} == kept
        assert field(stored, b"date") == field(answer, b"date")


async def test_a_fresh_answer_that_the_client_has_is_304_too() -> None:
    """The backend is asked for all of it, unconditionally, and the client is told that nothing has changed."""
    async with open_exchange(ok(), ok()) as harness:
        tag = field(await harness.ask("GET /export?1"), b"etag") or b""
        answer = await harness.ask("GET /export?2", (b"if-none-match", tag), (b"range", b"bytes=0-1"))
        assert 304 == answer.head.status
        assert b"" == answer.content
        assert [] == [name for name, _ in harness.upstreams.sent[1].fields if name in (b"if-none-match", b"range")]


async def test_exports_are_shared_within_a_project_and_not_beyond() -> None:
    """A second token of the project gets the stored answer, one of another project makes the backend be asked."""
    async with open_exchange(
        *(ok(content=content) for content in (b"first", b"second", b"third", b"fourth"))
    ) as harness:
        texts = [f"sml_{digit * 34}" for digit in "123"]
        texts = [text + build_checksum(text) for text in texts]
        for text, project in zip(texts, ("website", "other", ""), strict=True):
            await harness.create(make_record(text, plan="open", project=project))
        await harness.ask("GET /export")
        contents = [(await harness.ask("GET /export", text=text)).content for text in texts]
        assert [b"first", b"second", b"third"] == contents
        assert b"fourth" == (await harness.ask("GET /export", text=texts[2])).content


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
async def test_what_may_not_be_stored_is_asked_for_again(answer: Response) -> None:
    """The backend's own word, a cookie, Vary: * or another status keep an answer out of the cache."""
    async with open_exchange(answer, ok()) as harness:
        await harness.ask("GET /export")
        again = await harness.ask("GET /export")
        assert b"gateway; fwd=uri-miss; stored" == field(again, b"cache-status")
        assert 2 == len(harness.upstreams.sent)


async def test_a_variant_is_reused_for_the_same_fields_only() -> None:
    """Vary: another language makes the backend be asked."""
    vary = (b"vary", b"Accept-Language")
    async with open_exchange(ok(vary), ok(vary, content=b"contenu")) as harness:
        german, french = (b"accept-language", b"de"), (b"accept-language", b"fr")
        await harness.ask("GET /export", german)
        assert b"content" == (await harness.ask("GET /export", german)).content
        missed = await harness.ask("GET /export", french)
        assert b"contenu" == missed.content
        assert b"gateway; fwd=vary-miss; stored" == field(missed, b"cache-status")


async def test_variants_are_kept_side_by_side() -> None:
    """Each language is fetched once."""
    vary = (b"vary", b"accept-language")
    async with open_exchange(ok(vary, content=b"Inhalt"), ok(vary, content=b"contenu")) as harness:
        for language, content in [(b"de", b"Inhalt"), (b"fr", b"contenu")] * 2:
            assert content == (await harness.ask("GET /export", (b"accept-language", language))).content
        assert 2 == len(harness.upstreams.sent)


async def test_ranges_are_cut_from_one_whole() -> None:
    """The first range has the whole fetched and stored; the next ones are cut from that."""
    async with open_exchange(ok()) as harness:
        for wanted, content in ((b"bytes=0-2", b"con"), (b"bytes=-2", b"nt")):
            answer = await harness.ask("GET /export", (b"range", wanted))
            assert 206 == answer.head.status
            assert content == answer.content
        assert 1 == len(harness.upstreams.sent)
        assert None is asked(harness, 0, b"range")
        resumed = await harness.ask(
            "GET /export", (b"range", b"bytes=3-"), (b"if-range", field(answer, b"etag") or b"")
        )
        assert 200 == resumed.head.status
        assert b"content" == resumed.content


async def test_who_wants_only_what_is_stored_costs_the_backend_nothing() -> None:
    """504 with a reason of its own where there is nothing, and the answer where there is."""
    async with open_exchange(ok()) as harness:
        only = (b"cache-control", b"only-if-cached")
        assert 504 == (await harness.ask("GET /export", only)).head.status
        assert "not_stored" == harness.records[-1].reason
        await harness.ask("GET /export")
        assert 200 == (await harness.ask("GET /export", only)).head.status
        assert 1 == len(harness.upstreams.sent)


async def test_what_one_client_forbids_ends_nothing_for_others() -> None:
    """A no-store of a request is about its own answer: what is stored stays."""
    async with open_exchange(ok(), ok(content=b"own")) as harness:
        await harness.ask("GET /export")
        private = await harness.ask("GET /export", (b"cache-control", b"no-store"))
        assert b"own" == private.content
        assert b"gateway; fwd=request; detail=client-no-store" == cache_status(private)
        assert b"content" == (await harness.ask("GET /export")).content


async def test_content_that_has_gone_is_asked_for_again() -> None:
    """A head whose content Redis no longer has, and memory neither, is a miss."""
    async with open_exchange(ok(), ok(content=b"new")) as harness:
        await harness.ask("GET /export")
        (name,) = await harness.connection.client.keys("gw1:content:*")
        await harness.connection.client.delete(name)
        harness.exports.forget()
        assert b"new" == (await harness.ask("GET /export")).content


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
async def test_a_stream_of_events_is_passed_on_as_it_comes(status: int) -> None:
    """Its first event is there while it has no end; nobody waits for it, and nothing of it is stored."""
    streams = [Events() for _ in range(4)]
    fields = ((b"content-type", b"text/event-stream;charset=utf-8"), (b"cache-control", b"max-age=60"))
    async with open_exchange(*(ok(*fields, content=stream, status=status) for stream in streams)) as harness:
        async with asyncio.timeout(10):
            answers = list(await asyncio.gather(*(harness.ask("GET /export") for _ in range(3))))
            answers.append(await harness.ask("GET /export"))
            assert {b"gateway; fwd=uri-miss; detail=event-stream"} == {cache_status(answer) for answer in answers}
            assert {None} == {field(answer, b"etag") for answer in answers}
            for answer in answers:
                assert not isinstance(answer.content, bytes)
                assert b"data: 1\n\n" == await anext(aiter(answer.content))
                await answer.content.aclose()
        assert all(stream.is_closed.is_set() for stream in streams)


async def test_a_head_that_nobody_can_read_is_not_there() -> None:
    """What another version of the gateway has stored is a miss, and is replaced."""
    async with open_exchange(ok(), ok(content=b"new")) as harness:
        await harness.ask("GET /export")
        (name,) = await harness.connection.client.keys("gw1:export:*")
        (variant,) = await harness.connection.client.hkeys(name)
        await harness.connection.client.hset(name, variant, b"0000000000000nonsense")
        assert b"new" == (await harness.ask("GET /export")).content
        assert b"new" == (await harness.ask("GET /export")).content


async def test_a_write_passes_by_the_cache() -> None:
    """It is neither answered from what is stored nor stored."""
    async with open_exchange(ok(), ok(status=201)) as harness:
        await harness.ask("GET /export")
        written = await harness.ask("POST /export")
        assert 201 == written.head.status
        assert None is field(written, b"cache-status")


@pytest.mark.parametrize("fields", [[], [(b"range", b"bytes=0-1")], [(b"if-none-match", b'"x"')]])
async def test_head_before_the_first_get_has_the_fields_of_get(fields: list[Field]) -> None:
    """RFC 9110 9.3.2: the same tag, length and Cache-Control. The whole is fetched for it, once, and stored."""
    policy = SMALL.replace('match = "GET /export"', 'match = "GET /{export}"')
    async with open_exchange(ok((b"etag", b'"v1"')), ok((b"etag", b'"v1"')), policy=policy) as harness:
        head = await harness.ask("HEAD /export", *fields)
        assert b"" == head.content
        whole = await harness.ask("GET /other-export")
        assert whole.head == head.head
        assert ["GET", "GET"] == [sent.method for sent in harness.upstreams.sent]
        assert b"gateway; hit; ttl=60" == cache_status(await harness.ask("GET /export"))


@pytest.mark.parametrize(
    "answer",
    [
        ok((b"cache-control", b"no-store")),
        ok((b"content-length", b"99999999"), content=Pieces(b"x")),
        ok((b"content-type", b"text/event-stream"), content=Pieces(b"x")),
        ok(status=404),
    ],
)
async def test_head_of_what_is_not_stored_leaves_no_stream(answer: Response) -> None:
    """The head is what GET would have; the backend's work on the content is ended."""
    async with open_exchange(answer) as harness:
        head = await harness.ask("HEAD /export")
        assert answer.head.status == head.head.status
        assert b"" == head.content
        assert not isinstance(answer.content, Pieces) or answer.content.is_closed


async def test_if_match_is_for_the_backend_to_evaluate() -> None:
    """RFC 9110 13.1.1, 13.1.4: it is passed on with what is stored unused, and its 412 changes nothing for others."""
    failed = ok((b"cache-control", b"max-age=60"), status=412)
    async with open_exchange(ok((b"etag", b'"v1"')), failed, ok(status=304, content=b""), failed) as harness:
        await harness.ask("GET /export")
        conditions = [(b"if-match", b'"old"'), (b"if-unmodified-since", b"Sat, 21 Nov 2026 06:00:00 GMT")]
        refused = await harness.ask("GET /export", *conditions, (b"if-none-match", b'"x"'))
        assert 412 == refused.head.status
        assert b"gateway; fwd=request; detail=precondition" == cache_status(refused)
        assert [value for _, value in conditions] == [asked(harness, 1, name) for name, _ in conditions]
        assert b'"v1"' == asked(harness, 1, b"if-none-match")
        assert b"gateway; hit; ttl=60" == cache_status(await harness.ask("GET /export"))
        holds = await harness.ask("GET /export", (b"if-match", b'"v1"'))
        assert 200 == holds.head.status
        assert b"gateway; fwd=request; fwd-status=304; stored" == cache_status(holds)
        head = await harness.ask("HEAD /export", (b"if-match", b'"old"'))
        assert 412 == head.head.status
        assert b"" == head.content


async def test_content_in_pieces_is_stored_whole_or_streamed() -> None:
    """An export in pieces is collected and tagged; one beyond the limit streams through as it is."""
    huge = Pieces(b"x" * MAXIMUM_EXPORT_BYTES, b"y", b"z")
    async with open_exchange(ok(content=Pieces(b"one ", b"two")), ok(content=huge)) as harness:
        small = await harness.ask("GET /export?small")
        assert b"one two" == small.content
        assert b"7" == field(small, b"content-length")
        large = await harness.ask("GET /export?large")
        assert not isinstance(large.content, bytes)
        assert MAXIMUM_EXPORT_BYTES + 2 == sum([len(piece) async for piece in large.content])
        await large.content.aclose()
        assert None is field(large, b"etag")
        assert huge.is_closed


async def test_long_content_is_not_collected_where_its_length_is_told() -> None:
    """It streams from its first byte, and nobody waits for it."""
    long = Pieces(b"x")
    async with open_exchange(ok((b"content-length", b"9000000"), content=long)) as harness:
        answer = await harness.ask("GET /export")
        assert not isinstance(answer.content, bytes)
        await answer.content.aclose()
        assert long.is_closed


async def test_an_errors_time_is_the_backends_to_say() -> None:
    """A 404 with a time is stored for it; it has no tag of the gateway's, and is never 304."""
    async with open_exchange(ok((b"cache-control", b"max-age=10"), status=404), policy=BACKEND_SAYS) as harness:
        for expected in (b"gateway; fwd=uri-miss; stored", b"gateway; hit; ttl=9"):
            answer = await harness.ask("GET /export", (b"if-none-match", b"*"))
            assert 404 == answer.head.status
            assert expected == cache_status(answer)
            assert None is field(answer, b"etag")
            harness.now = NOW + 1


async def test_a_rule_passes_the_backends_cache_control() -> None:
    """From the cache as from the backend; by default clients are told to ask for each use."""
    policy = small_policy('shared_by = "project", client_cache_control = "backend"')
    async with open_exchange(ok((b"cache-control", b"max-age=10")), policy=policy) as harness:
        for _ in range(2):
            assert b"max-age=10" == field(await harness.ask("GET /export"), b"cache-control")


async def test_a_digest_for_who_wants_one() -> None:
    """Repr-Digest from the backend's answer and from the stored one alike (RFC 9530)."""
    async with open_exchange(ok()) as harness:
        want = (b"want-repr-digest", b"sha-256=1")
        digests = {field(await harness.ask("GET /export", want), b"repr-digest") for _ in range(2)}
        assert {b"sha-256=:7XACtDnprIRfIjV9giusFERzD722AW0+yUMil7nsn3M=:"} == digests
        assert None is field(await harness.ask("GET /export"), b"repr-digest")


async def test_public_answers_are_shared_by_all() -> None:
    """A rule that is public and whose answers are for everybody: no token, one entry."""
    text = small_policy('fresh = "1m"').replace('scopes = ["read"]\ncache', "public = true\ncache", 1)
    async with open_exchange(ok(), policy=text) as harness:
        answers = [await harness.ask("GET /export", text=one) for one in (None, TEXT, None)]
        assert [b"gateway; fwd=uri-miss; stored", b"gateway; hit; ttl=60", b"gateway; hit; ttl=60"] == [
            cache_status(answer) for answer in answers
        ]


async def test_interim_answers_reach_the_client_whose_request_they_are_for() -> None:
    """From the cache's fetch and past it: without what is about a connection, and with the gateway's Via."""
    hints = ok((b"link", b"</a>"), (b"connection", b"x-hop"), (b"x-hop", b"1"), status=103)
    async with open_exchange(hints, ok(), hints, ok(), hints, ok()) as harness:
        got: list[ResponseHead] = []
        for request in ("GET /export", "POST /other", "HEAD /export?2"):
            await harness.ask(request, inform=got.append)
        await harness.ask("GET /export", inform=got.append)
        assert [ResponseHead(103, [(b"link", b"</a>"), (b"via", b"1.1 gateway")])] * 3 == got


async def test_a_backends_own_address_reaches_no_client() -> None:
    """Neither by an interim answer, nor by one that passes, that is stored, or that is freshened by a 304."""
    link = (b"link", b"<http://127.0.0.1:9001/a>; rel=preload")
    place = (b"content-location", b"http://127.0.0.1:9001/export.json")
    first, tag = (b"cache-control", b"max-age=0"), (b"etag", b'"a"')
    answers = (
        ok(link, status=103),
        ok(place, first, tag),
        ok(place, status=304),
        ok((b"location", b"http://127.0.0.1:9001/b"), status=201),
    )
    async with open_exchange(*answers, policy=BACKEND_SAYS) as harness:
        got: list[ResponseHead] = []
        seen = [await harness.ask("GET /export", inform=got.append) for _ in range(2)]
        seen.append(await harness.ask("POST /other"))
    assert [b"<http://small.example/a>; rel=preload"] == [field_value(head.fields, b"link") for head in got]
    expected = [b"http://small.example/export.json"] * 2 + [b"http://small.example/b"]
    assert expected == [field(one, b"content-location") or field(one, b"location") for one in seen]


async def test_who_waits_for_another_ones_fetch_gets_no_interim_answers() -> None:
    """What is refreshed behind a client's back, and for others, informs nobody."""
    policy = small_policy('fresh = "1m", stale_while_revalidate = "1h"')
    async with open_exchange(ok(), ok(status=103), ok(), policy=policy) as harness:
        got: list[ResponseHead] = []
        await harness.ask("GET /export", inform=got.append)
        harness.now = NOW + 61_000
        answer = await harness.ask("GET /export", inform=got.append)
        assert b"gateway; hit; ttl=-1; detail=stale-while-revalidate" == cache_status(answer)
        await asyncio.gather(*harness.export_cache._refreshing.values())
        assert 2 == len(harness.upstreams.sent)
        assert [] == got


@pytest.mark.parametrize("request_", ["GET /export", "HEAD /export", "GET /other", "POST /export"])
async def test_a_request_that_comes_back_is_refused(request_: str) -> None:
    """508 (RFC 5842 7.2) where the same policy has passed it on before, before it waits for its own fetch."""
    async with open_exchange(ok()) as harness:
        await harness.ask("GET /costly", (b"cdn-loop", b"other.example"))
        mark = harness.upstreams.sent[0].fields[-1]
        assert b"cdn-loop" == mark[0]
        again = await harness.ask(request_, mark)
        assert 508 == again.head.status
        assert 1 == len(harness.upstreams.sent)


async def test_what_is_stored_answers_a_request_that_comes_back() -> None:
    """Nothing is passed on for it."""
    async with open_exchange(ok()) as harness:
        await harness.ask("GET /export")
        assert 200 == (await harness.ask("GET /export", harness.upstreams.sent[0].fields[-1])).head.status

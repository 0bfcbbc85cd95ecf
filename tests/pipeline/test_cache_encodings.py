"""Content codings of exports: chosen for each client, encoded once, kept. See test_cache.py."""

import asyncio
import base64
import gzip
import hashlib
import sys
from collections.abc import Callable

import brotli
import pytest

from gateway.adapters.encodings.encoder import CODINGS, ContentEncoder
from gateway.core.cache.storing import MAXIMUM_EXPORT_BYTES
from gateway.core.http.messages import Field, Response, field_value, field_values
from tests.support.exchange_harness import NOW, field, ok, open_exchange
from tests.support.policies import small_policy

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b'{"key": "a value that is there again and again"}, ' * 100
LARGE = TEXT * 20
JSON = (b"content-type", b"application/json")
TAGGED = (b"etag", b'"v1"')
DECODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"br": brotli.decompress,
    b"zstd": zstd.decompress,
    b"gzip": gzip.decompress,
}


def accept(value: bytes) -> Field:
    return (b"accept-encoding", value)


def decoded(answer: Response) -> bytes:
    """The content, whose length the head tells, as it was before it was encoded."""
    assert isinstance(answer.content, bytes)
    assert b"%d" % len(answer.content) == field(answer, b"content-length")
    coding = field(answer, b"content-encoding")
    return answer.content if coding is None else DECODERS[coding](answer.content)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The codings that something was encoded in, in order."""
    done: list[bytes] = []
    encode = ContentEncoder.encode

    async def note(self: ContentEncoder, coding: bytes, content: bytes) -> bytes:
        done.append(coding)
        return await encode(self, coding, content)

    monkeypatch.setattr(ContentEncoder, "encode", note)
    return done


async def test_each_client_gets_the_coding_it_prefers(encoded: list[bytes]) -> None:
    """The backend is asked once, for the content as it is; each coding is made once; the tag is one, and Vary right."""
    async with open_exchange(ok(JSON, content=TEXT)) as harness:
        asked = [
            (b"gzip, deflate, br, zstd", b"br"),
            (b"gzip;q=0.5, zstd", b"zstd"),
            (b"br;q=0, gzip", b"gzip"),
            (b"identity", None),
            (b"identity, br;q=0.5", None),
            (b"br, gzip;q=0.1", b"br"),
            (b"deflate", None),
            (b"*;q=0.3", b"br"),
            (b"br;q=2", None),
        ]
        answers = [await harness.ask("GET /export", accept(value)) for value, _ in asked]
        answers.append(await harness.ask("GET /export"))
        assert [*(coding for _, coding in asked), None] == [field(one, b"content-encoding") for one in answers]
        assert {TEXT} == {decoded(one) for one in answers}
        assert {(field(answers[0], b"etag"), b"Accept-Encoding")} == {
            (field(one, b"etag"), field(one, b"vary")) for one in answers
        }
        assert [b"identity"] == [field_value(sent.fields, b"accept-encoding") for sent in harness.upstreams.sent]
        assert [b"br", b"zstd", b"gzip"] == encoded


async def test_a_304_is_the_same_whatever_the_coding(encoded: list[bytes]) -> None:
    """It has the one weak tag and Vary, nothing about a coding, and costs no encoding."""
    async with open_exchange(ok(JSON, content=TEXT)) as harness:
        tag = field(await harness.ask("GET /export"), b"etag") or b""
        for value in (b"br", b"gzip", b"identity"):
            answer = await harness.ask("GET /export", accept(value), (b"if-none-match", tag))
            assert 304 == answer.head.status
            assert b"" == answer.content
            assert tag == field(answer, b"etag")
            assert b"Accept-Encoding" == field(answer, b"vary")
            assert None is field(answer, b"content-encoding")
        assert [] == encoded


async def test_a_strong_tag_becomes_weak_and_is_asked_about_as_it_was() -> None:
    """A strong tag promises the same bytes to all; the backend knows only its own."""
    async with open_exchange(ok(JSON, TAGGED, content=TEXT), ok(status=304, content=b"")) as harness:
        answer = await harness.ask("GET /export", accept(b"br"))
        assert b'W/"v1"' == field(answer, b"etag")
        harness.now = NOW + 61_000
        validated = await harness.ask("GET /export", accept(b"br"))
        assert b'"v1"' == field_value(harness.upstreams.sent[1].fields, b"if-none-match")
        assert b"br" == field(validated, b"content-encoding")
        assert TEXT == decoded(validated)


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ([(b"content-type", b"image/png")], TEXT),
        ([(b"content-type", b"application/zip")], TEXT),
        ([JSON, (b"cache-control", b"no-transform")], TEXT),
        ([JSON], TEXT[:511]),
        ([], TEXT),
    ],
)
async def test_what_gains_nothing_or_must_not_be_changed_passes_as_it_is(
    fields: list[Field], content: bytes, encoded: list[bytes]
) -> None:
    """Compressed already, no-transform, short, of an unknown type: bytes, strong tag and Vary are the backend's."""
    async with open_exchange(ok(TAGGED, *fields, content=content)) as harness:
        for value in (b"br, gzip", b"zstd", b"identity"):
            answer = await harness.ask("GET /export", accept(value))
            assert content == answer.content
            assert b'"v1"' == field(answer, b"etag")
            for name in (b"content-encoding", b"vary"):
                assert field_value(fields, name) == field(answer, name)
        assert 1 == len(harness.upstreams.sent)
        assert [] == encoded


@pytest.mark.parametrize("coding", CODINGS)
async def test_text_that_a_backend_encodes_unasked_is_taken_out_of_its_coding(coding: bytes) -> None:
    """It is stored as it is: each client gets the coding that it accepts, parts too, and a tag that is true of all."""
    own = [
        JSON,
        TAGGED,
        (b"content-encoding", coding),
        (b"repr-digest", b"sha-256=:AA==:"),
        (b"accept-ranges", b"bytes"),
    ]
    async with open_exchange(ok(*own, content=CODINGS[coding](TEXT))) as harness:
        for value in (b"identity", b"br", b"gzip"):
            answer = await harness.ask("GET /export", accept(value))
            assert TEXT == decoded(answer)
            assert b'W/"v1"' == field(answer, b"etag")
            assert value == (field(answer, b"content-encoding") or b"identity")
            assert [b"Accept-Encoding"] == [value for name, value in answer.head.fields if name == b"vary"]
        part = await harness.ask("GET /export", (b"range", b"bytes=0-9"), (b"want-repr-digest", b"sha-256=1"))
        digest = base64.b64encode(hashlib.sha256(TEXT).digest())
        assert TEXT[:10] == part.content
        assert b"sha-256=:%b:" % digest == field(part, b"repr-digest")
        assert 1 == len(harness.upstreams.sent)


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ([JSON, (b"content-encoding", b"gzip")], TEXT),
        ([JSON, (b"content-encoding", b"gzip")], CODINGS[b"gzip"](TEXT)[:-1]),
        ([JSON, (b"content-encoding", b"br")], CODINGS[b"br"](b" " * (MAXIMUM_EXPORT_BYTES + 1))),
    ],
)
async def test_what_cannot_be_taken_out_of_its_coding_is_stored_for_nobody(fields: list[Field], content: bytes) -> None:
    """It is not what it says, or too long: who asked gets it, and nobody else."""
    async with open_exchange(*(ok(*fields, content=content) for _ in range(2))) as harness:
        for _ in range(2):
            answer = await harness.ask("GET /export", accept(b"identity"))
            sent = (
                answer.content if isinstance(answer.content, bytes) else b"".join([one async for one in answer.content])
            )
            assert content == sent
            assert dict(fields)[b"content-encoding"] == field(answer, b"content-encoding")
            assert b"gateway; fwd=uri-miss; detail=content-encoding" == field(answer, b"cache-status")
        assert 2 == len(harness.upstreams.sent)


async def test_a_client_that_forbids_transforming_gets_the_content_as_it_is() -> None:
    """RFC 9111 5.2.1.6; and a part is of the content as it is."""
    async with open_exchange(ok(JSON, content=TEXT)) as harness:
        plain = await harness.ask("GET /export", accept(b"br"), (b"cache-control", b"no-transform"))
        assert TEXT == plain.content
        assert None is field(plain, b"content-encoding")
        part = await harness.ask("GET /export", accept(b"br"), (b"range", b"bytes=0-9"))
        assert 206 == part.head.status
        assert TEXT[:10] == part.content
        assert None is field(part, b"content-encoding")


async def test_a_backends_vary_by_encoding_makes_no_variants() -> None:
    """All clients share what was asked for as it is; a Vary by other fields too stays, and is honoured."""
    vary = (b"vary", b"accept-encoding, accept-language")
    async with open_exchange(ok(JSON, vary, content=b"de" + TEXT), ok(JSON, vary, content=b"fr" + TEXT)) as harness:
        for language, value in [(b"de", b"br"), (b"de", b"gzip"), (b"fr", b"gzip"), (b"fr", b"identity")]:
            answer = await harness.ask("GET /export", accept(value), (b"accept-language", language))
            assert language == decoded(answer)[:2]
            assert [b"accept-encoding, accept-language"] == field_values(answer.head.fields, b"vary")
        assert 2 == len(harness.upstreams.sent)


async def test_head_encodes_nothing(encoded: list[bytes]) -> None:
    """Its fields are those of GET; the length only where it is known."""
    async with open_exchange(ok(JSON, content=TEXT)) as harness:
        await harness.ask("GET /export")
        head = await harness.ask("HEAD /export", accept(b"br"))
        assert b"br" == field(head, b"content-encoding")
        assert None is field(head, b"content-length")
        assert b"" == head.content
        assert [] == encoded
        length = field(await harness.ask("GET /export", accept(b"br")), b"content-length")
        head = await harness.ask("HEAD /export", accept(b"br"))
        assert b"br" == field(head, b"content-encoding")
        assert length == field(head, b"content-length")
        assert b"" == head.content


async def test_only_what_a_rule_caches_is_asked_for_as_it_is() -> None:
    """HEAD like GET: both are about the same content. Elsewhere the backend hears the client's Accept-Encoding."""
    async with open_exchange(ok(JSON, content=b""), ok(JSON, content=TEXT), ok(), ok(JSON, content=TEXT)) as harness:
        for request in ("HEAD /export", "GET /export", "POST /export", "GET /other"):
            await harness.ask(request, accept(b"br"))
        asked = [field_values(sent.fields, b"accept-encoding") for sent in harness.upstreams.sent]
        assert [[b"identity"], [b"br"], [b"br"]] == asked


async def test_another_worker_finds_what_was_encoded(encoded: list[bytes]) -> None:
    """Once for all: a worker with nothing in memory reads it from Redis, also after the same content came again."""
    async with open_exchange(ok(JSON, content=TEXT), ok(JSON, content=TEXT)) as harness:
        await harness.ask("GET /export", accept(b"br"))
        for seconds in (0, 61):
            harness.now = NOW + seconds * 1000
            harness.exports.forget()
            assert TEXT == decoded(await harness.ask("GET /export", accept(b"br")))
        assert [b"br"] == encoded
        assert 2 == len(harness.upstreams.sent)


async def test_new_content_is_encoded_anew() -> None:
    """What the old one was encoded to goes with it, in memory and in Redis."""
    async with open_exchange(ok(JSON, content=TEXT), ok(JSON, content=LARGE)) as harness:
        await harness.ask("GET /export", accept(b"br"))
        harness.now = NOW + 61_000
        for _ in range(2):
            assert LARGE == decoded(await harness.ask("GET /export", accept(b"br")))
            harness.exports.forget()


async def test_content_that_is_gone_is_fetched_again(encoded: list[bytes]) -> None:
    """Where Redis has the head and no more, nobody gets an empty or a broken answer."""
    async with open_exchange(ok(JSON, content=TEXT), ok(JSON, content=LARGE)) as harness:
        await harness.ask("GET /export")
        harness.exports.forget()
        for name in await harness.connection.client.keys("gw1:content:*"):
            await harness.connection.client.delete(name)
        assert LARGE == decoded(await harness.ask("GET /export", accept(b"br")))


@pytest.mark.parametrize("is_warm", [False, True])
async def test_a_thousand_clients_of_one_coding_encode_once(is_warm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether they wait for the backend or find the content stored; and one that leaves takes it from nobody."""
    runs: list[bytes] = []
    compress = CODINGS[b"br"]

    def compress_and_count(content: bytes) -> bytes:
        runs.append(content)
        return compress(content)

    monkeypatch.setitem(CODINGS, b"br", compress_and_count)
    async with open_exchange(ok(JSON, content=LARGE)) as harness:
        if is_warm:
            await harness.ask("GET /export")
        asking = [asyncio.create_task(harness.ask("GET /export", accept(b"br"))) for _ in range(1000)]
        while not runs and not all(task.done() for task in asking):
            await asyncio.sleep(0)
        asking[500].cancel()
        answers = await asyncio.gather(*asking, return_exceptions=True)
        contents = {decoded(one) for one in answers if isinstance(one, Response)}
        assert {LARGE} == contents
        assert 1 == len(runs)
        assert 1 == len(harness.upstreams.sent)
        assert 999 <= sum(isinstance(one, Response) for one in answers)


@pytest.mark.parametrize("refusal", [(b"cache-control", b"private"), (b"set-cookie", b"a=1")])
async def test_an_answer_that_is_not_stored_is_encoded_all_the_same(refusal: Field) -> None:
    """The gateway asked for it as it is, so it owes the client the coding."""
    async with open_exchange(ok(JSON, refusal, content=TEXT), ok(JSON, refusal, content=LARGE)) as harness:
        for content in (TEXT, LARGE):
            answer = await harness.ask("GET /export", accept(b"gzip"))
            assert b"gzip" == field(answer, b"content-encoding")
            assert content == decoded(answer)
        assert [] == await harness.connection.client.keys("gw1:content:*")


async def test_a_stale_export_is_encoded_too() -> None:
    """What stands in while the backend fails is like any other answer."""
    policy = small_policy('fresh = "1m", stale_if_error = "1h"')
    async with open_exchange(ok(JSON, content=TEXT), ok(status=503), policy=policy) as harness:
        await harness.ask("GET /export")
        harness.now = NOW + 61_000
        answer = await harness.ask("GET /export", accept(b"zstd"))
        assert b"zstd" == field(answer, b"content-encoding")
        assert TEXT == decoded(answer)
        assert b"stale-if-error" in (field(answer, b"cache-status") or b"")


async def test_a_digest_is_of_what_is_sent() -> None:
    """RFC 9530: Repr-Digest is of the encoded representation; the backend's own goes with the content as it was."""
    async with open_exchange(ok(JSON, (b"repr-digest", b"sha-256=:AA==:"), content=TEXT)) as harness:
        wanted = (b"want-repr-digest", b"sha-256=1")
        answer = await harness.ask("GET /export", accept(b"br"), wanted)
        again = await harness.ask("GET /export", accept(b"br"), wanted)
        assert isinstance(answer.content, bytes)
        own = b"sha-256=:" + base64.b64encode(hashlib.sha256(answer.content).digest()) + b":"
        assert own == field(answer, b"repr-digest")
        assert own == field(again, b"repr-digest")
        assert b"sha-256=:AA==:" == field(await harness.ask("GET /export", wanted), b"repr-digest")
        assert None is field(await harness.ask("GET /export", accept(b"br")), b"repr-digest")


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ([JSON, (b"content-encoding", b"gzip, br")], CODINGS[b"br"](CODINGS[b"gzip"](TEXT))),
        ([JSON, (b"content-encoding", b"exi")], TEXT),
        ([JSON, (b"content-encoding", b"gzip"), (b"cache-control", b"no-transform")], CODINGS[b"gzip"](TEXT)),
        ([(b"content-type", b"application/gzip"), (b"content-encoding", b"gzip")], CODINGS[b"gzip"](TEXT)),
    ],
)
async def test_what_is_not_to_be_taken_out_of_its_coding_is_stored_in_it(fields: list[Field], content: bytes) -> None:
    """Coded in what is not known, not to be transformed, an archive: the backend gives it to all who ask."""
    async with open_exchange(ok(*fields, content=content)) as harness:
        for status in (b"gateway; fwd=uri-miss; stored", b"gateway; hit; ttl=60"):
            answer = await harness.ask("GET /export", accept(b"identity"))
            assert content == answer.content
            assert dict(fields)[b"content-encoding"] == field(answer, b"content-encoding")
            assert status == field(answer, b"cache-status")
        assert 1 == len(harness.upstreams.sent)

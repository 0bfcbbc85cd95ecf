"""Answers made from what is stored, or has just been fetched whole."""

import base64
import hashlib

import pytest

from gateway.core.cache.model import CLIENT_CACHE_CONTROL, build_export
from gateway.core.cache.reuse import (
    Reuse,
    build_cache_status_forwarded,
    build_cache_status_hit,
    build_fetched,
    build_reused,
    is_unmodified,
    needs_content,
)
from gateway.core.http.messages import Field, Response, ResponseHead, field_value, field_values
from tests.core.cache.answers import CONTENT, SHARED, cc, export, make
from tests.core.samples import NOW_MILLISECONDS as NOW
from tests.core.samples import make_request

STORED = export((b"content-type", b"application/json"))
DIGEST = b"sha-256=:" + base64.b64encode(hashlib.sha256(CONTENT).digest()) + b":"


def reused(*fields: Field, method: str = "GET") -> Response:
    return build_reused(make_request(*fields, method=method), Reuse(STORED), CONTENT, NOW + 5000)


def test_clients_must_ask_for_each_use_of_a_stored_answer() -> None:
    """A stored answer goes out under our Cache-Control and tag, one of each, unless the rule passes the backend's."""
    head = make(cc(b"public, max-age=60"), (b"etag", b'"v1"'), (b"gateway-cache-control", b"max-age=9"))
    ours, theirs = build_export(head), build_export(head, passes_cache_control=True)
    assert [CLIENT_CACHE_CONTROL[1]] == field_values(ours.reply_fields, b"cache-control")
    assert [b"public, max-age=60"] == field_values(theirs.reply_fields, b"cache-control")
    for one in (ours, theirs):
        assert [b'"v1"'] == field_values(one.reply_fields, b"etag")
        assert [] == field_values(one.reply_fields, b"gateway-cache-control")


def test_what_is_said_to_other_caches_goes_on_with_cache_control() -> None:
    """CDN-Cache-Control would overrule what keeps revocation immediate (RFC 9213 3); else it passes."""
    head = make(cc(b"public"), (b"cdn-cache-control", b"max-age=9"))
    for passes, expected in ((False, []), (True, [b"max-age=9"])):
        one = build_export(head, passes_cache_control=passes)
        assert expected == field_values(one.reply_fields, b"cdn-cache-control")


@pytest.mark.parametrize(
    ("ages", "expected"), [([], []), ([b"5"], [b"5"]), ([b"5", b"9"], [b"5"]), ([b"5, 9"], [b"5"]), ([b"soon"], [])]
)
def test_the_age_of_what_was_just_fetched(ages: list[bytes], expected: list[bytes]) -> None:
    """One number of seconds, or none: what the backend's field means (RFC 9111 5.1)."""
    answer = ResponseHead(200, [(b"age", age) for age in ages])
    fetched = build_fetched(make_request(), Reuse(STORED), CONTENT, answer, b"gateway; fwd=uri-miss")
    assert expected == field_values(fetched.head.fields, b"age")


def test_a_304_has_what_it_must_have_and_no_more() -> None:
    """Of the 200's fields a 304 carries those of RFC 9110 15.4.5 that were there, and its age."""
    stored = export((b"vary", b"accept"), (b"content-type", b"text/plain"), (b"expires", b"0"), (b"x", b"y"))
    answer = build_reused(make_request(), Reuse(stored, is_unmodified=True), b"", NOW)
    expected = {b"vary", b"expires", b"date", b"etag", b"cache-control", b"cache-status", b"age"}
    assert 304 == answer.head.status
    assert expected == {name for name, _ in answer.head.fields}
    assert b"" == answer.content


def test_an_answer_from_the_cache_has_its_age() -> None:
    """Age and Cache-Status are written for each use, and Via says who passed it on."""
    answer = reused()
    assert 200 == answer.head.status
    assert CONTENT == answer.content
    assert [b"5", b"gateway; hit; ttl=55", b"1.1 gateway"] == [
        field_value(answer.head.fields, name) for name in (b"age", b"cache-status", b"via")
    ]


def test_head_has_the_fields_and_no_content() -> None:
    """As GET would have them, the length too."""
    answer = reused(method="HEAD")
    assert 200 == answer.head.status
    assert b"" == answer.content
    assert b"8" == field_value(answer.head.fields, b"content-length")


@pytest.mark.parametrize(
    ("asked", "status", "content", "content_range"),
    [
        (b"bytes=0-1", 206, b'{"', b"bytes 0-1/8"),
        (b"bytes=-1", 206, b"}", b"bytes 7-7/8"),
        (b"bytes=8-", 416, b"", b"bytes */8"),
    ],
)
def test_a_range_is_answered_from_the_stored_whole(
    asked: bytes, status: int, content: bytes, content_range: bytes
) -> None:
    """206 with one Content-Length, or 416 with what there is; tag, type and age as of the whole."""
    answer = reused((b"range", asked))
    assert status == answer.head.status
    assert content == answer.content
    assert [content_range] == field_values(answer.head.fields, b"content-range")
    assert [b"%d" % len(content)] == field_values(answer.head.fields, b"content-length")
    assert [STORED.head.tag] == field_values(answer.head.fields, b"etag")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (b"sha-256=10", [DIGEST]),
        (b"sha-512=3, sha-256=1", [DIGEST]),
        (b"sha-256=0", []),
        (b"sha-512=10", []),
        (b"\xff", []),
    ],
)
def test_who_wants_a_digest_gets_one(asked: bytes, expected: list[bytes]) -> None:
    """Repr-Digest (RFC 9530) is of the whole representation, also beside a part of it."""
    for fields in ([], [(b"range", b"bytes=0-1")]):
        answer = reused((b"want-repr-digest", asked), *fields)
        assert expected == field_values(answer.head.fields, b"repr-digest")


def test_a_digest_of_the_backend_stays() -> None:
    """Where the backend has said it, the gateway does not say it again."""
    stored = export((b"repr-digest", b"sha-256=:AA==:"))
    answer = build_reused(make_request((b"want-repr-digest", b"sha-256=1")), Reuse(stored), CONTENT, NOW)
    assert [b"sha-256=:AA==:"] == field_values(answer.head.fields, b"repr-digest")


def test_a_new_answer_is_cut_to_what_was_asked_for() -> None:
    """What was fetched whole for the cache is answered as if it had been stored: 304, 206, or the whole."""
    stored, answer = export((b"etag", b'"v1"')), ResponseHead(200, [(b"age", b"7")])
    asked: tuple[list[Field], ...] = ([], [(b"range", b"bytes=0-1")], [(b"if-none-match", b'"v1"')])
    requests = [make_request(*fields) for fields in asked]
    reuses = [Reuse(stored, is_unmodified=is_unmodified(request.fields, stored.head)) for request in requests]
    answers = [
        build_fetched(request, reuse, CONTENT, answer, b"gateway; fwd=uri-miss")
        for request, reuse in zip(requests, reuses, strict=True)
    ]
    assert [(200, CONTENT), (206, CONTENT[:2]), (304, b"")] == [(one.head.status, one.content) for one in answers]
    assert b"7" == field_value(answers[0].head.fields, b"age")


def test_content_is_not_looked_for_where_none_is_sent() -> None:
    """Not for HEAD, 304 or an empty answer: their heads say all."""
    redirect = build_export(make(cc(b"max-age=9"), rule=SHARED, status=301))
    assert needs_content(make_request(), Reuse(redirect))
    assert not needs_content(make_request(method="HEAD"), Reuse(STORED))
    assert not needs_content(make_request(), Reuse(STORED, is_unmodified=True))


def test_cache_status_says_how_the_answer_came_about() -> None:
    """Cache-Status has the words of RFC 9211: a hit with its ttl, or why the backend was asked."""
    assert b"gateway; hit; ttl=59" == build_cache_status_hit(Reuse(STORED), NOW + 1)
    stale = Reuse(STORED, "stale-if-error")
    assert b"gateway; hit; ttl=-2; detail=stale-if-error" == build_cache_status_hit(stale, NOW + 62_000)
    assert b"gateway; fwd=stale; collapsed" == build_cache_status_hit(Reuse(STORED, collapsed="stale"), NOW)
    assert b"gateway; fwd=uri-miss; stored" == build_cache_status_forwarded("uri-miss", is_stored=True)
    assert b"gateway; fwd=method" == build_cache_status_forwarded("method", is_stored=False)
    assert b"gateway; fwd=stale; fwd-status=304; stored" == build_cache_status_forwarded(
        "stale", is_stored=True, status=304
    )

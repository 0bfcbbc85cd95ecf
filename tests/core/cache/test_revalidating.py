"""What a 304 changes of a stored answer (RFC 9111 4.3.4, 3.2)."""

import pytest

from gateway.core.cache.storing import freshen_head, freshened
from gateway.core.http.messages import Field, ResponseHead, field_values
from tests.core.cache.answers import BEARER, SHARED, cc, make
from tests.core.samples import NOW_MILLISECONDS as NOW
from tests.core.samples import admit, make_request

LATER = NOW + 100_000
STORED = make(
    (b"etag", b'"v1"'),
    cc(b"max-age=60"),
    (b"gateway-cache-control", b"max-age=30"),
    (b"content-type", b"text/plain"),
    (b"content-encoding", b"gzip"),
    (b"x", b"1"),
    (b"x", b"2"),
    rule=SHARED,
)


def after(*fields: Field) -> list[Field]:
    return freshened(STORED, ResponseHead(304, list(fields)), LATER).fields


@pytest.mark.parametrize(
    ("new", "name", "expected"),
    [
        ((b"y", b"9"), b"x", [b"1", b"2"]),
        ((b"x", b"9"), b"x", [b"9"]),
        ((b"content-type", b"text/css"), b"content-type", [b"text/css"]),
        ((b"content-encoding", b"br"), b"content-encoding", [b"gzip"]),
        ((b"content-length", b"0"), b"content-length", [b"8"]),
        ((b"etag", b'"v2"'), b"etag", [b'"v1"']),
        ((b"connection", b"x"), b"x", [b"1", b"2"]),
        ((b"age", b"7"), b"age", [b"7"]),
    ],
)
def test_new_fields_replace_those_of_the_same_name(new: Field, name: bytes, expected: list[bytes]) -> None:
    """All its lines at once; what belongs to the content stays, and hop-by-hop fields are no fields of it."""
    assert expected == field_values(after(new), name)


def test_a_304_makes_the_answer_fresh_again() -> None:
    """From when the backend was asked, for as long as it says now; tag, content and conditions stay the same."""
    response = freshened(STORED, ResponseHead(304, [(b"gateway-cache-control", b"max-age=90")]), LATER)
    head = freshen_head(admit(SHARED), make_request(BEARER), STORED, response, LATER)
    assert LATER == head.stored_at
    assert LATER + 90_000 == head.fresh_until
    assert STORED.tag == head.tag
    assert STORED.digest == head.digest
    assert STORED.validators == head.validators


def test_a_304_that_says_nothing_of_it_keeps_the_time() -> None:
    """The targeted directives that were stored count on."""
    response = freshened(STORED, ResponseHead(304, [(b"age", b"10")]), LATER)
    head = freshen_head(admit(SHARED), make_request(BEARER), STORED, response, LATER)
    assert NOW + 120_000 == head.fresh_until
    assert 10 == head.initial_age
    assert [] == field_values(head.fields, b"age")

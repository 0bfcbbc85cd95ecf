"""Which content coding a client gets, what is worth one, and the heads of encoded answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http.content_coding import (
    IDENTITY,
    MAXIMUM_LENGTH,
    MINIMUM_BYTES,
    add_vary_by_encoding,
    build_encoded_fields,
    choose_encoding,
    is_encodable,
    parse_accept_encoding,
)
from gateway.core.http.messages import Field, field_values

OFFERED = (b"br", b"zstd", b"gzip")
codings = st.sampled_from([*OFFERED, IDENTITY, b"*", b"deflate"])


def choose(*values: bytes, fields: tuple[Field, ...] = ()) -> bytes | None:
    return choose_encoding([*((b"accept-encoding", value) for value in values), *fields], OFFERED)


@pytest.mark.parametrize(
    ("value", "chosen"),
    [
        (b"gzip", b"gzip"),
        (b"gzip, deflate, br, zstd", b"br"),
        (b"zstd, gzip", b"zstd"),
        (b"gzip, br;q=0.9", b"gzip"),
        (b"gzip;q=0.5, zstd;q=0.501", b"zstd"),
        (b"br;q=0, *", b"zstd"),
        (b"*", b"br"),
        (b"*;q=0", None),
        (b"gzip;q=0.1, *;q=0.5", b"br"),
        (b"GZIP;Q=1.000", b"gzip"),
        (b"x-gzip", b"gzip"),
        (b"gzip ;\tq=1", b"gzip"),
        (b", ,gzip,", b"gzip"),
        (b"gzip;q=0, gzip", None),
        (b"gzip;q=0", None),
        (b"gzip;q=0.000", None),
        (b"deflate, compress", None),
        (b"identity", None),
        (b"identity, gzip", b"gzip"),
        (b"identity;q=1, gzip;q=0.5", None),
        (b"identity;q=0.5, gzip;q=0.2, *;q=0", None),
        (b"identity;q=0, gzip;q=0.001", b"gzip"),
        (b"identity;q=0", None),
        (b"*;q=0, gzip", b"gzip"),
        (b"", None),
    ],
)
def test_the_clients_weights_count_and_then_our_order(value: bytes, chosen: bytes | None) -> None:
    """The heaviest coding (RFC 9110 12.5.3), of equal ones the first that is offered, identity where none is left."""
    assert chosen == choose(value)


@pytest.mark.parametrize(
    "value",
    [
        b"gzip;q=2",
        b"gzip;q=1.001",
        b"gzip;q=0.1234",
        b"gzip;q=.5",
        b"gzip;q=-1",
        b"gzip;q=",
        b"gzip;level=9",
        b"gzip;q=1;q=1",
        b"gzip br",
        b"gzip; q = 1",
        b"br, g\xe9zip",
        b"gzip;q=\xb2",
        b"gzip," * MAXIMUM_LENGTH,
    ],
)
def test_a_malformed_field_gets_the_content_as_it_is(value: bytes) -> None:
    """No part of a field that breaks the grammar counts, nor one that no client has reason to send."""
    assert None is parse_accept_encoding(value)
    assert None is choose(value)


def test_without_the_field_the_content_is_as_it_is() -> None:
    """A client that says nothing may be one that decodes nothing."""
    assert None is choose()


def test_several_field_lines_are_one_list() -> None:
    """They are joined as RFC 9110 5.2 says, and too many are too long."""
    assert b"br" == choose(b"gzip", b"br")
    assert None is choose(*[b"gzip"] * MAXIMUM_LENGTH)


@pytest.mark.parametrize(
    "field", [(b"range", b"bytes=0-1"), (b"cache-control", b"no-transform"), (b"cache-control", b"a, No-Transform")]
)
def test_ranges_and_no_transform_get_the_content_as_it_is(field: Field) -> None:
    """A range is of the bytes as they are, and no-transform asks for these (RFC 9111 5.2.1.6)."""
    assert None is choose(b"gzip", fields=(field,))


@given(st.lists(st.tuples(codings, st.integers(0, 1000)), unique_by=lambda pair: pair[0]))
def test_the_choice_is_never_outdone(preferences: list[tuple[bytes, int]]) -> None:
    """No coding is heavier than the chosen one, and none of equal weight is offered before it."""
    value = b", ".join(b"%s;q=%d.%03d" % (coding, weight // 1000, weight % 1000) for coding, weight in preferences)
    weights = dict(preferences)
    rest = weights.get(b"*", 0)
    offers = [weights.get(coding, rest) for coding in OFFERED]
    chosen = choose(value)
    if chosen is None:
        assert max(offers) == 0 or max(offers) < weights.get(IDENTITY, 0)
    else:
        assert OFFERED.index(chosen) == offers.index(max(offers))
        assert max(offers) > 0
        assert max(offers) >= weights.get(IDENTITY, 0)


@given(st.lists(st.binary() | st.text("gzip,;q=01.* ").map(str.encode), max_size=3))
def test_any_field_gets_an_offer_or_none(values: list[bytes]) -> None:
    """Whatever a client sends, the answer is one of the offered codings or the content as it is."""
    assert choose(*values) in (None, *OFFERED)


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        (b"application/json", True),
        (b"Application/JSON; charset=utf-8", True),
        (b"application/vnd.api+json", True),
        (b"application/xml", True),
        (b"application/xliff+xml", True),
        (b"image/svg+xml", True),
        (b"text/csv", True),
        (b"text/html", True),
        (b"text/javascript", True),
        (b"application/javascript", True),
        (b"application/yaml", True),
        (b"application/x-ndjson", True),
        (b"text/event-stream", False),
        (b"image/png", False),
        (b"application/zip", False),
        (b"application/gzip", False),
        (b"font/woff2", False),
        (b"application/pdf", False),
        (b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", False),
        (b"application/octet-stream", False),
        (b"video/mp4", False),
        (b"multipart/form-data; boundary=json", False),
        (b"", False),
        (b"json", False),
    ],
)
def test_the_media_type_says_what_gains(media_type: bytes, expected: bool) -> None:
    """Text and what is written as text; never what is compressed already, and nothing without a type."""
    assert expected == is_encodable(200, [(b"content-type", media_type)], MINIMUM_BYTES)


@pytest.mark.parametrize(
    ("status", "fields", "length"),
    [
        (200, (), MINIMUM_BYTES - 1),
        (206, (), MINIMUM_BYTES),
        (304, (), MINIMUM_BYTES),
        (404, (), MINIMUM_BYTES),
        (200, ((b"content-encoding", b"gzip"),), MINIMUM_BYTES),
        (200, ((b"content-range", b"bytes 0-1/2"),), MINIMUM_BYTES),
        (200, ((b"cache-control", b"max-age=60"), (b"cache-control", b"no-transform")), MINIMUM_BYTES),
    ],
)
def test_what_is_never_encoded(status: int, fields: tuple[Field, ...], length: int) -> None:
    """Small content, parts, other statuses, what has a coding already, and what may not be transformed."""
    assert is_encodable(200, [(b"content-type", b"text/plain")], MINIMUM_BYTES)
    assert not is_encodable(status, [(b"content-type", b"text/plain"), *fields], length)


def test_an_encoded_head_says_so() -> None:
    """Coding and length are the new ones; digests and ranges of the old bytes are gone, all else is kept in order."""
    fields = [
        (b"content-type", b"text/plain"),
        (b"content-length", b"1000"),
        (b"etag", b'W/"a"'),
        (b"accept-ranges", b"bytes"),
        (b"repr-digest", b"sha-256=:AA==:"),
        (b"content-digest", b"sha-256=:AA==:"),
        (b"vary", b"Accept-Encoding"),
    ]
    assert [
        (b"content-type", b"text/plain"),
        (b"etag", b'W/"a"'),
        (b"vary", b"Accept-Encoding"),
        (b"content-encoding", b"br"),
        (b"content-length", b"400"),
    ] == build_encoded_fields(fields, b"br", 400)


@pytest.mark.parametrize(
    ("values", "varied"),
    [
        ([], [b"Accept-Encoding"]),
        ([b""], [b"Accept-Encoding"]),
        ([b"Accept-Language"], [b"Accept-Language, Accept-Encoding"]),
        ([b"Origin", b"Accept"], [b"Origin", b"Accept, Accept-Encoding"]),
        ([b"Origin", b""], [b"Origin, Accept-Encoding", b""]),
        ([b"accept-ENCODING, Origin"], [b"accept-ENCODING, Origin"]),
        ([b"Origin", b"Accept-Encoding"], [b"Origin", b"Accept-Encoding"]),
        ([b"*"], [b"*"]),
    ],
)
def test_vary_names_the_field_once(values: list[bytes], varied: list[bytes]) -> None:
    """Accept-Encoding joins what the backend varies by; other fields stay as and where they are."""
    fields = [(b"a", b"1"), *((b"vary", value) for value in values), (b"b", b"2")]
    built = add_vary_by_encoding(fields)
    assert varied == field_values(built, b"vary")
    assert [(b"a", b"1"), (b"b", b"2")] == [field for field in built if field[0] != b"vary"]
    assert built == add_vary_by_encoding(built)

"""Conditional and range requests against what is stored (RFC 9110 13, 14)."""

import pytest

from gateway.core.cache.reuse import Part, find_part, holds_for_origin, is_unmodified
from gateway.core.http.fields import build_http_date
from gateway.core.http.messages import Field
from tests.core.cache.answers import SHARED, cc, make
from tests.core.samples import NOW, make_request

MODIFIED = build_http_date(NOW - 3000)
STRONG = make(
    (b"etag", b'"v1"'), (b"last-modified", MODIFIED), (b"date", build_http_date(NOW)), cc(b"max-age=60"), rule=SHARED
)
"""Eight bytes with a strong tag."""
WEAK = make()
"""The same with a tag that the gateway made."""


def ims(seconds: int) -> Field:
    return (b"if-modified-since", build_http_date(NOW + seconds))


def inm(value: bytes) -> Field:
    return (b"if-none-match", value)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], False),
        ([inm(b'"v1"')], True),
        ([inm(b'W/"v1"')], True),
        ([inm(b'"a", "v1"')], True),
        ([inm(b'"a"'), inm(b'"v1"')], True),
        ([inm(b"*")], True),
        ([inm(b'"v2"')], False),
        ([inm(b"v1")], False),
        ([inm(b"")], False),
        ([ims(-3000)], True),
        ([ims(-2000)], True),
        ([ims(-3001)], False),
        ([(b"if-modified-since", b"Friday, 15-Jan-27 08:00:00 GMT")], True),
        ([(b"if-modified-since", b"yesterday")], False),
        ([ims(0), ims(0)], False),
        ([inm(b'"v2"'), ims(0)], False),
        ([inm(b'"v1"'), ims(-9000)], True),
    ],
)
def test_a_client_that_has_it_is_told_so(fields: list[Field], expected: bool) -> None:
    """By its tags, compared weakly; by its date only where it sends no tag; a malformed condition never holds."""
    assert expected == is_unmodified(fields, STRONG)


def test_without_last_modified_the_date_counts() -> None:
    """RFC 9111 4.3.2: an answer is not newer than when it was made."""
    dated = make((b"date", build_http_date(NOW - 10)))
    assert is_unmodified([ims(-10)], dated)
    assert not is_unmodified([ims(-11)], dated)


def test_a_tag_beyond_ascii_is_a_tag() -> None:
    """obs-text is allowed in an entity tag (RFC 9110 8.8.3)."""
    assert is_unmodified([inm(b'"abc\xfc"')], make((b"etag", b'"abc\xfc"')))


@pytest.mark.parametrize("condition", [inm(b'"v1"'), inm(b"*"), ims(0)])
def test_conditions_are_for_success_only(condition: Field) -> None:
    """An error or a redirect that is stored is never answered 304 (RFC 9110 13.2.1)."""
    stored = make((b"etag", b'"v1"'), cc(b"max-age=60"), rule=SHARED, status=404)
    assert not is_unmodified([condition], stored)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (b"bytes=0-1", Part(0, 1)),
        (b"bytes=1-", Part(1, 7)),
        (b"bytes=-3", Part(5, 7)),
        (b"bytes=-300", Part(0, 7)),
        (b"bytes=2-99", Part(2, 7)),
        (b"Bytes=0-0", Part(0, 0)),
        (b"bytes=8-", Part(8, 7)),
        (b"bytes=-0", Part(8, 7)),
        (b"bytes=5-2", None),
        (b"bytes=0-1,3-4", None),
        (b"items=0-1", None),
        (b"bytes=a-b", None),
        (b"bytes=-", None),
    ],
)
def test_a_part_is_cut_from_the_whole(asked: bytes, expected: Part | None) -> None:
    """One range of bytes; a part that is not there is an empty one; anything else gets the whole."""
    assert expected == find_part(make_request((b"range", asked)), STRONG)


@pytest.mark.parametrize(
    ("condition", "is_part"),
    [
        (b'"v1"', True),
        (b'W/"v1"', False),
        (b'"v2"', False),
        (MODIFIED, True),
        (build_http_date(NOW - 2999), False),
        (b"nonsense", False),
    ],
)
def test_if_range_is_compared_strongly(condition: bytes, is_part: bool) -> None:
    """RFC 9110 13.1.5: with another validator than the stored one the whole is sent."""
    request = make_request((b"range", b"bytes=0-1"), (b"if-range", condition))
    assert is_part == (find_part(request, STRONG) is not None)


def test_if_range_never_holds_by_a_weak_tag() -> None:
    """The tags that the gateway makes are weak: who resumes a download by one gets the whole."""
    request = make_request((b"range", b"bytes=0-1"), (b"if-range", WEAK.tag))
    assert None is find_part(request, WEAK)


def test_a_date_that_is_too_near_is_weak() -> None:
    """A Last-Modified within a minute of the Date may stand for two representations (RFC 9110 8.8.2.2)."""
    near = build_http_date(NOW - 59)
    stored = make((b"last-modified", near), (b"date", build_http_date(NOW)))
    assert None is find_part(make_request((b"range", b"bytes=0-1"), (b"if-range", near)), stored)


def test_parts_are_for_get_and_success_only() -> None:
    """Range means nothing for HEAD, and there is no part of an error."""
    request = make_request((b"range", b"bytes=0-1"), method="HEAD")
    assert None is find_part(request, STRONG)
    assert None is find_part(make_request((b"range", b"bytes=0-1")), make(cc(b"max-age=9"), rule=SHARED, status=404))


def ius(seconds: int) -> Field:
    return (b"if-unmodified-since", build_http_date(NOW + seconds))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], (True, True)),
        ([(b"if-match", b"*")], (True, True)),
        ([(b"if-match", b'"v1"')], (True, False)),
        ([(b"if-match", b'"v0", "v1"')], (True, False)),
        ([(b"if-match", b'W/"v1"')], (False, False)),
        ([(b"if-match", WEAK.tag)], (False, False)),
        ([(b"if-match", b"v1")], (False, False)),
        ([ius(-3000)], (True, True)),
        ([ius(-3001)], (False, True)),
        ([(b"if-unmodified-since", b"then")], (True, True)),
        ([(b"if-match", b'"v1"'), ius(-3001)], (True, False)),
    ],
)
def test_a_condition_for_origins(fields: list[Field], expected: tuple[bool, bool]) -> None:
    """Strong comparison (RFC 9110 13.1.1), so no weak tag matches; a date only where there is one (13.1.4)."""
    assert expected == (holds_for_origin(fields, STRONG), holds_for_origin(fields, WEAK))

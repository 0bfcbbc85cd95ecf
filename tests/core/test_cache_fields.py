"""The fields that the cache reads: dates, ranges, lists of strings, preferences. What does not fit reads as absent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http.fields import (
    build_http_date,
    parse_http_date,
    parse_preferences,
    parse_range,
    parse_string_list,
    parse_targeted_cache_control,
)

MOMENT = 784_111_777


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Sun, 06 Nov 1994 08:49:37 GMT", MOMENT),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", MOMENT),
        (b"Sun Nov  6 08:49:37 1994", MOMENT),
        (b"SUN, 06 NOV 1994 08:49:37 gmt", MOMENT),
        (b"Monday, 01-Jan-69 00:00:00 GMT", 3_124_224_000),
        (b"Sun, 06 Nov 1994 08:49:37 UTC", None),
        (b"Sun, 06 Nov 94 08:49:37 GMT", None),
        (b"Sun, 6 Nov 1994 08:49:37 GMT", None),
        (b"Thu, 31 Feb 2050 00:00:00 GMT", None),
        (b"Sun, 06 Foo 1994 08:49:37 GMT", None),
        (b"0", None),
        (b"", None),
    ],
)
def test_dates_come_in_three_forms(value: bytes, expected: int | None) -> None:
    """RFC 9110 5.6.7: all that were ever allowed are read, in any case, and nothing else."""
    assert expected == parse_http_date(value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b"max-age=60"], {"max-age": "60"}),
        ([b"max-age=60, no-store"], {"max-age": "60", "no-store": None}),
        ([b"no-store", b"max-age=60"], {"no-store": None, "max-age": "60"}),
        ([b"max-age=60,max-age=5"], {"max-age": "5"}),
        ([b"no-store=?0, foo=?1;a=b"], {"foo": None}),
        ([b'max-age=5;x="y,z", private="set-cookie"'], {"max-age": "5", "private": '"set-cookie"'}),
        ([b"max-age=-1"], {"max-age": "-1"}),
        ([b'a=(1 "b" c;d), b=:aGk=:'], {"a": '(1 "b" c;d)', "b": ":aGk=:"}),
        ([b"c=1.5, d=tok/en:*, e=@1"], {"c": "1.5", "d": "tok/en:*", "e": "@1"}),
        ([b""], {}),
        ([b"  "], {}),
        ([b"MaX-aGe=60"], {}),
        ([b"max-age=60,"], {}),
        ([b"max-age=60, &&&&&"], {}),
        ([b"max-age =60"], {}),
        ([b"max-age= 60"], {}),
        ([b'max-age="60"'], {}),
        ([b"max-age=60.0"], {}),
        ([b"max-age"], {}),
        ([b"max-age=60s"], {}),
        ([b"max-age=60; no-store"], {"max-age": "60"}),
        ([b'private="x'], {}),
        ([b"a=(1 2"], {}),
        ([b"max-age=1234567890123456"], {}),
    ],
)
def test_targeted_directives_are_a_dictionary(values: list[bytes], expected: dict[str, str | None]) -> None:
    """RFC 9213 2.1, 2.2: what is no Dictionary, or has a time that is no Integer, is ignored as a whole."""
    assert expected == parse_targeted_cache_control(values)


@given(st.lists(st.binary(max_size=40) | st.text('a=",()1;? :.@%*', max_size=40).map(str.encode), max_size=3))
def test_any_bytes_are_directives_or_none(values: list[bytes]) -> None:
    """Whatever a backend sends is read or ignored."""
    assert isinstance(parse_targeted_cache_control(values), dict)


@given(st.integers(0, 4_000_000_000))
def test_a_date_that_we_write_is_read_back(seconds: int) -> None:
    """Parsing what was built gives the same second."""
    assert seconds == parse_http_date(build_http_date(seconds))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b"bytes=0-4"], (0, 4)),
        ([b"bytes=4-"], (4, None)),
        ([b"bytes=-4"], (None, 4)),
        ([b"bytes= 0-4 "], (0, 4)),
        ([b"bytes=4-0"], None),
        ([b"bytes=0-1,2-3"], None),
        ([b"bytes=0-1", b"bytes=2-3"], None),
        ([b"bytes=-"], None),
        ([b"bytes=99999999999999999999-"], None),
        ([b"lines=0-1"], None),
        ([], None),
    ],
)
def test_one_range_of_bytes_is_read(values: list[bytes], expected: object) -> None:
    """RFC 9110 14.1.2: several ranges and other units read as none."""
    assert expected == parse_range(values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b'"a", "b"'], ["a", "b"]),
        ([b'"a";x=1;y, "b"'], ["a", "b"]),
        ([b'"a"', b'"b"'], ["a", "b"]),
        ([b'"a,b"'], ["a,b"]),
        ([b'"a\\"\\\\"'], ['a"\\']),
        ([b""], []),
        ([], []),
        ([b"a"], None),
        ([b'"a", b'], None),
        ([b'"a" "b"'], None),
        ([b'"a",'], None),
        ([b'"a"' + b";" * 5000 + b'"'], None),
        ([b'"\xc3\xa9"'], None),
    ],
)
def test_a_list_of_strings_is_read_whole_or_not_at_all(values: list[bytes], expected: list[str] | None) -> None:
    """RFC 9651 3.1."""
    assert expected == parse_string_list(values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b"sha-256=5, sha-512=0"], {"sha-256": 5, "sha-512": 0}),
        ([b"sha-256"], {"sha-256": 1}),
        ([b"sha-256=5", b"md5=1"], {"sha-256": 5, "md5": 1}),
        ([b"="], {}),
        ([b"a" * 100_000], {}),
        ([], {}),
    ],
)
def test_preferences_have_weights(values: list[bytes], expected: dict[str, int]) -> None:
    """RFC 9530 4."""
    assert expected == parse_preferences(values)


@given(st.binary(max_size=60))
def test_anything_is_read_or_absent(value: bytes) -> None:
    """No bytes of a client or a backend make a parser fail."""
    for parse in (parse_range, parse_string_list, parse_preferences):
        parse([value])
    parse_http_date(value)

"""HTTP fields: whatever was sent is taken apart or reads as absent, and what is built can be taken apart again."""

import re
from base64 import b64encode
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http.fields import (
    MAXIMUM_DELTA_SECONDS,
    build_challenge,
    build_http_date,
    build_timestamp,
    is_of_scheme,
    parse_authority,
    parse_basic_password,
    parse_bearer,
    parse_cache_control,
    parse_delta_seconds,
    parse_entity_tags,
    parse_host,
    parse_list,
)
from tests.core.samples import NOW

TOKEN68 = "ABCXYZabcxyz0189-._~+/"
OPAQUE = bytes([0x21, *range(0x23, 0x7F), *range(0x80, 0x100)])

entity_tags = st.builds(
    lambda weak, opaque: (b'W/"' if weak else b'"') + bytes(opaque) + b'"',
    st.booleans(),
    st.lists(st.sampled_from(OPAQUE)),
)


@given(st.sampled_from(["Bearer", "bearer", "BEARER", "bEaReR"]), st.integers(1, 3), st.text(TOKEN68, min_size=1))
def test_the_bearer_scheme_is_case_insensitive(scheme: str, spaces: int, text: str) -> None:
    """A token is read after the scheme in any case, and after any number of spaces (RFC 9110 11.4)."""
    assert text == parse_bearer(f"{scheme}{' ' * spaces}{text}".encode())


@pytest.mark.parametrize("value", [b"Bearer", b"bearer ", b"Bearer   "])
def test_bearer_without_a_token_has_the_scheme_and_no_token(value: bytes) -> None:
    """The scheme alone is a credential that is malformed, not the absence of one."""
    assert is_of_scheme(value, "bearer")
    assert None is parse_bearer(value)


@pytest.mark.parametrize("value", [b"", b"Basic abc", b"Bearerabc", b"Bearer\tabc", b" Bearer abc", b"Bearer,abc"])
def test_other_schemes_are_not_bearer(value: bytes) -> None:
    """Only the word Bearer followed by a space, or alone, is the scheme."""
    assert not is_of_scheme(value, "bearer")
    assert None is parse_bearer(value)


@pytest.mark.parametrize(
    "value",
    [b"Bearer a b", b"Bearer a,b", b'Bearer "a"', b"Bearer =a", b"Bearer a\n", b"Bearer \xc3\xa9", b"Bearer a\0"],
)
def test_a_token_outside_the_grammar_reads_as_absent(value: bytes) -> None:
    """What is no b64token (RFC 6750 2.1) is no token."""
    assert parse_bearer(value) is None


def test_a_token_of_eight_kibibytes_is_read() -> None:
    """The length of a token is not the parser's business."""
    assert "a" * 8192 == parse_bearer(b"Bearer " + b"a" * 8192)


@pytest.mark.parametrize(
    ("value", "password"),
    [
        (b"Basic " + b64encode(b"user:secret"), "secret"),
        (b"bAsIc   " + b64encode(b":secret"), "secret"),
        (b"Basic " + b64encode(b"user:a:b"), "a:b"),
        (b"Basic " + b64encode("ü:secret".encode()), "secret"),
        (b"Basic " + b64encode(b"user:"), ""),
        (b"Basic " + b64encode(b"user"), None),
        (b"Basic " + b64encode(b"user:\xff"), None),
        (b"Basic " + b64encode(b"user:secret").rstrip(b"="), None),
        (b"Basic a", None),
        (b"Basic", None),
        (b"Basic =", None),
        (b"Bearer " + b64encode(b"user:secret"), None),
        (b"Basic " + b64encode(b"user:secret") + b" x", None),
    ],
)
def test_a_password_of_basic_is_read(value: bytes, password: str | None) -> None:
    """Behind the first colon, whoever the user is (RFC 7617 2); what is not whole base64 has none."""
    assert password == parse_basic_password(value)


@given(st.binary())
def test_any_authorization_is_read_or_absent(value: bytes) -> None:
    """Any bytes give a token or none, and a token only under the scheme Bearer."""
    for presented in (value, b"Bearer " + value):
        assert parse_basic_password(b"Basic " + value) is None or is_of_scheme(b"Basic " + value, "basic")
        text = parse_bearer(presented)
        assert text is None or (is_of_scheme(presented, "bearer") and presented.endswith(text.encode()))


@pytest.mark.parametrize(
    ("value", "host"),
    [
        (b"app.example", "app.example"),
        (b"APP.Example:8080", "app.example"),
        (b"[2001:DB8::1]:80", "[2001:db8::1]"),
        (b"app.example:", "app.example"),
        (b"", None),
        (b":80", None),
        (b"app.example:65535", "app.example"),
        (b"app.example:65536", None),
        (b"app.example:000080", None),
        (b"app.example:" + b"9" * 5000, None),
        (b"a/b", None),
        (b"a b", None),
        (b"user@a", None),
        (b"a:b", None),
        (b"a:80:80", None),
        (b"a\n", None),
        (b"[::1", None),
        (b"caf\xc3\xa9", None),
        (b"a,b", "a,b"),
    ],
)
def test_the_host_is_read_without_port_in_lower_case(value: bytes, host: str | None) -> None:
    """A Host field gives its uri-host in lower case; no host, or a port that there is not, is none (RFC 9110 7.2)."""
    assert host == parse_host(value)


@pytest.mark.parametrize(
    ("value", "scheme", "authority"),
    [
        (b"a.test", "http", "a.test"),
        (b"A.TEST:80", "http", "a.test"),
        (b"a.test:", "http", "a.test"),
        (b"a.test:080", "http", "a.test"),
        (b"a.test:443", "http", "a.test:443"),
        (b"a.test:443", "https", "a.test"),
        (b"a.test:80", "https", "a.test:80"),
        (b"a.test:08443", "https", "a.test:8443"),
        (b"a.test:0", "http", "a.test:0"),
        (b"[::1]:80", "http", "[::1]"),
        (b"[::1]:8080", "http", "[::1]:8080"),
    ],
)
def test_an_authority_has_one_spelling(value: bytes, scheme: str, authority: str) -> None:
    """Lower case, and the scheme's own port left out (RFC 9110 4.2.3)."""
    found = parse_authority(value, scheme)
    assert found is not None
    assert authority == found[1]
    assert found == parse_authority(authority.encode(), scheme)


@given(st.binary())
def test_any_host_is_read_or_absent(value: bytes) -> None:
    """Any bytes give a host or none; a host has no port, path, user or space."""
    host = parse_host(value)
    assert host is None or (host == host.lower() and set("/@ \\?#").isdisjoint(host))


@given(st.lists(entity_tags, min_size=1), st.sampled_from([b",", b", ", b" ,\t", b",,", b" , , "]))
def test_entity_tags_are_read_back(tags: list[bytes], separator: bytes) -> None:
    """Parsing a list of entity tags gives the tags it was made of, with the empty elements of RFC 9110 5.6.1."""
    assert tags == parse_entity_tags([separator.join(tags)])


@given(st.lists(entity_tags))
def test_several_field_lines_are_one_list(tags: list[bytes]) -> None:
    """A list that a client spread over several field lines reads as if it were one line (RFC 9110 5.3)."""
    assert tags == parse_entity_tags(tags)


@pytest.mark.parametrize("values", [[b"*"], [b" * "], [b"*,"], [b"", b"*"]])
def test_the_asterisk_is_read(values: list[bytes]) -> None:
    """`*` stands for any tag."""
    assert [b"*"] == parse_entity_tags(values)


@pytest.mark.parametrize("values", [[], [b""], [b" , ,"]])
def test_an_empty_list_has_no_tags(values: list[bytes]) -> None:
    """A list without elements is well-formed and names nothing."""
    assert [] == parse_entity_tags(values)


@pytest.mark.parametrize(
    "value",
    [
        b"abc",
        b'"a',
        b'a"',
        b'"a" "b"',
        b'"a""b"',
        b'"a", b',
        b'w/"a"',
        b'W/ "a"',
        b'"a b"',
        b'"a"x',
        b'*, "a"',
        b'"a", *',
    ],
)
def test_a_malformed_list_of_tags_is_none(value: bytes) -> None:
    """A list that the grammar does not allow is not read in part."""
    assert parse_entity_tags([value]) is None


@given(st.lists(st.binary()))
def test_any_list_of_tags_is_read_or_none(values: list[bytes]) -> None:
    """Any bytes give tags or None; each tag is one of the grammar."""
    tags = parse_entity_tags(values)
    assert tags is None or tags == [b"*"] or all(re.fullmatch(rb'(W/)?"[^"\x00-\x20\x7f]*"', tag) for tag in tags)


@pytest.mark.parametrize(
    ("values", "directives"),
    [
        ([b"max-age=60"], {"max-age": "60"}),
        ([b"Max-Age=60, NO-STORE"], {"max-age": "60", "no-store": None}),
        ([b"public", b"s-maxage=5"], {"public": None, "s-maxage": "5"}),
        ([b'max-age="60"'], {"max-age": "60"}),
        ([b'private="x, no-store", public'], {"private": "x, no-store", "public": None}),
        ([rb'x="a\", no-store", public'], {"x": r"a\", no-store", "public": None}),
        ([b"max-age=60, max-age=0"], {"max-age": "60"}),
        ([b" , ,public,, "], {"public": None}),
        ([b"max-age="], {"max-age": ""}),
        ([b'private="x, no-store'], {"private": "", "x": None, "no-store": None}),
        ([b""], {}),
        ([], {}),
    ],
)
def test_cache_control_is_read(values: list[bytes], directives: dict[str, str | None]) -> None:
    """Directives are read with quoted arguments whole, in any case, over several lines; the first of a kind counts."""
    assert directives == parse_cache_control(values)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True),
        st.none() | st.from_regex(r"[A-Za-z0-9-]{1,8}", fullmatch=True) | st.text(", =;abc01", min_size=1),
    )
)
def test_built_cache_control_is_read_back(directives: dict[str, str | None]) -> None:
    """Parsing what was built gives the same directives, arguments with commas in quotes."""
    parts = [name if argument is None else f'{name}="{argument}"' for name, argument in directives.items()]
    assert directives == parse_cache_control([", ".join(parts).encode()])


@given(st.lists(st.binary()))
def test_any_cache_control_is_read(values: list[bytes]) -> None:
    """Any bytes give directives, with names of the grammar."""
    assert all(re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9a-z]+", name) for name in parse_cache_control(values))


def test_a_long_run_of_separators_is_read_once() -> None:
    """A field value of nothing but separators is passed over, not tried again from each of them."""
    assert {"public": None} == parse_cache_control([b", " * 50_000 + b"public"])


@given(st.integers(0, 10**30))
def test_delta_seconds_are_read_back_up_to_the_maximum(seconds: int) -> None:
    """A number of seconds reads as itself, and beyond the maximum of RFC 9111 1.2.2 as that."""
    assert min(seconds, MAXIMUM_DELTA_SECONDS) == parse_delta_seconds(str(seconds))


@pytest.mark.parametrize("text", [None, "", "-1", "+1", "1.5", " 1", "1 ", "x", "٣", "²"])
def test_what_is_no_number_of_seconds_is_none(text: str | None) -> None:
    """Only ASCII digits are a delta-seconds."""
    assert parse_delta_seconds(text) is None


@pytest.mark.parametrize(
    ("values", "elements"),
    [
        ([b"Accept-Encoding, Origin"], [b"accept-encoding", b"origin"]),
        ([b"close", b"X-One ,\tX-Two"], [b"close", b"x-one", b"x-two"]),
        ([b" , ,a,,"], [b"a"]),
        ([], []),
    ],
)
def test_lists_of_tokens_are_read(values: list[bytes], elements: list[bytes]) -> None:
    """The elements of all field lines come in order and in lower case, without empty ones."""
    assert elements == parse_list(values)


def test_a_challenge_without_parameters_names_the_realm() -> None:
    """A challenge to a request without credentials has no error code (RFC 6750 3.1)."""
    assert b'Bearer realm="shop"' == build_challenge("Bearer", {"realm": "shop"})


def test_a_challenge_has_its_parameters_in_order() -> None:
    """The parameters of RFC 6750 3 follow the realm."""
    built = build_challenge("Bearer", {"realm": "shop", "error": "insufficient_scope", "scope": "read write"})
    assert b'Bearer realm="shop", error="insufficient_scope", scope="read write"' == built


@given(st.integers(0, 253402300799))
def test_http_dates_are_read_back(seconds: int) -> None:
    """A built IMF-fixdate reads as the same second."""
    assert seconds == parsedate_to_datetime(build_http_date(seconds).decode()).timestamp()


def test_an_http_date_is_an_imf_fixdate() -> None:
    """The example of RFC 9110 5.6.7 comes out as written there."""
    assert b"Sun, 06 Nov 1994 08:49:37 GMT" == build_http_date(784111777)


def test_a_timestamp_is_in_utc() -> None:
    """Timestamps are RFC 3339 with Z."""
    assert datetime.fromtimestamp(NOW, UTC).isoformat().replace("+00:00", "Z").encode() == build_timestamp(NOW)

"""Weak entity tags, the choice between the backend's and ours, and their comparison."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http.etags import BY_VALUE, TagRule, build_weak_tag, choose_tag, matches_weakly, weaken

opaque_tags = st.text("abc!0-_", max_size=4).map(lambda text: f'"{text}"'.encode())


media_types = st.none() | st.sampled_from([b"application/json", b"text/xml", b"text/csv", b"text/plain"]) | st.binary()
EVERY_KIND = TagRule(
    pointers=(("a",), ("b", "*")),
    columns=frozenset({"b"}),
    lines=(b"#",),
    elements=frozenset({"x"}),
    attributes=frozenset({"a"}),
)


@given(st.binary())
def test_a_built_tag_is_a_weak_tag_of_the_grammar(content: bytes) -> None:
    """Any content has a tag that is weak, of 128 bits, and well-formed (RFC 9110 8.8.3)."""
    assert re.fullmatch(rb'W/"[A-Za-z0-9_-]{22}"', build_weak_tag(content))


@given(st.binary(), st.binary())
def test_tags_are_equal_where_content_is(one: bytes, other: bytes) -> None:
    """Equal content has equal tags, different content different ones."""
    assert (one == other) == (build_weak_tag(one) == build_weak_tag(other))


def test_the_tag_is_the_same_after_a_restart() -> None:
    """A tag depends on nothing but the content: this one was made by another process."""
    assert b'W/"Kvubg_kxTl0Cl2YZf1OXkg"' == build_weak_tag(b"{}")


@pytest.mark.parametrize(
    ("content", "content_type", "tag"),
    [
        (b'{"b":[1.50,1e400,"\xc3\xa9"],"a":null}', b"application/json", b'W/"-wCuqrf0QtEGnasbEtVKlA"'),
        (b"a,b\r\n1,2\r\n", b"text/csv", b'W/"onVSrI5JwKT1Y8189QrZsA"'),
        (b'<r b="1" a="2">\n<x/>text</r>', b"text/xml", b'W/"PUusHe8i8DYHCqeUcBK7Cg"'),
    ],
)
def test_canonical_forms_are_the_same_after_a_restart(content: bytes, content_type: bytes, tag: bytes) -> None:
    """So are tags by value: nothing of the process is in them."""
    assert tag == build_weak_tag(content, content_type, EVERY_KIND)


@given(st.binary() | st.text().map(str.encode), media_types, st.sampled_from([BY_VALUE, TagRule(True), EVERY_KIND]))
def test_any_content_has_a_tag(content: bytes, content_type: bytes | None, rule: TagRule) -> None:
    """Whatever the content is, and whatever it is called: there is a tag, and it is the same a second time."""
    tag = build_weak_tag(content, content_type, rule)
    assert re.fullmatch(rb'W/"[A-Za-z0-9_-]{22}"', tag)
    assert tag == build_weak_tag(content, content_type, rule)


def choose(backend_tag: bytes | None, *, replaces: bool = False, is_encoded: bool = False) -> bytes:
    return choose_tag(backend_tag, b"[1]", b"application/json", TagRule(replaces), is_encoded=is_encoded)


@pytest.mark.parametrize("backend_tag", [b'"v1"', b'W/"v1"', b'""', b'"\xe9,"'])
def test_a_backends_own_tag_passes_unchanged(backend_tag: bytes) -> None:
    """Byte for byte, weak or strong, as long as the gateway does not encode the content."""
    assert backend_tag == choose(backend_tag)


@pytest.mark.parametrize("backend_tag", [b'"v1"', b'W/"v1"'])
def test_a_strong_tag_is_weakened_where_the_gateway_encodes(backend_tag: bytes) -> None:
    """A strong tag promises the same bytes to all (RFC 9110 8.8.1); a weak one stays as it is."""
    assert b'W/"v1"' == choose(backend_tag, is_encoded=True) == weaken(backend_tag)


@pytest.mark.parametrize("is_encoded", [True, False])
@pytest.mark.parametrize("backend_tag", [None, b"", b"v1", b"*", b'"a" b', b'"a", "b"', b'w/"v1"', b", "])
def test_without_a_well_formed_tag_the_contents_is_made(backend_tag: bytes | None, is_encoded: bool) -> None:
    """No client could ask with a malformed tag, so it is as good as none (RFC 9110 8.8.3)."""
    assert build_weak_tag(b"[1]", b"application/json") == choose(backend_tag, is_encoded=is_encoded)


@pytest.mark.parametrize("backend_tag", [None, b'"v1"', b'W/"v1"'])
def test_a_rule_can_replace_the_backends_tag(backend_tag: bytes | None) -> None:
    """The content's tag takes the place of one that changes for no reason."""
    assert build_weak_tag(b"[1]", b"application/json") == choose(backend_tag, replaces=True)


@given(opaque_tags, st.booleans(), st.booleans(), st.lists(opaque_tags), st.lists(opaque_tags))
def test_comparison_ignores_weakness(
    opaque: bytes, is_weak: bool, is_listed_weak: bool, before: list[bytes], after: list[bytes]
) -> None:
    """A tag is found wherever it stands in a list, weak or strong on either side (RFC 9110 8.8.3.2)."""
    listed = (b"W/" if is_listed_weak else b"") + opaque
    assert matches_weakly([b", ".join([*before, listed, *after])], (b"W/" if is_weak else b"") + opaque)


@given(opaque_tags, st.lists(opaque_tags))
def test_a_tag_that_is_not_listed_does_not_match(opaque: bytes, others: list[bytes]) -> None:
    """Only an equal opaque part matches."""
    assert (opaque in others) == matches_weakly(others, b"W/" + opaque)


def test_the_asterisk_matches_any_tag() -> None:
    """`*` names every representation there is."""
    assert matches_weakly([b"*"], b'W/"a"')


@pytest.mark.parametrize("value", [b"a", b'"a" "b"', b'"b", a', b"", b'w/"a"', b'"ab"', b'*, "a"', b'"A"'])
def test_a_malformed_or_other_list_matches_nothing(value: bytes) -> None:
    """No part of a malformed list counts, and tags are compared whole: the client gets the whole answer."""
    assert not matches_weakly([value], b'W/"a"')


@pytest.mark.parametrize("value", [b"", b'"a"', b'W/""', b","])
def test_an_answer_without_tag_matches_no_list(value: bytes) -> None:
    """Where there is no tag, only the asterisk can match, and an empty field does not."""
    assert not matches_weakly([value], b"")


@pytest.mark.parametrize("tag", [b'"a"', b'W/"a"'])
@pytest.mark.parametrize("value", [b'"a"', b'W/"a"', b' W/"a"', b'"b",W/"a"', b'"a",'])
def test_one_line_is_read_as_a_list_of_lines_is(value: bytes, tag: bytes) -> None:
    """What is recognised at a glance is what the parser finds."""
    assert matches_weakly([value], tag)
    assert matches_weakly([value, b'"c"'], tag)


@given(st.lists(st.binary()), st.binary())
def test_any_field_matches_or_does_not(values: list[bytes], tag: bytes) -> None:
    """Any If-None-Match and any tag of a backend give yes or no, never an exception."""
    assert matches_weakly(values, tag) in (True, False)

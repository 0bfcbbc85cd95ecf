"""Weak entity tags, and their comparison."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.etags import build_weak_tag, matches_weakly

opaque_tags = st.text("abc!0-_", max_size=4).map(lambda text: f'"{text}"'.encode())


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


@given(st.lists(st.binary()), st.binary())
def test_any_field_matches_or_does_not(values: list[bytes], tag: bytes) -> None:
    """Any If-None-Match and any tag of a backend give yes or no, never an exception."""
    assert matches_weakly(values, tag) in (True, False)

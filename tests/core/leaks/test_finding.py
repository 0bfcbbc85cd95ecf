"""Tokens in bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.leaks.finding import Finder
from gateway.core.tokens.text import TokenFormat, mint, random_bytes_needed

CHECKED = TokenFormat(("exm_", "old_exm_"), 40, checksum=True, shown=12)
UNCHECKED = TokenFormat(("dtk_",), 40, checksum=False, shown=12)
FINDER = Finder((CHECKED, UNCHECKED))


def token(number: int = 1, prefix: str = "exm_") -> str:
    one = TokenFormat((prefix,), 40, checksum=True, shown=12)
    return mint(one, number.to_bytes(4, "big") * random_bytes_needed(one))


def found(content: bytes) -> list[tuple[int, str]]:
    return sorted((one.offset, one.text) for one in FINDER.find_tokens(content))


@pytest.mark.parametrize(
    "content", ["{}", "TOKEN={}", "{}\n", '"{}"', "Bearer {}.", "x{}", "_{}", "{}0", "https://u:{}@host/"]
)
def test_a_token_is_found_in_any_surroundings(content: str) -> None:
    """Its checksum says so, whatever stands around it."""
    text = token()
    assert [(content.index("{"), text)] == found(content.format(text).encode())


def test_all_of_them_are_found_each_once() -> None:
    """Also side by side, and one whose prefix ends with another prefix."""
    texts = [token(number) for number in range(1, 4)]
    assert texts == [text for _, text in found("".join(texts).encode())]
    longer = token(1, "old_exm_")
    assert [longer] == [text for _, text in found(longer.encode())]


@pytest.mark.parametrize("position", [*range(4, 44, 7), 43])
def test_a_text_with_a_mistake_is_no_token(position: int) -> None:
    """One other character, and the checksum differs."""
    text = token()
    other = text[:position] + ("0" if text[position] != "0" else "1") + text[position + 1 :]
    assert [] == found(other.encode())
    assert [] == found(text[:-1].encode())


@pytest.mark.parametrize(
    ("content", "is_found"),
    [
        (b"dtk_" + b"a1" * 20, True),
        (b'"dtk_' + b"a1" * 20 + b'"', True),
        (b"dtk_" + b"a1" * 20 + b"b", False),
        (b"xdtk_" + b"a1" * 20, False),
        (b"dtk_" + b"x" * 40, False),
        (b"dtk_" + b"1" * 40, False),
        (b"dtk_" + b"a1" * 19 + b"a-", False),
    ],
)
def test_a_text_without_a_checksum_must_look_like_a_token(content: bytes, is_found: bool) -> None:
    """It stands alone, and has letters and digits; and it is said that nothing proves it."""
    assert [False] * is_found == [one.is_checked for one in FINDER.find_tokens(content)]


@given(st.binary(), st.binary(), st.integers(1, 1000))
def test_whatever_surrounds_a_token_it_is_found(before: bytes, after: bytes, number: int) -> None:
    """Any bytes may stand before and after it."""
    text = token(number)
    assert (len(before), text) in found(before + text.encode() + after)


def test_a_finding_does_not_show_its_text() -> None:
    """A traceback or a log that has one has no token."""
    (one,) = FINDER.find_tokens(token().encode())
    assert token() not in repr(one)

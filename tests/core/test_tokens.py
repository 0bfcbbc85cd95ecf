"""Token text: minted, checked without IO, digested and displayed."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.tokens.text import (
    BASE62,
    CHECKSUM_LENGTH,
    MAXIMUM_TEXT_LENGTH,
    MINIMUM_RANDOM_LENGTH,
    TokenFormat,
    build_checksum,
    digest,
    is_well_formed,
    mint,
    random_bytes_needed,
    shown_part,
    token_id,
)
from tests.core.samples import TOKEN_FORMAT

UNCHECKED = replace(TOKEN_FORMAT, checksum=False)

formats = st.builds(
    TokenFormat,
    prefixes=st.lists(st.text(BASE62 + "_-", min_size=1, max_size=32), min_size=1, max_size=3).map(tuple),
    length=st.integers(MINIMUM_RANDOM_LENGTH + CHECKSUM_LENGTH, 256),
    checksum=st.booleans(),
    shown=st.integers(0, 24),
)


def draw_bytes(data: st.DataObject, token_format: TokenFormat) -> bytes:
    needed = random_bytes_needed(token_format)
    return data.draw(st.binary(min_size=needed, max_size=needed))


@given(formats, st.data())
def test_what_is_minted_is_well_formed(token_format: TokenFormat, data: st.DataObject) -> None:
    """Every token that a format mints is accepted under that format."""
    assert is_well_formed(mint(token_format, draw_bytes(data, token_format)), token_format)


@given(formats, st.data())
def test_a_minted_token_has_the_first_prefix_and_the_length(token_format: TokenFormat, data: st.DataObject) -> None:
    """A minted token is the first prefix and `length` characters of base62."""
    text = mint(token_format, draw_bytes(data, token_format))

    assert token_format.prefixes[0] == text[: -token_format.length]
    assert set(text[-token_format.length :]) <= set(BASE62)


@given(st.data())
def test_one_changed_character_is_noticed(data: st.DataObject) -> None:
    """No token is well-formed after any one of its characters was changed to any other."""
    text = mint(TOKEN_FORMAT, draw_bytes(data, TOKEN_FORMAT))
    position = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda character: character != text[position]))

    assert not is_well_formed(text[:position] + other + text[position + 1 :], TOKEN_FORMAT)


@given(st.data())
def test_two_swapped_neighbours_are_noticed(data: st.DataObject) -> None:
    """No token is well-formed after two different neighbours were swapped, the usual slip of a typist."""
    text = mint(TOKEN_FORMAT, draw_bytes(data, TOKEN_FORMAT))
    position = data.draw(st.integers(0, len(text) - 2))
    swapped = text[:position] + text[position + 1] + text[position] + text[position + 2 :]

    assert (swapped == text) == is_well_formed(swapped, TOKEN_FORMAT)


@given(st.text())
def test_any_text_is_accepted_or_refused(text: str) -> None:
    """Whatever a client presents as a token, the check answers yes or no and raises nothing."""
    assert is_well_formed(text, TOKEN_FORMAT) in (True, False)
    assert is_well_formed(text, UNCHECKED) in (True, False)


@given(st.text())
def test_without_a_checksum_prefix_and_length_bound_the_text(text: str) -> None:
    """Tokens from elsewhere are known by their prefix only."""
    assert text.startswith(("shp_", "old_")) == is_well_formed(text[:MAXIMUM_TEXT_LENGTH], UNCHECKED)


def test_the_length_belongs_to_the_prefix() -> None:
    """A text that has one prefix and another prefix's total length is not well-formed."""
    token_format = replace(TOKEN_FORMAT, prefixes=("a_", "bcdef_"))
    text = "a_" + "!!!!" + "0" * (token_format.length - CHECKSUM_LENGTH)

    assert not is_well_formed(text + build_checksum(text), token_format)


def test_letters_of_other_alphabets_are_no_base62() -> None:
    """Characters that merely count as letters or digits in Unicode are refused, also with a matching checksum."""
    text = "shp_" + "é٣" + "0" * 32

    assert not is_well_formed(text + build_checksum(text), TOKEN_FORMAT)


@pytest.mark.parametrize("checksum", [True, False])
def test_a_text_beyond_the_maximum_is_refused(checksum: bool) -> None:
    """A credential longer than any product's tokens is refused before it is hashed."""
    assert not is_well_formed("shp_" + "0" * MAXIMUM_TEXT_LENGTH, replace(TOKEN_FORMAT, checksum=checksum))


def test_minting_needs_its_random_bytes() -> None:
    """Too few random bytes are an error of the caller, not a weaker token."""
    with pytest.raises(ValueError, match="minting needs 46 random bytes, got 45"):
        mint(TOKEN_FORMAT, b"\0" * 45)


def test_the_random_part_has_160_bits() -> None:
    """The shortest random part that a policy may ask for cannot be guessed."""
    assert 2**160 <= 62**MINIMUM_RANDOM_LENGTH


@pytest.mark.parametrize(("text", "crc"), [("", 0), ("123456789", 0xCBF43926)])
def test_the_checksum_is_crc32_in_base62(text: str, crc: int) -> None:
    """The last six characters are the CRC-32 of all before them, zero-padded, digits before capitals before others."""
    number = 0
    for character in build_checksum(text):
        number = number * 62 + BASE62.index(character)

    assert CHECKSUM_LENGTH == len(build_checksum(text))
    assert crc == number


@given(st.text(BASE62), st.binary(min_size=1))
def test_the_digest_is_hmac_sha256_under_the_pepper(text: str, pepper: bytes) -> None:
    """What is stored can be computed by any other implementation of HMAC-SHA-256."""
    assert hmac.new(pepper, text.encode(), hashlib.sha256).hexdigest() == digest(text, pepper)


@given(st.text(BASE62))
def test_the_digest_without_a_pepper_is_sha256(text: str) -> None:
    """Without a pepper the digest is the plain SHA-256, so that tokens stored elsewhere can be imported."""
    assert hashlib.sha256(text.encode()).hexdigest() == digest(text, b"")


def test_the_id_is_the_beginning_of_the_digest() -> None:
    """A token's public name says nothing of its text."""
    assert "ab" * 12 == token_id("ab" * 32)


def test_lists_show_only_the_beginning() -> None:
    """Of a token's text only the configured number of characters is kept for display."""
    assert "shp_01234567" == shown_part("shp_0123456789", TOKEN_FORMAT)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("shp_0123456789", "shp_0123"), ("shop_0123456789", "shop_0123"), ("other_0123", "othe"), ("shp_", "shp_")],
)
def test_the_shown_part_may_be_counted_behind_the_prefix(text: str, shown: str) -> None:
    """So tokens of a policy's short prefix and of its long one are told apart alike."""
    token_format = TokenFormat(("shp_", "shop_", "sh"), 40, True, 12, shown_random=4)
    assert shown == shown_part(text, token_format)

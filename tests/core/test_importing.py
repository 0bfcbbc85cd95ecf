"""Import of tokens, without Redis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ChangeRefused
from gateway.core.tokens.changes import TokenRequest
from gateway.core.tokens.credentials import build_credential, find_credential
from gateway.core.tokens.lifecycle import import_digest, import_text, why_unacceptable
from gateway.core.tokens.text import digest, mint, random_bytes_needed, token_id
from tests.core.samples import NOW, SHOP, load, load_shop

SHOP_POLICY = load_shop()
OPEN_POLICY = load(SHOP.replace('["shp_"]', '["shp_"], checksum = false')).policies["shop"]
REQUEST = TokenRequest(name="old job", project="website", scopes=("read",))


def test_an_imported_token_is_like_a_minted_one() -> None:
    """Its record has what was asked for, its own lineage, and the digest by which requests will find it."""
    record = import_text(OPEN_POLICY, REQUEST, "shp_0123456789abcdefghijklmn", b"pepper", NOW)
    expected = digest("shp_0123456789abcdefghijklmn", b"pepper")
    assert expected == record.digest
    assert token_id(expected) == record.lineage
    assert "shp_01234567" == record.shown
    assert "read" == record.scopes
    assert NOW == record.created_at
    assert record == import_digest(OPEN_POLICY, REQUEST, expected, "shp_01234567", NOW)


@given(st.text("abc", min_size=1, max_size=20))
def test_a_short_text_is_never_shown_in_full(rest: str) -> None:
    """Of a text that is shorter than what lists may show, half stays unknown."""
    record = import_text(OPEN_POLICY, REQUEST, "shp_" + rest, b"", NOW)
    assert len(record.shown) <= (len(rest) + 4) / 2


@given(st.text() | st.text().map("shp_{}".format))
def test_what_is_imported_can_be_presented(text: str) -> None:
    """Any text is refused, or is one that a request can present under the policy."""
    for policy in (SHOP_POLICY, OPEN_POLICY):
        if not why_unacceptable(text, policy):
            found = [find_credential([build_credential(text, source)], policy) for source in policy.credentials]
            assert text in found


def test_a_minted_token_can_be_imported() -> None:
    """Nothing is wrong with the tokens that a gateway of the same policy has minted."""
    text = mint(SHOP_POLICY.token_format, b"\x2a" * random_bytes_needed(SHOP_POLICY.token_format))
    assert "" == why_unacceptable(text, SHOP_POLICY)


def test_characters_that_no_field_carries_are_refused() -> None:
    """A token that cannot be sent is of no use, whatever its prefix."""
    for text in ("shp_a\nb", "shp_é", "shp_\x7f"):
        with pytest.raises(ChangeRefused, match="no credential field can carry"):
            import_text(OPEN_POLICY, REQUEST, text, b"", NOW)

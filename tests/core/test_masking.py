"""What looks like a token is left nowhere, and what is a name stays one."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import masking
from gateway.core.masking import Masking
from gateway.core.tokens.text import BASE62, TokenFormat, build_checksum, mint

OWN = TokenFormat(("shop_", "shp_"), 40, True, 12)
FOREIGN = TokenFormat(("tlk_",), 32, False, 12)
RETIRED = TokenFormat(("old_live_",), 40, True, 12)
MASKING = Masking([OWN, FOREIGN])
RANDOM = st.binary(min_size=64, max_size=64)
BODY = "0123456789abcdefghij"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"/api/shp_{BODY}/x", "/api/shp_.../x"),
        (f"/a%0Ab/shp%5F{BODY},shop_{BODY}", "/a%0Ab/shp_...,shop_..."),
        (f"/%73hp_{BODY}", "/shp_..."),
        (f"/shp%255f{BODY}", "/shp_..."),
        ("/shp_%30%31%32%33%34%35%36%37%38%39%61%62%63%64%65%66", "/shp_..."),
        (f"/%zz/shp_{BODY}", "/%zz/shp_..."),
        (f"SHP_{BODY.upper()}.example", "SHP_..."),
        (f"/worshp_{BODY}", "/worshp_..."),
        (f"shp_0123-{BODY}", "shp_..."),
        ("tlk_550e8400-e29b-41d4-a716-446655440000", "tlk_..."),
        (f"a\nshp_{BODY}\nb", "a\nshp_...\nb"),
    ],
)
def test_a_token_is_masked(text: str, masked: str) -> None:
    """Behind any prefix, glued to something, mistyped, in capitals, or percent-encoded as often as you like."""
    assert masked == MASKING.mask(text)
    assert masked == MASKING.mask_again(text)
    assert MASKING.holds_token(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "shp_0123456789abcde",
        "shop_summer-collection-of-2026",
        "tlk_github-actions-release",
        f"other_{BODY}",
        str(uuid.UUID(int=7)),
        "/main.8f3c9e0a1b2c3d4e5f60718293a4b5c6d7e8f901.js",
        "/api/v1/projects/website/translations/export",
        "/%F0%9F%98%80/%zz/%",
    ],
)
def test_a_name_stays(text: str) -> None:
    """What is too short to be a token, or has the prefix of none."""
    assert text == MASKING.mask(text)
    assert not MASKING.holds_token(text)


@given(RANDOM, st.sampled_from([OWN, RETIRED]), st.integers(0, 3), st.sampled_from(["", "/a/", "x-", "%2F", "?t="]))
def test_no_minted_token_is_left(random_bytes: bytes, form: TokenFormat, encodings: int, before: str) -> None:
    """Whether any policy still names its prefix or not, and however often it was encoded."""
    text = mint(form, random_bytes)
    written = text
    for _ in range(encodings):
        written = "".join(f"%{ord(one):02x}" for one in written)
    masked = MASKING.mask(before + written)
    assert written not in masked
    assert text[-20:] not in masked


@given(RANDOM, st.integers(0, 39), st.sampled_from("-_.~+="))
def test_no_mistyped_token_is_left(random_bytes: bytes, place: int, typed: str) -> None:
    """One character of it can be wrong: no half of it is left that is long enough to guess the rest from."""
    text = mint(OWN, random_bytes).removeprefix("shop_")
    masked = MASKING.mask(f"shop_{text[:place]}{typed}{text[place + 1 :]}")
    found = [text[start : start + 20] for start in range(21) if text[start : start + 20] in masked]
    assert not found


@given(st.text(alphabet=BASE62, min_size=27, max_size=60), st.sampled_from(["shop_", "tlk_", "gone_"]))
def test_masking_twice_changes_nothing(body: str, prefix: str) -> None:
    """What was masked stays as it is."""
    text = prefix + body
    masked = MASKING.mask(text + build_checksum(text))
    assert masked == MASKING.mask(masked)


def test_a_prefix_of_letters_only_is_none_inside_of_a_word() -> None:
    """Such a prefix begins words, too: only where a word begins it is looked for."""
    found = Masking([TokenFormat(("key",), 40, True, 12)])
    assert "key..." == found.mask(f"key{BODY}")
    assert f"monkey{BODY}" == found.mask(f"monkey{BODY}")


def test_without_any_policy_our_own_tokens_are_masked() -> None:
    """Those that have our checksum, which is all that can be told then."""
    text = mint(OWN, bytes(64))
    assert "shop_..." == Masking(()).mask(text)


def test_a_long_text_is_not_searched_by_its_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client chooses it: however many places there are at which a token may begin, few are looked at."""
    checked: list[int] = []

    def build_none(text: str) -> str:
        checked.append(len(text))
        return ""

    monkeypatch.setattr(masking, "build_checksum", build_none)
    text = "a_" * 4000 + "A" * 200
    assert text == MASKING.mask(text)
    assert sum(checked) <= masking.MAXIMUM_TOKEN_LENGTH**2
    assert checked

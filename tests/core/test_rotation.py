"""Rotation of tokens, without Redis."""

from collections.abc import Iterator
from itertools import repeat
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.errors import ChangeRefused
from gateway.core.tokens.changes import LATEST_END, TokenState
from gateway.core.tokens.lifecycle import Rotated, Rotation, rotate_record
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import bucket_of, digest, is_well_formed, random_bytes_needed, token_id
from tests.core.samples import NOW, RECORD, load_shop

POLICY = load_shop()
IDENTITY = token_id(RECORD.digest)
DAY = 86400


def draws(seed: int = 1) -> Iterator[bytes]:
    random = Random(seed)
    while True:
        yield random.randbytes(random_bytes_needed(POLICY.token_format))


def rotate(record: TokenRecord = RECORD, state: TokenState = TokenState.ACTIVE, **asked: Any) -> Rotated:
    rotation = Rotation(**{"overlap_seconds": DAY, **asked})
    return rotate_record(POLICY, record, state, rotation, draws(), b"pepper", NOW)


def refusal(record: TokenRecord = RECORD, state: TokenState = TokenState.ACTIVE, **asked: Any) -> str:
    with pytest.raises(ChangeRefused) as refused:
        rotate(record, state, **asked)
    return str(refused.value)


def test_a_successor_takes_over_the_settings() -> None:
    """Everything but digest, shown part and creation is the old token's; and both name each other."""
    rotated = rotate()
    successor = rotated.successor
    assert is_well_formed(rotated.text, POLICY.token_format)
    assert digest(rotated.text, b"pepper") == successor.digest
    assert rotated.text[:12] == successor.shown
    own = {"digest": RECORD.digest, "shown": RECORD.shown, "created_at": RECORD.created_at, "predecessor": ""}
    assert IDENTITY == successor.predecessor
    assert NOW == successor.created_at
    assert RECORD == replace(successor, **own)
    assert replace(RECORD, expires_at=NOW + DAY, successor=token_id(successor.digest)) == rotated.old
    assert rotated.text not in repr(rotated)


def test_a_successor_was_never_used() -> None:
    """What the token before it was used for says nothing of who has the new text by now."""
    rotated = rotate(replace(RECORD, last_use=NOW))
    assert 0 == rotated.successor.last_use
    assert NOW == rotated.old.last_use


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**32))
def test_a_successor_is_in_the_bucket_of_its_lineage(raw: bytes, seed: int) -> None:
    """Whatever the bucket: its counters are in the same slot as those of the first token."""
    record = replace(RECORD, digest=raw.hex(), lineage=token_id(raw.hex()))
    rotation = Rotation(overlap_seconds=0)
    rotated = rotate_record(POLICY, record, TokenState.ACTIVE, rotation, draws(seed), b"", NOW)
    assert bucket_of(record.lineage) == bucket_of(rotated.successor.digest)
    assert record.lineage == rotated.successor.lineage


@pytest.mark.parametrize(
    ("own", "overlap", "ends"),
    [
        (None, DAY, NOW + DAY),
        (NOW + 60, DAY, NOW + 60),
        (NOW + 2 * DAY, DAY, NOW + DAY),
        (None, 0, NOW),
        (None, 2 * LATEST_END, LATEST_END),
    ],
)
def test_the_old_token_ends_after_the_overlap(own: int | None, overlap: int, ends: int) -> None:
    """And never later than it would have ended anyway; the successor keeps the end that the old one had."""
    rotated = rotate(replace(RECORD, expires_at=own), overlap_seconds=overlap)
    assert ends == rotated.old.expires_at
    assert own == rotated.successor.expires_at


def test_a_successor_may_have_an_end_of_its_own() -> None:
    """Given one, or none with None, it has that."""
    record = replace(RECORD, expires_at=NOW + 60)
    assert NOW + 90 == rotate(record, expires_at=NOW + 90).successor.expires_at
    assert None is rotate(record, expires_at=None).successor.expires_at
    assert "the token would have ended already" == refusal(record, expires_at=NOW)


@pytest.mark.parametrize("state", [TokenState.REVOKED, TokenState.DISABLED, TokenState.EXPIRED])
def test_a_token_that_does_not_work_has_no_successor(state: TokenState) -> None:
    """A token that was ended or switched off cannot be brought back by rotating it, and the message says what it is."""
    message = f"token {IDENTITY} is {state}: there is nothing to rotate, create another one"
    assert message == refusal(state=state)


def test_a_token_has_one_successor() -> None:
    """The second rotation names the successor that is there."""
    assert f"token {IDENTITY} was rotated already, to abc: rotate that one" == refusal(replace(RECORD, successor="abc"))


def test_the_draws_are_bounded() -> None:
    """A random source that never falls into the bucket ends in a refusal, not in an endless command."""
    same = repeat(b"\0" * random_bytes_needed(POLICY.token_format))
    with pytest.raises(ChangeRefused, match="fell into the bucket ab"):
        rotate_record(POLICY, RECORD, TokenState.ACTIVE, Rotation(overlap_seconds=0), same, b"", NOW)


def test_a_token_of_a_plan_that_is_gone_can_be_rotated() -> None:
    """What is taken over is not checked anew."""
    assert "gone" == rotate(replace(RECORD, plan="gone")).successor.plan

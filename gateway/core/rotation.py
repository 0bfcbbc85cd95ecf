"""Rotation: a token's successor takes over its settings and its counters, and the token ends after an overlap.

A lineage is a chain: each token has at most one predecessor and one successor. All of it is in one bucket, where the
counters of its first token are.
"""

from collections.abc import Iterable

import msgspec

from gateway.core.administration import LATEST_END, NO_BOUNDS, Bounds, TokenState, check_bounds, check_record
from gateway.core.errors import ChangeRefused, TokenEnded
from gateway.core.policies.rules import Policy
from gateway.core.records import TokenRecord
from gateway.core.tokens import bucket_of, digest, mint, shown_part, token_id

MAXIMUM_DRAWS = 10_000
"""A draw fits one time in 256: that none of so many does has a chance below 1e-16. All take a tenth of a second."""

REFUSING_STATES = (TokenState.REVOKED, TokenState.DISABLED, TokenState.EXPIRED)


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a rotation."""

    overlap_seconds: int
    """How long the old token still works beside its successor."""
    expires_at: int | msgspec.UnsetType | None = msgspec.UNSET
    """The successor's end; UNSET: the one that the old token has."""


class Rotated(msgspec.Struct, frozen=True):
    """Two records that are to be stored together, and the only copy of the successor's text."""

    text: str
    old: TokenRecord
    successor: TokenRecord

    def __repr__(self) -> str:
        return f"Rotated({self.old!r}, {self.successor!r})"


def rotate_record(
    policy: Policy,
    record: TokenRecord,
    state: TokenState,
    rotation: Rotation,
    draws: Iterable[bytes],
    pepper: bytes,
    now: int,
    bounds: Bounds = NO_BOUNDS,
) -> Rotated:
    """The token, to be ended, and its successor; ChangeRefused for one that has nothing left to hand on.

    `draws` are random bytes for one token each, as many as it takes; `now` in Unix seconds. What the successor takes
    over is not checked anew: a token that leaked can be rotated also where the policy has changed meanwhile.
    """
    identity = token_id(record.digest)
    if state in REFUSING_STATES:
        raise TokenEnded(f"token {identity} is {state}: there is nothing to rotate, create another one")
    if record.successor:
        raise TokenEnded(f"token {identity} was rotated already, to {record.successor}: rotate that one")
    text, new = mint_beside(policy, record, draws, pepper, now)
    expires_at = record.expires_at if rotation.expires_at is msgspec.UNSET else rotation.expires_at
    successor = msgspec.structs.replace(new, expires_at=expires_at, predecessor=identity)
    if rotation.expires_at is not msgspec.UNSET:
        check_record(policy, successor, ("expires_at",), now)
        check_bounds(policy, successor, ("expires_at",), bounds)
    ends = now + rotation.overlap_seconds
    ends = min(ends, LATEST_END if record.expires_at is None else record.expires_at)
    old = msgspec.structs.replace(record, expires_at=ends, successor=successor.identity)
    return Rotated(text, old, successor)


def mint_beside(
    policy: Policy, record: TokenRecord, draws: Iterable[bytes], pepper: bytes, now: int
) -> tuple[str, TokenRecord]:
    """A new token in the bucket of another: its text, and a record of the other's settings and none of its history."""
    text, token_digest = _mint_into(bucket_of(record.lineage), policy, draws, pepper)
    return text, msgspec.structs.replace(
        record,
        last_use=0,
        digest=token_digest,
        shown=shown_part(text, policy.token_format),
        created_at=now,
        predecessor="",
        successor="",
        updated_at=None,
        number=0,
        made_by="",
        disabled_by="",
    )


def _mint_into(bucket: str, policy: Policy, draws: Iterable[bytes], pepper: bytes) -> tuple[str, str]:
    """The text and the digest of the first token drawn that falls into the bucket."""
    for random_bytes, _ in zip(draws, range(MAXIMUM_DRAWS), strict=False):
        text = mint(policy.token_format, random_bytes)
        token_digest = digest(text, pepper)
        if bucket_of(token_digest) == bucket:
            return text, token_digest
    raise ChangeRefused(f"no draw of {MAXIMUM_DRAWS} fell into the bucket {bucket}: the random source is broken")

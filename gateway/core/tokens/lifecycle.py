"""Rotation: a token's successor takes over its settings and its counters, and the token expires after an overlap.

A lineage is a chain: each token has at most one predecessor and one successor. All of it is in one bucket, where the
counters of its first token are.

Child tokens are created with a token, for the same owner, to do a part of what it may do.

Rule 1: a child never holds a scope that its parent lacks, nor works a second that its parent does not. That is true at
every request, not only at the child's creation: what the parent loses, its children lose with it.
Rule 2: a child has its parent's policy, project, owner and plan, and is in its lineage: they share one set of counters,
so children multiply no quota.
Rule 3: a child is created by an operator or by the parent itself, never by another token, whoever owns it. If the
policy names a scope for it, the parent needs that scope at that moment, also if an operator asks.
Rule 4: a child has no children. If it is rotated, its successor is a child of the same parent; if the parent is
rotated, the children end with the old token.

Tokens that exist elsewhere are imported by their digest or by their text, of which only the shown part is kept.
"""

import re
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from gateway.core.errors import ChangeRefused, NotGrantable, TokenEnded
from gateway.core.policies.model import Policy
from gateway.core.tokens.changes import (
    LATEST_END,
    NO_BOUNDS,
    Bounds,
    TokenRequest,
    TokenState,
    check_bounds,
    check_record,
    grantable_to,
    make_record,
)
from gateway.core.tokens.credentials import build_credential, find_credential
from gateway.core.tokens.owners import OwnerRecord
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import (
    MAXIMUM_TEXT_LENGTH,
    TokenFormat,
    bucket_of,
    digest,
    is_well_formed,
    mint,
    shown_part,
    token_id,
)

MAXIMUM_DRAWS = 10_000
"""A draw fits one time in 256: that none of so many does has a chance below 1e-16. All take a tenth of a second."""

REFUSING_STATES = (TokenState.REVOKED, TokenState.DISABLED, TokenState.EXPIRED)


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a rotation that a caller requests."""

    overlap_seconds: int
    """How long the old token still works beside its successor."""
    expires_at: int | msgspec.UnsetType | None = msgspec.UNSET
    """The successor's expiry; if UNSET, that of the old token."""


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
    """Return the token, which expires after the overlap, and its successor.

    `draws` are random bytes for one token each, as many as it takes; `now` is in Unix seconds. What the successor takes
    over is not checked again: a leaked token can be rotated even if the policy has changed meanwhile. Raise TokenEnded
    if the token has ended or was rotated already, and ChangeRefused if the new expiry is not allowed.
    """
    identity = token_id(record.digest)
    if state in REFUSING_STATES:
        raise TokenEnded(f"token {identity} is {state}: there is nothing to rotate, create another one")
    if record.is_exchanged:
        raise TokenEnded(f"token {identity} is a job's: the job gets another one for an ID token")
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
    """Mint a token in the bucket of another. Return its text, and a record with the other's settings.

    The record has nothing of the other's history.
    """
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
    """Return the text and the digest of the first drawn token that falls into the bucket.

    Raise ChangeRefused if none of MAXIMUM_DRAWS does.
    """
    for random_bytes, _ in zip(draws, range(MAXIMUM_DRAWS), strict=False):
        text = mint(policy.token_format, random_bytes)
        token_digest = digest(text, pepper)
        if bucket_of(token_digest) == bucket:
            return text, token_digest
    raise ChangeRefused(f"no draw of {MAXIMUM_DRAWS} fell into the bucket {bucket}: the random source is broken")


def mint_in_lineage(
    policy: Policy,
    request: TokenRequest,
    lineage: str,
    draws: Iterable[bytes],
    pepper: bytes,
    now: int,
    owner: OwnerRecord | None = None,
) -> tuple[str, TokenRecord]:
    """Mint a token that shares the counters of a lineage whose first token nobody has. Return its text and record.

    Raise ChangeRefused as `make_record` does.
    """
    text, token_digest = _mint_into(bucket_of(lineage), policy, draws, pepper)
    record = make_record(policy, request, token_digest, shown_part(text, policy.token_format), now, owner)
    return text, msgspec.structs.replace(record, lineage=lineage)


_ASKED = ("name", "description", "scopes", "not_before", "expires_at")


def bound_by(parent: TokenRecord, child: TokenRecord) -> TokenRecord:
    """Return the child with its parent's current plan and overrides, whatever they were at the child's creation."""
    return msgspec.structs.replace(child, plan=parent.plan, overrides=parent.overrides)


def make_child(
    policy: Policy,
    parent: TokenRecord,
    state: TokenState,
    owner: OwnerRecord | None,
    request: TokenRequest,
    draws: Iterable[bytes],
    pepper: bytes,
    now: int,
    maker: str = "",
) -> tuple[str, TokenRecord]:
    """Return a child's text and record. Raise ChangeRefused if its parent may not grant it.

    `state` is the parent's, `owner` the record of its owner, `maker` the id of the token that asks, empty for an
    operator; `draws` and `now` are those of `rotate_record`. Without scopes, the child holds all that the parent
    effectively has, except the scopes to create children and to sign in with; without an expiry, it has the parent's.
    """
    identity, bounds = parent.identity, Bounds(owner, parent)
    granted = check_parent(policy, parent, state, bounds, maker)
    _check_shared(parent, request)
    text, new = mint_beside(policy, parent, draws, pepper, now)
    child = msgspec.structs.replace(
        new,
        name=request.name,
        scopes=policy.own_scopes(request.scopes or policy.unasked_scopes(granted - {policy.parent_scope})),
        not_before=request.not_before,
        expires_at=parent.expires_at if request.expires_at is None else request.expires_at,
        parent=identity,
        description=request.description,
    )
    check_record(policy, child, _ASKED, now)
    check_bounds(policy, child, _ASKED, bounds)
    return text, child


def _check_shared(parent: TokenRecord, request: TokenRequest) -> None:
    for what in ("project", "owner", "plan"):
        if getattr(request, what) not in ("", None, getattr(parent, what)):
            raise ChangeRefused(f"a child has the {what} of its parent, {getattr(parent, what) or 'none'}")


def check_parent(policy: Policy, parent: TokenRecord, state: TokenState, bounds: Bounds, maker: str) -> set[str]:
    """Return the scopes that a child of the token can have.

    Raise ChangeRefused if the token can have no children, or if `maker` may not create them.
    """
    identity = parent.identity
    if maker not in ("", identity):
        raise NotGrantable(f"token {maker} may make children of itself only, not of {identity}")
    if parent.parent:
        raise ChangeRefused(f"token {identity} is a child of {parent.parent}: a child has no children")
    if state in REFUSING_STATES:
        raise TokenEnded(f"token {identity} is {state}: its children would be refused")
    granted = grantable_to(policy, parent, bounds)
    if policy.parent_scope and policy.parent_scope not in granted:
        raise NotGrantable(f"token {identity} may have no children: it lacks {policy.parent_scope!r} at the moment")
    return granted


DIGEST = re.compile(r"[0-9a-f]{64}")
SHOWN_SHARE = 2
"""At most half of a text is kept for display: otherwise Redis would have the whole text of a short token."""


class ByDigest(msgspec.Struct, frozen=True):
    """A token known by its digest; `shown` is the beginning of its text, for lists."""

    digest: str
    shown: str = ""


class ByText(msgspec.Struct, frozen=True):
    """A token known by its text."""

    text: str

    def __repr__(self) -> str:
        return "ByText()"


Imported: TypeAlias = ByDigest | ByText


def import_token(
    policy: Policy, request: TokenRequest, imported: Imported, pepper: bytes, now: int, owner: OwnerRecord | None = None
) -> TokenRecord:
    """Return the record of a token that exists elsewhere. Raise ChangeRefused if it cannot be imported."""
    if isinstance(imported, ByDigest):
        return import_digest(policy, request, imported.digest, imported.shown, now, owner)
    return import_text(policy, request, imported.text, pepper, now, owner)


def import_digest(
    policy: Policy, request: TokenRequest, token_digest: str, shown: str, now: int, owner: OwnerRecord | None = None
) -> TokenRecord:
    """Return the record of a token known by its digest.

    Raise ChangeRefused if the digest or the shown part is invalid.
    """
    token_digest = token_digest.lower()
    if DIGEST.fullmatch(token_digest) is None:
        raise ChangeRefused("a digest is 64 hex digits: HMAC-SHA-256 under the pepper, SHA-256 without one")
    most = policy.token_format.shown_length(shown)
    if len(shown) > most or not shown.isprintable():
        raise ChangeRefused(f"of a token's text at most {most} printable characters are shown")
    return make_record(policy, request, token_digest, shown, now, owner)


def import_text(
    policy: Policy, request: TokenRequest, text: str, pepper: bytes, now: int, owner: OwnerRecord | None = None
) -> TokenRecord:
    """Return the record of a token known by its text. Raise ChangeRefused if the policy could never accept it."""
    reason = why_unacceptable(text, policy)
    if reason:
        raise ChangeRefused(f"the policy {policy.name} could never accept this token: {reason}")
    shown = shown_part(text, policy.token_format)[: len(text) // SHOWN_SHARE]
    return make_record(policy, request, digest(text, pepper), shown, now, owner)


def why_unacceptable(text: str, policy: Policy) -> str:
    """Return why no request can present `text` under the policy, without repeating any of it; empty if one can."""
    if not text:
        return "it is empty"
    if not is_well_formed(text, policy.token_format):
        return _why_malformed(text, policy.token_format)
    for source in policy.credentials if text.isascii() else ():
        if find_credential([build_credential(text, source)], policy) == text:
            return ""
    return "it has characters that no credential field can carry"


def _why_malformed(text: str, token_format: TokenFormat) -> str:
    """Return the first reason why a text is not well-formed."""
    if len(text) > MAXIMUM_TEXT_LENGTH:
        return f"it is longer than {MAXIMUM_TEXT_LENGTH} characters"
    fitting = [prefix for prefix in token_format.prefixes if text.startswith(prefix)]
    if not fitting:
        return f"it does not begin with {' or '.join(token_format.prefixes)}"
    if all(len(text) != len(prefix) + token_format.length for prefix in fitting):
        return f"it does not have {token_format.length} characters after its prefix"
    return "its checksum does not fit; `checksum = false` in the policy accepts tokens that were minted elsewhere"

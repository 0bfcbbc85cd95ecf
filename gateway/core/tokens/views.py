"""Views of a token: its record as it counts now, and what the record does not say.

Rule: a token as JSON is always ShownToken, wherever it is shown.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET, UnsetType

from gateway.core.quotas.model import Override
from gateway.core.tokens.audit import id_or_nothing
from gateway.core.tokens.changes import TokenState, state_of
from gateway.core.tokens.lifecycle import bound_by
from gateway.core.tokens.records import TokenRecord, encode_record, without_use
from gateway.core.tokens.text import ID_LENGTH

VERSION_DIGITS = 20


class TokenView(msgspec.Struct, frozen=True, gc=False):
    """A token at one moment; nothing in it is secret. It is part of no reference cycle, so the collector skips it."""

    record: TokenRecord
    """The record with the plan that counts, which may be its owner's; a child's is bound by its parent's."""
    state: TokenState
    is_revoked: bool
    """Whether the token itself is revoked; if only a child's parent is, the state says so, and this does not."""
    stored: TokenRecord
    """The record without its parent's and its owner's values: the base of a change."""

    @property
    def version(self) -> str:
        """A version that differs after every change of the token, but not after its use. It is computed when needed."""
        return version_of(self.stored, self.is_revoked)

    @property
    def identity(self) -> str:
        """The token's id."""
        return self.record.identity

    @property
    def number(self) -> int:
        """Its number among the policy's tokens; 0 if the policy has none."""
        return self.record.number

    @property
    def last_use(self) -> int | None:
        """Unix seconds, exact to the policy's resolution; None means never."""
        return self.record.last_use or None


class CreatedToken(msgspec.Struct, frozen=True):
    """A new token, and the only copy of its text."""

    view: TokenView
    text: str
    predecessor: TokenView | None = None
    """The token that it was rotated from."""
    warning: str = ""
    """Why this may be undone; empty if that is not to be feared."""

    def __repr__(self) -> str:
        return f"CreatedToken({self.view!r})"


class ShownOverride(msgspec.Struct, frozen=True):
    """A limit of the token's own."""

    quota: str
    limit: int
    capacity: int
    """The most units at once: the burst of a token bucket, else the limit."""
    until: datetime
    reason: str
    author: str
    set_at: datetime


class ShownToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token as JSON, the same from the management API and the command line; nothing in it is secret.

    Times are RFC 3339 in UTC; missing values are null.
    """

    id: str
    number: int | None
    name: str
    description: str | None
    shown: str
    """The beginning of its text."""
    state: TokenState
    is_active: bool
    """False if it was disabled."""
    policy: str
    plan: str | None
    scopes: list[str]
    project: str | None
    owner: str | None
    created_at: datetime
    updated_at: datetime | None
    last_used_at: datetime | None
    not_before: datetime | None
    expires_at: datetime | None
    predecessor: str | None
    successor: str | None
    parent: str | None
    made_by: str | None
    """The token that was presented to create this one; null if none was, or if it is older than this field."""
    disabled_by: str | None
    """The policy's own token that disabled this one; null if an operator did, or nobody."""
    overrides: list[ShownOverride]
    version: str
    """The entity tag of the token, without its quotation marks."""
    token: str | UnsetType = UNSET
    """Its text: only in the answer to its creation or rotation."""
    predecessor_expires_at: datetime | UnsetType | None = UNSET
    """The expiry of the token that was rotated: only in the answer to a rotation."""
    warning: str | UnsetType = UNSET
    """Why a rotation may be undone: Redis did not confirm in time that it is on its disk."""


def build_views(
    records: Sequence[TokenRecord],
    parents: Mapping[str, TokenRecord],
    revoked: Mapping[str, bool],
    now: int,
    bind: Callable[[TokenRecord], TokenRecord] = lambda record: record,
) -> list[TokenView]:
    """Build a view of each record at `now`, Unix seconds; `revoked` is about tokens and their parents, by id.

    A child whose parent no longer exists is revoked. `bind` gives a record the plan that counts.
    """
    views = []
    for record in records:
        parent, is_revoked, bound = parents.get(record.parent), revoked[record.identity], record
        parents_state = TokenState.REVOKED if record.parent else TokenState.ACTIVE
        if parent is not None:
            bound, parents_state = bound_by(parent, record), state_of(parent, revoked[record.parent], now)
        views.append(TokenView(bind(bound), state_of(record, is_revoked, now, parents_state), is_revoked, record))
    return views


def why_not_found(identity: str) -> str:
    """Return why there is no token of this id. A text that is no id is not repeated: it may be the text of a token."""
    if id_or_nothing(identity):
        return f"there is no token {identity}"
    length = f"{ID_LENGTH} hexadecimal digits"
    return f"there is no token of this id: an id has {length}, this text has {len(identity)} characters"


def version_of(record: TokenRecord, is_revoked: bool) -> str:
    """Return a digest of everything that a change can change."""
    settings = without_use(encode_record(record))
    return hashlib.sha256(settings + (b"revoked" if is_revoked else b"")).hexdigest()[:VERSION_DIGITS]


def show_token(view: TokenView) -> ShownToken:
    """Return all that may be shown of a token. Its digest is left out: it is not secret, but of no use."""
    record = view.record
    return ShownToken(
        id=view.identity,
        number=record.number or None,
        name=record.name,
        description=record.description or None,
        shown=record.shown,
        state=view.state,
        is_active=record.is_active,
        policy=record.policy,
        plan=record.plan or None,
        scopes=record.scopes.split(),
        project=record.project or None,
        owner=record.owner or None,
        created_at=to_time(record.created_at),
        updated_at=to_time_or_none(record.updated_at),
        last_used_at=to_time_or_none(view.last_use),
        not_before=to_time_or_none(record.not_before),
        expires_at=to_time_or_none(record.expires_at),
        predecessor=record.predecessor or None,
        successor=record.successor or None,
        parent=record.parent or None,
        made_by=record.made_by or None,
        disabled_by=record.disabled_by or None,
        overrides=[_show_override(one) for one in record.overrides],
        version=view.version,
    )


def show_created(created: CreatedToken) -> ShownToken:
    """Return a new token with its text; for a rotation, also the expiry of its predecessor."""
    old = created.predecessor
    return msgspec.structs.replace(
        show_token(created.view),
        token=created.text,
        predecessor_expires_at=UNSET if old is None else to_time_or_none(old.record.expires_at),
        warning=created.warning or UNSET,
    )


def _show_override(override: Override) -> ShownOverride:
    return ShownOverride(
        quota=override.counter,
        limit=override.limit,
        capacity=override.capacity,
        until=to_time(override.until),
        reason=override.reason,
        author=override.author,
        set_at=to_time(override.set_at),
    )


def to_time(seconds: float) -> datetime:
    """Return the time of Unix seconds, in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def to_time_or_none(seconds: int | None) -> datetime | None:
    """Return the time of Unix seconds, in UTC, or None for None."""
    return None if seconds is None else to_time(seconds)

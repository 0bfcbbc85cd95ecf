"""What the management API gives. Times are RFC 3339 in UTC; what is not there is null."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from gateway.core.administration import TokenState
from gateway.core.audit import Action, AuditEntry
from gateway.core.owners import OwnerRecord, OwnerStatus
from gateway.core.token_views import CreatedToken, TokenView


class ShownOverride(msgspec.Struct, frozen=True):
    """A limit of the token's own."""

    quota: str
    limit: int
    until: datetime
    reason: str
    author: str


class ShownToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token; nothing in it is secret."""

    id: str
    number: int | None
    name: str
    description: str | None
    shown: str
    """The beginning of its text."""
    state: TokenState
    is_active: bool
    """False where it was disabled."""
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
    """The token that was presented to make this one; null: none was, or it is older than this note."""
    disabled_by: str | None
    """The policy's own token that disabled this one; null: an operator did, or nobody."""
    overrides: list[ShownOverride]
    version: str
    """The entity tag of the token, without its quotation marks."""
    token: str | UnsetType = UNSET
    """Its text: in the answer to its creation or rotation, and in no other."""


class TokenPage(msgspec.Struct, frozen=True):
    """Some of the tokens, the newest first."""

    tokens: list[ShownToken]
    total: int
    """How many there are in all pages."""
    next: str | None
    """The `cursor` of the next page; null on the last one."""


class ShownTokens(msgspec.Struct, frozen=True):
    """All of a few tokens."""

    tokens: list[ShownToken]


class Revoked(msgspec.Struct, frozen=True):
    """Ids of the tokens that have ended by this call."""

    revoked: list[str]


class ShownOwner(msgspec.Struct, frozen=True, kw_only=True):
    """An owner. Without permissions it is a name only, and bounds nothing."""

    owner: str
    policy: str
    status: OwnerStatus
    plan: str | None
    """Of all its tokens; null where each has its own."""
    permissions: dict[str, list[str]] | None
    version: int | None


class ShownOwners(msgspec.Struct, frozen=True):
    """Those of a policy's owners that have a record."""

    owners: list[ShownOwner]


class ShownEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A change, or one that was refused."""

    id: str
    time: datetime
    actor: str
    """Who: of a token, "API key" and its name."""
    actor_kind: str
    actor_token: str | None
    address: str | None
    action: Action
    outcome: str
    """`done`, or the code of the refusal."""
    policy: str
    target: str | None
    """The id of the token, or of the owner."""
    name: str | None
    project: str | None
    owner: str | None
    changes: dict[str, list[Any]]
    """Field to what it said before and after; times in Unix seconds."""


class History(msgspec.Struct, frozen=True):
    """Some of the changes, the newest first."""

    entries: list[ShownEntry]
    next: str | None
    """The `cursor` of the next page; null where this one is not full."""


class Purged(msgspec.Struct, frozen=True):
    """How many stored exports have ended."""

    purged: int


def show_token(view: TokenView) -> ShownToken:
    """All that may be shown of a token."""
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
        overrides=[
            ShownOverride(one.counter, one.limit, to_time(one.until), one.reason, one.author)
            for one in record.overrides
        ],
        version=view.version,
    )


def show_created(created: CreatedToken) -> ShownToken:
    """A new token with its text."""
    return msgspec.structs.replace(show_token(created.view), token=created.text)


def show_owner(policy: str, owner: str, record: OwnerRecord | None) -> ShownOwner:
    """An owner, with a record or without."""
    return ShownOwner(
        owner=owner,
        policy=policy,
        status=record.status if record else OwnerStatus.ACTIVE,
        plan=record.plan or None if record else None,
        permissions={name: held.split() for name, held in sorted(record.permissions.items())} if record else None,
        version=record.version if record else None,
    )


def show_entry(entry: AuditEntry) -> ShownEntry:
    """A change."""
    return ShownEntry(
        id=entry.id,
        time=datetime.fromtimestamp(entry.time, UTC),
        actor=entry.actor.title,
        actor_kind=entry.actor.kind,
        actor_token=entry.actor.token or None,
        address=entry.actor.address or None,
        action=entry.action,
        outcome=entry.outcome,
        policy=entry.policy,
        target=entry.target or None,
        name=entry.name or None,
        project=entry.project or None,
        owner=entry.owner or None,
        changes={field: list(pair) for field, pair in entry.changes.items()},
    )


def to_time(seconds: int) -> datetime:
    """The time of Unix seconds."""
    return datetime.fromtimestamp(seconds, UTC)


def to_time_or_none(seconds: int | None) -> datetime | None:
    """The same, of None None."""
    return None if seconds is None else to_time(seconds)

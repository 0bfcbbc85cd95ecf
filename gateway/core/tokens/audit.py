"""The history of changes: who changed or purged what, when, from what to what; and which changes were refused.

Rule 1: an entry and its change are written by one script: neither exists without the other.
Rule 2: an entry has nothing secret. Of a refused change it keeps no text of the request: people paste tokens into the
wrong field.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

import msgspec

from gateway.core.tokens.owners import OwnerRecord
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import ID_LENGTH

DONE = "done"
"""The outcome of a change that was made; otherwise the outcome is the code of the refusal (core/errors.py)."""
TOLD = ("name", "description", "project", "owner", "plan", "scopes", "not_before", "expires_at", "is_active")
"""Fields of a record whose changes are recorded as they are."""
KINDS = Literal["operator", "admin", "token", "owner", "system", "job"]
"""Kinds of actors: at a command line; with an admin token; with a token of a policy; signed in; the gateway itself; a
job with an ID token of its CI provider."""


class Actor(msgspec.Struct, frozen=True, omit_defaults=True):
    """The person or program that changes something."""

    name: str
    kind: KINDS
    token: str = ""
    """The id of the token that was presented, if any."""
    address: str = ""

    @property
    def title(self) -> str:
        """The name of the actor in a history: a token is not the person who created it."""
        return f"API key {self.name}" if self.kind in ("admin", "token") else self.name


class Action(StrEnum):
    """The action of an entry in the history."""

    CREATE = "token.create"
    EXCHANGE = "token.exchange"
    IMPORT = "token.import"
    UPDATE = "token.update"
    OVERRIDE = "token.override"
    ROTATE = "token.rotate"
    REVOKE = "token.revoke"
    CHANGE_OWNER = "owner.change"
    PURGE = "export.purge"


ACTIONS = {str(action) for action in Action} | {action.partition(".")[0] for action in Action}
"""What a query may name: a whole action, or the part before its dot."""


class AuditEntry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One change, or one that was refused."""

    actor: Actor
    action: Action
    policy: str = ""
    target: str = ""
    """The id of the token or the owner; for a purge, the id of the token whose exports were purged, if any."""
    name: str = ""
    """The token's name at that time."""
    project: str = ""
    owner: str = ""
    changes: dict[str, tuple[Any, Any]] = {}
    """Maps a field to its values before and after; times are Unix seconds."""
    outcome: str = DONE
    time: float = 0.0
    """Unix seconds by Redis' clock; not stored, as it is part of the entry's id."""
    id: str = ""
    """Its place among all entries; not stored."""


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A query for entries: those that match all given values."""

    policy: str | None = None
    target: str | None = None
    project: str | None = None
    owner: str | None = None
    actor: str | None = None
    """The actor's name, or the id of its token."""
    action: str | None = None
    """A whole action, or the part before its dot."""
    is_refused: bool = False
    """Whether only refused changes match."""
    since: int | None = None
    """Unix seconds; the first second that matches."""
    until: int | None = None
    """Unix seconds; the first second that no longer matches."""

    def matches(self, entry: AuditEntry) -> bool:
        """Return whether the entry matches, apart from its time."""
        return (
            all(
                expected in (None, getattr(entry, field))
                for field, expected in (
                    ("policy", self.policy),
                    ("target", self.target),
                    ("project", self.project),
                )
            )
            and not (self.is_refused and entry.outcome == DONE)
            and (self.owner is None or self.owner in owners_of(entry))
            and self.actor in (None, entry.actor.name, entry.actor.token)
            and self.action in (None, entry.action, entry.action.partition(".")[0])
        )


def owners_of(entry: AuditEntry) -> tuple[str, ...]:
    """Return the owners that the entry is about."""
    return (entry.target,) if entry.action is Action.CHANGE_OWNER else (entry.owner,)


def about_token(
    actor: Actor, action: Action, record: TokenRecord, changes: Mapping[str, tuple[Any, Any]]
) -> AuditEntry:
    """Return an entry about the token of a record."""
    return AuditEntry(
        actor=actor,
        action=action,
        policy=record.policy,
        target=record.identity,
        name=record.name,
        project=record.project,
        owner=record.owner,
        changes=dict(changes),
    )


def compare_records(old: TokenRecord | None, new: TokenRecord) -> dict[str, tuple[Any, Any]]:
    """Return what a change does to a token; for a new one, all fields that have a value."""
    fields = (*TOLD, "disabled_by", "parent", "successor")
    before = {field: getattr(old, field) if old else None for field in fields}
    after = {field: getattr(new, field) for field in fields}
    changes = {field: (before[field], after[field]) for field in fields if before[field] != after[field]}
    if old is None:
        changes = {field: pair for field, pair in changes.items() if pair[1] not in ("", None)}
    elif old.overrides != new.overrides:
        changes["overrides"] = _tell_overrides(old), _tell_overrides(new)
    return changes


def compare_owners(old: OwnerRecord | None, new: OwnerRecord) -> dict[str, tuple[Any, Any]]:
    """Return what a change does to an owner: its status, its plan, and its scopes by project, with the prefix `in:`."""
    held = {f"in:{project}": scopes for project, scopes in old.permissions.items()} if old else {}
    holds = {f"in:{project}": scopes for project, scopes in new.permissions.items()}
    before = {"status": old.status if old else None, "plan": old.plan or None if old else None, **held}
    after: dict[str, str | None] = {"status": new.status, "plan": new.plan or None, **holds}
    fields = [*after, *(field for field in held if field not in after)]
    pairs = {field: (before.get(field), after.get(field)) for field in fields}
    return {field: pair for field, pair in pairs.items() if pair[0] != pair[1]}


def _tell_overrides(record: TokenRecord) -> list[tuple[str, int, int, str]]:
    return [(one.counter, one.limit, one.until, one.reason) for one in record.overrides]


def id_or_nothing(text: str) -> str:
    """Return the text if it is a token's id, else nothing: no other text that people typed is kept."""
    return text if len(text) == ID_LENGTH and set(text) <= set("0123456789abcdef") else ""


def encode_entry(entry: AuditEntry) -> bytes:
    """Encode an entry as the JSON that is stored: without id and time, which the store gives."""
    return _encoder.encode(msgspec.structs.replace(entry, id="", time=0.0))


def decode_entry(raw: bytes, identity: str, seconds: float) -> AuditEntry:
    """Decode an entry that was stored."""
    return msgspec.structs.replace(_decoder.decode(raw), id=identity, time=seconds)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AuditEntry)

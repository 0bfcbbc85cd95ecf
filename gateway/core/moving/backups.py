"""Backups: which keys are in one, its lines, and what a history says that was changed since.

Rule 1: a backup holds digests, never texts, and no counters, usage or exports: what is lost with those comes back by
itself.
Rule 2: an old backup resurrects nothing. Whatever was revoked, disabled or blocked since is so after a restore, as far
as a history tells.

The first line of a backup says when it was taken, the last one that it is whole; each of the others is a key.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from gateway.core.errors import GatewayError
from gateway.core.tokens.audit import DONE, Action, id_or_nothing
from gateway.core.tokens.owners import OwnerRecord, OwnerStatus, decode_owner, encode_owner
from gateway.core.tokens.records import TokenRecord, decode_record, encode_record

OF_BUCKETS = ("revoked", "token", "owner", "children", "made", "audit")
"""The keys of a bucket that are kept, by their part after the bucket."""
OF_ALL = ("owner", "owners", "project", "names", "numbers", "audit", "marker")
"""The other keys that are kept, by their part after the version."""
REDONE = frozenset(TokenRecord.__struct_fields__) - {"digest", "last_use", "overrides", "policy", "lineage"}
"""The fields of a record that a history can change again. It does not tell all of an override."""

Kind: TypeAlias = Literal["string", "set", "hash", "stream"]


class InvalidBackup(GatewayError):
    """The file is no backup of this gateway, or not a whole one."""


class Head(msgspec.Struct, frozen=True, tag="backup", tag_field="line"):
    """The first line: the version of the layout, and when the backup was begun, in Unix milliseconds."""

    layout: str
    at: int


class Key(msgspec.Struct, frozen=True, tag="key", tag_field="line"):
    """A key and its value: text; members; fields and values; or entries, each with id, fields and values."""

    name: str
    kind: Kind
    value: Any


class End(msgspec.Struct, frozen=True, tag="end", tag_field="line"):
    """The last line: how many keys there are."""

    keys: int


Line: TypeAlias = Head | Key | End
_decoder = msgspec.json.Decoder(Line)
_encoder = msgspec.json.Encoder()


def encode_line(line: Line) -> bytes:
    """Encode a line, with its end."""
    return _encoder.encode(line) + b"\n"


def decode_line(raw: bytes, number: int) -> Line:
    """Decode a line. Raise InvalidBackup that names its number."""
    try:
        return _decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise InvalidBackup(f"line {number} is no line of a backup: {error}") from error


def is_kept(name: str) -> bool:
    """Return whether a key belongs into a backup."""
    _, first, *rest = f"{name}::".split(":")
    return rest[0] in OF_BUCKETS if first.startswith("{") else first in OF_ALL


def bucket_of_key(name: str) -> str:
    """Return the bucket of a key, such as `{7f}`; empty if it is in none."""
    part = name.split(":", 2)[1]
    return part if part.startswith("{") else ""


class Event(msgspec.Struct, frozen=True):
    """What a history tells of one change, as `gateway audit export` prints it."""

    action: str
    target: str | None = None
    policy: str | None = None
    outcome: str = DONE
    changes: Mapping[str, tuple[Any, Any]] = {}
    id: str = ""
    """Milliseconds, count and place: entries are redone in this order."""

    @property
    def milliseconds(self) -> int:
        """When it happened, by Redis' clock."""
        return int(self.id.partition("-")[0] or 0)


class Since(msgspec.Struct, frozen=True):
    """What was changed since a backup."""

    revoked: frozenset[str]
    tokens: Mapping[str, tuple[Event, ...]]
    owners: Mapping[tuple[str, str], tuple[Event, ...]]
    created: frozenset[str]
    """The tokens that were created since: a history has no digests, so they cannot come back."""

    def redo(self, key: Key) -> Key:
        """Return a key of the backup as it was after these changes."""
        _, first, *rest = f"{key.name}::".split(":")
        if first.startswith("{") and rest[0] == "token" and rest[1] in self.tokens:
            record = redo_token(decode_record(rest[1], key.value.encode()), self.tokens[rest[1]])
            return msgspec.structs.replace(key, value=encode_record(record).decode())
        owner = self._find_owner(key.name)
        if owner in self.owners:
            fields = encode_owner(redo_owner(decode_owner(key.value), self.owners[owner]))
            return msgspec.structs.replace(key, value=fields)
        return key

    @staticmethod
    def _find_owner(name: str) -> tuple[str, str]:
        """Return policy and name of the owner whose record or copy a key is; empty if it is none."""
        path = name.partition(":")[2]
        is_copy = path.startswith("{")
        path = path.partition(":")[2] if is_copy else path
        kind, _, rest = path.partition(":")
        policy, _, owner = rest.partition(":")
        if kind != "owner" or (not is_copy and ":" in owner):  # `<owner>:tokens` lists tokens
            return ("", "")
        return (policy, owner if is_copy else owner.replace("%3A", ":").replace("%25", "%"))


def read_events(lines: Iterable[str]) -> list[Event]:
    """Read a history as `gateway audit export` prints it, or ids of revoked tokens. Raise InvalidBackup."""
    events = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if id_or_nothing(text):
            events.append(Event(Action.REVOKE, text))
        elif text:
            try:
                events.append(msgspec.json.decode(text, type=Event))
            except msgspec.MsgspecError as error:
                raise InvalidBackup(f"line {number} is neither an id nor a line of `gateway audit export`") from error
    return events


def since(events: Iterable[Event], at: int) -> Since:
    """Return what these events have changed since a moment in Unix milliseconds. Revocations count whenever they were.

    An event of the second of the backup is redone too: it ends with the same.
    """
    tokens: dict[str, tuple[Event, ...]] = {}
    owners: dict[tuple[str, str], tuple[Event, ...]] = {}
    revoked, created = set[str](), set[str]()
    for event in sorted(events, key=lambda event: (event.milliseconds, event.id)):
        target = event.target or ""
        if event.outcome != DONE or not target:
            continue
        if event.action == Action.REVOKE:
            revoked.add(target)
        elif event.milliseconds < at:
            continue
        elif event.action in (Action.CREATE, Action.IMPORT):
            created.add(target)
        elif event.action == Action.CHANGE_OWNER:
            owners[event.policy or "", target] = (*owners.get((event.policy or "", target), ()), event)
        else:
            tokens[target] = (*tokens.get(target, ()), event)
    return Since(frozenset(revoked), tokens, owners, frozenset(created))


def redo_token(record: TokenRecord, events: Iterable[Event]) -> TokenRecord:
    """Return the record after the changes of the events."""
    for event in events:
        values = {field: after for field, (_, after) in event.changes.items() if field in REDONE}
        record = msgspec.structs.replace(record, **values)
    return record


def redo_owner(record: OwnerRecord, events: Iterable[Event]) -> OwnerRecord:
    """Return the owner's record after the changes of the events."""
    for event in events:
        after = {field: pair[1] for field, pair in event.changes.items()}
        permissions = dict(record.permissions)
        for field, scopes in after.items():
            project = field.removeprefix("in:")
            if field != project and scopes is None:
                permissions.pop(project, None)
            elif field != project:
                permissions[project] = scopes
        status = OwnerStatus(after["status"]) if after.get("status") else record.status
        plan = (after["plan"] or "") if "plan" in after else record.plan
        record = OwnerRecord(status, permissions, record.version + 1, plan)
    return record

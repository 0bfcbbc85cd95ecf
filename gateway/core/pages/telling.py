"""The history of changes in words."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.core.audit import DONE, Action, AuditEntry
from gateway.core.pages.times import describe_moment

_DEEDS: Mapping[Action, tuple[str, str]] = {
    Action.CREATE: ("created", "create it"),
    Action.IMPORT: ("imported", "import it"),
    Action.UPDATE: ("changed", "change it"),
    Action.OVERRIDE: ("changed a limit of", "change a limit of it"),
    Action.ROTATE: ("rotated", "rotate it"),
    Action.REVOKE: ("revoked", "revoke it"),
    Action.CHANGE_OWNER: ("changed the owner", "change the owner"),
    Action.PURGE: ("purged stored exports", "purge stored exports"),
}
_REFUSALS: Mapping[str, str] = {
    "name_taken": "the name is taken",
    "not_grantable": "it was more than may be given",
    "not_found": "there is none",
    "ended": "it was over",
    "changed_meanwhile": "somebody else was quicker",
}
_TIMES = ("not_before", "expires_at")
_QUIET = ("name", "project", "owner")
"""Not told of a new token: they stand beside it."""


def describe_deed(entry: AuditEntry) -> str:
    """`rotated`; `tried to rotate it, and was refused: it was over`. A switch is told by what it does."""
    done, attempted = _DEEDS[entry.action]
    if entry.outcome != DONE:
        return f"tried to {attempted}, and was refused: {_REFUSALS.get(entry.outcome, 'it was not valid')}"
    if set(entry.changes) - {"disabled_by"} == {"is_active"}:
        return "enabled" if entry.changes["is_active"][1] else "disabled"
    return f"{done} of {entry.policy}" if entry.action is Action.PURGE else done


def describe_changes(entry: AuditEntry) -> Iterator[tuple[str, str, str]]:
    """Each field with what it said before and after; empty texts for nothing."""
    for field, (before, after) in entry.changes.items():
        if field in ("is_active", "disabled_by", "successor", "predecessor", "parent"):
            continue
        is_new = entry.action in (Action.CREATE, Action.IMPORT)
        if is_new and field in _QUIET:
            continue
        words = field.replace("_", " ").replace("expires at", "expires")
        yield words, "" if is_new else _write(field, before), _write(field, after)


def _write(field: str, value: Any) -> str:
    if value is None or value == "":
        return "never" if field == "expires_at" else ""
    if field in _TIMES and isinstance(value, int):
        return describe_moment(value)
    return "yes" if value is True else str(value)

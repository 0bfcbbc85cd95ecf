"""A row of a file that is imported: what it may say, how it is read, and what comes of it.

No message repeats a value of a row: any of them may be a token that stands in the wrong column.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from gateway.core.errors import ChangeRefused
from gateway.core.policies.reading import unknown_name
from gateway.core.tokens.changes import TokenRequest
from gateway.core.tokens.lifecycle import ByDigest, ByText, Imported
from gateway.core.tokens.records import TokenRecord

COLUMNS = (
    "text",
    "digest",
    "shown",
    "name",
    "project",
    "owner",
    "scopes",
    "plan",
    "not_before",
    "expires_at",
    "description",
    "is_active",
)
"""What a row may have. It has one of `text` and `digest`."""
SETTINGS = (
    "policy",
    "project",
    "owner",
    "name",
    "description",
    "scopes",
    "plan",
    "not_before",
    "expires_at",
    "is_active",
)
"""What two records of one token must share, so that the token need not be imported again."""
MAXIMUM_COLUMN_LENGTH = 16
NOTHING: tuple[Any, ...] = ("", None, [], ())
"""Values that say nothing."""
_TRUE, _FALSE = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})
_SEPARATOR = re.compile(r"[\s,;]+")


class ImportRow(msgspec.Struct, frozen=True):
    """A token that is to be imported."""

    line: int
    """Of the file, from 1; of a document with a list, the place in it."""
    request: TokenRequest
    imported: Imported
    is_active: bool = True


class RowResult(StrEnum):
    """What came of a row."""

    IMPORTED = "imported"
    PRESENT = "present"
    """The token is there already, with these settings."""
    REFUSED = "refused"


class RowOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a row, and why; nothing in it is secret."""

    line: int
    result: RowResult
    id: str = ""
    name: str = ""
    reason: str = ""


def parse_row(line: int, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> ImportRow:
    """Return the row of some values; `defaults` stand in for what is absent or empty. Raise ChangeRefused."""
    check_columns(values)
    said = {name: value for row in (defaults, values) for name, value in row.items() if value not in NOTHING}
    text, digest = (_read_text(said, name) for name in ("text", "digest"))
    if bool(text) == bool(digest):
        raise ChangeRefused("a row has one of `text` and `digest`")
    request = TokenRequest(
        name=_read_text(said, "name"),
        project=_read_text(said, "project"),
        owner=_read_text(said, "owner"),
        scopes=_read_scopes(said.get("scopes", ())),
        plan=_read_text(said, "plan") or None,
        not_before=_read_time(said, "not_before"),
        expires_at=_read_time(said, "expires_at"),
        description=_read_text(said, "description"),
    )
    imported = ByText(text) if text else ByDigest(digest, _read_text(said, "shown"))
    return ImportRow(line, request, imported, _read_switch(said, "is_active"))


def check_columns(names: Iterable[str]) -> None:
    """Raise ChangeRefused for a column that there is not. It is named only if it cannot be a value."""
    for name in names:
        if name not in COLUMNS:
            is_name = len(name) <= MAXIMUM_COLUMN_LENGTH and name.isidentifier() and name.islower()
            raise ChangeRefused(
                unknown_name("column", name, list(COLUMNS))
                if is_name
                else f"a column has no name of ours; there are {', '.join(COLUMNS)}"
            )


def build_row(record: TokenRecord) -> dict[str, Any]:
    """Return a token as a row that imports it again. Its text is not known; what says nothing is left out."""
    values = {
        "digest": record.digest,
        "shown": record.shown,
        "name": record.name,
        "project": record.project,
        "owner": record.owner,
        "scopes": record.scopes.split(),
        "plan": record.plan,
        "not_before": record.not_before,
        "expires_at": record.expires_at,
        "description": record.description,
    }
    return {name: value for name, value in values.items() if value not in NOTHING} | (
        {} if record.is_active else {"is_active": False}
    )


def find_differences(old: TokenRecord, new: TokenRecord) -> list[str]:
    """Return the settings in which two records of a token differ."""
    return [name for name in SETTINGS if getattr(old, name) != getattr(new, name)]


def _read_text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name, "")
    if not isinstance(value, str | int):
        raise ChangeRefused(f"{name}: not a text")
    return str(value).strip()


def _read_scopes(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(filter(None, _SEPARATOR.split(value)))
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise ChangeRefused("scopes: neither a list of texts nor a text with spaces, commas or semicolons in between")
    return tuple(value)


def _read_time(said: Mapping[str, Any], name: str) -> int | None:
    """Return Unix seconds of seconds, or of an ISO 8601 time with its zone."""
    value = said.get(name)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        if value.isascii() and value.isdigit():
            return int(value)
        try:
            when = datetime.fromisoformat(value)
        except ValueError:
            when = None
        if when is not None and when.tzinfo is not None:
            return int(when.timestamp())
    raise ChangeRefused(f"{name}: neither Unix seconds nor a time such as 2027-01-31T00:00:00Z")


def _read_switch(said: Mapping[str, Any], name: str) -> bool:
    value = str(said.get(name, True)).lower()
    if value not in _TRUE | _FALSE:
        raise ChangeRefused(f"{name}: neither true nor false")
    return value in _TRUE

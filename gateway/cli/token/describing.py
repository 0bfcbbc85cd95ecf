"""What may be shown of tokens, as JSON, as a table, or line by line."""

from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec

from gateway.cli.times import format_time
from gateway.core.token_views import TokenView

TABLE = ("id", "name", "shown", "state", "plan", "scopes", "created", "last_used", "expires", "made_by")
"""The columns of lists; `show` and --json have all there is."""


def describe_view(view: TokenView) -> dict[str, Any]:
    """All that may be shown of a token. Its digest is not secret, but of no use to anybody."""
    record = view.record
    return {
        "id": view.identity,
        "name": record.name,
        "description": record.description or None,
        "shown": record.shown,
        "state": view.state,
        "policy": record.policy or None,
        "plan": record.plan or None,
        "scopes": record.scopes.split(),
        "project": record.project or None,
        "owner": record.owner or None,
        "created": format_time(record.created_at),
        "updated": format_time(record.updated_at),
        "last_used": format_time(view.last_use),
        "not_before": format_time(record.not_before),
        "expires": format_time(record.expires_at),
        "predecessor": record.predecessor or None,
        "successor": record.successor or None,
        "parent": record.parent or None,
        "made_by": record.made_by or None,
        "disabled_by": record.disabled_by or None,
        "number": record.number or None,
        "overrides": [
            {
                "quota": override.counter,
                "limit": override.limit,
                "capacity": override.capacity,
                "until": format_time(override.until),
                "reason": override.reason,
                "author": override.author,
                "set": format_time(override.set_at),
            }
            for override in record.overrides
        ],
    }


def print_json(value: object) -> None:
    """Any value, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """A line for each token, under the names of the columns."""
    if not rows:
        click.echo("no tokens", err=True)
        return
    cells = [TABLE, *([_text(row[column]) for column in TABLE] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(TABLE))]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_lines(described: Mapping[str, Any]) -> None:
    """A line for each thing known of one token."""
    width = max(map(len, described))
    for name, value in described.items():
        click.echo(f"{name:>{width}}  {_text(value)}")


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(_text, value)) or "-"
    if isinstance(value, dict) and "quota" not in value:
        return ", ".join(f"{name} {each}" for name, each in value.items())
    if isinstance(value, dict):
        return "{quota} {limit} until {until} by {author} ({reason})".format(**value)
    return "-" if value is None else str(value)

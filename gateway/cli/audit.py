"""`gateway audit`: who changed which token or owner, from what to what, who purged what, and which were refused."""

import asyncio
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, TypeVar

import click
import msgspec

from gateway.cli.common import format_time, json_option, parse_when, policies_option, redis_option
from gateway.cli.connecting import NamesInFolder, awaited, open_management
from gateway.cli.token_show import print_json
from gateway.core.quotas.model import parse_duration
from gateway.core.tokens.audit import DONE, AuditEntry, AuditQuery

PIECE = 1000
"""Entries that are exported in one call."""
POLL_SECONDS = 1.0
OVERLAP_SECONDS = 5
"""Seconds that each poll looks back: the histories are read one after the other, so one may get an earlier entry."""

Command = TypeVar("Command", bound=Callable[..., Any])

QUERY_OPTIONS = (
    click.option("--policy", help="Only what is about tokens, owners and exports of this policy."),
    click.option("--project", help="Only what is about tokens and exports of this project."),
    click.option("--owner", help="Only what is about this owner, its tokens and exports."),
    click.option("--token", "target", metavar="ID", help="Only what is about this token."),
    click.option("--actor", help="Only what was done by this name, or with the token of this id."),
    click.option("--action", help="Only this action, such as token.revoke, or all of token, owner or export."),
    click.option("--refused", is_flag=True, help="Only what was refused."),
    click.option("--since", help="From when on: 24h (ago), or a time such as 2027-01-31T00:00:00Z."),
    click.option("--until", help="Until when, likewise."),
)


def query_options(command: Command) -> Command:
    """Add the options that select entries."""
    return reduce(lambda decorated, option: option(decorated), reversed(QUERY_OPTIONS), command)


@click.group()
def audit() -> None:
    """See the history of changes."""


@audit.command()
@query_options
@click.option("-n", "--lines", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
@click.option("-f", "--follow", is_flag=True, help="Stay, and print what comes.")
@policies_option
@redis_option
@json_option
@awaited
async def tail(lines: int, follow: bool, policies: str, redis_url: str | None, as_json: bool, **options: Any) -> None:
    """Print the last changes and purges, the newest at the end."""

    async with open_management(redis_url, NamesInFolder(policies)) as management:
        query = read_query(options, await management.now())
        entries = await management.ask_audit(query, lines)
        _print(entries[::-1], as_json)
        while follow:
            await asyncio.sleep(POLL_SECONDS)
            since = int(entries[0].time) - OVERLAP_SECONDS if entries else query.since
            found = await management.search_audit(msgspec.structs.replace(query, since=since), PIECE)
            seen = {entry.id for entry in entries}
            _print([entry for entry in reversed(found) if entry.id not in seen], as_json)
            entries = found or entries


@audit.command()
@query_options
@click.option("-n", "--lines", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many.")
@policies_option
@redis_option
@json_option
@awaited
async def search(lines: int, policies: str, redis_url: str | None, as_json: bool, **options: Any) -> None:
    """Print the changes that are meant, the newest first."""

    async with open_management(redis_url, NamesInFolder(policies)) as management:
        entries = await management.ask_audit(read_query(options, await management.now()), lines)
    if as_json:
        print_json(list(map(describe, entries)))
    else:
        _print(entries, as_json=False)


@audit.command()
@query_options
@policies_option
@redis_option
@awaited
async def export(policies: str, redis_url: str | None, **options: Any) -> None:
    """Print all of the history that is kept, one JSON object a line, the newest first."""

    async with open_management(redis_url, NamesInFolder(policies)) as management:
        query, before = read_query(options, await management.now()), ""
        while entries := await management.ask_audit(query, PIECE, before):
            _print(entries, as_json=True)
            before = entries[-1].id


def read_query(options: dict[str, Any], now: int) -> AuditQuery:
    """Read the options as a query; `now` is in Unix seconds."""
    times: dict[str, Any] = {name: _parse_past(options.pop(name), now) for name in ("since", "until")}
    is_refused = options.pop("refused")
    return AuditQuery(**options, **times, is_refused=is_refused)


def describe(entry: AuditEntry) -> dict[str, Any]:
    """Return all that is known of a change; times in its changes are Unix seconds."""
    return {
        "time": format_time(int(entry.time)),
        "actor": entry.actor.title,
        "actor_kind": entry.actor.kind,
        "actor_token": entry.actor.token or None,
        "address": entry.actor.address or None,
        "action": entry.action,
        "outcome": entry.outcome,
        "policy": entry.policy or None,
        "target": entry.target or None,
        "name": entry.name or None,
        "project": entry.project or None,
        "owner": entry.owner or None,
        "changes": entry.changes,
        "id": entry.id,
    }


def _parse_past(text: str | None, now: int) -> int | None:
    """Return Unix seconds of a duration ago, or of a time."""
    try:
        return None if text is None else now - parse_duration(text)
    except ValueError:
        return parse_when(text or "", now)


def _print(entries: Sequence[AuditEntry], as_json: bool) -> None:
    for entry in entries:
        if as_json:
            click.echo(msgspec.json.encode(describe(entry)))
            continue
        outcome = "" if entry.outcome == DONE else f" REFUSED ({entry.outcome})"
        changes = ", ".join(_describe_change(field, *pair) for field, pair in entry.changes.items())
        about = " ".join(filter(None, (entry.target or entry.policy, f"({entry.name})" if entry.name else "")))
        line = f"{format_time(int(entry.time))}  {entry.actor.title}  {entry.action}{outcome}  {about}  {changes}"
        click.echo(line.rstrip())


def _describe_change(field: str, old: object, new: object) -> str:
    return f"{field}: {_text(new)}" if old is None else f"{field}: {_text(old)} -> {_text(new)}"


def _text(value: object) -> str:
    """Return a value on one line: a description may have several."""
    return "-" if value in (None, "") else " ".join(str(value).split())

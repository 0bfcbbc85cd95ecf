"""`gateway backup` and `gateway restore`: tokens, owners and history as a file, and back."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from gateway.adapters.moving.backup import RedisBackup, check_lines
from gateway.adapters.redis.audit import RedisAudit
from gateway.cli.common import redis_option
from gateway.cli.connecting import awaited, open_connection
from gateway.core.errors import ConfigurationError
from gateway.core.moving.backups import Event, Key, Line, decode_line, encode_line, read_events, since
from gateway.core.tokens.audit import AuditEntry, AuditQuery
from gateway.core.tokens.records import build_time

PIECE = 1000
"""Entries of the history that are read at once."""


@click.command()
@click.argument("file", type=click.File("wb"), default="-")
@redis_option
@awaited
async def backup(file: BinaryIO, redis_url: str | None) -> None:
    """Write tokens, revocations, owners, overrides and history to FILE, or to standard output: digests, never texts.

    Each bucket of tokens is of one instant. Counters, usage and stored exports are left out.
    """
    async with open_connection(redis_url) as connection:
        async for line in RedisBackup(connection).lines():
            file.write(encode_line(line))


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--since",
    "histories",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="What was changed since the backup: lines of `gateway audit export`, or ids of revoked tokens.",
)
@click.option("--as-it-was", is_flag=True, help="Restore into an empty Redis without a history of what was changed.")
@redis_option
@awaited
async def restore(file: Path, histories: tuple[Path, ...], as_it_was: bool, redis_url: str | None) -> None:
    """Bring a backup back. What is in Redis already stays, and what was revoked since is revoked.

    Changes since the backup are made again, as the history of this Redis and the files of --since tell them.
    """
    head = check_lines(read_lines(file))
    events = [event for history in histories for event in read_events(history.read_text("utf-8").splitlines())]
    async with open_connection(redis_url) as connection:
        target = RedisBackup(connection)
        if await target.is_empty() and not (histories or as_it_was):
            raise ConfigurationError(
                f"restore: this Redis is empty, so nothing says what was revoked since {build_time(head.at / 1000)}. "
                "Give the history with --since FILE (`gateway audit export`, or ids of revoked tokens), or say "
                "--as-it-was"
            )
        events += await read_history(RedisAudit(connection), head.at // 1000)
        changed = since(events, head.at)
        restored = await target.restore((line for line in read_lines(file) if isinstance(line, Key)), changed)
    click.echo(
        f"{restored.written} keys restored, {restored.present} were there already; "
        f"{restored.revoked} tokens revoked that were not in the backup's time."
    )
    if changed.created:
        click.echo(
            f"{len(changed.created)} tokens were created since the backup and are not in it: create them again.",
            err=True,
        )


def read_lines(file: Path) -> Iterator[Line]:
    """Yield the lines of a backup. Raise InvalidBackup."""
    with file.open("rb") as raw:
        for number, line in enumerate(raw, start=1):
            yield decode_line(line, number)


async def read_history(audit: RedisAudit, at: int) -> list[Event]:
    """Return all that the history of this Redis tells since a moment in Unix seconds."""
    found, before = list[AuditEntry](), ""
    while entries := await audit.search(AuditQuery(since=at), PIECE, before):
        found += entries
        before = entries[-1].id
    return [Event(entry.action, entry.target, entry.policy, entry.outcome, entry.changes, entry.id) for entry in found]

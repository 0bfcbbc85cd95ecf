"""What may be shown of tokens, as JSON, as a table, or line by line."""

from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec

from gateway.adapters.redis_tokens import RedisTokens
from gateway.cli.times import format_time
from gateway.core.administration import Bounds, TokenState, state_of
from gateway.core.children import bound_by
from gateway.core.errors import ChangeRefused
from gateway.core.records import TokenRecord
from gateway.core.tokens import token_id

TABLE = ("id", "name", "shown", "state", "plan", "scopes", "created", "last_used", "expires")
"""The columns of lists; `show` and --json have all there is."""


async def find(tokens: RedisTokens, identity: str) -> TokenRecord:
    """The record of an id; ChangeRefused where there is none."""
    record = await tokens.find(identity)
    if record is None:
        raise ChangeRefused(f"there is no token {identity}")
    return record


async def describe_all(tokens: RedisTokens, records: Sequence[TokenRecord]) -> list[dict[str, Any]]:
    """All that may be shown of each of the tokens, as they are now."""
    identities = [token_id(record.digest) for record in records]
    last_uses, parents = await tokens.last_uses(identities), await _find_parents(tokens, records)
    states = await find_states(tokens, records, await tokens.now())
    bound = [bound_by(parents[one.parent], one) if one.parent in parents else one for one in records]
    return [describe(*one) for one in zip(bound, states, last_uses, strict=True)]


async def find_states(tokens: RedisTokens, records: Sequence[TokenRecord], now: int) -> list[TokenState]:
    """What each of the tokens is at `now`, Unix seconds; a child whose parent is gone is over."""
    parents = await _find_parents(tokens, records)
    identities = [*(token_id(record.digest) for record in records), *parents]
    is_revoked = dict(zip(identities, await tokens.are_revoked(identities), strict=True))
    states = {one: state_of(parent, is_revoked[one], now) for one, parent in parents.items()}
    return [
        state_of(
            record,
            is_revoked[token_id(record.digest)],
            now,
            states.get(record.parent, TokenState.REVOKED) if record.parent else TokenState.ACTIVE,
        )
        for record in records
    ]


async def _find_parents(tokens: RedisTokens, records: Sequence[TokenRecord]) -> dict[str, TokenRecord]:
    found = await tokens.find_each([record.parent for record in records if record.parent])
    return {token_id(parent.digest): parent for parent in found}


async def find_bounds(tokens: RedisTokens, record: TokenRecord) -> Bounds:
    """The token's owner and parent, as far as they bound it."""
    owner = await tokens.owners.find(record.policy, record.owner) if record.owner else None
    return Bounds(owner, await tokens.find(record.parent) if record.parent else None)


def describe(record: TokenRecord, state: TokenState, last_use: int | None) -> dict[str, Any]:
    """All that may be shown of a token. Its digest is not secret, but of no use to anybody."""
    return {
        "id": token_id(record.digest),
        "name": record.name,
        "shown": record.shown,
        "state": state,
        "policy": record.policy,
        "plan": record.plan or None,
        "scopes": record.scopes.split(),
        "project": record.project or None,
        "owner": record.owner or None,
        "created": format_time(record.created_at),
        "last_used": format_time(last_use),
        "not_before": format_time(record.not_before),
        "expires": format_time(record.expires_at),
        "predecessor": record.predecessor or None,
        "successor": record.successor or None,
        "parent": record.parent or None,
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

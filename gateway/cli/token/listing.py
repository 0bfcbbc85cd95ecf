"""`gateway token list` and `show`."""

from typing import Any

import click

from gateway.adapters.redis_connection import RedisConnection
from gateway.adapters.redis_tokens import RedisTokens
from gateway.adapters.redis_usage import RedisUsage
from gateway.cli.options import json_option, redis_option, with_connection, with_tokens
from gateway.cli.times import format_day, read_duration
from gateway.cli.token.describing import describe_all, find, print_json, print_lines, print_table
from gateway.core.administration import idle_since
from gateway.core.records import TokenRecord
from gateway.core.tokens import token_id

USAGE_DAYS = 7
"""Shown of a token's usage: enough to tell a weekend from a job that has stopped."""


@click.command("list")
@click.option("--policy", "policy_name", help="Only tokens of this policy.")
@click.option("--project", help="Only tokens of this project.")
@click.option("--owner", help="Only tokens of this owner.")
@click.option(
    "--unused",
    callback=read_duration,
    help="Only tokens not used for so long, such as 90d; one never used counts from its creation.",
)
@redis_option
@json_option
def list_tokens(
    policy_name: str | None,
    project: str | None,
    owner: str | None,
    unused: int | None,
    redis_url: str | None,
    as_json: bool,
) -> None:
    """List tokens, newest first: never their text, only its first characters."""

    async def work(tokens: RedisTokens) -> list[dict[str, Any]]:
        records = await tokens.find_all(policy_name, project, owner)
        if unused is not None:
            records = await _unused(tokens, records, unused)
        return await describe_all(tokens, records)

    described = with_tokens(redis_url, work)
    if as_json:
        print_json(described)
    else:
        print_table(described)


async def _unused(tokens: RedisTokens, records: list[TokenRecord], seconds: int) -> list[TokenRecord]:
    """The tokens that were not used in the last `seconds`, as exactly as their policies note uses."""
    last_uses = await tokens.last_uses([token_id(record.digest) for record in records])
    latest = await tokens.now() - seconds
    return [record for record, use in zip(records, last_uses, strict=True) if idle_since(record, use) <= latest]


@click.command()
@click.argument("identity", metavar="ID")
@redis_option
@json_option
def show(identity: str, redis_url: str | None, as_json: bool) -> None:
    """Show all that is known of a token, none of it secret."""

    async def work(tokens: RedisTokens) -> dict[str, Any]:
        (described,) = await describe_all(tokens, [await find(tokens, identity)])
        children = [token_id(child.digest) for child in await tokens.children(identity)]
        return {**described, "children": children}

    described = with_tokens(redis_url, work)
    described["requests"] = with_connection(redis_url, lambda connection: _find_requests(connection, identity))
    if as_json:
        print_json(described)
    else:
        print_lines(described)


async def _find_requests(connection: RedisConnection, identity: str) -> dict[str, int]:
    """The requests of the last days, today's last, by the day in UTC."""
    now = await RedisTokens(connection).now()
    usage = await RedisUsage(connection, lambda: now).tokens_usage([identity], USAGE_DAYS)
    return {format_day(point.time): point.requests for point in usage[identity]}

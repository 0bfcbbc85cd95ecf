"""`gateway token list` and `show`."""

from typing import Any

import click

from gateway.adapters.redis_connection import RedisConnection
from gateway.adapters.redis_tokens import RedisTokens
from gateway.adapters.redis_usage import RedisUsage
from gateway.cli.connecting import with_connection
from gateway.cli.managing import NamesInFolder, with_policies
from gateway.cli.options import json_option, policies_option, redis_option
from gateway.cli.times import format_day, read_duration
from gateway.cli.token.describing import describe_view, print_json, print_lines, print_table
from gateway.core.administration import idle_since
from gateway.core.token_views import TokenView
from gateway.management import Management

USAGE_DAYS = 7
"""Shown of a token's usage: enough to tell a weekend from a job that has stopped."""


@click.command("list")
@click.option("--policy", "policy_name", help="Only tokens of this policy.")
@click.option("--project", help="Only tokens of this project.")
@click.option("--owner", help="Only tokens of this owner.")
@click.option("--made-by", "maker", metavar="ID", help="Only tokens made with this one, or with one of those.")
@click.option(
    "--unused",
    callback=read_duration,
    help="Only tokens not used for so long, such as 90d; one never used counts from its creation.",
)
@policies_option
@redis_option
@json_option
def list_tokens(
    policy_name: str | None,
    project: str | None,
    owner: str | None,
    maker: str | None,
    unused: int | None,
    policies: str,
    redis_url: str | None,
    as_json: bool,
) -> None:
    """List tokens, newest first: never their text, only its first characters.

    A policy that is in no file and was never seen is an error, and so are a project and an owner without any token.
    """

    async def work(management: Management) -> list[TokenView]:
        views = await management.list_known(policy_name, project, owner, maker)
        latest = await management.now() - (unused or 0)
        return [view for view in views if unused is None or idle_since(view.record) <= latest]

    described = [describe_view(view) for view in with_policies(redis_url, work, NamesInFolder(policies))]
    if as_json:
        print_json(described)
    else:
        print_table(described)


@click.command()
@click.argument("identity", metavar="ID")
@policies_option
@redis_option
@json_option
def show(identity: str, policies: str, redis_url: str | None, as_json: bool) -> None:
    """Show all that is known of a token, none of it secret."""

    async def work(management: Management) -> dict[str, Any]:
        described = describe_view(await management.get_token(identity))
        relatives = {"children": management.list_children, "made": management.list_made}
        return described | {name: [one.identity for one in await find(identity)] for name, find in relatives.items()}

    described = with_policies(redis_url, work, NamesInFolder(policies))
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

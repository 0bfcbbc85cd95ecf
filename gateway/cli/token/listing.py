"""`gateway token list` and `show`."""

from typing import Any

import click

from gateway.adapters.redis_tokens import RedisTokens
from gateway.cli.options import json_option, redis_option, with_tokens
from gateway.cli.token.describing import describe_all, find, print_json, print_lines, print_table


@click.command("list")
@click.option("--policy", "policy_name", help="Only tokens of this policy.")
@click.option("--project", help="Only tokens of this project.")
@click.option("--owner", help="Only tokens of this owner.")
@redis_option
@json_option
def list_tokens(
    policy_name: str | None, project: str | None, owner: str | None, redis_url: str | None, as_json: bool
) -> None:
    """List tokens, newest first: never their text, only its first characters."""

    async def work(tokens: RedisTokens) -> list[dict[str, Any]]:
        return await describe_all(tokens, await tokens.find_all(policy_name, project, owner))

    described = with_tokens(redis_url, work)
    if as_json:
        print_json(described)
    else:
        print_table(described)


@click.command()
@click.argument("identity", metavar="ID")
@redis_option
@json_option
def show(identity: str, redis_url: str | None, as_json: bool) -> None:
    """Show all that is known of a token, none of it secret."""

    async def work(tokens: RedisTokens) -> list[dict[str, Any]]:
        return await describe_all(tokens, [await find(tokens, identity)])

    (described,) = with_tokens(redis_url, work)
    if as_json:
        print_json(described)
    else:
        print_lines(described)

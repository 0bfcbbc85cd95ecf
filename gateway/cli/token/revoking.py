"""`gateway token revoke`."""

from typing import Any

import click

from gateway.adapters.redis_tokens import RedisTokens
from gateway.cli.options import json_option, redis_option, with_tokens
from gateway.cli.token.describing import describe_all, find, print_json


@click.command()
@click.argument("identity", metavar="ID")
@redis_option
@json_option
def revoke(identity: str, redis_url: str | None, as_json: bool) -> None:
    """End a token for good: the next request with it is refused, everywhere."""

    async def work(tokens: RedisTokens) -> list[dict[str, Any]]:
        record = await find(tokens, identity)
        await tokens.revoke(identity)
        return await describe_all(tokens, [record])

    (described,) = with_tokens(redis_url, work)
    if as_json:
        print_json(described)
    else:
        click.echo(f"Revoked token {identity} ({described['name']}).")

"""`gateway token update`, and how a change is tried again when another one came first."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from gateway.adapters.redis_tokens import RedisTokens
from gateway.cli.options import json_option, load_policies, policies_option, redis_option, with_tokens
from gateway.cli.times import parse_end, parse_start
from gateway.cli.token.describing import describe_all, find, find_bounds, print_json
from gateway.core.administration import TokenChange, update_record
from gateway.core.errors import ChangeRefused
from gateway.core.policies.rules import Policy
from gateway.core.records import TokenRecord

CHANGE_ATTEMPTS = 5
"""Tries to change a token that others are changing at the same moment."""

Changed = TypeVar("Changed")


@click.command()
@click.argument("identity", metavar="ID")
@click.option("--name", help="A new name.")
@click.option("--scope", "scopes", multiple=True, help="The scopes it holds from now on, all of them.")
@click.option("--plan", help="A new plan.")
@click.option("--not-before", help="A new beginning: a time, how long from now, or now.")
@click.option("--expires", help="A new end: 90d, a time, or never.")
@click.option("--enable/--disable", "is_active", default=None, help="Whether it works.")
@policies_option
@redis_option
@json_option
def update(identity: str, policies: str, redis_url: str | None, as_json: bool, **wanted: Any) -> None:
    """Change a token in place: its text stays valid, the change acts on the next request."""
    starts, ends = wanted.pop("not_before"), wanted.pop("expires")
    values = {name: value for name, value in wanted.items() if value not in (None, ())}

    async def work(tokens: RedisTokens) -> list[dict[str, Any]]:
        now = await tokens.now()
        if starts:
            values["not_before"] = parse_start(starts, now)
        if ends:
            values["expires_at"] = parse_end(ends, now)

        async def attempt(policy: Policy, record: TokenRecord) -> TokenRecord | None:
            bounds = await find_bounds(tokens, record)
            updated = update_record(policy, record, TokenChange(**values), now, bounds)
            return updated if await tokens.replace(record, updated) else None

        return await describe_all(tokens, [await change(tokens, identity, policies, attempt)])

    (described,) = with_tokens(redis_url, work)
    if as_json:
        print_json(described)
    else:
        click.echo(f"Changed token {identity} ({described['name']}).")


async def change(
    tokens: RedisTokens,
    identity: str,
    policies: str,
    attempt: Callable[[Policy, TokenRecord], Awaitable[Changed | None]],
) -> Changed:
    """What `attempt` makes of the token's record; None from it says that the record was changed meanwhile."""
    found = load_policies(policies).policies
    for _ in range(CHANGE_ATTEMPTS):
        record = await find(tokens, identity)
        if record.policy not in found:
            raise ChangeRefused(f"the token's policy {record.policy!r} is not among the policies in {policies}")
        changed = await attempt(found[record.policy], record)
        if changed is not None:
            return changed
        if (await tokens.are_revoked([identity]))[0]:
            raise ChangeRefused(f"token {identity} is revoked, for good")
    raise ChangeRefused(f"token {identity} is being changed by somebody else, try again")

"""`gateway token rotate`."""

from typing import Any

import click
import msgspec

from gateway.adapters.redis_tokens import RedisTokens
from gateway.cli.options import json_option, pepper_option, policies_option, redis_option, with_tokens
from gateway.cli.times import format_time, parse_end, read_duration
from gateway.cli.token.changing import change
from gateway.cli.token.creating import draw
from gateway.cli.token.describing import describe_all, find_bounds, find_states, print_json
from gateway.core.policies.rules import Policy
from gateway.core.records import TokenRecord
from gateway.core.rotation import Rotated, Rotation, rotate_record
from gateway.core.tokens import token_id


@click.command()
@click.argument("identity", metavar="ID")
@click.option(
    "--overlap", default="24h", show_default=True, callback=read_duration, help="How long the old token still works."
)
@click.option("--expires", help="The successor's end: 90d, a time, or never; without it, the old token's.")
@pepper_option
@policies_option
@redis_option
@json_option
def rotate(
    identity: str, overlap: int, expires: str | None, pepper: str, policies: str, redis_url: str | None, as_json: bool
) -> None:
    """Mint a successor of a token, with its settings and its counters; the old one ends after the overlap.

    The successor's text is printed now and never again.
    """

    async def work(tokens: RedisTokens) -> tuple[Rotated, dict[str, Any]]:
        now = await tokens.now()
        rotation = Rotation(overlap_seconds=overlap, expires_at=parse_end(expires, now) if expires else msgspec.UNSET)

        async def attempt(policy: Policy, record: TokenRecord) -> Rotated | None:
            (state,) = await find_states(tokens, [record], now)
            bounds = await find_bounds(tokens, record)
            draws = iter(lambda: draw(policy), b"")
            rotated = rotate_record(policy, record, state, rotation, draws, pepper.encode(), now, bounds)
            return rotated if await tokens.rotate(record, rotated.old, rotated.successor) else None

        rotated = await change(tokens, identity, policies, attempt)
        (described,) = await describe_all(tokens, [rotated.successor])
        return rotated, described

    rotated, described = with_tokens(redis_url, work)
    if as_json:
        ends = format_time(rotated.old.expires_at)
        print_json({**described, "token": rotated.text, "predecessor_expires": ends})
        return
    click.echo(f"Rotated token {identity} ({rotated.old.name}), which ends {format_time(rotated.old.expires_at)}.")
    click.echo(f"Its successor is {token_id(rotated.successor.digest)}. This is its text; it is not shown again:")
    click.echo(rotated.text)

"""`gateway token rotate`."""

import click
import msgspec

from gateway.cli.connecting import operator
from gateway.cli.managing import with_management
from gateway.cli.options import json_option, pepper_option, policies_option, redis_option
from gateway.cli.times import format_time, parse_end, read_duration
from gateway.cli.token.describing import describe_view, print_json
from gateway.core.token_views import CreatedToken
from gateway.management import Management


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

    async def work(management: Management) -> CreatedToken:
        now = await management.now()
        ends = parse_end(expires, now) if expires else msgspec.UNSET
        return await management.rotate_token(operator(), identity, overlap, ends, now=now)

    rotated = with_management(redis_url, work, policies, pepper)
    old = rotated.predecessor or rotated.view
    ends = format_time(old.record.expires_at)
    if rotated.warning:
        click.echo(f"gateway: {rotated.warning}", err=True)
    if as_json:
        print_json({**describe_view(rotated.view), "token": rotated.text, "predecessor_expires": ends})
        return
    click.echo(f"Rotated token {identity} ({old.record.name}), which ends {ends}.")
    click.echo(f"Its successor is {rotated.view.identity}. This is its text; it is not shown again:")
    click.echo(rotated.text)

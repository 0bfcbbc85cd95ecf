"""`gateway token update`."""

from typing import Any

import click

from gateway.cli.connecting import operator
from gateway.cli.managing import with_management
from gateway.cli.options import json_option, policies_option, redis_option
from gateway.cli.times import parse_end, parse_start
from gateway.cli.token.describing import describe_view, print_json
from gateway.core.administration import TokenChange
from gateway.core.token_views import TokenView
from gateway.management import Management


@click.command()
@click.argument("identity", metavar="ID")
@click.option("--name", help="A new name.")
@click.option("--description", help="A new description; '' for none.")
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

    async def work(management: Management) -> TokenView:
        now = await management.now()
        if starts:
            values["not_before"] = parse_start(starts, now)
        if ends:
            values["expires_at"] = parse_end(ends, now)
        return await management.update_token(operator(), identity, TokenChange(**values), now=now)

    described = describe_view(with_management(redis_url, work, policies))
    if as_json:
        print_json(described)
    else:
        click.echo(f"Changed token {identity} ({described['name']}).")

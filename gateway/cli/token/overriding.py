"""`gateway token override`."""

from typing import Any

import click

from gateway.cli.connecting import operator
from gateway.cli.managing import with_management
from gateway.cli.options import json_option, policies_option, redis_option
from gateway.cli.times import parse_when
from gateway.cli.token.describing import describe_view, print_json
from gateway.core.overrides import OverrideRequest
from gateway.core.token_views import TokenView
from gateway.management import Management


@click.command()
@click.argument("identity", metavar="ID")
@click.argument("quota", metavar="QUOTA")
@click.argument("limit", metavar="[LIMIT]", required=False)
@click.option("--until", help="When it ends: 7d, or 2027-01-31T00:00:00Z.")
@click.option("--reason", help="Why, in your words.")
@click.option("--by", "author", help="Who says so; without it, your login name.")
@click.option("--burst", type=click.IntRange(min=1), help="With a token bucket; without it, the policy's.")
@click.option("--remove", is_flag=True, help="Take the override of this quota away.")
@policies_option
@redis_option
@json_option
def override(
    identity: str, quota: str, policies: str, redis_url: str | None, remove: bool, as_json: bool, **wanted: Any
) -> None:
    """Give a token a limit of its own for a while: LIMIT is a number, or "1000/minute" of the quota's window.

    It acts on the next request and ends by itself. Rotation keeps it.
    """
    asked = [wanted[name] is not None for name in ("limit", "until", "reason")]
    if any(asked) if remove else not all(asked):
        raise click.UsageError("name LIMIT, --until and --reason, or --remove")

    async def work(management: Management) -> TokenView:
        now = await management.now()
        request = None if remove else _read_request(wanted, now)
        return await management.override_quota(operator(), identity, quota, request, now=now)

    described = describe_view(with_management(redis_url, work, policies))
    if as_json:
        print_json(described)
    elif remove:
        click.echo(f"Token {identity} ({described['name']}) has the {quota} of its plan again.")
    else:
        ends = next(one["until"] for one in described["overrides"] if one["quota"].partition(":")[0] == quota)
        click.echo(f"Token {identity} ({described['name']}) has {wanted['limit']} as its {quota} until {ends}.")


def _read_request(wanted: dict[str, Any], now: int) -> OverrideRequest:
    return OverrideRequest(
        limit=wanted["limit"],
        burst=wanted["burst"],
        until=parse_when(wanted["until"], now),
        reason=wanted["reason"],
        author=wanted["author"] or operator().name,
    )

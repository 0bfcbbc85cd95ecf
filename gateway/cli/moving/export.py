"""`gateway token export`: the tokens of a policy as rows that `gateway token import --file` reads."""

from collections.abc import Callable

import click
import msgspec

from gateway.cli.common import policies_option, redis_option
from gateway.cli.connecting import NamesInFolder, awaited, open_management
from gateway.core.moving.rows import build_row
from gateway.core.tokens.changes import TokenState
from gateway.core.tokens.views import TokenView

LEFT_OUT: dict[str, Callable[[TokenView], bool]] = {
    "revoked": lambda view: view.is_revoked or view.state is TokenState.REVOKED,
    "expired": lambda view: view.state is TokenState.EXPIRED,
    "child": lambda view: bool(view.record.parent),
}
"""Tokens that a row cannot bring back, by what they are."""


@click.command("export")
@click.option("--policy", "policy_name", required=True, help="The policy whose tokens are printed.")
@policies_option
@redis_option
@awaited
async def export_tokens(policy_name: str, policies: str, redis_url: str | None) -> None:
    """Print the tokens of a policy as JSON lines, for a backup: digests, never texts.

    `gateway token import --file` brings them back under the same pepper. Revoked and expired tokens and children are
    left out, and overrides, counters and lineages are not in a row: a copy of Redis has all of that.
    """
    async with open_management(redis_url, NamesInFolder(policies)) as management:
        views = await management.list_known(policy_name, None, None)
    counts = dict.fromkeys(LEFT_OUT, 0)
    for view in views:
        kind = find_kind(view)
        if kind:
            counts[kind] += 1
        else:
            click.echo(msgspec.json.encode(build_row(view.stored)).decode())
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    if told:
        click.echo(f"Left out: {told}.", err=True)


def find_kind(view: TokenView) -> str:
    """Return what a token is that is left out; empty if it is not."""
    return next((kind for kind, is_one in LEFT_OUT.items() if is_one(view)), "")

"""`gateway token revoke`: one token, its lineage, or all of a project or an owner."""

import click

from gateway.cli.connecting import operator
from gateway.cli.managing import NamesInFolder, with_management, with_policies
from gateway.cli.options import json_option, policies_option, redis_option
from gateway.cli.token.describing import describe_view, print_json
from gateway.core.administration import TokenState
from gateway.core.errors import ChangeRefused
from gateway.core.token_views import TokenView
from gateway.management import Management

WAYS = ({"ID"}, {"lineage"}, {"policy", "project"}, {"policy", "owner"})
"""What can be named together, exactly one of these."""
OVER = (TokenState.REVOKED, TokenState.EXPIRED)


@click.command()
@click.argument("identity", metavar="[ID]", required=False)
@click.option("--lineage", metavar="ID", help="A token with all its predecessors and successors.")
@click.option(
    "--with-made",
    is_flag=True,
    help="With ID: also all that was made with the token, and with what it made. For a leak.",
)
@click.option("--policy", "policy_name", help="The policy of --project or --owner.")
@click.option("--project", help="All tokens of this project.")
@click.option("--owner", help="All tokens of this owner.")
@click.option("--yes", is_flag=True, help="Revoke more than one token; not needed with --json.")
@policies_option
@redis_option
@json_option
def revoke(
    identity: str | None,
    lineage: str | None,
    with_made: bool,
    policy_name: str | None,
    project: str | None,
    owner: str | None,
    yes: bool,
    policies: str,
    redis_url: str | None,
    as_json: bool,
) -> None:
    """End tokens for good: the next request with one is refused, everywhere.

    Name one of: ID; --lineage ID; --policy with --project; --policy with --owner. All tokens are revoked that exist
    when the command begins, and what they are rotated to meanwhile.

    If a token has leaked: ID --with-made. Whoever had it may have made others with it, on the page or by the
    product's API; those end too, also what is made in the same moment.
    """
    named = {"ID": identity, "lineage": lineage, "policy": policy_name, "project": project, "owner": owner}
    if {name for name, value in named.items() if value is not None} not in WAYS or "" in named.values():
        raise click.UsageError("name one of: ID, --lineage ID, --policy P --project X, --policy P --owner X")
    if with_made and not identity:
        raise click.UsageError("--with-made goes with ID: the token that has leaked")
    if identity and not with_made:
        _revoke_one(identity, redis_url, as_json)
        return

    async def work(management: Management) -> list[TokenView]:
        if identity:
            return [await management.get_token(one) for one in await management.revoke_with_made(operator(), identity)]
        all_of = management.list_lineage(lineage) if lineage else management.list_known(policy_name, project, owner)
        meant = await all_of
        _check_number(meant, has_consent=yes or as_json)
        if lineage:
            revoked = await management.revoke_lineage(operator(), lineage)
        else:
            revoked = await management.revoke_all(operator(), policy_name or "", project, owner)
        return [await management.get_token(one) for one in revoked]

    described = [describe_view(view) for view in with_policies(redis_url, work, NamesInFolder(policies))]
    if as_json:
        print_json(described)
        return
    for one in described:
        click.echo(f"{one['id']}  {one['name']}")
    click.echo(f"Revoked {len(described)} token(s).")


def _revoke_one(identity: str, redis_url: str | None, as_json: bool) -> None:
    async def work(management: Management) -> tuple[TokenView, list[TokenView], list[TokenView], int]:
        view = await management.revoke_token(operator(), identity)
        relatives, made = await management.list_lineage(identity), await management.list_made(identity)
        return view, relatives, made, len(await management.list_children(identity))

    view, lineage, made, children = with_management(redis_url, work)
    if as_json:
        print_json(describe_view(view))
        return
    click.echo(f"Revoked token {identity} ({view.record.name}).")
    if children:
        click.echo(f"Its {children} child(ren) ended with it.")
    others = sum(one.state not in OVER for one in made)
    if others:
        click.echo(f"{others} token(s) that were made with it stay: --with-made revokes them, too.", err=True)
    nearest = (view.record.predecessor, view.record.successor)
    stay = [one.identity for one in lineage if one.identity in nearest and not one.is_revoked]
    if stay:
        click.echo(f"Of its lineage {' and '.join(stay)} stay: --lineage {identity} revokes all of it.", err=True)


def _check_number(meant: list[TokenView], has_consent: bool) -> None:
    if not meant:
        raise ChangeRefused("there are no such tokens")
    number = sum(not view.is_revoked for view in meant)
    if number > 1 and not has_consent:
        raise ChangeRefused(f"this would revoke {number} tokens: say --yes if that is meant")

"""`gateway owner set` and `remove`."""

from typing import Any

import click

from gateway.cli.connecting import operator
from gateway.cli.managing import with_management
from gateway.cli.options import json_option, policies_option, redis_option
from gateway.cli.owner.describing import describe, policy_option
from gateway.cli.token.creating import find_policy
from gateway.cli.token.describing import print_json
from gateway.core.owners import OwnerChange, OwnerStatus
from gateway.management import Management


def read_permissions(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The scopes of each project, from texts such as website=read,write."""
    permissions: dict[str, tuple[str, ...]] = {}
    for text in texts:
        project, equals, scopes = text.rpartition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not PROJECT=SCOPE,SCOPE, such as website=read,write or '*=read'")
        if project in permissions:
            raise click.BadParameter(f"the project {project!r} is named twice")
        permissions[project] = tuple(scope for scope in scopes.split(",") if scope)
    return permissions


@click.command("set")
@click.argument("owner", metavar="OWNER")
@policy_option
@click.option("--status", type=click.Choice(["active", "blocked"]), help="Whether its tokens may do anything.")
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    callback=read_permissions,
    metavar="PROJECT=SCOPES",
    help="The scopes it holds in a project from now on, with commas between them; '*' is every project without "
    "permissions of its own, and no name before the = is what is outside of projects.",
)
@click.option("--plan", metavar="PLAN", help="The plan of all its tokens from now on; '' takes it away.")
@click.option("--without", multiple=True, metavar="PROJECT", help="Take the permissions of this name away.")
@policies_option
@redis_option
@json_option
def set_owner(
    owner: str,
    policy_name: str,
    status: str | None,
    permissions: dict[str, tuple[str, ...]],
    plan: str | None,
    without: tuple[str, ...],
    policies: str,
    redis_url: str | None,
    as_json: bool,
) -> None:
    """Say what an owner may do, and its plan; it acts on the next request of each of its tokens.

    What is not named stays. An owner that is new here holds all scopes everywhere where no permission is named. One
    that was removed is active again, and those of its tokens work that are not revoked.
    """
    kept = OwnerStatus(status) if status else None
    change = OwnerChange(status=kept, permissions=permissions, without=without, plan=plan)
    _change(owner, policy_name, change, policies, redis_url, as_json)


@click.command()
@click.argument("owner", metavar="OWNER")
@policy_option
@policies_option
@redis_option
@json_option
def remove(owner: str, policy_name: str, policies: str, redis_url: str | None, as_json: bool) -> None:
    """Refuse all tokens of an owner until it is set again; `token revoke --owner` ends them for good."""
    change = OwnerChange(status=OwnerStatus.REMOVED)
    _change(owner, policy_name, change, policies, redis_url, as_json)


def _change(
    owner: str, policy_name: str, change: OwnerChange, policies: str, redis_url: str | None, as_json: bool
) -> None:
    find_policy(policies, policy_name)

    async def work(management: Management) -> dict[str, Any]:
        record = await management.change_owner(operator(), policy_name, owner, change)
        return describe(owner, policy_name, record, len(await management.list_tokens(policy_name, owner=owner)))

    described = with_management(redis_url, work, policies)
    if as_json:
        print_json(described)
    else:
        click.echo(f"The owner {owner} is {described['status']}; it has {described['tokens']} token(s).")

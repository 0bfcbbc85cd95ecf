"""`gateway owner`: its commands. Their group is in main.py."""

from typing import Any

import click

from gateway.cli.common import json_option, policies_option, redis_option
from gateway.cli.connecting import NamesInFolder, PolicyFolder, awaited, open_management, operator
from gateway.cli.token import find_policy
from gateway.cli.token_show import print_json
from gateway.core.errors import NotFound
from gateway.core.tokens.owners import OwnerChange, OwnerRecord, OwnerStatus
from gateway.management import Management

policy_option = click.option("--policy", "policy_name", required=True, help="The policy whose tokens it owns.")


async def find(management: Management, policy: str, owner: str) -> tuple[OwnerRecord | None, int]:
    """Return the owner's record, and how many tokens the owner has. Raise NotFound if there is neither."""
    record, count = await management.show_owner(policy, owner), len(await management.list_tokens(policy, owner=owner))
    if record is None and not count:
        await management.check_seen(policy)
        raise NotFound(f"the policy {policy} has no owner {owner}")
    return record, count


def describe(owner: str, policy: str, record: OwnerRecord | None, tokens: int | None) -> dict[str, Any]:
    """Return all that is known of an owner; without a record it is active, and its permissions are unbounded."""
    described = {
        "owner": owner,
        "policy": policy,
        "status": record.status if record else "active",
        "plan": record.plan or None if record else None,
        "permissions": {name: held.split() for name, held in sorted(record.permissions.items())} if record else None,
        "version": record.version if record else None,
    }
    return described if tokens is None else {**described, "tokens": tokens}


def read_permissions(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the scopes of each project, from texts such as website=read,write. Raise click.BadParameter."""
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


@awaited
async def _change(
    owner: str, policy_name: str, change: OwnerChange, policies: str, redis_url: str | None, as_json: bool
) -> None:
    find_policy(policies, policy_name)

    async with open_management(redis_url, PolicyFolder(policies)) as management:
        record = await management.change_owner(operator(), policy_name, owner, change)
        tokens = await management.list_tokens(policy_name, owner=owner)
    described = describe(owner, policy_name, record, len(tokens))
    if as_json:
        print_json(described)
    else:
        click.echo(f"The owner {owner} is {described['status']}; it has {described['tokens']} token(s).")


@click.command()
@click.argument("owner", metavar="OWNER")
@policy_option
@policies_option
@redis_option
@json_option
@awaited
async def show(owner: str, policy_name: str, policies: str, redis_url: str | None, as_json: bool) -> None:
    """Show what an owner may do, and how many tokens it has."""

    async with open_management(redis_url, NamesInFolder(policies)) as management:
        described = describe(owner, policy_name, *await find(management, policy_name, owner))
    if as_json:
        print_json(described)
        return
    permissions = described.pop("permissions")
    for name, value in described.items():
        click.echo(f"{name:>8}  {'-' if value is None else value}")
    if permissions is None:
        click.echo("It has no record, so it bounds nothing: its tokens may do what they hold.")
    for project, scopes in (permissions or {}).items():
        click.echo(f"in {_project_title(project)}: {', '.join(scopes) or 'no scope'}")


@click.command("list")
@policy_option
@policies_option
@redis_option
@json_option
@awaited
async def list_owners(policy_name: str, policies: str, redis_url: str | None, as_json: bool) -> None:
    """List a policy's owners that have a record. Those without one are names only, and bound nothing."""

    async with open_management(redis_url, NamesInFolder(policies)) as management:
        owners = await management.list_owners(policy_name)
    described = [describe(owner, policy_name, record, None) for owner, record in owners.items()]
    if as_json:
        print_json(described)
        return
    for one in described:
        held = "; ".join(
            f"{_project_title(project)}: {','.join(scopes) or '-'}" for project, scopes in one["permissions"].items()
        )
        click.echo(f"{one['owner']}  {one['status']}  {one['plan'] or '-'}  {held or '-'}")
    if not described:
        click.echo("no owners", err=True)


def _project_title(project: str) -> str:
    return {"": "no project", "*": "every other project"}.get(project, project)

"""`gateway owner show` and `list`."""

from typing import Any

import click

from gateway.cli.managing import NamesInFolder, with_policies
from gateway.cli.options import json_option, policies_option, redis_option
from gateway.cli.owner.describing import describe, find, policy_option
from gateway.cli.token.describing import print_json
from gateway.management import Management


@click.command()
@click.argument("owner", metavar="OWNER")
@policy_option
@policies_option
@redis_option
@json_option
def show(owner: str, policy_name: str, policies: str, redis_url: str | None, as_json: bool) -> None:
    """Show what an owner may do, and how many tokens it has."""

    async def work(management: Management) -> dict[str, Any]:
        return describe(owner, policy_name, *await find(management, policy_name, owner))

    described = with_policies(redis_url, work, NamesInFolder(policies))
    if as_json:
        print_json(described)
        return
    permissions = described.pop("permissions")
    for name, value in described.items():
        click.echo(f"{name:>8}  {'-' if value is None else value}")
    if permissions is None:
        click.echo("It has no record, so it bounds nothing: its tokens may do what they hold.")
    for project, scopes in (permissions or {}).items():
        click.echo(f"in {_say(project)}: {', '.join(scopes) or 'no scope'}")


@click.command("list")
@policy_option
@policies_option
@redis_option
@json_option
def list_owners(policy_name: str, policies: str, redis_url: str | None, as_json: bool) -> None:
    """List a policy's owners that have a record. Those without one are names only, and bound nothing."""

    async def work(management: Management) -> list[dict[str, Any]]:
        owners = await management.list_owners(policy_name)
        return [describe(owner, policy_name, record, None) for owner, record in owners.items()]

    described = with_policies(redis_url, work, NamesInFolder(policies))
    if as_json:
        print_json(described)
        return
    for one in described:
        held = "; ".join(
            f"{_say(project)}: {','.join(scopes) or '-'}" for project, scopes in one["permissions"].items()
        )
        click.echo(f"{one['owner']}  {one['status']}  {one['plan'] or '-'}  {held or '-'}")
    if not described:
        click.echo("no owners", err=True)


def _say(project: str) -> str:
    return {"": "no project", "*": "every other project"}.get(project, project)

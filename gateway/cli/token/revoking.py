"""`gateway token revoke`: one token, its lineage, or all of a project or an owner."""

from typing import Any

import click

from gateway.adapters.redis_tokens import RedisTokens
from gateway.cli.options import json_option, redis_option, with_tokens
from gateway.cli.token.describing import describe_all, find, print_json
from gateway.core.errors import ChangeRefused
from gateway.core.records import TokenRecord
from gateway.core.tokens import token_id

WAYS = ({"ID"}, {"lineage"}, {"policy", "project"}, {"policy", "owner"})
"""What can be named together, exactly one of these."""


@click.command()
@click.argument("identity", metavar="[ID]", required=False)
@click.option("--lineage", metavar="ID", help="A token with all its predecessors and successors.")
@click.option("--policy", "policy_name", help="The policy of --project or --owner.")
@click.option("--project", help="All tokens of this project.")
@click.option("--owner", help="All tokens of this owner.")
@click.option("--yes", is_flag=True, help="Revoke more than one token; not needed with --json.")
@redis_option
@json_option
def revoke(
    identity: str | None,
    lineage: str | None,
    policy_name: str | None,
    project: str | None,
    owner: str | None,
    yes: bool,
    redis_url: str | None,
    as_json: bool,
) -> None:
    """End tokens for good: the next request with one is refused, everywhere.

    Name one of: ID; --lineage ID; --policy with --project; --policy with --owner. All tokens are revoked that exist
    when the command begins, and what they are rotated to meanwhile.
    """
    named = {"ID": identity, "lineage": lineage, "policy": policy_name, "project": project, "owner": owner}
    if {name for name, value in named.items() if value is not None} not in WAYS or "" in named.values():
        raise click.UsageError("name one of: ID, --lineage ID, --policy P --project X, --policy P --owner X")
    if identity:
        _revoke_one(identity, redis_url, as_json)
        return

    async def work(tokens: RedisTokens) -> list[dict[str, Any]]:
        meant = await (_lineage(tokens, lineage) if lineage else tokens.find_all(policy_name, project, owner))
        await _check_number(tokens, meant, has_consent=yes or as_json)
        if lineage:
            revoked = await tokens.revoke_lineage(lineage)
        else:
            revoked = await tokens.revoke_all(policy_name or "", project, owner)
        known = {token_id(record.digest): record for record in meant}
        return await describe_all(tokens, [known.get(one) or await find(tokens, one) for one in revoked])

    described = with_tokens(redis_url, work)
    if as_json:
        print_json(described)
        return
    for one in described:
        click.echo(f"{one['id']}  {one['name']}")
    click.echo(f"Revoked {len(described)} token(s).")


def _revoke_one(identity: str, redis_url: str | None, as_json: bool) -> None:
    async def work(tokens: RedisTokens) -> tuple[dict[str, Any], list[str], int]:
        await find(tokens, identity)
        await tokens.revoke(identity)
        record = await find(tokens, identity)  # as it stays: it can have been rotated until it was revoked
        relatives = [one for one in (record.predecessor, record.successor) if one]
        revoked = await tokens.are_revoked(relatives)
        (described,) = await describe_all(tokens, [record])
        stay = [one for one, is_revoked in zip(relatives, revoked, strict=True) if not is_revoked]
        return described, stay, len(await tokens.children(identity))

    described, relatives, children = with_tokens(redis_url, work)
    if as_json:
        print_json(described)
        return
    click.echo(f"Revoked token {identity} ({described['name']}).")
    if children:
        click.echo(f"Its {children} child(ren) ended with it.")
    if relatives:
        click.echo(f"Of its lineage {' and '.join(relatives)} stay: --lineage {identity} revokes all of it.", err=True)


async def _check_number(tokens: RedisTokens, meant: list[TokenRecord], has_consent: bool) -> None:
    if not meant:
        raise ChangeRefused("there are no such tokens")
    revoked = await tokens.are_revoked([token_id(record.digest) for record in meant])
    if revoked.count(False) > 1 and not has_consent:
        raise ChangeRefused(f"this would revoke {revoked.count(False)} tokens: say --yes if that is meant")


async def _lineage(tokens: RedisTokens, identity: str) -> list[TokenRecord]:
    """The token with its predecessors and successors, as far as their records are there."""
    found = {identity: await find(tokens, identity)}
    pending = [identity]
    while pending:
        record = found[pending.pop()]
        for relative in (record.predecessor, record.successor):
            other = await tokens.find(relative) if relative and relative not in found else None
            if other is not None:
                found[relative] = other
                pending.append(relative)
    return list(found.values())

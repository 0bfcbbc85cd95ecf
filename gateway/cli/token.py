"""`gateway token`: mint, list, show, change and revoke tokens. The text of a token is printed once, by `create`."""

import secrets
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from gateway.adapters.redis_tokens import RedisTokens
from gateway.cli.options import json_option, load_policies, policies_option, redis_option, with_tokens
from gateway.cli.times import format_time, parse_when
from gateway.core.administration import TokenChange, TokenRequest, TokenState, mint_token, state_of, update_record
from gateway.core.errors import ChangeRefused
from gateway.core.records import TokenRecord
from gateway.core.tokens import random_bytes_needed, token_id

UPDATE_ATTEMPTS = 5
"""Tries to change a token that others are changing at the same moment."""


@click.group()
def token() -> None:
    """Mint, list, change and revoke tokens."""


@token.command()
@click.option("--policy", "policy_name", required=True, help="The policy that the token is for.")
@click.option("--project", default="", help="The project it is bound to.")
@click.option("--owner", default="", help="The owner it is bound to.")
@click.option("--name", required=True, help="What it is for, in your words.")
@click.option(
    "--scope", "scopes", multiple=True, help="A scope it holds; without any, all that its plan of the moment allows."
)
@click.option("--plan", help="Its plan; the policy's first where there are several.")
@click.option("--expires", help="When it ends: 90d, 12h, or 2027-01-31T00:00:00Z.")
@click.option("--pepper", envvar="GATEWAY_TOKEN_PEPPER", default="", hidden=True)
@policies_option
@redis_option
@json_option
def create(policies: str, redis_url: str | None, as_json: bool, pepper: str, policy_name: str, **wanted: Any) -> None:
    """Mint a token. Its text is printed now and never again."""
    found = load_policies(policies).policies
    if policy_name not in found:
        raise click.UsageError(f"no policy is named {policy_name!r}: there are {', '.join(sorted(found))}")
    policy = found[policy_name]
    expires = wanted.pop("expires")

    async def work(tokens: RedisTokens) -> tuple[str, TokenRecord]:
        now = await tokens.now()
        request = TokenRequest(**wanted, expires_at=parse_when(expires, now) if expires else None)
        random_bytes = secrets.token_bytes(random_bytes_needed(policy.token_format))
        text, record = mint_token(policy, request, random_bytes, pepper.encode(), now)
        await tokens.create(record)
        return text, record

    text, record = with_tokens(redis_url, work)
    if as_json:
        _print_json({**_describe(record, TokenState.ACTIVE, None), "token": text})
        return
    click.echo(f"Created token {token_id(record.digest)} ({record.name}). This is its text; it is not shown again:")
    click.echo(text)


@token.command("list")
@click.option("--policy", "policy_name", help="Only tokens of this policy.")
@click.option("--project", help="Only tokens of this project.")
@click.option("--owner", help="Only tokens of this owner.")
@redis_option
@json_option
def list_tokens(
    policy_name: str | None, project: str | None, owner: str | None, redis_url: str | None, as_json: bool
) -> None:
    """List tokens, newest first: never their text, only its first characters."""

    async def work(tokens: RedisTokens) -> list[dict[str, Any]]:
        return await _describe_all(tokens, await tokens.find_all(policy_name, project, owner))

    described = with_tokens(redis_url, work)
    if as_json:
        _print_json(described)
    else:
        _print_table(described)


@token.command()
@click.argument("identity", metavar="ID")
@redis_option
@json_option
def show(identity: str, redis_url: str | None, as_json: bool) -> None:
    """Show all that is known of a token, none of it secret."""

    async def work(tokens: RedisTokens) -> list[dict[str, Any]]:
        return await _describe_all(tokens, [await _find(tokens, identity)])

    (described,) = with_tokens(redis_url, work)
    if as_json:
        _print_json(described)
        return
    for name, value in described.items():
        click.echo(f"{name:>10}  {_text(value)}")


@token.command()
@click.argument("identity", metavar="ID")
@click.option("--name", help="A new name.")
@click.option("--scope", "scopes", multiple=True, help="The scopes it holds from now on, all of them.")
@click.option("--plan", help="A new plan.")
@click.option("--expires", help="A new end: 90d, a time, or never.")
@click.option("--enable/--disable", "is_active", default=None, help="Whether it works.")
@policies_option
@redis_option
@json_option
def update(identity: str, policies: str, redis_url: str | None, as_json: bool, **wanted: Any) -> None:
    """Change a token in place: its text stays valid, the change acts on the next request."""
    found = load_policies(policies).policies
    expires = wanted.pop("expires")
    values = {name: value for name, value in wanted.items() if value not in (None, ())}

    async def work(tokens: RedisTokens) -> list[dict[str, Any]]:
        now = await tokens.now()
        if expires:
            values["expires_at"] = None if expires == "never" else parse_when(expires, now)
        for _ in range(UPDATE_ATTEMPTS):
            record = await _find(tokens, identity)
            if record.policy not in found:
                raise ChangeRefused(f"the token's policy {record.policy!r} is not among the policies in {policies}")
            updated = update_record(found[record.policy], record, TokenChange(**values), now)
            if await tokens.replace(record, updated):
                return await _describe_all(tokens, [updated])
            if (await tokens.are_revoked([identity]))[0]:
                raise ChangeRefused(f"token {identity} is revoked, for good")
        raise ChangeRefused(f"token {identity} is being changed by somebody else, try again")

    (described,) = with_tokens(redis_url, work)
    if as_json:
        _print_json(described)
    else:
        click.echo(f"Changed token {identity} ({described['name']}).")


@token.command()
@click.argument("identity", metavar="ID")
@redis_option
@json_option
def revoke(identity: str, redis_url: str | None, as_json: bool) -> None:
    """End a token for good: the next request with it is refused, everywhere."""

    async def work(tokens: RedisTokens) -> list[dict[str, Any]]:
        record = await _find(tokens, identity)
        await tokens.revoke(identity)
        return await _describe_all(tokens, [record])

    (described,) = with_tokens(redis_url, work)
    if as_json:
        _print_json(described)
    else:
        click.echo(f"Revoked token {identity} ({described['name']}).")


async def _find(tokens: RedisTokens, identity: str) -> TokenRecord:
    record = await tokens.find(identity)
    if record is None:
        raise ChangeRefused(f"there is no token {identity}")
    return record


async def _describe_all(tokens: RedisTokens, records: Sequence[TokenRecord]) -> list[dict[str, Any]]:
    identities = [token_id(record.digest) for record in records]
    revoked, last_uses, now = (
        await tokens.are_revoked(identities),
        await tokens.last_uses(identities),
        await tokens.now(),
    )
    return [
        _describe(record, state_of(record, is_revoked, now), last_use)
        for record, is_revoked, last_use in zip(records, revoked, last_uses, strict=True)
    ]


def _describe(record: TokenRecord, state: TokenState, last_use: int | None) -> dict[str, Any]:
    """All that may be shown of a token. Its digest is not secret, but of no use to anybody."""
    return {
        "id": token_id(record.digest),
        "name": record.name,
        "shown": record.shown,
        "state": state,
        "policy": record.policy,
        "plan": record.plan or None,
        "scopes": record.scopes.split(),
        "project": record.project or None,
        "owner": record.owner or None,
        "created": format_time(record.created_at),
        "last_used": format_time(last_use),
        "expires": format_time(record.expires_at),
    }


def _print_json(value: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        click.echo("no tokens", err=True)
        return
    columns = ("id", "name", "shown", "state", "plan", "scopes", "created", "last_used", "expires")
    cells = [columns, *([_text(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(value) or "-"
    return "-" if value is None else str(value)

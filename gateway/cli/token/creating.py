"""`gateway token create`."""

import secrets
from typing import Any

import click

from gateway.adapters.redis_tokens import RedisTokens
from gateway.cli.options import json_option, load_policies, pepper_option, policies_option, redis_option, with_tokens
from gateway.cli.times import parse_end, parse_start
from gateway.cli.token.describing import describe, print_json
from gateway.core.administration import TokenRequest, mint_token, state_of
from gateway.core.policies.rules import Policy
from gateway.core.records import TokenRecord
from gateway.core.tokens import random_bytes_needed, token_id


@click.command()
@click.option("--policy", "policy_name", required=True, help="The policy that the token is for.")
@click.option("--project", default="", help="The project it is bound to.")
@click.option("--owner", default="", help="The owner it is bound to.")
@click.option("--name", required=True, help="What it is for, in your words.")
@click.option(
    "--scope", "scopes", multiple=True, help="A scope it holds; without any, all that its plan of the moment allows."
)
@click.option("--plan", help="Its plan; the policy's first where there are several.")
@click.option("--not-before", help="When it begins: a time, or how long from now; without it, at once.")
@click.option("--expires", help="When it ends: 90d, 12h, or 2027-01-31T00:00:00Z.")
@pepper_option
@policies_option
@redis_option
@json_option
def create(policies: str, redis_url: str | None, as_json: bool, pepper: str, policy_name: str, **wanted: Any) -> None:
    """Mint a token. Its text is printed now and never again."""
    policy = find_policy(policies, policy_name)

    async def work(tokens: RedisTokens) -> tuple[str, TokenRecord, int]:
        now = await tokens.now()
        random_bytes = secrets.token_bytes(random_bytes_needed(policy.token_format))
        text, record = mint_token(policy, read_request(wanted, now), random_bytes, pepper.encode(), now)
        await tokens.create(record)
        return text, record, now

    text, record, now = with_tokens(redis_url, work)
    if as_json:
        print_json({**describe(record, state_of(record, is_revoked=False, now=now), None), "token": text})
        return
    click.echo(f"Created token {token_id(record.digest)} ({record.name}). This is its text; it is not shown again:")
    click.echo(text)


def find_policy(policies: str, name: str) -> Policy:
    """The policy of a name; UsageError where there is none."""
    found = load_policies(policies).policies
    if name not in found:
        raise click.UsageError(f"no policy is named {name!r}: there are {', '.join(sorted(found))}")
    return found[name]


def read_request(options: dict[str, Any], now: int) -> TokenRequest:
    """What the options ask of a new token; `now` in Unix seconds."""
    starts, ends = options["not_before"], options["expires"]
    return TokenRequest(
        name=options["name"],
        project=options["project"],
        owner=options["owner"],
        scopes=options["scopes"],
        plan=options["plan"],
        not_before=parse_start(starts, now) if starts else None,
        expires_at=parse_end(ends, now) if ends else None,
    )

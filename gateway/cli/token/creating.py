"""`gateway token create` and `import`."""

import secrets
import sys
from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

import click

from gateway.adapters.redis_tokens import RedisTokens
from gateway.cli.options import json_option, load_policies, pepper_option, policies_option, redis_option, with_tokens
from gateway.cli.times import parse_end, parse_start
from gateway.cli.token.describing import describe, print_json
from gateway.core.administration import TokenRequest, mint_token, state_of
from gateway.core.importing import import_digest, import_text
from gateway.core.policies.rules import Policy
from gateway.core.records import TokenRecord
from gateway.core.tokens import random_bytes_needed, token_id

Command = TypeVar("Command", bound=Callable[..., Any])

NEW_TOKEN_OPTIONS = (
    click.option("--policy", "policy_name", required=True, help="The policy that the token is for."),
    click.option("--project", default="", help="The project it is bound to."),
    click.option("--owner", default="", help="The owner it is bound to."),
    click.option("--name", required=True, help="What it is for, in your words."),
    click.option(
        "--scope", "scopes", multiple=True, help="A scope it holds; without any, all its plan of the moment allows."
    ),
    click.option("--plan", help="Its plan; the policy's first where there are several."),
    click.option("--not-before", help="When it begins: a time, or how long from now; without it, at once."),
    click.option("--expires", help="When it ends: 90d, 12h, or 2027-01-31T00:00:00Z."),
)


def new_token_options(command: Command) -> Command:
    """What can be said of a token that is new here, minted or imported."""
    return reduce(lambda decorated, option: option(decorated), reversed(NEW_TOKEN_OPTIONS), command)


@click.command()
@new_token_options
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


@click.command("import")
@new_token_options
@click.option("--digest", metavar="HEX64", help="Its digest, made under the pepper that `gateway serve` is given.")
@click.option("--text-stdin", is_flag=True, help="Read its text from standard input; only the digest is kept.")
@click.option("--shown", help="With --digest: the beginning of its text, for lists.")
@pepper_option
@policies_option
@redis_option
@json_option
def import_token(
    policies: str,
    redis_url: str | None,
    as_json: bool,
    pepper: str,
    policy_name: str,
    digest: str | None,
    text_stdin: bool,
    shown: str | None,
    **wanted: Any,
) -> None:
    """Take over a token that exists elsewhere: its text stays valid, and nothing of it is kept but its beginning.

    A digest is HMAC-SHA-256 of the text under GATEWAY_TOKEN_PEPPER, or SHA-256 where `gateway serve` has no pepper; one
    made under another pepper is stored and never matches.
    """
    if (digest is None) != text_stdin or (text_stdin and shown is not None):
        raise click.UsageError("name one of: --digest HEX64 (with --shown TEXT or without), --text-stdin")
    policy = find_policy(policies, policy_name)
    text = _read_text() if text_stdin else ""

    async def work(tokens: RedisTokens) -> dict[str, Any]:
        now = await tokens.now()
        request = read_request(wanted, now)
        if digest is not None:
            record = import_digest(policy, request, digest, shown or "", now)
        else:
            record = import_text(policy, request, text, pepper.encode(), now)
        await tokens.create(record)
        return describe(record, state_of(record, is_revoked=False, now=now), None)

    described = with_tokens(redis_url, work)
    if as_json:
        print_json(described)
    else:
        click.echo(f"Imported token {described['id']} ({described['name']}).")
    under = "GATEWAY_TOKEN_PEPPER" if pepper else "no pepper"
    click.echo(f"It works where `gateway serve` has the same pepper as its digest: {under} here.", err=True)


def _read_text() -> str:
    """The one line on standard input; what cannot be decoded cannot be a token."""
    return sys.stdin.buffer.read().decode("ascii", errors="replace").removesuffix("\n").removesuffix("\r")


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

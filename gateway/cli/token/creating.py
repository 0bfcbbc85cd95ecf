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
from gateway.cli.token.describing import describe, find, find_bounds, find_states, print_json
from gateway.core.administration import TokenRequest, mint_token, state_of
from gateway.core.children import make_child
from gateway.core.errors import ChangeRefused
from gateway.core.importing import import_digest, import_text
from gateway.core.policies.rules import Policy
from gateway.core.records import TokenRecord
from gateway.core.tokens import random_bytes_needed

Command = TypeVar("Command", bound=Callable[..., Any])

NEW_TOKEN_OPTIONS = (
    click.option("--policy", "policy_name", help="The policy that the token is for."),
    click.option("--project", default="", help="The project it is bound to."),
    click.option("--owner", default="", help="The owner it is bound to."),
    click.option("--name", required=True, help="What it is for, in your words."),
    click.option(
        "--scope", "scopes", multiple=True, help="A scope it holds; without any, all that its owner may grant."
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
@click.option("--parent", metavar="ID", help="Make it a child of this token, in the place of --policy and its kind.")
@pepper_option
@policies_option
@redis_option
@json_option
def create(
    policies: str,
    redis_url: str | None,
    as_json: bool,
    pepper: str,
    policy_name: str | None,
    parent: str | None,
    **wanted: Any,
) -> None:
    """Mint a token. Its text is printed now and never again.

    A child (--parent) has its parent's project, owner and plan; it never holds more scopes nor lasts longer, shares its
    quotas, and ends with it.
    """

    async def work(tokens: RedisTokens) -> tuple[str, dict[str, Any]]:
        now = await tokens.now()
        request = read_request(wanted, now)
        if parent:
            text, record = await _mint_child(tokens, policies, policy_name, parent, request, pepper.encode(), now)
        else:
            policy = find_policy(policies, policy_name)
            random_bytes = draw(policy)
            owner = await tokens.owners.find(policy.name, request.owner) if request.owner else None
            text, record = mint_token(policy, request, random_bytes, pepper.encode(), now, owner)
        await tokens.create(record)
        return text, describe(record, state_of(record, is_revoked=False, now=now), None)

    text, described = with_tokens(redis_url, work)
    if as_json:
        print_json({**described, "token": text})
        return
    click.echo(f"Created token {described['id']} ({described['name']}). This is its text; it is not shown again:")
    click.echo(text)


async def _mint_child(
    tokens: RedisTokens,
    policies: str,
    policy_name: str | None,
    parent: str,
    request: TokenRequest,
    pepper: bytes,
    now: int,
) -> tuple[str, TokenRecord]:
    record = await find(tokens, parent)
    if policy_name not in (None, record.policy):
        raise ChangeRefused(f"a child has the policy of its parent, {record.policy}")
    policy = find_policy(policies, record.policy)
    (state,) = await find_states(tokens, [record], now)
    bounds = await find_bounds(tokens, record)
    draws = iter(lambda: draw(policy), b"")
    return make_child(policy, record, state, bounds.owner, request, draws, pepper, now)


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
    policy_name: str | None,
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
        owner = await tokens.owners.find(policy.name, request.owner) if request.owner else None
        if digest is not None:
            record = import_digest(policy, request, digest, shown or "", now, owner)
        else:
            record = import_text(policy, request, text, pepper.encode(), now, owner)
        await tokens.create(record)
        return describe(record, state_of(record, is_revoked=False, now=now), None)

    described = with_tokens(redis_url, work)
    if as_json:
        print_json(described)
    else:
        click.echo(f"Imported token {described['id']} ({described['name']}).")
    under = "GATEWAY_TOKEN_PEPPER" if pepper else "no pepper"
    click.echo(f"It works where `gateway serve` has the same pepper as its digest: {under} here.", err=True)


def draw(policy: Policy) -> bytes:
    """Random bytes for one token of the policy."""
    return secrets.token_bytes(random_bytes_needed(policy.token_format))


def _read_text() -> str:
    """The one line on standard input; what cannot be decoded cannot be a token."""
    return sys.stdin.buffer.read().decode("ascii", errors="replace").removesuffix("\n").removesuffix("\r")


def find_policy(policies: str, name: str | None) -> Policy:
    """The policy of a name; UsageError where there is none."""
    if name is None:
        raise click.UsageError("Missing option '--policy'.")
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

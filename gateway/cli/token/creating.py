"""`gateway token create` and `import`."""

import sys
from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

import click

from gateway.cli.connecting import operator
from gateway.cli.managing import load_policies, with_management
from gateway.cli.options import json_option, pepper_option, policies_option, redis_option
from gateway.cli.times import parse_end, parse_start
from gateway.cli.token.describing import describe_view, print_json
from gateway.core.admin_tokens import NAME as ADMIN
from gateway.core.administration import TokenRequest
from gateway.core.errors import ChangeRefused
from gateway.core.importing import ByDigest, ByText
from gateway.core.policies.rules import Policy
from gateway.core.texts import BYTE_ORDER_MARK
from gateway.core.token_views import CreatedToken, TokenView
from gateway.management import Management

Command = TypeVar("Command", bound=Callable[..., Any])

NEW_TOKEN_OPTIONS = (
    click.option("--policy", "policy_name", help="The policy that the token is for."),
    click.option("--project", default="", help="The project it is bound to."),
    click.option("--owner", default="", help="The owner it is bound to."),
    click.option("--name", required=True, help="What it is for, in your words."),
    click.option("--description", default="", help="More of your words."),
    click.option(
        "--scope",
        "scopes",
        multiple=True,
        help="A scope it holds; without any, all that its owner may grant but the one to sign in.",
    ),
    click.option("--plan", help="Its plan; without it its owner's, else the policy's first."),
    click.option("--not-before", help="When it begins: a time, or how long from now; without it, at once."),
    click.option("--expires", help="When it ends: 90d, 12h, or 2027-01-31T00:00:00Z."),
)


def new_token_options(command: Command) -> Command:
    """What can be said of a token that is new here, minted or imported."""
    return reduce(lambda decorated, option: option(decorated), reversed(NEW_TOKEN_OPTIONS), command)


@click.command()
@new_token_options
@click.option("--parent", metavar="ID", help="Make it a child of this token, in the place of --policy and its kind.")
@click.option("--admin", "is_admin", is_flag=True, help="Make it one for the management API, for none of the policies.")
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
    is_admin: bool,
    **wanted: Any,
) -> None:
    """Mint a token. Its text is printed now and never again.

    A child (--parent) has its parent's project, owner and plan; it never holds more scopes nor lasts longer, shares its
    quotas, and ends with it. An admin token (--admin) is valid in the management API and nowhere else; its scopes are
    read, write (which implies read) and introspect.
    """

    if is_admin and (policy_name or parent or wanted["project"] or wanted["owner"] or wanted["plan"]):
        raise click.UsageError("--admin stands in the place of --policy, --project, --owner, --plan and --parent")
    if not is_admin and not policy_name and not parent:
        raise click.UsageError("Missing option '--policy'.")

    async def work(management: Management) -> CreatedToken:
        now = await management.now()
        request = read_request(wanted, now)
        if not parent:
            return await management.create_token(operator(), ADMIN if is_admin else policy_name or "", request, now=now)
        policy = (await management.get_token(parent)).record.policy
        if policy_name not in (None, policy):
            raise ChangeRefused(f"a child has the policy of its parent, {policy}")
        return await management.create_child(operator(), parent, request, now=now)

    created = with_management(redis_url, work, policies, pepper)
    described = describe_view(created.view)
    if as_json:
        print_json({**described, "token": created.text})
        return
    click.echo(f"Created token {described['id']} ({described['name']}). This is its text; it is not shown again:")
    click.echo(created.text)


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
    imported = ByText(_read_text()) if digest is None else ByDigest(digest, shown or "")

    async def work(management: Management) -> TokenView:
        now = await management.now()
        request = read_request(wanted, now)
        return await management.import_token(operator(), policy.name, request, imported, now=now)

    described = describe_view(with_management(redis_url, work, policies, pepper))
    if as_json:
        print_json(described)
    else:
        click.echo(f"Imported token {described['id']} ({described['name']}).")
    under = "GATEWAY_TOKEN_PEPPER" if pepper else "no pepper"
    click.echo(f"It works where `gateway serve` has the same pepper as its digest: {under} here.", err=True)


def _read_text() -> str:
    """The one line on standard input; what cannot be decoded cannot be a token."""
    text = sys.stdin.buffer.read().removeprefix(BYTE_ORDER_MARK)
    return text.decode("ascii", errors="replace").removesuffix("\n").removesuffix("\r")


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
        description=options["description"],
    )

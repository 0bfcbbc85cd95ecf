"""`gateway token`: the commands that change tokens. Their group is in main.py."""

import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from gateway.cli.common import (
    format_time,
    json_option,
    parse_end,
    parse_start,
    parse_when,
    pepper_option,
    policies_option,
    read_duration,
    redis_option,
)
from gateway.cli.connecting import NamesInFolder, PolicyFolder, awaited, load_policies, open_management, operator
from gateway.cli.token_show import describe_created, describe_token, print_json
from gateway.core.errors import ChangeRefused
from gateway.core.policies.model import Policy
from gateway.core.tokens.admin_tokens import NAME as ADMIN
from gateway.core.tokens.changes import TokenChange, TokenRequest, TokenState
from gateway.core.tokens.lifecycle import ByDigest, ByText
from gateway.core.tokens.overrides import OverrideRequest
from gateway.core.tokens.text import BYTE_ORDER_MARK
from gateway.core.tokens.views import TokenView


@click.command()
@click.argument("identity", metavar="ID")
@click.option("--name", help="A new name.")
@click.option("--description", help="A new description; '' for none.")
@click.option("--scope", "scopes", multiple=True, help="The scopes it holds from now on, all of them.")
@click.option("--plan", help="A new plan.")
@click.option("--not-before", help="A new beginning: a time, how long from now, or now.")
@click.option("--expires", help="A new end: 90d, a time, or never.")
@click.option("--enable/--disable", "is_active", default=None, help="Whether it works.")
@policies_option
@redis_option
@json_option
@awaited
async def update(identity: str, policies: str, redis_url: str | None, as_json: bool, **options: Any) -> None:
    """Change a token in place: its text stays valid, the change acts on the next request."""
    starts, ends = options.pop("not_before"), options.pop("expires")
    values = {name: value for name, value in options.items() if value not in (None, ())}

    async with open_management(redis_url, PolicyFolder(policies)) as management:
        now = await management.now()
        if starts:
            values["not_before"] = parse_start(starts, now)
        if ends:
            values["expires_at"] = parse_end(ends, now)
        view = await management.update_token(operator(), identity, TokenChange(**values), now=now)
    described = describe_token(view)
    if as_json:
        print_json(described)
    else:
        click.echo(f"Changed token {identity} ({described['name']}).")


Command = TypeVar("Command", bound=Callable[..., Any])

NEW_TOKEN_OPTIONS = (
    click.option("--policy", "policy_name", help="The policy that the token is for."),
    click.option("--project", default="", help="The project it is bound to."),
    click.option("--owner", default="", help="The owner it is bound to."),
    click.option("--name", help="What it is for, in your words."),
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
    """Add the options of a token that is new here, minted or imported."""
    return reduce(lambda decorated, option: option(decorated), reversed(NEW_TOKEN_OPTIONS), command)


@click.command()
@new_token_options
@click.option("--parent", metavar="ID", help="Make it a child of this token, in the place of --policy and its kind.")
@click.option("--admin", "is_admin", is_flag=True, help="Make it one for the management API, for none of the policies.")
@pepper_option
@policies_option
@redis_option
@json_option
@awaited
async def create(
    policies: str,
    redis_url: str | None,
    as_json: bool,
    pepper: str,
    policy_name: str | None,
    parent: str | None,
    is_admin: bool,
    **options: Any,
) -> None:
    """Mint a token. Its text is printed now and never again.

    A child (--parent) has its parent's project, owner and plan; it never holds more scopes nor lasts longer, shares its
    quotas, and ends with it. An admin token (--admin) is valid in the management API and nowhere else; its scopes are
    read, write (which implies read) and introspect.
    """

    check_name(options)
    if is_admin and (policy_name or parent or options["project"] or options["owner"] or options["plan"]):
        raise click.UsageError("--admin stands in the place of --policy, --project, --owner, --plan and --parent")
    if not is_admin and not policy_name and not parent:
        raise click.UsageError("Missing option '--policy'.")

    async with open_management(redis_url, PolicyFolder(policies), pepper) as management:
        now = await management.now()
        request = read_request(options, now)
        if parent:
            policy = (await management.get_token(parent)).record.policy
            if policy_name not in (None, policy):
                raise ChangeRefused(f"a child has the policy of its parent, {policy}")
            created = await management.create_child(operator(), parent, request, now=now)
        else:
            meant = ADMIN if is_admin else policy_name or ""
            created = await management.create_token(operator(), meant, request, now=now)
    described = describe_created(created)
    if as_json:
        print_json(described)
        return
    click.echo(f"Created token {described['id']} ({described['name']}). This is its text; it is not shown again:")
    click.echo(created.text)


@click.command("import")
@new_token_options
@click.option("--digest", metavar="HEX64", help="Its digest, made under the pepper that `gateway serve` is given.")
@click.option("--text-stdin", is_flag=True, help="Read its text from standard input; only the digest is kept.")
@click.option("--shown", help="With --digest: the beginning of its text, for lists.")
@click.option("--file", "file", metavar="FILE", help="Import many: a file of rows, - for standard input.")
@click.option("--form", help="Of --file: csv, jsonl, or the export of kong, tyk, apisix or unkey.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="With --file: write each outcome here.")
@pepper_option
@policies_option
@redis_option
@json_option
@awaited
async def import_token(
    policies: str,
    redis_url: str | None,
    as_json: bool,
    pepper: str,
    policy_name: str | None,
    digest: str | None,
    text_stdin: bool,
    shown: str | None,
    file: str | None,
    form: str | None,
    report: Path | None,
    **options: Any,
) -> None:
    """Take over a token that exists elsewhere: its text stays valid, and nothing of it is kept but its beginning.

    With --file, many: each row has a digest or a text, and the columns name, project, owner, scopes, plan, not_before,
    expires_at, description, is_active and shown; the options stand in for those that are empty. The same file may be
    imported again: tokens that are there stay as they are.

    A digest is HMAC-SHA-256 of the text under GATEWAY_TOKEN_PEPPER, or SHA-256 where `gateway serve` has no pepper; one
    made under another pepper is stored and never matches.
    """
    ways = sum((digest is not None, text_stdin, file is not None))
    if ways != 1 or (shown is not None and digest is None) or (file is None and (form or report)):
        raise click.UsageError("name one of: --digest HEX64 (with --shown TEXT or without), --text-stdin, --file FILE")
    policy = find_policy(policies, policy_name)
    if file is not None:
        from gateway.cli.moving.import_file import Source, import_file  # noqa: PLC0415 - one token needs none of it

        async with open_management(redis_url, PolicyFolder(policies), pepper) as management:
            defaults = msgspec.to_builtins(read_request(options, await management.now()))
            await import_file(management, Source(file, form or ""), policy.name, defaults, report, as_json=as_json)
        return
    check_name(options)
    imported = ByText(_read_text()) if digest is None else ByDigest(digest, shown or "")

    async with open_management(redis_url, PolicyFolder(policies), pepper) as management:
        now = await management.now()
        request = read_request(options, now)
        view = await management.import_token(operator(), policy.name, request, imported, now=now)
    described = describe_token(view)
    if as_json:
        print_json(described)
    else:
        click.echo(f"Imported token {described['id']} ({described['name']}).")
    under = "GATEWAY_TOKEN_PEPPER" if pepper else "no pepper"
    click.echo(f"It works where `gateway serve` has the same pepper as its digest: {under} here.", err=True)


def _read_text() -> str:
    """Read the one line on standard input; undecodable bytes cannot be a token."""
    text = sys.stdin.buffer.read().removeprefix(BYTE_ORDER_MARK)
    return text.decode("ascii", errors="replace").removesuffix("\n").removesuffix("\r")


def check_name(options: dict[str, Any]) -> None:
    """Raise UsageError if a single token has no name; rows of a file have their own."""
    if options["name"] is None:
        raise click.UsageError("Missing option '--name'.")


def find_policy(policies: str, name: str | None) -> Policy:
    """Return the policy of a name. Raise UsageError if there is none."""
    if name is None:
        raise click.UsageError("Missing option '--policy'.")
    found = load_policies(policies).policies
    if name not in found:
        raise click.UsageError(f"no policy is named {name!r}: there are {', '.join(sorted(found))}")
    return found[name]


def read_request(options: dict[str, Any], now: int) -> TokenRequest:
    """Read the request of a new token from the options; `now` is in Unix seconds."""
    starts, ends = options["not_before"], options["expires"]
    return TokenRequest(
        name=options["name"] or "",
        project=options["project"],
        owner=options["owner"],
        scopes=options["scopes"],
        plan=options["plan"],
        not_before=parse_start(starts, now) if starts else None,
        expires_at=parse_end(ends, now) if ends else None,
        description=options["description"],
    )


@click.command()
@click.argument("identity", metavar="ID")
@click.argument("quota", metavar="QUOTA")
@click.argument("limit", metavar="[LIMIT]", required=False)
@click.option("--until", help="When it ends: 7d, or 2027-01-31T00:00:00Z.")
@click.option("--reason", help="Why, in your words.")
@click.option("--by", "author", help="Who says so; without it, your login name.")
@click.option("--burst", type=click.IntRange(min=1), help="With a token bucket; without it, the policy's.")
@click.option("--remove", is_flag=True, help="Take the override of this quota away.")
@policies_option
@redis_option
@json_option
@awaited
async def override(
    identity: str, quota: str, policies: str, redis_url: str | None, remove: bool, as_json: bool, **options: Any
) -> None:
    """Give a token a limit of its own for a while: LIMIT is a number, or "1000/minute" of the quota's window.

    It acts on the next request and ends by itself. Rotation keeps it.
    """
    asked = [options[name] is not None for name in ("limit", "until", "reason")]
    if any(asked) if remove else not all(asked):
        raise click.UsageError("name LIMIT, --until and --reason, or --remove")

    async with open_management(redis_url, PolicyFolder(policies)) as management:
        now = await management.now()
        request = None if remove else _read_request(options, now)
        view = await management.override_quota(operator(), identity, quota, request, now=now)
    described = describe_token(view)
    if as_json:
        print_json(described)
    elif remove:
        click.echo(f"Token {identity} ({described['name']}) has the {quota} of its plan again.")
    else:
        ends = next(one["until"] for one in described["overrides"] if one["quota"].partition(":")[0] == quota)
        click.echo(f"Token {identity} ({described['name']}) has {options['limit']} as its {quota} until {ends}.")


def _read_request(options: dict[str, Any], now: int) -> OverrideRequest:
    return OverrideRequest(
        limit=options["limit"],
        burst=options["burst"],
        until=parse_when(options["until"], now),
        reason=options["reason"],
        author=options["author"] or operator().name,
    )


WAYS = ({"ID"}, {"lineage"}, {"policy", "project"}, {"policy", "owner"})
"""The combinations of names, exactly one of which must be given."""
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

    described = _revoke_many(redis_url, policies, named, has_consent=yes or as_json)
    if as_json:
        print_json(described)
        return
    for one in described:
        click.echo(f"{one['id']}  {one['name']}")
    click.echo(f"Revoked {len(described)} token(s).")


@awaited
async def _revoke_many(
    redis_url: str | None, policies: str, named: dict[str, str | None], has_consent: bool
) -> list[dict[str, Any]]:
    """Revoke the tokens that are named as in WAYS; for an ID, also those created with it."""
    lineage, policy_name, project, owner = (named[name] for name in ("lineage", "policy", "project", "owner"))
    async with open_management(redis_url, NamesInFolder(policies)) as management:
        if named["ID"]:
            revoked = await management.revoke_with_made(operator(), named["ID"])
        elif lineage:
            _check_number(await management.list_lineage(lineage), has_consent)
            revoked = await management.revoke_lineage(operator(), lineage)
        else:
            _check_number(await management.list_known(policy_name, project, owner), has_consent)
            revoked = await management.revoke_all(operator(), policy_name or "", project, owner)
        return [describe_token(await management.get_token(one)) for one in revoked]


@awaited
async def _revoke_one(identity: str, redis_url: str | None, as_json: bool) -> None:
    async with open_management(redis_url, PolicyFolder("")) as management:
        view = await management.revoke_token(operator(), identity)
        lineage, made = await management.list_lineage(identity), await management.list_made(identity)
        children = len(await management.list_children(identity))
    if as_json:
        print_json(describe_token(view))
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


@click.command()
@click.argument("identity", metavar="ID")
@click.option(
    "--overlap", default="24h", show_default=True, callback=read_duration, help="How long the old token still works."
)
@click.option("--expires", help="The successor's end: 90d, a time, or never; without it, the old token's.")
@pepper_option
@policies_option
@redis_option
@json_option
@awaited
async def rotate(
    identity: str, overlap: int, expires: str | None, pepper: str, policies: str, redis_url: str | None, as_json: bool
) -> None:
    """Mint a successor of a token, with its settings and its counters; the old one ends after the overlap.

    The successor's text is printed now and never again.
    """

    async with open_management(redis_url, PolicyFolder(policies), pepper) as management:
        now = await management.now()
        new_end = parse_end(expires, now) if expires else msgspec.UNSET
        rotated = await management.rotate_token(operator(), identity, overlap, new_end, now=now)
    old = rotated.predecessor or rotated.view
    ends = format_time(old.record.expires_at)
    if rotated.warning:
        click.echo(f"gateway: {rotated.warning}", err=True)
    if as_json:
        print_json(describe_created(rotated))
        return
    click.echo(f"Rotated token {identity} ({old.record.name}), which ends {ends}.")
    click.echo(f"Its successor is {rotated.view.identity}. This is its text; it is not shown again:")
    click.echo(rotated.text)

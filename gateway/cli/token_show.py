"""Tokens on the command line: as JSON, as a table, or line by line; `gateway token explain`, `list` and `show`."""

from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec

from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.tokens import RedisTokens
from gateway.adapters.redis.usage import RedisUsage
from gateway.cli.common import format_day, format_time, json_option, policies_option, read_duration, redis_option
from gateway.cli.connecting import NamesInFolder, awaited, load_policies, open_connection, open_management
from gateway.core.admission.decision import AdmissionRequest
from gateway.core.admission.explanation import (
    Check,
    explain_decision,
    first_failure,
    match_request,
    project_of,
)
from gateway.core.errors import NotFound
from gateway.core.http.fields import parse_host
from gateway.core.http.problems import PROBLEMS
from gateway.core.policies.matching import METHOD
from gateway.core.policies.model import PolicySet, Rule
from gateway.core.quotas.model import Window
from gateway.core.tokens.changes import idle_since
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.views import (
    CreatedToken,
    ShownToken,
    TokenView,
    show_created,
    show_token,
    why_not_found,
)
from gateway.management.building import build_management

TABLE = ("id", "name", "shown", "state", "plan", "scopes", "created_at", "last_used_at", "expires_at", "made_by")
"""The columns of lists; `show` and --json have all fields."""


def describe_token(view: TokenView) -> dict[str, Any]:
    """Return all that may be shown of a token, as the management API shows it."""
    return _describe_shown(show_token(view))


def describe_created(created: CreatedToken) -> dict[str, Any]:
    """Return all that may be shown of a new token, with its text."""
    return _describe_shown(show_created(created))


def _describe_shown(shown: ShownToken) -> dict[str, Any]:
    described: dict[str, Any] = msgspec.to_builtins(shown)
    return described


def print_json(value: object) -> None:
    """Print any value, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a line for each token, under the names of the columns."""
    if not rows:
        click.echo("no tokens", err=True)
        return
    cells = [TABLE, *([_text(row[column]) for column in TABLE] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(TABLE))]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_lines(described: Mapping[str, Any]) -> None:
    """Print a line for each field of one token."""
    width = max(map(len, described))
    for name, value in described.items():
        click.echo(f"{name:>{width}}  {_text(value)}")


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(_text, value)) or "-"
    if isinstance(value, dict) and "quota" not in value:
        return ", ".join(f"{name} {each}" for name, each in value.items())
    if isinstance(value, dict):
        return "{quota} {limit} until {until} by {author} ({reason})".format(**value)
    return "-" if value in (None, "") else str(value)


@click.command()
@click.argument("identity", metavar="ID")
@click.option("--request", required=True, metavar='"GET /path"', help="Method and path of the request.")
@click.option("--host", help="Its Host; without it, the first that the token's policy names.")
@click.option("--address", default="", help="The client's address; without it, quotas per address read as unused.")
@policies_option
@redis_option
@json_option
@click.pass_context
@awaited
async def explain(
    context: click.Context,
    identity: str,
    request: str,
    host: str | None,
    address: str,
    policies: str,
    redis_url: str | None,
    as_json: bool,
) -> None:
    """Say why a request with a token would pass or be refused, check by check. Nothing is charged or noted.

    Exit code 1 if it would be refused.
    """
    method, _, target = request.partition(" ")
    if METHOD.fullmatch(method) is None:
        raise click.UsageError(f'{request!r} is no request: write "GET /path"')
    found = load_policies(policies)
    path = target.partition("?")[0]

    async with open_connection(redis_url) as connection:
        tokens = RedisTokens(connection)
        record = await tokens.find(identity)
        if record is None:
            raise NotFound(why_not_found(identity))
        rule, checks = match_request(found, _host(host, found, record), method, path)
        project = project_of(rule, path)
        inspection = await tokens.inspect(identity, rule, project, address)
    if inspection is None:
        raise NotFound(why_not_found(identity))
    windows = inspection.windows
    if rule is not None:
        checks += explain_decision(AdmissionRequest(rule, project=project, address=address), inspection)
    if as_json:
        print_json(_describe(identity, request, rule, checks, windows))
    else:
        _print(rule, checks, windows, inspection.now)
    context.exit(0 if first_failure(checks) is None else 1)


def _host(host: str | None, policies: PolicySet, record: TokenRecord) -> str:
    if host is not None:
        parsed = parse_host(host.encode())
        if parsed is None:
            raise click.UsageError(f"{host!r} is no host")
        return parsed
    policy = policies.policies.get(record.policy)
    return policy.hosts[0] if policy and policy.hosts else ""


def _describe(
    identity: str, request: str, rule: Rule | None, checks: list[Check], windows: Sequence[Window]
) -> dict[str, Any]:
    reason = first_failure(checks)
    return {
        "id": identity,
        "request": request,
        "passes": reason is None,
        "reason": reason,
        "status": None if reason is None else PROBLEMS[reason].status,
        "policy": rule.policy.name if rule else None,
        "rule": rule.pattern.text if rule else None,
        "scopes": rule.scopes if rule else (),
        "cost": rule.cost.reserved if rule else None,
        "checks": checks,
        "quotas": [
            {
                "name": window.quota.name,
                "per": window.quota.per,
                "limit": window.quota.limit,
                "used": window.used,
                "remaining": window.remaining(),
                "resets": format_time(window.resets_at // 1000) if window.used else None,
                "near": window.is_near(),
                "shadow": window.quota.is_shadow,
            }
            for window in windows
        ],
    }


def _print(rule: Rule | None, checks: list[Check], windows: Sequence[Window], now: int) -> None:
    for check in checks:
        note = f": {check.note}" if check.note else ""
        click.echo(f"{'pass' if check.passes else 'FAIL'}  {check.check}{note}")
    for window in windows:
        quota = window.quota
        resets = f", resets in {window.reset_seconds(now)} s" if window.used and not quota.is_concurrency else ""
        near, shadow = ", near" if window.is_near() else "", ", in shadow" if quota.is_shadow else ""
        holder = "" if quota.per == "token" else f" per {quota.per}"
        click.echo(f"quota {quota.name}{holder}: {window.used} of {quota.capacity} used{resets}{near}{shadow}")
    reason = first_failure(checks)
    if reason is not None:
        click.echo(f"The request would be refused: {reason}, status {PROBLEMS[reason].status}.")
    elif rule is not None:
        click.echo(f"The request would pass, at a cost of {rule.cost.reserved}.")


USAGE_DAYS = 7
"""Days of a token's usage that are shown: enough to distinguish a weekend from a job that has stopped."""


@click.command("list")
@click.option("--policy", "policy_name", help="Only tokens of this policy.")
@click.option("--project", help="Only tokens of this project.")
@click.option("--owner", help="Only tokens of this owner.")
@click.option("--made-by", "maker", metavar="ID", help="Only tokens made with this one, or with one of those.")
@click.option(
    "--unused",
    callback=read_duration,
    help="Only tokens not used for so long, such as 90d; one never used counts from its creation.",
)
@policies_option
@redis_option
@json_option
@awaited
async def list_tokens(
    policy_name: str | None,
    project: str | None,
    owner: str | None,
    maker: str | None,
    unused: int | None,
    policies: str,
    redis_url: str | None,
    as_json: bool,
) -> None:
    """List tokens, newest first: never their text, only its first characters.

    A policy that is in no file and was never seen is an error, and so are a project and an owner without any token.
    """

    async with open_management(redis_url, NamesInFolder(policies)) as management:
        views = await management.list_known(policy_name, project, owner, maker)
        latest = await management.now() - (unused or 0)
    meant = [view for view in views if unused is None or idle_since(view.record) <= latest]
    described = [describe_token(view) for view in meant]
    if as_json:
        print_json(described)
    else:
        print_table(described)


@click.command()
@click.argument("identity", metavar="ID")
@policies_option
@redis_option
@json_option
@awaited
async def show(identity: str, policies: str, redis_url: str | None, as_json: bool) -> None:
    """Show all that is known of a token, none of it secret.

    JSON is the token as the management API shows it. Without --json, the token's children, what was made with it, and
    its requests of the last seven days stand behind it.
    """

    async with open_connection(redis_url) as connection:
        management = build_management(connection, NamesInFolder(policies), "")
        described = describe_token(await management.get_token(identity))
        if not as_json:
            relatives = {"children": management.list_children, "made": management.list_made}
            for name, find in relatives.items():
                described[name] = [one.identity for one in await find(identity)]
            described["requests"] = await _find_requests(connection, identity)
    if as_json:
        print_json(described)
    else:
        print_lines(described)


async def _find_requests(connection: RedisConnection, identity: str) -> dict[str, int]:
    """Return the requests of the last days, today's last, by the day in UTC."""
    now = await RedisTokens(connection).now()
    usage = await RedisUsage(connection, lambda: now).tokens_usage([identity], USAGE_DAYS)
    return {format_day(point.time): point.requests for point in usage[identity]}

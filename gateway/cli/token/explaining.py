"""`gateway token explain`."""

from collections.abc import Sequence
from typing import Any

import click

from gateway.adapters.redis_tokens import RedisTokens
from gateway.cli.managing import load_policies, with_tokens
from gateway.cli.options import json_option, policies_option, redis_option
from gateway.cli.times import format_time
from gateway.cli.token.describing import print_json
from gateway.core.errors import NotFound
from gateway.core.explanation import (
    Check,
    Standing,
    build_facts,
    explain_decision,
    first_failure,
    match_request,
    project_of,
)
from gateway.core.fields import parse_host
from gateway.core.policies.matching import METHOD
from gateway.core.policies.rules import PolicySet, Rule
from gateway.core.problems import PROBLEMS
from gateway.core.quotas import Window
from gateway.core.records import TokenRecord
from gateway.core.token_views import why_not_found


@click.command()
@click.argument("identity", metavar="ID")
@click.option("--request", required=True, metavar='"GET /path"', help="Method and path of the request.")
@click.option("--host", help="Its Host; without it, the first that the token's policy names.")
@click.option("--address", default="", help="The client's address; without it, quotas per address read as unused.")
@policies_option
@redis_option
@json_option
@click.pass_context
def explain(
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

    Exit code 1 where it would be refused.
    """
    method, _, target = request.partition(" ")
    if METHOD.fullmatch(method) is None:
        raise click.UsageError(f'{request!r} is no request: write "GET /path"')
    found = load_policies(policies)

    path = target.partition("?")[0]

    async def work(tokens: RedisTokens) -> tuple[Rule | None, list[Check], Standing]:
        record = await tokens.find(identity)
        if record is None:
            raise NotFound(why_not_found(identity))
        rule, checks = match_request(found, _host(host, found, record), method, path)
        standing = await tokens.standing(identity, rule, project_of(rule, path), address)
        if standing is None:
            raise NotFound(why_not_found(identity))
        return rule, checks, standing

    rule, checks, standing = with_tokens(redis_url, work)
    windows = standing.windows
    if rule is not None:
        checks += explain_decision(rule, standing, build_facts(rule, standing))
    if as_json:
        print_json(_describe(identity, request, rule, checks, windows))
    else:
        _print(rule, checks, windows, standing.now)
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

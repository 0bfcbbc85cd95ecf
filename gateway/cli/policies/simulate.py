"""`gateway policy simulate`: what other policies would have done with the requests of a log."""

import operator
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import click
import msgspec

from gateway.adapters.log_files import LogFile
from gateway.adapters.policy_files import read_policies
from gateway.cli.common import json_option, policies_option
from gateway.cli.policies.logs import Requests, log_options
from gateway.cli.policies.report_page import build_page
from gateway.core.errors import ConfigurationError
from gateway.core.simulation.replay import Replay
from gateway.core.simulation.tally import Counts, QuotaReport, Report, Tally
from gateway.core.tokens.text import token_id

METRICS: Mapping[str, Callable[[Report], tuple[int, int]]] = {
    "refused": lambda report: (report.total.refused_then, report.total.requests),
    "newly_refused": lambda report: (report.total.newly_refused, report.total.requests),
    "tokens_newly_refused": lambda report: (report.tokens_newly_refused, report.tokens),
}
"""What --fail-if may ask for: a number, and what it is a share of."""
COMPARISONS = {">": operator.gt, ">=": operator.ge}
_CONDITION = re.compile(rf"({'|'.join(METRICS)})\s*(>=|>)\s*([0-9]+(?:\.[0-9]+)?)\s*(%?)")


class Condition(click.ParamType[str]):
    """A condition such as `refused > 0.1%`, as its parts."""

    name = "condition"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if _CONDITION.fullmatch(value.strip()) is None:
            names = ", ".join(METRICS)
            self.fail(
                f"{value!r} is no condition: write one of {names}, > or >=, and a number or a percentage", param, ctx
            )
        return value.strip()


@click.command()
@log_options(required=True)
@policies_option
@click.option("--plan", help="The plan of requests of which the log tells none (default: the policy's first).")
@click.option(
    "--tokens",
    type=click.Path(exists=True, dir_okay=False),
    help="What `gateway token export` printed: then scopes are judged too.",
)
@click.option("--html", "page", type=click.Path(dir_okay=False), help="Write a page with plots into this file.")
@click.option(
    "--fail-if",
    "conditions",
    multiple=True,
    type=Condition(),
    help="Exit with 1 if it holds, such as 'refused > 0.1%'.",
)
@json_option
def simulate(
    logs: tuple[str, ...],
    form: str,
    field_map: str | None,
    policies: str,
    plan: str | None,
    tokens: str | None,
    page: str | None,
    conditions: tuple[str, ...],
    as_json: bool,
) -> None:
    """Replay access logs through the policies of --policies, by the code that decides in production.

    Nothing is asked of a store or a backend. What a policy file cannot change (revoked and expired tokens) stays as the
    log says it. Exit code 1 if a condition of --fail-if holds.
    """
    requests = Requests(logs, form, field_map)
    tally = Tally(Replay(read_policies(Path(policies), {}), plan, _read_scopes(tokens) if tokens else None))
    for request in requests:
        tally.replay(request)
    report = tally.report(requests.unread, requests.late)
    if page:
        Path(page).write_text(build_page(report), encoding="utf-8")
    click.echo(msgspec.json.format(msgspec.json.encode(report)).decode() if as_json else "\n".join(tell(report)))
    held = [condition for condition in conditions if holds(condition, report)]
    for condition in held:
        count, of = METRICS[condition.split(">")[0].strip()](report)
        click.echo(f"{condition}: it is {count:,} of {of:,} ({_share(count, of)})", err=True)
    sys.exit(1 if held else 0)


def holds(condition: str, report: Report) -> bool:
    """Return whether a condition of --fail-if holds."""
    match = _CONDITION.fullmatch(condition)
    assert match is not None  # click has read it
    count, of = METRICS[match[1]](report)
    value = (100 * count / of if of else 0) if match[4] else count
    return bool(COMPARISONS[match[2]](value, float(match[3])))


class _Exported(msgspec.Struct):
    digest: str
    scopes: list[str] = []


def _read_scopes(path: str) -> dict[str, list[str]]:
    """Return the scopes of tokens by their ids."""
    decode, found = msgspec.json.Decoder(_Exported).decode, dict[str, list[str]]()
    for number, line in enumerate(LogFile(path).lines(), start=1):
        try:
            row = decode(line)
        except msgspec.DecodeError as error:
            raise ConfigurationError(f"{path}:{number}: {error}") from None
        found[token_id(row.digest)] = row.scopes
    return found


def tell(report: Report) -> Iterator[str]:
    """Yield the lines that people read."""
    total = report.total
    yield f"{total.requests:,} requests of {report.tokens:,} tokens, {report.begins} to {report.ends}"
    if report.unread:
        yield f"{report.unread:,} lines are no records and were left out"
    if report.late:
        yield f"{report.late:,} records came too late to be put in order"
    yield ""
    shares = [f"{one:,} ({_share(one, total.requests)})" for one in (total.refused_now, total.refused_then)]
    reasons = [(name, f"{one.refused_now:,}", f"{one.refused_then:,}") for name, one in report.reasons.items()]
    yield from _table(("", "in the log", "with these policies"), [("refused", *shares), *reasons])
    yield ""
    newly = f"{total.newly_refused:,} requests of {report.tokens_newly_refused:,} tokens"
    yield f"Newly refused: {newly}. Newly passing: {total.newly_passing:,}."
    for title, groups in (("plan", report.plans), ("rule", report.rules)):
        if len(groups) > 1:
            yield ""
            yield from _table((title, *GROUP_COLUMNS), _groups(groups))
    if report.quotas:
        yield ""
        yield from _table(QUOTA_COLUMNS, [_quota_row(one) for one in report.quotas])
    yield from _tell_tokens(report)


GROUP_COLUMNS = ("requests", "refused in the log", "refused then", "newly refused")
QUOTA_COLUMNS = (
    "quota",
    "limit",
    "refuses",
    "of holders",
    "smallest limit: none",
    "0.1 % of requests",
    "1 %",
    "1 % of holders",
)
TOKEN_COLUMNS = ("token", "name", "plan", "requests", "newly refused", "newly passing", "first refused")
MOST_TOKENS, MOST_FIRST = 10, 3
"""Tokens and requests that are told on a terminal."""


def _tell_tokens(report: Report) -> Iterator[str]:
    """Yield the tokens whose verdicts change, and the first requests that are newly refused."""
    if report.by_token:
        yield ""
        rows = [
            (
                name,
                one.name,
                one.plan,
                f"{one.requests:,}",
                f"{one.newly_refused:,}",
                f"{one.newly_passing:,}",
                one.first,
            )
            for name, one in list(report.by_token.items())[:MOST_TOKENS]
        ]
        yield from _table(TOKEN_COLUMNS, rows)
        if len(report.by_token) > MOST_TOKENS:
            yield f"and {len(report.by_token) - MOST_TOKENS:,} more: see --json or --html"
    if report.newly_refused:
        yield ""
        yield "The first that would be refused:"
        for one in report.newly_refused[:MOST_FIRST]:
            yield f"  {one.time}  {one.request}  {one.name or one.token}: {one.then}"


def _groups(groups: Mapping[str, Counts]) -> list[tuple[str, ...]]:
    return [
        (name or "(none)", *(f"{one:,}" for one in (c.requests, c.refused_now, c.refused_then, c.newly_refused)))
        for name, c in groups.items()
    ]


def _quota_row(one: QuotaReport) -> tuple[str, ...]:
    none, tenth, percent = one.needed
    plans = ", ".join(plan for plan in one.plans if plan)
    name = f"{one.name}{f' of {plans}' if plans else ''}{' (shadow)' if one.is_shadow else ''}"
    limits = (none.of_requests, tenth.of_requests, percent.of_requests, percent.of_tokens)
    return (
        name,
        f"{one.limit:,}/{one.window_seconds:,}s",
        f"{one.refused:,}",
        f"{one.holders_refused:,} of {one.holders:,}",
        *("more" if limit is None else f"{limit:,}" for limit in limits),
    )


def _share(count: int, of: int) -> str:
    return f"{100 * count / of if of else 0:.2f} %"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield the lines of a table; numbers are to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        yield "  ".join(_cell(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cell(text: str, width: int) -> str:
    return text.rjust(width) if text[:1].isdigit() else text.ljust(width)

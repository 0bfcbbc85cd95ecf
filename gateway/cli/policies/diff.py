"""`gateway policy diff`: what other policy files change, for whom, and what a log says about it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from gateway.adapters.policy_files import read_policies
from gateway.cli.common import json_option
from gateway.cli.policies.logs import Requests, log_options
from gateway.core.simulation.differences import Difference, list_differences
from gateway.core.simulation.replay import Replay
from gateway.core.simulation.tally import Report, Tally


class Evidence(msgspec.Struct, frozen=True):
    """What the requests of a log say of a difference."""

    holders: int
    """Those whose requests the quota counts."""
    beyond: int
    """Holders that asked for more than the new limit at once."""
    first: str = ""
    """Who asked for the most."""
    most: int = 0


@click.command()
@click.argument("old")
@click.argument("new")
@log_options(required=False)
@click.option("--exit-code", "says_by_code", is_flag=True, help="Exit with 1 if anything changes.")
@json_option
def diff(
    old: str, new: str, logs: tuple[str, ...], form: str, field_map: str | None, says_by_code: bool, as_json: bool
) -> None:
    """Say what the policies of NEW change for whom, compared with those of OLD; each is a file or a folder.

    With --log, also say what the requests of access logs would have met.
    """
    before, after = read_policies(Path(old), {}), read_policies(Path(new), {})
    differences = list_differences(before, after)
    tally = Tally(Replay(after))
    for request in Requests(logs, form, field_map) if logs else ():
        tally.replay(request)
    evidence = [_find_evidence(one, tally) if logs else None for one in differences]
    report = tally.report() if logs else None
    if as_json:
        rows = [{"difference": one, "evidence": said} for one, said in zip(differences, evidence, strict=True)]
        click.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
    else:
        click.echo("\n".join(_tell(differences, evidence, report)))
    sys.exit(1 if says_by_code and differences else 0)


def _find_evidence(difference: Difference, tally: Tally) -> Evidence | None:
    quota = difference.new
    if quota is None:
        return None
    peaks = tally.peaks(difference.policy, quota)
    beyond = sorted(((peak, name) for name, peak in peaks.items() if peak > quota.capacity), reverse=True)
    most, first = beyond[0] if beyond else (0, "")
    named = f"{tally.name_of(first)} ({first})" if tally.name_of(first) else first
    return Evidence(len(peaks), len(beyond), named, most)


def _tell(differences: list[Difference], evidence: list[Evidence | None], report: Report | None) -> Iterator[str]:
    if not differences:
        yield "Nothing changes."
    for one, said in zip(differences, evidence, strict=True):
        yield ": ".join(part for part in (one.policy, one.what, one.words) if part)
        if said is not None and said.holders == 0:
            yield "    no request of the log meets it"
        elif said is not None:
            told = f"    {said.beyond:,} of {said.holders:,} holders asked for more at once"
            yield f"{told}; the first is {said.first}: {said.most:,}" if said.beyond else told
    if report is not None:
        total = report.total
        yield ""
        hit = f"{total.newly_refused:,} of {report.tokens_newly_refused:,} tokens would be newly refused"
        yield f"Of {total.requests:,} requests of the log {hit}, and {total.newly_passing:,} would newly pass."
        yield "See them with `gateway policy simulate`."

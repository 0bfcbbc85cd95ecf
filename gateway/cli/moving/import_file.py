"""`gateway token import --file`: many tokens at once, from a file or standard input."""

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any

import click
import msgspec

from gateway.cli.connecting import operator
from gateway.cli.token_show import print_json
from gateway.core.errors import ChangeRefused, ConfigurationError
from gateway.core.moving.peers import MAPS, read_entries
from gateway.core.moving.rows import ImportRow, RowOutcome, RowResult, check_columns, parse_row
from gateway.management import Management

FORMS = ("csv", "jsonl", *MAPS)
AT_ONCE = 2000
"""Rows that are imported at once."""
MOST_TOLD = 20
"""Refused rows that are printed; a report has all."""

Numbered = tuple[int, Mapping[str, Any] | ChangeRefused]
"""The line of a row, and its values or why there are none."""


class Source:
    """A file of rows. `read_bytes` says how much of it has been read."""

    def __init__(self, path: str, form: str) -> None:
        self._path = path
        self._form = form or Path(path).suffix.lstrip(".")
        self.read_bytes = 0
        if self._form not in FORMS:
            raise click.UsageError(f"name the form of {path} with --form: {', '.join(FORMS)}")

    def size(self) -> int:
        """Return the bytes of the file, 0 if nobody knows."""
        return 0 if self._path == "-" else Path(self._path).stat().st_size

    def rows(self) -> Iterator[Numbered]:
        """Yield the rows. Raise ConfigurationError if the file as a whole cannot be read."""
        try:
            with self._open() as file:
                if self._form == "csv":
                    yield from self._read_csv(file)
                elif self._form == "jsonl":
                    yield from self._read_lines(file)
                else:
                    yield from enumerate(read_entries(json.load(file), self._form), start=1)
        except (OSError, csv.Error, ValueError, ChangeRefused) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigurationError(f"{self._path}: {reason}") from None

    def _open(self) -> IO[str]:
        raw = sys.stdin.buffer if self._path == "-" else Path(self._path).open("rb")  # noqa: SIM115 - closed with the text
        return io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")

    def _count(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            self.read_bytes += len(line.encode())
            yield line

    def _read_csv(self, file: IO[str]) -> Iterator[Numbered]:
        reader = csv.reader(self._count(file))
        columns = next(reader, [])
        check_columns(columns)
        for values in reader:
            if len(values) == len(columns):
                yield reader.line_num, dict(zip(columns, values, strict=True))
            elif values:
                yield reader.line_num, ChangeRefused(f"{len(values)} values for {len(columns)} columns")

    def _read_lines(self, file: IO[str]) -> Iterator[Numbered]:
        for number, line in enumerate(self._count(file), start=1):
            if line.strip():
                try:
                    yield number, msgspec.json.decode(line, type=dict[str, Any])
                except msgspec.DecodeError:
                    yield number, ChangeRefused("not a JSON object")


async def import_file(
    management: Management,
    source: Source,
    policy: str,
    defaults: Mapping[str, Any],
    report: Path | None,
    *,
    as_json: bool,
) -> None:
    """Import the rows, print what came of them, and exit with 1 if some were refused."""
    counts = dict.fromkeys(RowResult, 0)
    refused: list[RowOutcome] = []
    with (
        (report or Path(os.devnull)).open("w", encoding="utf-8") as written,
        click.progressbar(
            length=source.size(), label="importing", file=sys.stderr, hidden=not sys.stderr.isatty()
        ) as bar,
    ):
        rows = source.rows()
        while batch := list(islice(rows, AT_ONCE)):
            for outcome in await import_batch(management, policy, batch, defaults):
                counts[outcome.result] += 1
                if outcome.result is RowResult.REFUSED and len(refused) < MOST_TOLD:
                    refused.append(outcome)
                written.write(msgspec.json.encode(outcome).decode() + "\n")
            bar.update(source.read_bytes - bar.pos)
    print_summary(counts, refused, report, as_json=as_json)
    sys.exit(bool(counts[RowResult.REFUSED]))


async def import_batch(
    management: Management, policy: str, batch: list[Numbered], defaults: Mapping[str, Any]
) -> list[RowOutcome]:
    """Import some rows; return what came of each, in their order."""
    rows: list[ImportRow] = []
    outcomes: list[RowOutcome] = []
    for line, values in batch:
        try:
            if isinstance(values, ChangeRefused):
                raise values
            rows.append(parse_row(line, values, defaults))
        except ChangeRefused as error:
            outcomes.append(RowOutcome(line, RowResult.REFUSED, reason=management.mask(str(error))))
    outcomes += await management.import_tokens(operator(), policy, rows)
    return sorted(outcomes, key=lambda outcome: outcome.line)


def print_summary(
    counts: Mapping[RowResult, int], refused: list[RowOutcome], report: Path | None, *, as_json: bool
) -> None:
    """Print how many tokens were imported, and the first rows that were refused."""
    if as_json:
        print_json(msgspec.to_builtins({**counts, "first_refused": refused}))
        return
    for one in refused:
        click.echo(f"line {one.line}: {one.reason}", err=True)
    more = counts[RowResult.REFUSED] - len(refused)
    if more:
        where = f"{report} has all" if report else "--report FILE writes all"
        click.echo(f"and {more} more; {where}", err=True)
    click.echo(
        f"Imported {counts[RowResult.IMPORTED]} token(s); {counts[RowResult.PRESENT]} were there already, "
        f"{counts[RowResult.REFUSED]} were refused."
    )

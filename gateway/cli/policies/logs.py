"""Logs on the command line: which they are, what their lines mean, and how far one has come."""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from gateway.adapters.log_files import LogFile
from gateway.core.errors import ConfigurationError
from gateway.core.simulation.ordering import Ordering
from gateway.core.simulation.requests import READERS, FieldMap, LoggedRequest, NotALogLine, map_reader

BETWEEN_SIGNS = 5000
"""Lines between two movements of the progress bar."""
MOST_UNREAD = 0.5
"""The share of lines that may be no records: of more, the form is another one."""


def log_options(*, required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the options that name logs and their form: `logs`, `form`, `field_map`."""
    options = (
        click.option(
            "--log",
            "logs",
            multiple=True,
            required=required,
            help="Access log, also of gzip or zstd; - reads standard input.",
        ),
        click.option(
            "--form", type=click.Choice([*READERS]), default="gateway", show_default=True, help="Of the logs."
        ),
        click.option(
            "--map",
            "field_map",
            type=click.Path(exists=True, dir_okay=False),
            help="JSON file that says where other JSON lines have what is needed.",
        ),
    )

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


class Requests:
    """The requests of all logs in the order of their decisions, with a progress bar on a terminal."""

    def __init__(self, logs: tuple[str, ...], form: str, field_map: str | None) -> None:
        """Take the values of `log_options`."""
        self._logs = [LogFile(one) for one in logs]
        self._read = map_reader(_read_map(field_map)) if field_map else READERS[form]
        self._ordering = Ordering()
        self._bar = click.progressbar(
            length=sum(one.size for one in self._logs),
            label="Replaying",
            file=sys.stderr,
            hidden=not sys.stderr.isatty(),
        )
        self._shown = self.lines = self.unread = 0
        self.first_mistake = ""

    @property
    def late(self) -> int:
        """Records that came too late to be put in order."""
        return self._ordering.late

    def __iter__(self) -> Iterator[LoggedRequest]:
        """Yield the requests. Raise ConfigurationError if a log cannot be read, or is of another form."""
        sources: list[Iterable[LoggedRequest]] = [self._requests(one) for one in self._logs]
        with self._bar:
            yield from self._ordering.sort(sources)
        if self.unread > MOST_UNREAD * self.lines:
            raise ConfigurationError(
                f"{self._logs[0].path}: {self.first_mistake}; is it a log of another form? See --form and --map"
            )

    def _requests(self, log: LogFile) -> Iterator[LoggedRequest]:
        for line in log.lines():
            self.lines += 1
            if self.lines % BETWEEN_SIGNS == 0:
                read = sum(one.read_bytes for one in self._logs)
                self._bar.update(read - self._shown)
                self._shown = read
            try:
                yield self._read(line)
            except NotALogLine as mistake:
                self.unread += 1
                self.first_mistake = self.first_mistake or f"line {self.lines}: {mistake}"


def _read_map(path: str) -> FieldMap:
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=FieldMap)
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{path}: {error}") from None

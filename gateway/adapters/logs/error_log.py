"""The log of the process on standard error: one line for each event, with tokens masked.

Messages for the person who starts the gateway go to the logger START: as text they look like the lines of any command.
Rule 1: logging never waits for a reader; lines that find no room are dropped, and counted by a later line.
Rule 2: times are in UTC and say so.
"""

import logging
import sys
from collections import Counter
from collections.abc import Callable, Mapping

import msgspec

from gateway.adapters.logs.line_writer import LineWriter
from gateway.core.masking import NO_POLICIES, Masking
from gateway.core.tokens.records import build_time
from gateway.core.usage import LINES_DROPPED

MAXIMUM_WAITING_BYTES = 1024 * 1024
"""Lines that wait while the reader of standard error stalls: some thousands."""
CLOSE_SECONDS = 1.0
"""Seconds to write what is left at the end of the process."""
START = "gateway.start"
"""The logger for what a start reports, or why it failed. All of it is written, whatever the level of the log is."""


class TextFormatter(logging.Formatter):
    """A line for people: time, level, process, part, message; a traceback follows on lines of its own.

    A line of START begins with the name of the command instead.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s")
        self.masking: Callable[[], Masking] = lambda: NO_POLICIES

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        if record.name == START:
            line = f"gateway: {'warning: ' * (record.levelno == logging.WARNING)}{record.getMessage()}"
        else:
            line = super().format(record)
        return self.masking().mask(line)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        """Return the time of the event."""
        return build_time(record.created)


class JsonFormatter(logging.Formatter):
    """One JSON object for each event, with a traceback as a member of it."""

    def __init__(self) -> None:
        super().__init__()
        self.masking: Callable[[], Masking] = lambda: NO_POLICIES

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        event = Event(
            time=build_time(record.created),
            level=record.levelname.lower(),
            process=record.process or 0,
            logger=record.name,
            message=self.masking().mask(record.getMessage()),
            traceback=self.masking().mask(self.formatException(record.exc_info)) if record.exc_info else "",
        )
        return _encode(event).decode()


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of the log as JSON."""

    time: str
    level: str
    process: int
    logger: str
    message: str
    traceback: str = ""


_encode = msgspec.json.Encoder().encode
FORMATTERS: Mapping[str, Callable[[], TextFormatter | JsonFormatter]] = {"text": TextFormatter, "json": JsonFormatter}


class ErrorLog(logging.Handler):
    """The handler that writes log lines to standard error, or to another descriptor, by a thread."""

    def __init__(self, form: str = "text", descriptor: int | None = None) -> None:
        super().__init__()
        self.counts = Counter[str]()
        self._formatter = FORMATTERS[form]()
        self.setFormatter(self._formatter)
        descriptor = sys.stderr.fileno() if descriptor is None else descriptor
        self._writer = LineWriter(descriptor, MAXIMUM_WAITING_BYTES, lambda _: None)
        self._dropped = 0

    def attend(self, masking: Callable[[], Masking], counts: Counter[str]) -> None:
        """Mask tokens of the policies from now on, and count dropped lines in `counts`."""
        self._formatter.masking = masking
        self.counts = counts

    def emit(self, record: logging.LogRecord) -> None:
        """Take an event. The caller holds the handler's lock, so there is one at a time."""
        try:
            line = self.format(record)
        except Exception:
            self.handleError(record)
            return
        if self._dropped and self._writer.held_bytes <= MAXIMUM_WAITING_BYTES // 2:
            self._put(self._tell_dropped())
            self._dropped = 0
        if self._dropped or not self._put(line):
            self._dropped += 1
            self.counts[LINES_DROPPED] += 1

    def flush(self) -> None:
        """Wait until all is written, but at most CLOSE_SECONDS."""
        self._writer.flush(CLOSE_SECONDS)

    def close(self) -> None:
        """Stop the thread."""
        self._writer.finish(CLOSE_SECONDS)
        super().close()

    def _put(self, line: str) -> bool:
        return self._writer.put(line.encode("utf-8", "backslashreplace") + b"\n")

    def _tell_dropped(self) -> str:
        message = "%d lines of this log were dropped: whoever reads it did not keep up"
        return self.format(logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, (self._dropped,), None))


def mask_logs(masking: Callable[[], Masking], counts: Counter[str]) -> None:
    """Mask tokens of the policies in the log of this process from now on; see `ErrorLog`."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, ErrorLog):
            handler.attend(masking, counts)

"""Access records as JSON lines, written in batches by a thread, off the path of requests."""

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Callable

import msgspec

from gateway.adapters.logs.line_writer import LineWriter
from gateway.core.tokens.records import AccessRecord
from gateway.core.usage import RECORDS_DROPPED

FLUSH_SECONDS = 0.2
BUILT_AT_ONCE = 64
"""Lines that are built together: they hold up the worker for a quarter of a millisecond."""
CLOSE_SECONDS = 5.0
"""Seconds to write what is left at the end of the process, so that a stalled reader does not delay a stop for ever."""
STANDARD_OUTPUT = "-"
MAXIMUM_WAITING_BYTES = 8 * 1024 * 1024
"""Records that wait while a reader stalls or a disk is full: some 20,000, for the seconds that a restart takes."""

logger = logging.getLogger(__name__)


class FileAccessLog:
    """The access log in a file, or on standard output; workers can share it.

    Records that find no room are dropped and counted in `counts`; the error log has a line when that begins and ends.
    Raises OSError if the file cannot be opened.
    """

    def __init__(self, path: str, counts: Counter[str] | None = None, maximum: int = MAXIMUM_WAITING_BYTES) -> None:
        self._name = "standard output" if path == STANDARD_OUTPUT else path
        self._counts = Counter[str]() if counts is None else counts
        self._maximum = maximum
        target = sys.stdout.fileno() if path == STANDARD_OUTPUT else path
        most = 2 * maximum  # all lines that `append` has accepted have room
        self._writer = LineWriter(target, most, lambda what: logger.warning("access log: %s: %s", self._name, what))
        self._encoder = msgspec.json.Encoder()
        self._lines: list[bytes] = []
        self._unbuilt: list[Callable[[], bytes]] = []
        """What builds the lines behind these."""
        self._waiting_bytes = 0
        """Bytes of these lines."""
        self._dropped = 0
        """Records dropped since the log last reported it."""

    def append(self, record: AccessRecord) -> None:
        """Take one record; it is written within FLUSH_SECONDS, or as soon as the records before it are."""
        self.append_line(self._encoder.encode(record))

    def encode(self, record: AccessRecord) -> bytes:
        """Return the line of a record, without its line break."""
        return self._encoder.encode(record)

    def append_line(self, line: bytes) -> None:
        """Take one line, as `append` does."""
        if self._unbuilt:
            self._build()
        if self._has_room():
            self._lines.append(line)
            self._waiting_bytes += len(line) + 1

    def append_unbuilt(self, build: Callable[[], bytes]) -> None:
        """Take one line that is built later, together with others: one by one they find nothing in the CPU's caches."""
        if self._has_room():
            self._unbuilt.append(build)
            if len(self._unbuilt) >= BUILT_AT_ONCE:
                self._build()

    def _has_room(self) -> bool:
        """Return whether there is room for one more line, and count it as dropped if not."""
        if self._waiting_bytes + self._writer.held_bytes >= self._maximum:
            self._drop()
            return False
        if not (self._lines or self._unbuilt):
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._hand_over)
        return True

    def _build(self) -> None:
        lines = [build() for build in self._unbuilt]
        self._unbuilt.clear()
        self._lines += lines
        self._waiting_bytes += sum(map(len, lines)) + len(lines)

    def reopen(self) -> None:
        """Reopen the file. A file that was moved away is also noticed without this."""
        self._writer.reopen()

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Write what is left, as far as the time allows; nothing may be appended after it."""
        self._hand_over()
        lost = await asyncio.to_thread(self._writer.finish, seconds) + self._dropped
        if lost:
            logger.warning("access log: %s: %d records are lost", self._name, lost)

    def _hand_over(self) -> None:
        self._build()
        lines, self._lines, self._waiting_bytes = self._lines, [], 0
        if lines:
            self._writer.put(b"\n".join(lines) + b"\n", len(lines))

    def _drop(self) -> None:
        if not self._dropped:
            waiting = self._waiting_bytes + self._writer.held_bytes
            logger.warning("access log: %s: %d bytes wait; dropping records until it is read", self._name, waiting)
            self._await_room()
        self._dropped += 1
        self._counts[RECORDS_DROPPED] += 1

    def _await_room(self) -> None:
        asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._look_for_room)

    def _look_for_room(self) -> None:
        if self._writer.held_bytes > self._maximum // 2:
            self._await_room()
        else:
            logger.warning("access log: %s: records are written again; %d were dropped", self._name, self._dropped)
            self._dropped = 0


def check_path(path: str) -> None:
    """Raise OSError if no log can be written there."""
    if path != STANDARD_OUTPUT:
        LineWriter(path, 0, logger.warning).finish(0)

"""Access records as JSON lines, written together and off the path of requests."""

import asyncio
import sys
from io import FileIO

import msgspec

from gateway.core.records import AccessRecord

FLUSH_SECONDS = 0.2
STANDARD_OUTPUT = "-"


class FileAccessLog:
    """Appends to a file, or to standard output. Lines stay whole: each write is one append, so workers can share it."""

    def __init__(self, path: str) -> None:
        is_file = path != STANDARD_OUTPUT
        self._file = FileIO(path if is_file else sys.stdout.fileno(), "ab", closefd=is_file)
        self._encoder = msgspec.json.Encoder()
        self._lines: list[bytes] = []

    def append(self, record: AccessRecord) -> None:
        """Takes one record; it is written within FLUSH_SECONDS."""
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)
        self._lines.append(self._encoder.encode(record))

    def close(self) -> None:
        """Writes what is left; nothing is appended after it."""
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            self._file.write(b"\n".join(lines) + b"\n")

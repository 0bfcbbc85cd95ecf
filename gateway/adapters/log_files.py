"""Read log files line by line, plain or compressed by gzip or zstd, and know how much of them has been read."""

import gzip
import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from gateway.core.errors import ConfigurationError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
"""How compressed files begin, whatever their names are (RFC 1952 2.3.1, RFC 8878 3.1.1)."""


class LogFile:
    """One log; `-` is standard input. `read_bytes` says how much of the file has been read."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._raw: io.BufferedReader | None = None

    @property
    def size(self) -> int:
        """Its bytes as it lies there; 0 if nobody knows."""
        return 0 if self.path == "-" else Path(self.path).stat().st_size

    @property
    def read_bytes(self) -> int:
        """How many of these bytes have been read."""
        if self.path == "-" or self._raw is None:
            return 0
        return self.size if self._raw.closed else self._raw.tell()

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that are not empty. Raise ConfigurationError if the file cannot be read."""
        try:
            with self._open() as raw:
                self._raw = raw
                for line in self._unpack(raw):
                    if not line.isspace():
                        yield line
        except (OSError, EOFError, zstd.ZstdError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ConfigurationError(f"{self.path}: {reason}") from None

    def _open(self) -> io.BufferedReader:
        return open(0, "rb") if self.path == "-" else Path(self.path).open("rb")

    @staticmethod
    def _unpack(raw: io.BufferedReader) -> Iterable[bytes]:
        first = raw.peek(4)
        if first.startswith(GZIP):
            return gzip.GzipFile(fileobj=raw)
        return zstd.ZstdFile(raw) if first.startswith(ZSTD) else raw

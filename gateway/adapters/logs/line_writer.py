"""Write lines to a file, a pipe or a terminal in a thread, so that a stalled reader or a full disk blocks only that.

Rule 1: `put` never waits. What does not fit into the queue is not taken.
Rule 2: lines stay whole, even if several workers write to one file: each write is one append, and to a pipe, which may
take it in parts, one worker writes at a time.
Rule 3: a line that was taken is written in the end, or counted as lost by `close`: writing is retried until then.
"""

import fcntl
import os
import select
import stat
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue

RETRY_SECONDS = 1.0
"""Seconds between two attempts at a file that cannot be written."""

_alone: defaultdict[tuple[int, int], threading.Lock] = defaultdict(threading.Lock)
"""Locks by file: the lock of fcntl(2) excludes other processes, but not other threads of this one."""


class LineWriter:
    """The writer of the file at `path`, or of an open descriptor.

    It calls `log` when writing begins to fail, and recovers.

    A file that was moved away, as rotation does, is reopened at its path before the next lines are written.
    """

    def __init__(self, path: str | int, maximum_bytes: int, log: Callable[[str], None]) -> None:
        self.held_bytes = 0
        """Bytes that were accepted, and are not written yet."""
        self._path = path
        self._descriptor = _open(path) if isinstance(path, str) else path
        self._maximum_bytes = maximum_bytes
        self._log = log
        self._lock = threading.Lock()
        self._held_lines = 0
        self._queue: SimpleQueue[tuple[bytes, int] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_idle = threading.Event()
        self._is_idle.set()
        self._is_closing = threading.Event()
        self._must_reopen = False
        self._is_cut = False
        """Whether the last line in the file is incomplete."""
        self._failure = ""

    def put(self, lines: bytes, number: int = 1) -> bool:
        """Take whole lines, line breaks included. Return False if there is no room for them."""
        with self._lock:
            if self.held_bytes + len(lines) > self._maximum_bytes or self._is_closing.is_set():
                return False
            self.held_bytes += len(lines)
            self._held_lines += number
            self._is_idle.clear()
            self._queue.put((lines, number))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="gateway-log", daemon=True)
                self._thread.start()
        return True

    def reopen(self) -> None:
        """Reopen the file at its path now: what rotation requests with SIGHUP."""
        self._must_reopen = True
        self.put(b"", 0)

    def flush(self, seconds: float) -> bool:
        """Wait until all is written, but no longer than this; return whether it is."""
        return self._is_idle.wait(seconds)

    def finish(self, seconds: float) -> int:
        """Wait up to `seconds` for what is left to be written; return the number of lines that could not be."""
        with self._lock:
            self._is_closing.set()
            self._queue.put(None)
        if self._thread is not None:
            self._thread.join(seconds)
        if self._thread is None or not self._thread.is_alive():
            _close(self._path, self._descriptor)
        return self._held_lines

    def _run(self) -> None:
        while (taken := self._queue.get()) is not None:
            lines, number = taken
            is_written = self._write(lines)
            with self._lock:
                self.held_bytes -= len(lines)
                self._held_lines -= number if is_written else 0
                if not self.held_bytes:
                    self._is_idle.set()

    def _write(self, lines: bytes) -> bool:
        """Return whether the lines are written; if not, there is no time left for another attempt."""
        left = lines
        while True:
            try:
                self._follow()
                with _alone_with(self._descriptor):
                    while left:
                        left = self._write_some(left)
            except OSError as error:
                self._note(error.strerror or str(error))
                if self._is_closing.wait(RETRY_SECONDS):
                    return False
            else:
                self._note("")
                return True

    def _write_some(self, left: bytes) -> bytes:
        """Write what can be written at once and return the rest, from the first unfinished line on."""
        mark = b"\n" if self._is_cut else b""
        try:
            written = os.write(self._descriptor, mark + left) - len(mark)
        except BlockingIOError:  # another process has made it non-blocking, and its reader is slow
            select.select([], [self._descriptor], [], RETRY_SECONDS)
            return left
        if written == len(left):
            self._is_cut = False
            return b""
        if not _is_file(self._descriptor):  # the rest follows: no other process writes in between
            return left[written:]
        start = left.rfind(b"\n", 0, max(written, 0)) + 1
        self._is_cut = written > start
        return left[start:]

    def _follow(self) -> None:
        """Reopen the file if that was requested, or if another file or none is at its path."""
        if isinstance(self._path, str) and (self._must_reopen or _has_moved(self._path, self._descriptor)):
            opened = _open(self._path)
            os.close(self._descriptor)
            self._descriptor = opened
            self._is_cut = self._must_reopen = False

    def _note(self, failure: str) -> None:
        if failure and not self._failure:
            self._log(f"cannot be written ({failure}); trying again until it can")
        elif self._failure and not failure:
            self._log("can be written again")
        self._failure = failure


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _is_file(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _close(path: str | int, descriptor: int) -> None:
    if isinstance(path, str):
        os.close(descriptor)


@contextmanager
def _alone_with(descriptor: int) -> Iterator[None]:
    """Lock a pipe against other writers; a file takes each write as a whole, and needs no lock."""
    if _is_file(descriptor):
        yield
        return
    status = os.fstat(descriptor)
    with _alone[status.st_dev, status.st_ino]:
        with suppress(OSError):  # a file that cannot be locked is written to all the same
            fcntl.lockf(descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with suppress(OSError):
                fcntl.lockf(descriptor, fcntl.LOCK_UN)


def _has_moved(path: str, descriptor: int) -> bool:
    opened = os.fstat(descriptor)
    try:
        there = Path(path).stat()
    except FileNotFoundError:
        return True
    return (there.st_dev, there.st_ino) != (opened.st_dev, opened.st_ino)

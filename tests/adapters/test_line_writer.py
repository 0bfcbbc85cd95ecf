"""Lines are whole, in order and all there, and nobody waits for a file that takes none."""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.adapters.logs import line_writer
from gateway.adapters.logs.line_writer import LineWriter
from tests.support.processes import wait_until

ENOUGH = 1 << 20
PIPE_CAPACITY = 4096


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails is tried again at once."""
    monkeypatch.setattr(line_writer, "RETRY_SECONDS", 0.01)


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe as small as they come."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_CAPACITY)
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


def read_to(descriptor: int, end: bytes) -> bytes:
    read = b""
    while not read.endswith(end):
        read += os.read(descriptor, 65536)
    return read


def number(count: int, start: int = 0) -> bytes:
    return b"".join(b"line %d\n" % (start + each) for each in range(count))


def test_what_was_taken_is_written(tmp_path: Path) -> None:
    """All of it, in order, behind what the file had."""
    file = tmp_path / "a.log"
    file.write_bytes(b"before\n")
    writer = LineWriter(str(file), ENOUGH, print)
    for start in range(0, 100, 10):
        assert writer.put(number(10, start), 10)
    assert 0 == writer.finish(10)
    assert b"before\n" + number(100) == file.read_bytes()
    assert not writer.put(b"late\n")


def test_a_reader_that_stalls_holds_up_nobody() -> None:
    """What does not fit is not taken; what was taken comes out when somebody reads, and then there is room again."""
    with pipe() as (reading, writing):
        writer = LineWriter(writing, 1000, print)
        assert writer.put(b"x" * (2 * PIPE_CAPACITY - 1) + b"\n") is False
        assert writer.put(number(100)) is True
        assert number(100) == read_to(reading, b"line 99\n")
        writer = LineWriter(writing, 4 * PIPE_CAPACITY, print)
        long = b"x" * (2 * PIPE_CAPACITY - 1) + b"\n"
        taken = [writer.put(long) for _ in range(3)]
        assert [True, True, False] == taken
        assert 4 * PIPE_CAPACITY == writer.held_bytes
        assert not writer.flush(0.05)
        assert 2 == writer._held_lines
        assert long * 2 == b"".join(read_to(reading, b"\n") for _ in range(2))
        assert writer.flush(10)
        assert writer.put(b"again\n")
        assert b"again\n" == read_to(reading, b"\n")
        assert 0 == writer.finish(10)


def test_the_end_waits_only_so_long_for_a_reader() -> None:
    """What it had no time for is counted."""
    with pipe() as (reading, writing):
        writer = LineWriter(writing, ENOUGH, print)
        writer.put(number(5000), 5000)
        assert 5000 == writer.finish(0.05)
        read_to(reading, b"line 4999\n")  # for the thread to end


def test_a_full_disk_is_said_once_as_it_begins_and_once_as_it_ends(soon: None, tmp_path: Path) -> None:
    """What was taken meanwhile is written when there is room."""
    said: list[str] = []
    writer = LineWriter("/dev/full", ENOUGH, said.append)
    for start in range(3):
        assert writer.put(number(1, start))
    wait_until(lambda: bool(said), "it is said")
    assert not writer.flush(0.05)
    assert ["cannot be written (No space left on device); trying again until it can"] == said
    file = tmp_path / "a.log"
    writer._path = str(file)  # as if it had been rotated to a disk with room
    writer.reopen()
    assert writer.flush(10)
    assert number(3) == file.read_bytes()
    assert ["can be written again"] == said[1:]
    assert 0 == writer.finish(10)


def test_a_full_disk_does_not_hold_up_the_end() -> None:
    """What cannot be written is tried once more, and counted."""
    writer = LineWriter("/dev/full", ENOUGH, lambda _: None)
    for _ in range(3):
        writer.put(b"line\n")
    assert 3 == writer.finish(10)


def write_at_most(monkeypatch: pytest.MonkeyPatch, sizes: Iterator[int]) -> None:
    """A disk that takes so many bytes of each write, and for 0 none."""
    write = os.write

    def write_some(descriptor: int, data: bytes) -> int:
        size = next(sizes, len(data))
        if size == 0:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:size])

    monkeypatch.setattr(os, "write", write_some)


@pytest.mark.parametrize("sizes", [(3, 0), (7, 0), (10, 0, 1), (10, 0, 1, 0, 4), (0, 21), (14, 0, 1)])
def test_lines_are_whole_after_a_disk_was_full(
    soon: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...]
) -> None:
    """A line that was cut is written again, on a line of its own."""
    file = tmp_path / "a.log"
    writer = LineWriter(str(file), ENOUGH, lambda _: None)
    write_at_most(monkeypatch, iter(sizes))
    writer.put(number(3), 3)
    assert writer.flush(10)
    assert 0 == writer.finish(10)
    lines = file.read_bytes().splitlines(keepends=True)
    assert number(3).splitlines(keepends=True) == [line for line in lines if line in number(3).splitlines(True)]
    assert all(any(whole.startswith(line[:-1]) for whole in number(3).splitlines()) for line in lines)


@pytest.mark.parametrize("move", [lambda file: file.rename(file.with_suffix(".1")), lambda file: file.unlink()])
def test_a_file_that_was_moved_is_opened_anew(tmp_path: Path, move: Callable[[Path], object]) -> None:
    """What comes after the move is in the file at the path, without being told."""
    file = tmp_path / "a.log"
    writer = LineWriter(str(file), ENOUGH, print)
    writer.put(b"before\n")
    assert writer.flush(10)
    move(file)
    writer.put(b"after\n")
    assert 0 == writer.finish(10)
    assert b"after\n" == file.read_bytes()


def test_a_file_can_be_opened_anew_before_anything_is_written(tmp_path: Path) -> None:
    """So that rotation can compress the old one at once."""
    file = tmp_path / "a.log"
    writer = LineWriter(str(file), ENOUGH, print)
    file.rename(tmp_path / "a.log.1")
    writer.reopen()
    wait_until(file.exists, "the file is there again")
    assert 0 == writer.finish(10)


def test_lines_of_two_writers_to_one_pipe_stay_whole() -> None:
    """As of two workers, and of both logs of one: also lines that are longer than what a pipe takes at once."""
    with pipe() as (reading, writing):
        lines = {bytes([letter]) * (3 * PIPE_CAPACITY) + b"\n" for letter in b"abcdefgh"}
        writers = [LineWriter(writing, ENOUGH, print), LineWriter(writing, ENOUGH, print)]
        for index, line in enumerate(sorted(lines)):
            writers[index % 2].put(line)
        read = b""
        while len(read) < sum(map(len, lines)):
            read += os.read(reading, 1000)
        assert lines == set(read.splitlines(keepends=True))
        assert [0, 0] == [writer.finish(10) for writer in writers]


def test_no_thread_is_there_before_it_is_needed(tmp_path: Path) -> None:
    """A log that nothing is written to costs nothing, and ends at once."""
    before = threading.active_count()
    writer = LineWriter(str(tmp_path / "a.log"), ENOUGH, print)
    assert before == threading.active_count()
    assert 0 == writer.finish(10)

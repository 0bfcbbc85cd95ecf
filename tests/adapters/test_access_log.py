"""The access log: whole lines, complete after the end, and no request that waits for whoever reads it."""

import asyncio
import logging
import os
import re
from collections import Counter
from functools import partial
from pathlib import Path

import msgspec
import pytest

from gateway.adapters.logs.access_log import BUILT_AT_ONCE, FLUSH_SECONDS, FileAccessLog, check_path
from gateway.core.tokens.records import AccessRecord


def make_record(number: int) -> AccessRecord:
    return AccessRecord("", f"id-{number}", "", "GET", "a", "/", 200, "complete", number, 0.5, reason="x\ny")


def read(data: bytes | bytearray) -> list[AccessRecord]:
    return [msgspec.json.decode(line, type=AccessRecord) for line in data.splitlines()]


async def until_written(log: FileAccessLog) -> None:
    async with asyncio.timeout(10):
        while log._lines or log._writer.held_bytes:
            await asyncio.sleep(FLUSH_SECONDS / 10)


async def test_each_record_is_a_line_and_none_is_lost_at_the_end(tmp_path: Path) -> None:
    """What was appended before the end is in the file after it, one JSON object a line, in order."""
    file = tmp_path / "access.log"
    records = [make_record(number) for number in range(3)]
    log = FileAccessLog(str(file))
    for record in records:
        log.append(record)
    await log.close(10)
    assert records == read(file.read_bytes())


async def test_lines_that_are_built_later_keep_their_place(tmp_path: Path) -> None:
    """Between others, and at the end of the process; each is built once."""
    path, built = tmp_path / "access.log", []

    def build(number: int) -> bytes:
        built.append(number)
        return b"%d" % number

    log = FileAccessLog(str(path))
    for number in range(3):
        log.append_unbuilt(partial(build, number))
    assert built == []
    log.append_line(b"3")
    for number in range(4, 4 + BUILT_AT_ONCE + 1):
        log.append_unbuilt(partial(build, number))
    assert len(built) == 3 + BUILT_AT_ONCE
    await log.close()
    assert [str(number) for number in range(4 + BUILT_AT_ONCE + 1)] == path.read_text().splitlines()


async def test_records_that_find_no_room_are_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The log has a line as it begins and a line as it ends, with how many; what was taken is written."""
    reading, writing = os.pipe()
    counts = Counter[str]()
    with caplog.at_level(logging.WARNING):
        log = FileAccessLog(f"/dev/fd/{writing}", counts, maximum=200_000)
        for number in range(10_000):
            log.append(make_record(number))
        dropped = counts["access-records-dropped"]
        assert 0 < dropped < 10_000
        (begun,) = caplog.messages
        waiting = re.findall(rf"^access log: /dev/fd/{writing}: (\d+) bytes wait; dropping records until", begun)
        assert 200_000 <= int(waiting[0]) < 201_000
        data = bytearray()
        while data.count(b"\n") < 10_000 - dropped:
            data += await asyncio.to_thread(os.read, reading, 65536)
        await until_written(log)
        async with asyncio.timeout(10):
            while len(caplog.messages) < 2:
                await asyncio.sleep(FLUSH_SECONDS / 10)
        log.append(make_record(7))
        data += await asyncio.to_thread(os.read, reading, 65536)
        await log.close(10)
    assert [f"access log: /dev/fd/{writing}: records are written again; {dropped} were dropped"] == caplog.messages[1:]
    assert [*map(make_record, range(10_000 - dropped)), make_record(7)] == read(data)
    assert {"access-records-dropped": dropped} == counts


async def test_the_end_says_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    """A full disk is one line as it begins, and one at the end."""
    with caplog.at_level(logging.WARNING):
        log = FileAccessLog("/dev/full")
        for number in range(3):
            log.append(make_record(number))
        await log.close(10)
    assert [
        "access log: /dev/full: cannot be written (No space left on device); trying again until it can",
        "access log: /dev/full: 3 records are lost",
    ] == caplog.messages


async def test_a_file_that_was_rotated_is_opened_anew(tmp_path: Path) -> None:
    """At once where it is asked for, and with the next records where it is not."""
    file = tmp_path / "access.log"
    log = FileAccessLog(str(file))
    log.append(make_record(0))
    await until_written(log)
    file.rename(tmp_path / "access.log.1")
    log.append(make_record(1))
    await until_written(log)
    assert [make_record(1)] == read(file.read_bytes())
    file.rename(tmp_path / "access.log.2")
    log.reopen()
    async with asyncio.timeout(10):
        while not file.exists():
            await asyncio.sleep(FLUSH_SECONDS / 10)
    await log.close(10)


def test_a_path_is_checked_before_anything_is_written(tmp_path: Path) -> None:
    """The error is the system's own."""
    check_path("-")
    check_path(str(tmp_path / "access.log"))
    with pytest.raises(FileNotFoundError):
        check_path(str(tmp_path / "absent" / "access.log"))

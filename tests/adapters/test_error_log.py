"""The log on standard error: one line for each event, in either format, that nobody waits for."""

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.adapters.logs import error_log
from gateway.adapters.logs.error_log import ErrorLog
from gateway.core.masking import Masking
from gateway.core.tokens.text import TokenFormat
from tests.support.processes import wait_until

TOKEN = "shp_0123456789abcdefghijABCDEFGHIJ0123456789"
MASKING = Masking([TokenFormat(("shp_",), 40, True, 12)])
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00"

Logging = Callable[[str], logging.Logger]


@pytest.fixture
def log_to(tmp_path: Path) -> Iterator[Logging]:
    """Makes a logger with a format of that name, which writes to `a.log`."""
    made: list[tuple[logging.Logger, ErrorLog, int]] = []

    def make(form: str) -> logging.Logger:
        descriptor = os.open(tmp_path / "a.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        handler, logger = ErrorLog(form, descriptor), logging.getLogger("test_error_log")
        handler.attend(lambda: MASKING, Counter())
        logger.addHandler(handler)
        made.append((logger, handler, descriptor))
        return logger

    yield make
    for logger, handler, descriptor in made:
        logger.removeHandler(handler)
        handler.close()
        os.close(descriptor)


def lines_of(logger: logging.Logger, folder: Path) -> list[str]:
    for handler in logger.handlers:
        handler.flush()
    return (folder / "a.log").read_text().splitlines()


def fail(logger: logging.Logger) -> None:
    try:
        int(TOKEN)
    except ValueError:
        logger.exception("request %s failed", TOKEN)


def test_a_line_of_text(log_to: Logging, tmp_path: Path) -> None:
    """Time in UTC with its offset, level, process, part, message; then a traceback; tokens are masked in all of it."""
    logger = log_to("text")
    logger.warning("backend %s is away", "a")
    fail(logger)
    first, second, *traceback = lines_of(logger, tmp_path)
    assert re.fullmatch(rf"{TIME} WARNING {os.getpid()} test_error_log: backend a is away", first)
    assert re.fullmatch(rf"{TIME} ERROR {os.getpid()} test_error_log: request shp_\.\.\. failed", second)
    assert "ValueError: invalid literal for int() with base 10: 'shp_...'" == traceback[-1]


def test_a_line_of_json(log_to: Logging, tmp_path: Path) -> None:
    """One object a line, the traceback in it."""
    logger = log_to("json")
    logger.warning("backend %s is away\n", "ä")
    fail(logger)
    first, second = map(json.loads, lines_of(logger, tmp_path))
    assert re.fullmatch(TIME, first.pop("time"))
    said = {"level": "warning", "process": os.getpid(), "logger": "test_error_log", "message": "backend ä is away\n"}
    assert said == first
    assert "request shp_... failed" == second["message"]
    assert "ValueError: invalid literal for int() with base 10: 'shp_...'" == second["traceback"].splitlines()[-1]


def fill(pipe: int) -> int:
    """Fill a pipe that nobody reads; return the number of bytes."""
    os.set_blocking(pipe, False)
    filled = 0
    with suppress(BlockingIOError):
        while True:
            filled += os.write(pipe, bytes(4096))
    os.set_blocking(pipe, True)
    return filled


def test_a_reader_that_stalls_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What finds no room is dropped and counted, and a line says so as soon as there is room again."""
    monkeypatch.setattr(error_log, "MAXIMUM_WAITING_BYTES", 100_000)
    reading, writing = os.pipe()
    filled = fill(writing)  # else what there is room for depends on when the thread has its turn
    handler, counts, logger = ErrorLog("text", writing), Counter[str](), logging.getLogger("test_error_log_pipe")
    logger.propagate = False
    handler.attend(lambda: MASKING, counts)
    logger.addHandler(handler)
    for number in range(1000):
        logger.warning("%d %s", number, "x" * 1000)
    dropped = counts["log-lines-dropped"]
    assert 0 < dropped < 1000
    said = bytearray()
    while filled:
        filled -= len(os.read(reading, min(filled, 65536)))
    while said.count(b"\n") < 1000 - dropped:
        said += os.read(reading, 65536)
    wait_until(lambda: not handler._writer.held_bytes, "it has noticed that all is read")
    logger.warning("again")
    while b"again\n" not in said:
        said += os.read(reading, 65536)
    *taken, first, second = said.decode().splitlines()
    assert 1000 - dropped == len(taken)
    assert f"WARNING {os.getpid()} gateway.adapters.logs.error_log: {dropped} lines of this log were dropped" in first
    assert second.endswith("test_error_log_pipe: again")
    logger.removeHandler(handler)
    handler.close()
    os.close(reading)
    os.close(writing)

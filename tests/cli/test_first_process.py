"""As the first process of a container: signals arrive, and nobody stays a zombie."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import START_SECONDS, wait_until

FIRST = """
import ctypes, os, signal, sys, time
from gateway.cli.process.first_process import fork_under_reaper
assert 0 == ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans come here, as they do to PID 1
fork_under_reaper()
"""
"""A process that reaps as PID 1 would; what follows runs in its child."""
ORPHAN = """
if os.fork() == 0:
    if os.fork() == 0:
        os._exit(0)
    os._exit(0)
os.wait()
print("orphaned", flush=True)
"""
"""A process ends after its parent has, so that nobody but the first process can reap it."""


class First:
    """The process, and what its child prints."""

    def __init__(self, code: str, **environment: str) -> None:
        command = [sys.executable, "-c", FIRST + code]
        self.popen: subprocess.Popen[bytes] = subprocess.Popen(
            command, stdout=subprocess.PIPE, env={**os.environ, **environment}, start_new_session=True
        )

    def read_line(self) -> str:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().decode().strip()

    def children(self) -> list[tuple[int, str]]:
        """The processes whose parent it is, with their state."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                number, _, rest = stat.read_text().partition(" ")
            except OSError:
                continue
            state, parent = rest.rpartition(")")[2].split()[:2]
            if int(parent) == self.popen.pid:
                found.append((int(number), state))
        return found


@pytest.fixture
def started() -> Iterator[list[First]]:
    """Processes that end with the test."""
    processes: list[First] = []
    yield processes
    for first in processes:
        if first.popen.poll() is None:
            for child, _ in first.children():
                os.kill(child, signal.SIGKILL)
            first.popen.wait(START_SECONDS)
        assert first.popen.stdout is not None
        first.popen.stdout.close()


def start(started: list[First], code: str, **environment: str) -> First:
    started.append(First(code, **environment))
    return started[-1]


def test_orphans_are_reaped(started: list[First]) -> None:
    """Processes that others have left behind do not stay as zombies."""
    first = start(started, ORPHAN + "time.sleep(600)")
    assert "orphaned" == first.read_line()
    wait_until(lambda: 1 == len(first.children()), "the orphan has ended, and no zombie is left of it")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGTTIN])
def test_signals_reach_the_gateway(started: list[First], number: signal.Signals) -> None:
    """Each that means something to it, as if it had been sent to the gateway itself."""
    code = f"""
signal.signal({number}, lambda *_: sys.exit(41))
print("ready", flush=True)
signal.pause()
"""
    first = start(started, code)
    assert "ready" == first.read_line()
    os.kill(first.popen.pid, number)
    assert 41 == first.popen.wait(START_SECONDS)


@pytest.mark.parametrize(
    ("code", "expected"), [("sys.exit(0)", 0), ("sys.exit(2)", 2), ("os.kill(os.getpid(), signal.SIGKILL)", 137)]
)
def test_it_ends_as_the_gateway_does(started: list[First], code: str, expected: int) -> None:
    """With its exit code, or 128 and the number of the signal, as shells say it."""
    assert expected == start(started, code).popen.wait(START_SECONDS)


def test_passed_sockets_are_the_childs(started: list[First]) -> None:
    """LISTEN_PID of the first process names the child behind it."""
    code = "print(os.environ['LISTEN_PID'] == str(os.getpid()), flush=True)"
    assert "False" == start(started, code, LISTEN_PID="0").read_line()
    own = FIRST.replace("fork_under_reaper()\n", 'os.environ["LISTEN_PID"] = str(os.getpid())\nfork_under_reaper()\n')
    done: Any = subprocess.run([sys.executable, "-c", own + code], stdout=subprocess.PIPE, check=True)
    assert b"True\n" == done.stdout

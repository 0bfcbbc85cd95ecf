"""Processes that tests start: each on a free port of the loopback interface, ended by its own process id."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from tests.support.client import Answer

START_SECONDS = 20
"""Long enough for a busy machine; a process that comes up sooner is not waited for."""


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Returns as soon as the condition holds; AssertionError naming `what` where it does not in time."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        pause.wait(0.02)


def is_listening(port: int) -> bool:
    """Whether something accepts connections on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


unit_test = ""
"""The name of the test that runs, if it is a unit test; tests/conftest.py sets it."""


def refuse_in_unit_test(program: str) -> None:
    """Fail a unit test that is about to start a server: its markers would promise what it does not keep."""
    assert not unit_test, f"{unit_test} is marked unit and starts {program}: see the tables of tests/conftest.py"


DIFFERENCE = "the short way differs"
"""What a gateway logs in verify mode if its two ways answer differently (gateway/pipeline/recognition.py)."""


class Process:
    """A child process whose output is kept, but for standard output if that has a descriptor of its own."""

    def __init__(
        self, command: list[str], output: Path, environment: dict[str, str] | None = None, stdout: int | None = None
    ) -> None:
        refuse_in_unit_test(command[0])
        self._output: IO[bytes] = output.open("ab")
        self.output = output
        self.popen = subprocess.Popen(
            command,
            stdout=self._output if stdout is None else stdout,
            stderr=self._output,
            env={**os.environ, **(environment or {})},
        )

    def text(self) -> str:
        """What it has printed so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self.popen.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends it and gives its exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGCONT)
            self.popen.send_signal(number)
        try:
            code = self.popen.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            raise
        finally:
            self._output.close()
        if DIFFERENCE in self.text():  # with GATEWAY_RECOGNITION=verify, whatever the test was about
            raise AssertionError(self.text())
        return code


class RedisServer(Process):
    """A redis-server of the tests' own."""

    def __init__(self, executable: str, folder: Path, port: int | None = None, options: tuple[str, ...] = ()) -> None:
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        command = [executable, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        super().__init__([*command, *options], folder / "redis.log")
        wait_until(lambda: is_listening(self.port), f"redis-server listens on {self.port}")


PATIENT = {"GATEWAY_REDIS_TIMEOUT": "10"}
"""For tests that are not about a silent Redis: a busy machine is not to look like one."""


class GatewayServer(Process):
    """`gateway serve` as its user starts it, with an access log."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        environment: dict[str, str] | None = None,
        program: tuple[str, ...] = ("-m", "gateway"),
        admin: bool = False,
        port: int | None = None,
        stdout: int | None = None,
    ) -> None:
        self.port = port or free_port()
        self.access_log = folder / f"access-{self.port}.log"
        self.admin_port = free_port() if admin else 0
        listeners = ("--listen", f"127.0.0.1:{self.port}", "--admin-listen", f"127.0.0.1:{self.admin_port}" * admin)
        own = (*listeners, "--access-log", str(self.access_log))
        command = [sys.executable, *program, "serve", *own, *options]
        super().__init__(command, folder / f"gateway-{self.port}.log", {**PATIENT, **(environment or {})}, stdout)

    def wait(self) -> "GatewayServer":
        """Returns once requests are accepted."""
        wait_until(
            lambda: self._is_ready() or self.popen.poll() is not None,
            f"the gateway listens on {self.port}",
        )
        if self.popen.poll() is not None:
            raise AssertionError(f"the gateway ended at its start:\n{self.text()}")
        return self

    def records(self) -> list[dict[str, Any]]:
        """Return what is in the access log. A line that is not whole yet is left out."""
        return [
            json.loads(line) for line in self.access_log.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
        ]

    def record_of(self, answer: Answer) -> dict[str, Any]:
        """Return the access record of the request that got this answer, as soon as it is written."""
        return self._wait_for_records("request_id", answer.field("x-request-id") or "")[-1]

    def records_of(self, token: str) -> list[dict[str, Any]]:
        """Return the access records of the requests of a token, as soon as there is one."""
        return self._wait_for_records("token", token)

    def _wait_for_records(self, name: str, value: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []

        def are_written() -> bool:
            found[:] = [record for record in self.records() if value == record.get(name)]
            return bool(found)

        wait_until(are_written, f"a record whose {name} is {value} is written")
        return found

    def _is_ready(self) -> bool:
        return is_listening(self.port) and (not self.admin_port or is_listening(self.admin_port))

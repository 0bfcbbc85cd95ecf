"""The processes that answer: when one counts as up, as hanging or as gone, and what becomes of it then."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.adapters.logs.hangups import HANGUPS
from gateway.cli.process import workers
from gateway.cli.process.workers import (
    HANG_SECONDS,
    RESTART_SECONDS,
    START_SECONDS,
    TICK_SECONDS,
    Beats,
    Child,
    Workers,
)
from gateway.core.errors import StartFailed
from tests.support.processes import wait_until

START_TICKS = round(START_SECONDS / TICK_SECONDS)
HANG_TICKS = round(HANG_SECONDS / TICK_SECONDS)
RESTART_TICKS = round(RESTART_SECONDS / TICK_SECONDS)


def test_a_process_that_starts_slowly_is_not_declared_dead() -> None:
    """It has START_SECONDS until it first says that it is up; a healthy one that hangs has HANG_SECONDS."""
    beats = Beats()
    assert {""} == {beats.record_look(has_beaten=False) for _ in range(START_TICKS - 1)}
    assert "" == beats.record_look(has_beaten=True)
    assert {""} == {beats.record_look(has_beaten=False) for _ in range(HANG_TICKS - 1)}
    assert "has hung for 10 s" == beats.record_look(has_beaten=False)


def test_a_process_that_never_comes_up_is_found() -> None:
    """After START_SECONDS it counts as broken."""
    beats = Beats()
    faults = [beats.record_look(has_beaten=False) for _ in range(START_TICKS)]
    assert "was not up after 120 s" == faults[-1]


def test_each_sign_of_life_counts_anew() -> None:
    """A process that is only slow is never declared dead."""
    beats = Beats()
    for _ in range(3):
        assert "" == beats.record_look(has_beaten=True)
        assert {""} == {beats.record_look(has_beaten=False) for _ in range(HANG_TICKS - 1)}


def say_when_told(listener: socket.socket, mouth: socket.socket) -> None:
    """A child that says that it lives as often as it is told to: by bytes, in the place of requests."""
    while listener.recv(1):
        mouth.send(b".")


@pytest.fixture
def child() -> Iterator[tuple[Child, socket.socket]]:
    """A process that says what the test lets it say."""
    told, teller = socket.socketpair()
    process = Child("tests.cli.test_workers:say_when_told", told, "child", 1.0)
    told.close()
    yield process, teller
    teller.close()
    process.kill()


@pytest.mark.system
def test_a_process_in_the_middle_of_its_start_is_left_alone(child: tuple[Child, socket.socket]) -> None:
    """However often it is looked at: it cannot say anything yet. When it speaks, it is up."""
    process, teller = child
    assert {""} == {process.look() for _ in range(10 * HANG_TICKS)}
    assert not process.is_up
    teller.send(b".")
    wait_until(lambda: process.look() == "" and process.is_up, "it says that it is up")


@pytest.mark.system
def test_a_process_that_hangs_is_found(child: tuple[Child, socket.socket]) -> None:
    """One that was up and is stopped by a signal says nothing any more."""
    process, teller = child
    teller.send(b".")
    wait_until(lambda: process.look() == "" and process.is_up, "it says that it is up")
    os.kill(process.pid, signal.SIGSTOP)
    state = Path(f"/proc/{process.pid}/stat")
    wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "it is stopped")
    teller.send(b".")
    faults = [process.look() for _ in range(HANG_TICKS)]
    assert "has hung for 10 s" in faults
    process.kill()
    assert "ended with -9" == process.look()


def reload_when_told(listener: socket.socket, mouth: socket.socket) -> None:
    """A child that has something to do at a hangup as soon as it is told to, and says so by its sign of life."""
    listener.recv(1)
    with HANGUPS.at_each(lambda: mouth.send(b".")):
        listener.recv(1)


@pytest.mark.system
def test_a_hangup_in_the_middle_of_a_start_is_made_up_for() -> None:
    """The process does not die of it, whatever it does at that moment, and reloads when it can."""
    told, teller = socket.socketpair()
    process = Child("tests.cli.test_workers:reload_when_told", told, "child", 1.0)
    told.close()
    process.reload()
    process.reload()
    teller.send(b".")
    wait_until(lambda: process.look() == "" and process.is_up, "it has reloaded")
    teller.close()
    process.kill()


class Scripted:
    """A worker that does what a test says."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.is_up = False
        self.exit_code: int | None = None
        self.fault = ""
        self.is_terminated = False
        self.reloads = 0

    def __repr__(self) -> str:
        return f"worker {self.pid}"

    def look(self) -> str:
        return self.fault

    def reload(self) -> None:
        self.reloads += 1

    def terminate(self) -> None:
        self.is_terminated = True

    def kill(self) -> None:
        self.exit_code = -9 if self.exit_code is None else self.exit_code


class Crew:
    """Workers whose processes are scripted, in the order of their starts."""

    def __init__(self, count: int) -> None:
        self.started: list[Scripted] = []
        self.ready = 0
        self.workers = Workers(self._start, count, stop_seconds=1, on_ready=self._note_ready)

    def _start(self) -> Scripted:
        self.started.append(Scripted(len(self.started) + 1))
        return self.started[-1]

    def _note_ready(self) -> None:
        self.ready += 1

    def tick(self, ticks: int = 1) -> None:
        for _ in range(ticks):
            self.workers.tick()

    def come_up(self, *pids: int) -> None:
        for pid in pids:
            self.started[pid - 1].is_up = True
        self.tick()

    @property
    def left(self) -> list[int]:
        """Those that run and were not asked to stop."""
        return [one.pid for one in self.started if one.exit_code is None and not one.is_terminated]


def test_ready_is_said_once_by_the_first() -> None:
    """Not before one is up, and not again for others or for successors."""
    crew = Crew(2)
    crew.tick(3)
    assert 0 == crew.ready
    crew.come_up(2)
    assert 1 == crew.ready
    crew.come_up(1)
    crew.started[0].fault = "ended with -9"
    crew.tick()
    crew.come_up(3)
    assert 1 == crew.ready


def test_a_start_that_no_worker_survives_ends() -> None:
    """None is started again before one has been up: the last one's end is the reason that is told."""
    crew = Crew(2)
    crew.started[0].fault = "ended with 3"
    crew.tick(2 * RESTART_TICKS)
    assert 2 == len(crew.started)
    crew.started[1].fault = "was not up after 120 s"
    with pytest.raises(StartFailed, match="no worker came up: the last one was not up after 120 s"):
        crew.tick()
    assert [] == crew.left


def test_a_worker_that_was_up_has_a_successor_at_once() -> None:
    """Killed or hanging, it is ended, and the others are left alone."""
    crew = Crew(2)
    crew.come_up(1, 2)
    crew.started[0].fault = "has hung for 10 s"
    crew.tick()
    assert -9 == crew.started[0].exit_code
    assert [2, 3] == crew.left


def test_a_worker_that_does_not_come_up_is_followed_after_a_pause() -> None:
    """While another one answers, one that fails costs a start a second and not all of the time."""
    crew = Crew(2)
    crew.come_up(1)
    for attempt in range(1, 4):
        crew.started[-1].fault = "ended with 3"
        crew.tick(RESTART_TICKS)
        assert [1] == crew.left
        crew.tick()
        assert [1, 2 + attempt] == crew.left


def test_a_reload_is_for_all_and_replaces_nobody() -> None:
    """Each worker is told once, with the next look; so is one that is about to end, which still writes its log."""
    crew = Crew(3)
    crew.come_up(1, 2, 3)
    crew.workers.change_count(-1)
    crew.tick()
    assert [2, 3] == crew.left
    crew.workers.reload_all()
    assert [0, 0, 0] == [one.reloads for one in crew.started]
    crew.tick(5)
    assert [1, 1, 1] == [one.reloads for one in crew.started]
    assert [2, 3] == crew.left


def test_the_number_of_workers_can_be_changed() -> None:
    """One more, or one fewer, but never none."""
    crew = Crew(1)
    crew.come_up(1)
    crew.workers.change_count(1)
    crew.tick()
    crew.come_up(2)
    assert [1, 2] == crew.left
    for _ in range(3):
        crew.workers.change_count(-1)
        crew.tick()
    assert [2] == crew.left


def test_a_stop_ends_who_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are asked to stop, those that have not in time are killed, and those that were leaving already as well."""
    monkeypatch.setattr("gateway.cli.process.workers.time.sleep", lambda _: None)
    crew = Crew(3)
    crew.come_up(1, 2, 3)
    crew.workers.change_count(-1)
    crew.tick()
    crew.started[1].exit_code = 0
    crew.workers.stop()
    assert [True, True, True] == [one.is_terminated for one in crew.started]
    assert [-9, 0, -9] == [one.exit_code for one in crew.started]


def hang_for_ever(listener: socket.socket, mouth: socket.socket) -> None:
    """A child that does not stop when it is asked to."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    mouth.send(b".")
    while True:
        signal.pause()


PARENT = """
import signal, socket
from gateway.cli.process.workers import Child
if __name__ == "__main__":
    child = Child("tests.cli.test_workers:" + {does!r}, socket.socketpair()[0], "child", 0.1)
    while not child.is_up and {does!r} == "hang_for_ever":
        child.look()
    print("started", flush=True)
    signal.pause()
"""


@pytest.mark.system
@pytest.mark.parametrize("does", ["say_when_told", "hang_for_ever"])
def test_a_child_does_not_outlive_its_parent(tmp_path: Path, does: str) -> None:
    """Whether the child starts, or was up and hangs: when the parent is killed, nobody is left to end it."""
    file = tmp_path / "parent.py"
    file.write_text(PARENT.format(does=does))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        assert b"started\n" == parent.stdout.readline()
        parent.kill()
        assert b"" == parent.stdout.read()  # its end comes when the child has let go of it, too


@pytest.mark.system
def test_a_child_that_finds_a_mistake_says_it_in_words(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A GatewayError is a line on standard error and the exit code 2, as at the command line."""
    monkeypatch.setenv("GATEWAY_REDIS_URL", "")
    with socket.socket() as listener:
        process = Child(workers.WORKER, listener, "child", 1.0)
        wait_until(lambda: process.look() == "ended with 2", "it ends")
        process.kill()
    assert capfd.readouterr().err.startswith("gateway: redis: no store is named.")


def test_workers_are_renewed_one_after_the_other() -> None:
    """Never fewer answer than before, and each old one is asked to stop only when a new one is up."""
    crew = Crew(2)
    crew.come_up(1, 2)
    crew.workers.renew_all()
    crew.tick(3)
    assert [1, 2, 3] == crew.left
    crew.come_up(3)
    crew.tick()
    assert [2, 3, 4] == crew.left
    crew.come_up(4)
    crew.tick(3)
    assert [3, 4] == crew.left
    assert 4 == len(crew.started)


def test_a_version_that_does_not_come_up_leaves_the_old_workers() -> None:
    """It is tried again after a pause, and the old ones answer."""
    crew = Crew(2)
    crew.come_up(1, 2)
    crew.workers.renew_all()
    crew.tick()
    for _ in range(3):
        crew.started[-1].fault = "ended with 1"
        crew.tick(RESTART_TICKS + 1)
        assert [1, 2] == crew.left[:2]
    assert 3 < len(crew.started)

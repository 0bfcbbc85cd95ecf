"""`gateway serve` until it answers: one line when it does, and a reason if it never will."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import ask
from tests.support.processes import START_SECONDS, GatewayServer, is_listening, wait_until

GATE = Path(__file__).parents[1] / "support" / "gate"
WORKERS = pytest.mark.parametrize("workers", [1, 2])


class Held:
    """A gateway whose workers wait in the middle of their imports until the gate is open."""

    def __init__(self, folder: Path, *options: str, environment: dict[str, str] | None = None, **how: Any) -> None:
        self._gate = folder / "gate"
        path = os.pathsep.join(filter(None, (str(GATE), os.environ.get("PYTHONPATH"))))
        own = {"PYTHONPATH": path, "TEST_GATE": str(self._gate)}
        self.server = GatewayServer(folder, *options, environment={**own, **(environment or {})}, **how)

    def wait_for(self, count: int) -> list[int]:
        """The processes that wait, as soon as there are so many."""

        def waiting() -> list[int]:
            return sorted(int(file.suffix[1:]) for file in self._gate.parent.glob("gate.*"))

        wait_until(lambda: len(waiting()) == count or self.server.popen.poll() is not None, f"{count} wait")
        return waiting()

    def open(self) -> None:
        self._gate.touch()


Start = Callable[..., Held]


@pytest.fixture
def start(tmp_path: Path, policies: Path) -> Iterator[Start]:
    """Starts gateways that wait for their gate; they end with the test."""
    started: list[Held] = []

    def start_one(*options: str, **how: Any) -> Held:
        started.append(Held(tmp_path, "--policies", str(policies), *options, **how))
        return started[-1]

    yield start_one
    for held in started:
        held.open()
        held.server.stop()


def ready_lines(server: GatewayServer) -> list[str]:
    """What was said of being ready, whatever else was logged."""
    return [line for line in server.text().splitlines() if line.startswith("gateway: ready")]


@pytest.mark.parametrize(
    ("redis", "workers", "processes"),
    [("redis://default:s3cret@127.0.0.1:1/0", 1, 2), ("rediss://:s3cret@127.0.0.1:1", 2, 3), ("memory://", 1, 1)],
    ids=["one worker", "two workers", "the embedded store"],
)
def test_the_gateway_says_once_that_it_answers(
    start: Start, policies: Path, redis: str, workers: int, processes: int
) -> None:
    """The line comes when a worker answers and not before, says what is served and where, and holds no password."""
    held = start("--workers", str(workers), environment={"GATEWAY_REDIS_URL": redis}, admin=True)
    held.wait_for(processes)
    server = held.server
    assert [] == ready_lines(server)
    assert not is_listening(server.port)
    held.open()
    wait_until(lambda: bool(ready_lines(server)), "the gateway says that it is ready")
    assert 200 == ask(server.port, "GET", "/-/health").status
    assert 200 == ask(server.admin_port, "GET", "/-/health").status
    wait_until(lambda: server.text().count("startup complete") == max(2, processes), "all have started")
    assert 0 == server.stop()
    count = {1: "1 worker", 2: "2 workers"}[workers]
    store = "embedded store" if redis == "memory://" else "Redis 127.0.0.1:1"
    assert [
        f"gateway: ready on http://127.0.0.1:{server.port} ({count}, policies: {policies}/, {store}); "
        f"developer page on http://127.0.0.1:{server.admin_port}"
    ] == ready_lines(server)
    assert "s3cret" not in server.text()


@WORKERS
def test_a_start_that_fails_says_why(start: Start, policies: Path, workers: int) -> None:
    """If no worker comes up, the reason is said, nothing is started again, and the exit code is that of an error."""
    held = start("--redis", "redis://127.0.0.1:1/0", "--workers", str(workers))
    held.wait_for(workers)
    (policies / "system.toml").write_text("name = ")  # the gateway itself has read it before
    held.open()
    assert 2 == held.server.popen.wait(START_SECONDS)
    said = held.server.text()
    assert workers == said.count("system.toml: $: not TOML")
    assert "Traceback" not in said
    assert [] == ready_lines(held.server)
    assert workers == len(held.wait_for(workers))
    assert (workers > 1) == ("gateway: serve: no worker came up: the last one ended with 2" in said)


def test_a_worker_that_fails_does_not_end_the_others(start: Start) -> None:
    """A worker that is killed while it starts has a successor, as soon as another one answers."""
    held = start("--redis", "redis://127.0.0.1:1/0", "--workers", "2")
    first, second = held.wait_for(2)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: f"worker {first} ended with -9" in held.server.text(), "the gateway has noticed it")
    held.open()
    wait_until(lambda: held.server.text().count("startup complete") == 2, "two workers answer")
    assert second in held.wait_for(3)
    assert 1 == len(ready_lines(held.server))


def test_workers_end_with_their_parent_however_that_ends(start: Start) -> None:
    """Nobody listens any more when the parent was killed."""
    held = start("--redis", "redis://127.0.0.1:1/0", "--workers", "2")
    held.open()
    wait_until(lambda: held.server.text().count("startup complete") == 2, "two workers answer")
    held.server.send(signal.SIGKILL)
    wait_until(lambda: not is_listening(held.server.port), "nobody listens")

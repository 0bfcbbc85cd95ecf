"""Failovers under load: a revoked token never passes, and the gateway finds the new master by itself."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.client import ask
from tests.support.command_line import run_command, run_json
from tests.support.processes import GatewayServer, wait_until
from tests.support.sentinels import SENTINEL_PASSWORD, SERVICE, Failing

TARGET = "/api/v1/projects/website/translations/export?lang=de"


@pytest.fixture
def failing(redis_executable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Failing]:
    """In the environment, as a URL with a password is no argument of a command."""
    running = Failing(redis_executable, tmp_path)
    monkeypatch.setenv("GATEWAY_SENTINEL_PASSWORD", SENTINEL_PASSWORD)
    monkeypatch.setenv("GATEWAY_REDIS_URL", running.url)
    yield running
    running.stop()


def mint(policies: Path) -> dict[str, str]:
    where = ("--policies", str(policies), "--policy", "system", "--project", "website")
    created: dict[str, str] = run_json("token", "create", "--name", "CI", *where)
    return created


class Load:
    """Two clients that ask without a pause: one has a token, the other one that is revoked."""

    def __init__(self, port: int, token: str, revoked: str) -> None:
        self.statuses: dict[str, list[tuple[float, int]]] = {token: [], revoked: []}
        self._port = port
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(text,)) for text in self.statuses]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, token: str) -> None:
        while not self._stopping.is_set():
            status = ask(self._port, "GET", TARGET, token=token).status
            self.statuses[token].append((time.monotonic(), status))


def crash(failing: Failing) -> None:
    failing.master.send(signal.SIGKILL)


def plan(failing: Failing) -> None:
    failing.sentinels[0].ask("SENTINEL", "FAILOVER", SERVICE)


def hang(failing: Failing) -> None:
    """The old master stops, and goes on once it is replaced: it takes itself for the master then."""
    failing.master.send(signal.SIGSTOP)
    failing.wait_for_failover()
    failing.master.send(signal.SIGCONT)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("fail", [crash, plan, hang])
def test_a_failover_is_followed(
    failing: Failing, policies: Path, tmp_path: Path, fail: Callable[[Failing], None], workers: str
) -> None:
    """Requests get 503 meanwhile, then 200 again; the revoked token gets 401 or 503; commands find the new master."""
    file = policies / "system.toml"
    file.write_text(file.read_text().replace('"1000/minute"', '"1000000/minute"'))
    made, revoked = mint(policies), mint(policies)
    where = ("--policies", str(policies))
    assert 0 == run_command("token", "revoke", revoked["id"], *where).exit_code
    timeout = {"GATEWAY_REDIS_TIMEOUT": "0.25"}
    server = GatewayServer(tmp_path, *where, "--workers", workers, environment=timeout, admin=True).wait()
    load = Load(server.port, made["token"], revoked["token"])
    try:
        wait_until(lambda: any(status == 200 for _, status in load.statuses[made["token"]]), "requests pass")
        began = time.monotonic()
        fail(failing)
        failing.wait_for_failover()
        detected = time.monotonic()
        wait_until(lambda: load.statuses[made["token"]][-1][1] == 200, "requests pass again")
        late = mint(policies)
        assert 0 == run_command("token", "revoke", late["id"], *where).exit_code
        assert 401 == ask(server.port, "GET", TARGET, token=late["token"]).status
        answer = ask(server.admin_port, "GET", "/-/ready")
        assert 200 == answer.status, answer.content
    finally:
        load.stop()
        server.stop()
    passed = [(at, status) for at, status in load.statuses[made["token"]] if at >= began]
    refused = [at for at, status in passed if status == 503]
    print(f"{fail.__name__}: failover {detected - began:.2f} s, refused {len(refused)}, "
          f"from {min(refused, default=began) - began:.2f} to {max(refused, default=began) - began:.2f} s")  # fmt: skip
    assert {200, 503} >= {status for _, status in passed}
    assert {401, 503} >= {status for _, status in load.statuses[revoked["token"]]}
    assert "s3cret" not in server.text()

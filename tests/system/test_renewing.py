"""SIGUSR2: the workers are replaced by those of the program that is installed now, and no request is lost."""

import http.client
import shutil
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.support.client import ask
from tests.support.processes import GatewayServer, wait_until
from tests.system.conftest import mint

ROOT = Path(__file__).parents[2]
TARGET = "/api/v1/projects/website/translations/export?lang=de"
THREADS = 4


def install(current: Path, name: str, status: str) -> None:
    """Put a version in place as an upgrade does; its /-/health says which one it is."""
    version = current.parent / name
    shutil.copytree(ROOT / "gateway", version / "gateway", ignore=shutil.ignore_patterns("__pycache__"))
    file = version / "gateway" / "server" / "own_endpoints.py"
    text = file.read_text(encoding="utf-8")
    assert 1 == text.count('"status": "ok"')
    file.write_text(text.replace('"status": "ok"', f'"status": "{status}"'), encoding="utf-8")
    link = current.parent / "next"
    link.symlink_to(version)
    link.rename(current)


def status_of(port: int) -> str:
    text: str = ask(port, "GET", "/-/health").json()["status"]
    return text


class Load:
    """Clients that ask without a pause, each request over a connection of its own; what went wrong is kept."""

    def __init__(self, port: int, token: str) -> None:
        self.answered = 0
        self.failed: list[object] = []
        self._port, self._token = port, token
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._stopping.is_set():
            try:
                status = ask(self._port, "GET", TARGET, token=self._token).status
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(error)
                continue
            self.answered += 1
            if status != 200:
                self.failed.append(status)


def test_a_new_version_takes_over_without_a_lost_request(redis_url: str, policies: Path, tmp_path: Path) -> None:
    """Under load, with a connection that is open and silent: every request is answered with 200."""
    file = policies / "system.toml"
    file.write_text(file.read_text().replace('"1000/minute"', '"1000000/minute"'))
    current = tmp_path / "current"
    install(current, "v1", "first")
    options = ("--policies", str(policies), "--redis", redis_url, "--workers", "2")
    server = GatewayServer(tmp_path, *options, environment={"PYTHONPATH": str(current), "PYTHONSAFEPATH": "1"}).wait()
    try:
        wait_until(lambda: server.text().count("Application startup complete") == 2, "both workers are up", 60)
        assert "first" == status_of(server.port)
        load = Load(server.port, mint(redis_url, policies)["token"])
        with socket.create_connection(("127.0.0.1", server.port)):
            wait_until(lambda: load.answered > 100, "requests are answered")
            install(current, "v2", "second")
            server.send(signal.SIGUSR2)
            wait_until(lambda: "all workers were replaced" in server.text(), server.text(), 90)
            before = load.answered
            wait_until(lambda: load.answered > before + 100, "requests are answered")
        load.stop()
        assert [] == load.failed
        assert {"second"} == {status_of(server.port) for _ in range(12)}
    finally:
        assert 0 == server.stop()


@pytest.mark.parametrize("workers", ["1"])
def test_one_process_says_that_it_cannot_replace_itself(
    redis_url: str, policies: Path, tmp_path: Path, workers: str
) -> None:
    """It goes on, and says what to do."""
    server = GatewayServer(tmp_path, "--policies", str(policies), "--redis", redis_url, "--workers", workers).wait()
    wait_until(lambda: "ready on" in server.text(), "the gateway is ready")
    server.send(signal.SIGUSR2)
    wait_until(lambda: "SIGUSR2: a gateway with one worker cannot replace it" in server.text(), server.text())
    assert "ok" == status_of(server.port)
    assert 0 == server.stop()

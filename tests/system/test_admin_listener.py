"""The admin listener beside the workers: it comes and goes with them, and comes back where it ends by itself."""

import os
import re
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.client import ask
from tests.support.processes import GatewayServer, Process, free_port, is_listening, wait_until
from tests.system.conftest import Serve


def admin_processes(server: GatewayServer) -> list[int]:
    """The processes that have answered on the admin listener: with one worker all others but the first."""
    found = [int(number) for number in re.findall(r"Started server process \[(\d+)\]", server.text())]
    return [number for number in found if number != server.popen.pid]


def is_well(port: int) -> bool:
    """Whether somebody answers, and not only listens."""
    try:
        return ask(port, "GET", "/-/health").status == 200
    except OSError:
        return False


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_admin_listener_answers_beside_the_workers_and_ends_with_them(
    serve: Serve, redis_url: str, workers: str
) -> None:
    """Its addresses are on its port and on no other; a stop ends all, with exit code 0."""
    server = serve(redis_url, "--workers", workers, admin=True)
    for path, own, public in (("/-/ready", 200, 200), ("/metrics", 200, 401), ("/sign-in", 200, 401)):
        assert own == ask(server.admin_port, "GET", path).status
        assert public == ask(server.port, "GET", path).status
    assert 404 == ask(server.admin_port, "GET", "/api/v1/projects/website/translations/export").status
    assert 0 == server.stop()
    assert not is_listening(server.admin_port)
    assert "started anew" not in server.text()


def test_an_admin_process_that_is_killed_is_started_anew(serve: Serve, redis_url: str) -> None:
    """And requests notice nothing of it."""
    server = serve(redis_url, admin=True)
    wait_until(lambda: is_well(server.admin_port), "the admin listener answers")
    (first,) = admin_processes(server)
    os.kill(first, signal.SIGKILL)
    assert is_well(server.port)
    wait_until(lambda: len(admin_processes(server)) == 2, "another admin process has started")
    wait_until(lambda: is_well(server.admin_port), "it answers")
    wait_until(lambda: "the admin listener ended with -9; it is started anew" in server.text(), "the log says so")


def test_the_admin_process_ends_with_its_parent_however_that_ends(serve: Serve, redis_url: str) -> None:
    """Nobody is left behind who holds the port."""
    server = serve(redis_url, admin=True)
    wait_until(lambda: is_well(server.admin_port), "the admin listener answers")
    server.send(signal.SIGKILL)
    wait_until(lambda: not is_listening(server.admin_port), "nobody listens on the admin port")


def test_with_the_embedded_store_one_process_has_both(serve: Serve) -> None:
    """Nobody else could reach what is in it."""
    server = serve("memory://", admin=True)
    assert [200, 200] == [ask(port, "GET", "/-/ready").status for port in (server.port, server.admin_port)]
    assert [] == admin_processes(server)
    assert 0 == server.stop()


def test_without_an_address_there_is_no_admin_listener(serve: Serve, redis_url: str) -> None:
    """`--admin-listen ""` leaves it out."""
    server = serve(redis_url)
    assert is_well(server.port)
    assert [] == admin_processes(server)
    assert "developer page" not in server.text()


def test_a_taken_admin_port_ends_the_start(redis_url: str, policies: Path, tmp_path: Path) -> None:
    """Exit code 2 and the address, before anybody is answered."""
    options = ("--policies", str(policies), "--redis", redis_url)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        server = GatewayServer(tmp_path, *options, "--admin-listen", taken)
        wait_until(lambda: server.popen.poll() is not None, "the start has ended")
    assert 2 == server.stop()
    wait_until(lambda: f"cannot listen on {taken}" in server.text(), "the log says so")


def test_a_second_gateway_of_a_machine_goes_without_the_default_admin_port(
    redis_url: str, policies: Path, tmp_path: Path
) -> None:
    """Whoever names no address for it gets the public listener all the same, and is told."""
    port = free_port()
    command = [sys.executable, "-m", "gateway", "serve", "--policies", str(policies), "--redis", redis_url]
    with socket.socket() as other:
        with suppress(OSError):  # then it is somebody else's already
            other.bind(("127.0.0.1", 8081))
            other.listen()
        server = Process([*command, "--listen", f"127.0.0.1:{port}"], tmp_path / "second.log")
        wait_until(lambda: is_well(port) or server.popen.poll() is not None, "it answers")
        assert 0 == server.stop()
    assert "no developer page: listen: cannot listen on 127.0.0.1:8081" in server.text()

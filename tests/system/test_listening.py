"""Where `gateway serve` listens: on addresses, on paths, and on sockets that a service manager has opened."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.processes import START_SECONDS, GatewayServer, wait_until

PASS_SOCKETS = """
import os, runpy, socket, sys
kinds, names = sys.argv.pop(1), sys.argv.pop(1)
sockets = [socket.socket() for _ in kinds]
for number, (one, kind) in enumerate(zip(sockets, kinds)):
    one.bind(("127.0.0.1", 0))
    one.listen() if kind == "l" else None
    print("passed", one.getsockname()[1], flush=True)
copies = [os.dup(one.fileno()) + 0 for one in sockets]
high = [os.dup2(copy, 100 + number) for number, copy in enumerate(copies)]
for number, copy in enumerate(high):
    os.dup2(copy, 3 + number, inheritable=False)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(kinds)), "LISTEN_FDNAMES": names}
runpy.run_module("gateway", run_name="__main__", alter_sys=True)
"""
"""A service manager: opens sockets ("l": one that listens), and becomes the gateway. Its own sockets stay open."""

Start = Callable[..., GatewayServer]


@pytest.fixture
def start(tmp_path: Path, policies: Path) -> Iterator[Start]:
    """Starts gateways, with options that go before the fixture's own; they end with the test."""
    started: list[GatewayServer] = []

    def start_one(*options: str, redis: str = "redis://127.0.0.1:1/0", **how: object) -> GatewayServer:
        own = ("--policies", str(policies), "--redis", redis, *options)
        started.append(GatewayServer(tmp_path, *own, **how))  # type: ignore[arg-type]  # of GatewayServer
        return started[-1]

    yield start_one
    for server in started:
        server.stop()


def ready_address(server: GatewayServer) -> str:
    """What the ready line says where the public listener is."""
    ready = re.compile(r"^gateway: ready on (\S+) ", re.MULTILINE)
    wait_until(lambda: bool(ready.search(server.text())) or server.popen.poll() is not None, "the gateway is ready")
    found = ready.search(server.text())
    assert found is not None, server.text()
    return found[1]


def health_at(family: socket.AddressFamily, address: str | tuple[str, int]) -> int:
    """The status of a request to an address."""
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(START_SECONDS)
        client.connect(address)
        client.sendall(b"GET /-/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return int(client.makefile("rb").readline().split()[1])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_of_zero_is_a_free_one_that_is_told(start: Start, workers: str) -> None:
    """The ready line has the real port, and so have the developer page's examples."""
    address = ready_address(start("--listen", "127.0.0.1:0", "--workers", workers))
    port = int(address.rpartition(":")[2])
    assert port > 0
    assert 200 == health_at(socket.AF_INET, ("127.0.0.1", port))


def test_a_port_alone_is_of_both_families(start: Start) -> None:
    """IPv4 and IPv6, over one socket."""
    port = int(ready_address(start("--listen", ":0")).rpartition(":")[2])
    assert 200 == health_at(socket.AF_INET, ("127.0.0.1", port))
    assert 200 == health_at(socket.AF_INET6, ("::1", port))


@pytest.mark.parametrize(("workers", "redis"), [("1", "memory://"), ("2", "redis://127.0.0.1:1/0")])
def test_a_path_is_a_socket_of_this_machine(start: Start, tmp_path: Path, workers: str, redis: str) -> None:
    """Both listeners; what a gateway that was killed has left there is no hindrance."""
    path, admin_path = str(tmp_path / "gateway.sock"), str(tmp_path / "admin.sock")
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(path)
    listeners = ("--listen", f"unix:{path}", "--admin-listen", f"unix:{admin_path}")
    assert f"unix:{path}" == ready_address(start(*listeners, "--workers", workers, redis=redis))
    assert 200 == health_at(socket.AF_UNIX, path)
    assert 200 == health_at(socket.AF_UNIX, admin_path)


@pytest.mark.parametrize(("trusted", "client"), [("", "unix:"), ("unix", "192.0.2.9")])
def test_who_may_open_the_path_can_be_trusted(start: Start, tmp_path: Path, trusted: str, client: str) -> None:
    """A proxy on a Unix socket has no address: it is believed if `unix` is among the trusted proxies."""
    path = str(tmp_path / "gateway.sock")
    server = start("--listen", f"unix:{path}", "--trusted-proxies", trusted, redis="memory://")
    ready_address(server)
    with socket.socket(socket.AF_UNIX) as proxy:
        proxy.connect(path)
        head = "GET /api/v1/whoami HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.9\r\nConnection: close\r\n\r\n"
        proxy.sendall(head.encode())
        assert 401 == int(proxy.makefile("rb").readline().split()[1])
    server.stop()
    assert [client] == [json.loads(line)["client"] for line in server.access_log.read_text().splitlines()]


def test_a_path_that_is_in_use_is_refused(start: Start, tmp_path: Path) -> None:
    """Neither another server's socket nor a file is removed."""
    path, file = tmp_path / "gateway.sock", tmp_path / "file"
    file.touch()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        for taken in (path, file):
            server = start("--listen", f"unix:{taken}")
            assert 2 == server.popen.wait(START_SECONDS)
            assert f"listen: cannot listen on unix:{taken}: Address already in use" in server.text()
    assert file.is_file()


@pytest.mark.parametrize(
    ("names", "order"), [("", (0, 1)), ("public:admin", (0, 1)), ("admin:public", (1, 0)), ("admin", (1,))]
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_sockets_that_were_passed_are_used(start: Start, names: str, order: tuple[int, ...], workers: str) -> None:
    """The public listener, and the admin listener by its name or as the second one; addresses are not opened."""
    count = 1 if names == "admin" else 2
    server = start("--workers", workers, program=("-c", PASS_SOCKETS, "l" * count, names))
    address = ready_address(server)
    ports = [int(port) for port in re.findall(r"^passed (\d+)$", server.text(), re.MULTILINE)]
    assert count == len(ports)
    if names == "admin":
        assert f"http://127.0.0.1:{server.port}" == address
        assert f"developer page on http://127.0.0.1:{ports[0]}" in server.text()
    else:
        assert f"http://127.0.0.1:{ports[order[0]]}" == address
        assert f"developer page on http://127.0.0.1:{ports[order[1]]}" in server.text()
        assert 200 == health_at(socket.AF_INET, ("127.0.0.1", ports[order[0]]))


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ("lll", "listen: LISTEN_FDS is '3'; the gateway takes one socket, or two with the admin's"),
        ("b", "listen: the socket 3 that was passed does not listen for connections"),
    ],
)
def test_what_cannot_be_listened_on_is_refused(start: Start, kinds: str, message: str) -> None:
    """A unit with other sockets is a mistake."""
    server = start(program=("-c", PASS_SOCKETS, kinds, ""))
    assert 2 == server.popen.wait(START_SECONDS)
    assert message in server.text()


def test_sockets_of_another_process_are_left_alone(start: Start) -> None:
    """LISTEN_PID names for whom they are: variables are inherited by everybody."""
    server = start(environment={"LISTEN_PID": "1", "LISTEN_FDS": "1"})
    assert f"http://127.0.0.1:{server.port}" == ready_address(server)

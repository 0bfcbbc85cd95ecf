"""The two logs as their readers know them: rotated, stalled, full, reloaded. No request waits for any of it."""

import json
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import ask
from tests.support.processes import GatewayServer, wait_until
from tests.support.raw import TIMEOUT_SECONDS, RawBackend, read_head
from tests.system.conftest import Serve, mint
from tests.system.test_bad_backends import write_policy

REQUESTS = 5000
BATCH = 100
PATH = "/" + "a" * 4000
"""Makes records so long that 5,000 of them are more than what a worker lets wait."""
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])
JSON_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")


@pytest.fixture
def quick(policies: Path) -> Iterator[int]:
    """A backend that answers each request at once; its port. The policy names it."""

    def answer(connection: socket.socket) -> None:
        while read_head(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with RawBackend(answer) as backend:
        file = policies / "system.toml"
        text = re.sub(r"http://127.0.0.1:\d+", f"http://127.0.0.1:{backend.port}", file.read_text())
        file.write_text(text.replace("1000/minute", "1000000/minute"))
        yield backend.port


def pull(gateway: GatewayServer, token: str, count: int, path: str = PATH) -> list[bytes]:
    """So many requests on one connection, some of them sent at once; the statuses of their answers."""
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    statuses: list[bytes] = []
    with socket.create_connection(("127.0.0.1", gateway.port), TIMEOUT_SECONDS) as connection:
        while len(statuses) < count:
            batch = min(BATCH, count - len(statuses))
            connection.sendall(request * batch)
            received = b""
            while received.count(b"\r\n\r\nok") < batch:
                piece = connection.recv(1 << 20)
                assert piece, received[-1000:]
                received += piece
            statuses += re.findall(rb"HTTP/1.1 (\d+) ", received)
    return statuses


def read_dropped(gateway: GatewayServer) -> int:
    """What the metrics say of the access log."""
    text = ask(gateway.admin_port, "GET", "/metrics").content.decode()
    found = re.search(r'^gateway_log_lines_dropped_total\{log="access"\} (\d+)$', text, re.MULTILINE)
    return int(found[1]) if found else 0


def lines_about_the_log(gateway: GatewayServer) -> list[str]:
    """What the log says of the access log, without times and processes."""
    return re.findall(r"access log: .*", gateway.text())


class Stalled(GatewayServer):
    """A gateway whose access log is a pipe that nobody reads, until `records` is called."""

    def __init__(self, folder: Path, *options: str, **how: Any) -> None:
        self._reading, self._writing = os.pipe()
        super().__init__(folder, *options, "--access-log", "-", stdout=self._writing, **how)
        os.close(self._writing)
        self._read = bytearray()
        self._reader = threading.Thread(target=self._read_all)

    def read_on(self) -> None:
        self._reader.start()

    def count_read(self) -> int:
        return self._read.count(b"\n")

    def read_records(self) -> list[dict[str, Any]]:
        """All of them, after the gateway has ended."""
        self._reader.join(TIMEOUT_SECONDS)
        return [json.loads(line) for line in bytes(self._read).splitlines()]

    def _read_all(self) -> None:
        while piece := os.read(self._reading, 1 << 20):
            self._read += piece
        os.close(self._reading)


def test_a_stalled_reader_of_the_access_log_holds_up_nobody(
    tmp_path: Path, redis_url: str, policies: Path, quick: int
) -> None:
    """Every request is answered; what finds no room is dropped, counted, and said as it begins and as it ends."""
    token = mint(redis_url, policies)["token"]
    gateway = Stalled(tmp_path, "--policies", str(policies), "--redis", redis_url, admin=True)
    try:
        gateway.wait()
        assert [b"200"] * REQUESTS == pull(gateway, token, REQUESTS)
        assert 200 == ask(gateway.port, "GET", "/-/health").status
        wait_until(lambda: read_dropped(gateway) > 0, "the metrics know of it")
        (begun,) = lines_about_the_log(gateway)
        assert re.fullmatch(r"access log: standard output: \d+ bytes wait; dropping records until it is read", begun)
        gateway.read_on()
        wait_until(lambda: len(lines_about_the_log(gateway)) > 1, "there is room again")
        _, ended = lines_about_the_log(gateway)
        dropped = int(re.findall(r"records are written again; (\d+) were dropped$", ended)[0])
        assert dropped > 0
        wait_until(lambda: read_dropped(gateway) == dropped, "the metrics know of all")
        assert [b"200"] == pull(gateway, token, 1, "/last")
    finally:
        code = gateway.stop()
        if gateway.count_read() == 0:
            gateway.read_on()
        records = gateway.read_records()
    assert 0 == code
    assert REQUESTS - dropped + 1 == len(records)
    assert "/last" == records[-1]["path"]
    assert 2 == len(lines_about_the_log(gateway))


@WORKERS
def test_a_full_disk_is_said_as_it_begins_and_as_it_ends(
    serve: Serve, tmp_path: Path, redis_url: str, policies: Path, quick: int, workers: str
) -> None:
    """Requests are answered meanwhile, and their records are written when there is room."""
    token = mint(redis_url, policies)["token"]
    file, room = tmp_path / "access.log", tmp_path / "room.log"
    file.symlink_to("/dev/full")
    gateway = serve(redis_url, "--access-log", str(file), "--workers", workers)
    for _ in range(3):
        assert [b"200"] * 20 == pull(gateway, token, 20, "/a")
    wait_until(lambda: bool(lines_about_the_log(gateway)), "the log says so")
    other = tmp_path / "other.log"
    other.symlink_to(room)
    other.rename(file)  # a disk with room
    written = 60
    wait_until(lambda: room.exists() and room.read_bytes().count(b"\n") == written, "all are written")
    processes = set(re.findall(r"WARNING (\d+) gateway.adapters.logs.access_log: ", gateway.text()))
    begun = f"access log: {file}: cannot be written (No space left on device); trying again until it can"
    wait_until(lambda: len(lines_about_the_log(gateway)) == 2 * len(processes), "its end is said")
    assert {begun, f"access log: {file}: can be written again"} == set(lines_about_the_log(gateway))
    assert len(processes) == lines_about_the_log(gateway).count(begun)


@WORKERS
def test_a_hangup_opens_a_rotated_log_anew(
    serve: Serve, tmp_path: Path, redis_url: str, policies: Path, quick: int, workers: str
) -> None:
    """By every worker, without a request; each record is in one of the files, and no process is another one."""
    token = mint(redis_url, policies)["token"]
    gateway = serve(redis_url, "--workers", workers)
    wait_until(lambda: gateway.text().count("startup complete") == int(workers), "all are up")
    assert [b"200"] * 20 == pull(gateway, token, 20, "/before")
    wait_until(lambda: len(gateway.records()) == 20, "they are on record")
    files = [tmp_path / "rotated.log", gateway.access_log]
    gateway.access_log.rename(files[0])
    gateway.send(signal.SIGHUP)
    wait_until(files[1].exists, "it is there again, without a record")
    for _ in range(10):
        assert [b"200"] * 2 == pull(gateway, token, 2, "/after")
    wait_until(lambda: len(gateway.records()) == 20, "they are on record")
    rotated = [json.loads(line)["path"] for line in files[0].read_text().splitlines()]
    assert (["/before"] * 20, {"/after"}) == (rotated, {record["path"] for record in gateway.records()})
    assert int(workers) == gateway.text().count("Started server process")
    assert "Shutting down" not in gateway.text()


@pytest.mark.parametrize("change", [lambda file: file.rename(file.with_suffix(".1")), lambda file: file.unlink()])
def test_a_rotated_log_is_noticed_without_a_hangup(
    serve: Serve, redis_url: str, policies: Path, quick: int, change: Callable[[Path], object]
) -> None:
    """With the next record."""
    token = mint(redis_url, policies)["token"]
    gateway = serve(redis_url)
    assert [b"200"] == pull(gateway, token, 1, "/before")
    wait_until(lambda: len(gateway.records()) == 1, "it is on record")
    change(gateway.access_log)
    assert [b"200"] == pull(gateway, token, 1, "/after")
    wait_until(gateway.access_log.exists, "the file is there again")
    wait_until(lambda: ["/after"] == [record["path"] for record in gateway.records()], "it is on record")


class Held:
    """A backend that answers when it is let go, and says how many requests it has."""

    def __init__(self) -> None:
        self.seen = 0
        self.may_answer = threading.Event()

    def __call__(self, connection: socket.socket) -> None:
        read_head(connection)
        self.seen += 1
        assert self.may_answer.wait(TIMEOUT_SECONDS)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")


@WORKERS
def test_a_hangup_reloads_policies_and_ends_nothing(serve: Serve, redis_url: str, policies: Path, workers: str) -> None:
    """Requests under way and idle connections go on; all processes say what came of their policies, good or bad."""
    backend = Held()
    with RawBackend(backend) as server:
        write_policy(policies, server.port, response_timeout="30s")
        gateway = serve(redis_url, "--workers", workers, admin=True)
        processes = int(workers) + 1  # the admin listener's
        wait_until(lambda: gateway.text().count("startup complete") == processes, "all are up")
        token = mint(redis_url, policies)["token"]
        request = f"GET /work HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        connections = [socket.create_connection(("127.0.0.1", gateway.port), TIMEOUT_SECONDS) for _ in range(8)]
        for connection in connections[:4]:
            connection.sendall(request)
        wait_until(lambda: backend.seen == 4, "the backend has them")
        gateway.send(signal.SIGHUP)
        wait_until(lambda: gateway.text().count("policies loaded from") == processes, "all have reloaded")
        file = policies / "system.toml"
        good = file.read_text()
        file.write_text(good + "nonsense\n")
        gateway.send(signal.SIGHUP)
        wait_until(lambda: gateway.text().count("policies unchanged") >= processes, "all have found the mistake")
        file.write_text(good)
        backend.may_answer.set()
        for connection in connections[4:]:
            connection.sendall(request)
        for connection in connections:
            received = b""
            while not received.endswith(b"done") and (piece := connection.recv(65536)):
                received += piece
            assert received.startswith(b"HTTP/1.1 200 OK\r\n")
            connection.close()
        assert processes == gateway.text().count("Started server process")
        assert "Shutting down" not in gateway.text()
        assert 0 == gateway.stop()


def test_a_storm_of_hangups_from_the_start_on_ends_nothing(
    serve: Serve, redis_url: str, policies: Path, quick: int
) -> None:
    """Sent to all processes, as a service manager does, whatever each does at that moment, its start included."""
    token = mint(redis_url, policies)["token"]
    gateway = GatewayServer(policies.parent, "--policies", str(policies), "--redis", redis_url, "--workers", "2")
    try:
        wait_until(lambda: _takes_hangups(gateway.popen.pid), "it takes them")

        def is_up() -> bool:
            for process in (gateway.popen.pid, *descendants_of(gateway.popen.pid)):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGHUP)
            return gateway.text().count("startup complete") == 2

        wait_until(is_up, "both workers are up")
        gateway.wait()
        assert [b"200"] * 20 == pull(gateway, token, 20, "/a")
        wait_until(lambda: len(set(re.findall(r"INFO (\d+) .*policies loaded", gateway.text()))) == 2, "both reloaded")
        assert 2 == gateway.text().count("Started server process")
    finally:
        assert 0 == gateway.stop()


def descendants_of(pid: int) -> list[int]:
    """The processes that it has started, and theirs."""
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants_of(child)]
    return found


def _takes_hangups(pid: int) -> bool:
    """Whether the process has a handler for SIGHUP by now."""
    caught = re.search(r"SigCgt:\t([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
    return caught is not None and bool(int(caught[1], 16) & (1 << (signal.SIGHUP - 1)))


def read_events(gateway: GatewayServer) -> list[dict[str, Any]]:
    """All that was said, each line of which is an object."""
    return [json.loads(line) for line in gateway.text().splitlines()]


@WORKERS
def test_a_start_and_a_stop_are_json_where_the_log_is(
    serve: Serve, redis_url: str, policies: Path, workers: str
) -> None:
    """Each line, what is meant for people as well."""
    how = {"GATEWAY_LOG_FORMAT": "json", "GATEWAY_LOG_LEVEL": "error", "GATEWAY_FAILED_CREDENTIALS": "5/minute"}
    gateway = serve(redis_url, "--workers", workers, environment=how)
    wait_until(lambda: '"message":"ready on' in gateway.text(), "it says that it is ready")
    assert 0 == gateway.stop()
    events = read_events(gateway)
    ready = next(event for event in events if event["message"].startswith("ready on "))
    assert JSON_TIME.fullmatch(ready.pop("time"))
    address = f"http://127.0.0.1:{gateway.port}"
    assert ready["message"].startswith(f"ready on {address} ({workers} worker")
    assert {"level": "info", "process": gateway.popen.pid, "logger": "gateway.start"} == {
        name: ready[name] for name in ("level", "process", "logger")
    }
    assert {"gateway.start"} == {event["logger"] for event in events}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--policies", "absent"), "absent: no policy files (*.toml) here"),
        (("--redis", ""), "redis: no store is named."),
        (("--access-log", "absent/a.log"), "access log: absent/a.log: No such file or directory"),
    ],
)
def test_a_start_that_fails_is_json_where_the_log_is(
    tmp_path: Path, redis_url: str, policies: Path, options: tuple[str, ...], said: str
) -> None:
    """One object says why; the exit code is that of any failed start."""
    how = {"GATEWAY_LOG_FORMAT": "json"}
    gateway = GatewayServer(tmp_path, "--policies", str(policies), "--redis", redis_url, *options, environment=how)
    assert 2 == gateway.popen.wait(TIMEOUT_SECONDS)
    gateway.stop()
    (event,) = read_events(gateway)
    assert ("error", "gateway.start") == (event["level"], event["logger"])
    assert event["message"].startswith(said)

"""Several targets and their limits, and content of any size, through the running gateway."""

import signal
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.support.client import ask
from tests.support.processes import Process, free_port, is_listening, wait_until
from tests.support.raw import RawBackend, read_head, request_bytes
from tests.system.conftest import Serve, Share, mint

POLICY = """
name = "system"
upstream = {upstream}
[token]
prefixes = ["sys_"]
[[rules]]
match = "* /**"
"""
SIZE = 256 << 20
PIECE = bytes(1 << 20)
ALLOWANCE_BYTES = 24 << 20
"""What a gateway may grow by while it passes on content that is ten times as large: buffers, and the allocator."""


def write_policy(policies: Path, upstream: str) -> None:
    (policies / "system.toml").write_text(POLICY.format(upstream=upstream))


def peak_bytes(pid: int) -> int:
    """The most that a process has had in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


@pytest.fixture
def two_backends(tmp_path: Path) -> Iterator[list[Process]]:
    """Two of the example backend, on `ports`."""
    processes = []
    for number in range(2):
        port = free_port()
        command = [sys.executable, "-m", "gateway.demo.backend.api", "--listen", f"127.0.0.1:{port}"]
        process = Process(command, tmp_path / f"backend-{number}.log", {"PORT": str(port)})
        process.port = port  # type: ignore[attr-defined]
        processes.append(process)
    for process in processes:
        wait_until(lambda process=process: is_listening(process.port), "the backends listen")  # type: ignore[misc]
    yield processes
    for process in processes:
        process.stop()


def test_a_target_killed_under_load_fails_no_idempotent_request(
    share: Share, redis_url: str, policies: Path, two_backends: list[Process]
) -> None:
    """SIGKILL of one of two backends, with requests under way on it: every client gets its 200s."""
    urls = ", ".join(f'"http://127.0.0.1:{process.port}"' for process in two_backends)  # type: ignore[attr-defined]
    write_policy(policies, f"{{ targets = [{urls}] }}")
    gateway = share("node 1")
    token, done, may_kill = mint(redis_url, policies)["token"], [], threading.Event()

    def client(_: int) -> list[int]:
        statuses = []
        connection = HTTPConnection("127.0.0.1", gateway.port, timeout=15)
        for _ in range(60):
            connection.request("GET", "/api/v1/workspaces", headers={"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
            done.append(response.status)
            if len(done) > 150:
                may_kill.set()
        connection.close()
        return statuses

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(client, number) for number in range(8)]
        assert may_kill.wait(20)
        two_backends[0].send(signal.SIGKILL)
        statuses = [status for future in futures for status in future.result()]
    assert {200} == set(statuses)
    assert 8 * 60 == len(statuses)
    assert -signal.SIGKILL == two_backends[0].popen.wait(5)


def test_more_than_a_backend_may_have_at_once_is_503(share: Share, redis_url: str, policies: Path) -> None:
    """One has the connection, nobody may wait: the next is told when to come back, in problem details."""
    is_asked, may_answer = threading.Event(), threading.Event()

    def hold(connection: socket.socket) -> None:
        read_head(connection)
        is_asked.set()
        assert may_answer.wait(20)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    with RawBackend(hold) as backend, ThreadPoolExecutor(1) as pool:
        write_policy(policies, f'{{ url = "http://127.0.0.1:{backend.port}", max_connections = 1, max_waiting = 0 }}')
        gateway = share()
        token = mint(redis_url, policies)["token"]
        first = pool.submit(ask, gateway.port, "GET", "/a", token=token)
        assert is_asked.wait(20)
        second = ask(gateway.port, "GET", "/b", token=token)
        may_answer.set()
        assert 200 == first.result().status
        assert b"ok" == first.result().content
        problem = second.json()
        assert 503 == second.status
        assert "1" == second.field("retry-after")
        assert "upstream_busy" == problem["code"]
        assert "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity" == problem["type"]


def test_a_large_upload_takes_no_memory(serve: Serve, redis_url: str, policies: Path) -> None:
    """Content of a quarter of a gibibyte passes through as it comes, though the backend begins to read late."""
    received = 0

    def take(connection: socket.socket) -> None:
        nonlocal received
        received = len(read_head(connection).partition(b"\r\n\r\n")[2])
        while received < SIZE:
            received += len(connection.recv(1 << 20))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    with RawBackend(take) as backend:
        write_policy(policies, f'"http://127.0.0.1:{backend.port}"')
        gateway = serve(redis_url)
        text = mint(redis_url, policies)["token"].encode()
        before = peak_bytes(gateway.popen.pid)
        head = request_bytes(
            b"Host: a",
            b"Authorization: Bearer " + text,
            b"Content-Length: %d" % SIZE,
            request_line=b"PUT /file HTTP/1.1",
        )
        with socket.create_connection(("127.0.0.1", gateway.port), 30) as client:
            client.sendall(head)
            for _ in range(SIZE // len(PIECE)):
                client.sendall(PIECE)
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        assert answer.endswith(b"ok")
        assert SIZE == received
        assert peak_bytes(gateway.popen.pid) - before < ALLOWANCE_BYTES


def test_a_large_download_takes_no_memory(serve: Serve, redis_url: str, policies: Path) -> None:
    """Nor does an answer of that size for a client that begins to read when the backend can send no more."""
    is_held_up = threading.Event()

    def give(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % SIZE)
        connection.settimeout(0.5)
        sent = 0
        while sent < SIZE:
            try:
                sent += connection.send(PIECE[: min(len(PIECE), SIZE - sent)])
            except TimeoutError:
                is_held_up.set()

    with RawBackend(give) as backend:
        write_policy(policies, f'"http://127.0.0.1:{backend.port}"')
        gateway = serve(redis_url)
        text = mint(redis_url, policies)["token"].encode()
        before = peak_bytes(gateway.popen.pid)
        with socket.create_connection(("127.0.0.1", gateway.port), 30) as client:
            client.sendall(request_bytes(b"Host: a", b"Authorization: Bearer " + text))
            assert is_held_up.wait(20)
            received = 0
            while piece := client.recv(1 << 20):
                received += len(piece)
        assert SIZE < received < SIZE + 4096
        assert peak_bytes(gateway.popen.pid) - before < ALLOWANCE_BYTES


@pytest.mark.parametrize("is_known", [True, False])
def test_expect_100_continue(share: Share, redis_url: str, policies: Path, is_known: bool) -> None:
    """Content is asked for once the request is authorised, and not at all where it is refused (RFC 9110 10.1.1)."""

    def take(connection: socket.socket) -> None:
        head = read_head(connection)
        assert b"expect" not in head
        content = head.partition(b"\r\n\r\n")[2]
        while len(content) < 5:
            content += connection.recv(5)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n" + content)

    with RawBackend(take) as backend:
        write_policy(policies, f'"http://127.0.0.1:{backend.port}"')
        gateway = share()
        text = mint(redis_url, policies)["token"] if is_known else "sys_" + "0" * 40
        fields = (b"Host: a", b"Authorization: Bearer " + text.encode(), b"Content-Length: 5", b"Expect: 100-continue")
        with socket.create_connection(("127.0.0.1", gateway.port), 20) as client:
            client.sendall(request_bytes(*fields, request_line=b"POST / HTTP/1.1"))
            first = client.recv(65536)
            if not is_known:
                assert first.startswith(b"HTTP/1.1 401 ")
                return
            assert b"HTTP/1.1 100 Continue\r\n\r\n" == first
            client.sendall(b"hello")
            answer = b""
            while piece := client.recv(65536):
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b"\r\n\r\nhello")


def test_trailers_are_dropped(share: Share, redis_url: str, policies: Path) -> None:
    """Fields behind the content, of the request or the answer, end at the gateway; the content does not."""
    seen: list[bytes] = []

    def take(connection: socket.socket) -> None:
        received = read_head(connection)
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += connection.recv(65536)
        seen.append(received)
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nConnection: close\r\n\r\n"
        connection.sendall(answer + b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")

    with RawBackend(take) as backend:
        write_policy(policies, f'"http://127.0.0.1:{backend.port}"')
        gateway = share()
        text = mint(redis_url, policies)["token"].encode()
        head = request_bytes(
            b"Host: a",
            b"Authorization: Bearer " + text,
            b"Transfer-Encoding: chunked",
            b"Trailer: X-Gateway-Owner",
            request_line=b"POST / HTTP/1.1",
        )
        with socket.create_connection(("127.0.0.1", gateway.port), 20) as client:
            client.sendall(head + b"5\r\nhello\r\n0\r\nX-Gateway-Owner: forged\r\n\r\n")
            answer = b""
            while piece := client.recv(65536):
                answer += piece
    assert answer.endswith(b"\r\ncontent-length: 2\r\n\r\nok")  # all was there at once: it has a length
    assert b"x-sum" not in answer.lower()
    assert b"forged" not in seen[0]
    assert b"trailer" not in seen[0].lower()

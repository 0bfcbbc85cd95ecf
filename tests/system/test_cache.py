"""The cache as a whole: real gateways and workers, a real Redis, a backend that counts."""

import asyncio
import gzip
import itertools
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from tests.support.client import Answer, ask
from tests.support.command_line import run_command
from tests.support.curl import find_curl
from tests.support.processes import RedisServer, wait_until
from tests.support.raw import RawBackend, read_head
from tests.support.redis_clock import wait_for_next_millisecond
from tests.support.relay_thread import relay_to
from tests.system.conftest import NODES, Serve, Share, mint

POLICY = """
name = "system"
upstream = "http://127.0.0.1:{backend}"
[token]
prefixes = ["sys_"]
[[rules]]
match = "GET /sets/{{set}}/export"
cache = {{ {cache} }}
[[rules]]
match = "* /**"
"""
CLIENTS = 1000
EXPORT = "/sets/a/export"


class Counting:
    """What a backend was asked, and how it answers: `answers` by number of the request, the last one for all others."""

    def __init__(self, *answers: bytes, delay: threading.Event | None = None) -> None:
        self.heads: list[bytes] = []
        self._answers = answers
        self._delay = delay

    def behave(self, connection: socket.socket) -> None:
        self.heads.append(read_head(connection))
        number = len(self.heads)
        if self._delay is not None:
            self._delay.wait(15)
        connection.sendall(self._answers[min(number, len(self._answers)) - 1])


def reply(content: bytes, *fields: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Connection: close", b"Content-Length: %d" % len(content), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


@contextmanager
def backend(policies: Path, counting: Counting, cache: str = 'fresh = "1h"') -> Iterator[Counting]:
    with RawBackend(counting.behave) as running:
        (policies / "system.toml").write_text(POLICY.format(backend=running.port, cache=cache))
        yield counting


async def ask_at_once(ports: list[int], token: str, clients: int) -> list[bytes]:
    """The heads of the answers to as many clients, all of whom are connected before the first one asks."""
    cycle = itertools.cycle(ports)
    streams = [await asyncio.open_connection("127.0.0.1", next(cycle)) for _ in range(clients)]
    request = f"GET {EXPORT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    for _, writer in streams:
        writer.write(request)
    heads = []
    for reader, writer in streams:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head + await reader.readexactly(len(b"content")))
        writer.close()
    return heads


def status_of(answer: Answer) -> str:
    return answer.field("cache-status") or ""


async def test_a_thousand_clients_of_a_cold_export_are_one_request_to_the_backend(
    share: Share, redis_url: str, policies: Path
) -> None:
    """At the same instant, over two gateways with two workers each; all get the one answer."""
    may_answer = threading.Event()
    with backend(policies, Counting(reply(b"content"), delay=may_answer)) as counting:
        ports = [share(node).port for node in NODES]
        token = (await asyncio.to_thread(mint, redis_url, policies))["token"]
        asking = asyncio.create_task(ask_at_once(ports, token, CLIENTS))
        await asyncio.to_thread(wait_until, lambda: bool(counting.heads), "the backend is asked")
        may_answer.set()
        heads = await asking
    assert 1 == len(counting.heads)
    assert CLIENTS == sum(head.startswith(b"HTTP/1.1 200 ") and head.endswith(b"content") for head in heads)
    assert 1 == sum(b"cache-status: gateway; fwd=uri-miss; stored" in head for head in heads)
    assert all(
        b"gateway; fwd=uri-miss; collapsed" in head or b"gateway; hit" in head or b"stored" in head for head in heads
    )


async def test_an_answer_that_cannot_be_shared_holds_nobody_up(share: Share, redis_url: str, policies: Path) -> None:
    """Each of thirty clients gets its own private answer, while the first one's is still under way."""
    with backend(policies, Counting(reply(b"content", b"Cache-Control: private"))) as counting:
        gateway = share("node 1")
        token = (await asyncio.to_thread(mint, redis_url, policies))["token"]
        heads = await ask_at_once([gateway.port], token, 30)
    assert 30 == len(counting.heads)
    assert 30 == sum(head.startswith(b"HTTP/1.1 200 ") for head in heads)


def test_builds_go_on_while_the_backend_is_stopped(share: Share, redis_url: str, policies: Path) -> None:
    """The last good answer stands in, content and 304 alike; a revoked token is refused all the same."""
    with backend(policies, Counting(reply(b"content")), 'fresh = "0s", stale_if_error = "7d"') as counting:
        gateway = share()
        token = mint(redis_url, policies)
        first = ask(gateway.port, "GET", EXPORT, token=token["token"])
    assert "gateway; fwd=uri-miss; stored" == status_of(first)
    assert 1 == len(counting.heads)
    stale = ask(gateway.port, "GET", EXPORT, token=token["token"])
    assert 200 == stale.status
    assert b"content" == stale.content
    assert "detail=stale-if-error" in status_of(stale)
    tag = [("If-None-Match", first.field("etag") or "")]
    assert 304 == ask(gateway.port, "GET", EXPORT, token=token["token"], fields=tag).status
    assert 0 == run_command("token", "revoke", token["id"], "--redis", redis_url).exit_code
    assert 401 == ask(gateway.port, "GET", EXPORT, token=token["token"]).status


def test_a_stale_answer_is_refreshed_behind(share: Share, redis_url: str, policies: Path) -> None:
    """Who comes first after its time gets the old one at once; the backend is asked with the validator it gave."""
    answers = (reply(b"old", b'ETag: "v1"'), reply(b"new!", b'ETag: "v2"'))
    with backend(policies, Counting(*answers), 'fresh = "1s", stale_while_revalidate = "1h"') as counting:
        gateway = share()
        token = mint(redis_url, policies)["token"]
        seen: list[Answer] = []

        def is_new() -> bool:
            seen.append(ask(gateway.port, "GET", EXPORT, token=token))
            return seen[-1].content == b"new!"

        wait_until(is_new, "the new one is there")
    assert {b"old"} == {answer.content for answer in seen[:-1]}
    assert any("; detail=stale-while-revalidate" in status_of(answer) for answer in seen[:-1])
    assert b'if-none-match: "v1"' in counting.heads[1].lower()


def test_a_purge_is_seen_by_all_on_the_next_request(share: Share, redis_url: str, policies: Path) -> None:
    """By every worker of every gateway, also where the content is in its memory."""
    with backend(policies, Counting(reply(b"old"), reply(b"new!")), 'fresh = "1h", groups = ["set-{set}"]'):
        ports = [share(node).port for node in NODES]
        token = mint(redis_url, policies)["token"]

        def pull() -> set[bytes]:
            return {ask(port, "GET", EXPORT, token=token).content for port in ports for _ in range(8)}

        assert {b"old"} == pull()
        purge = ("cache", "purge", "--policy", "system", "--policies", str(policies), "--redis", redis_url, "--json")
        assert {"purged": 0} == json.loads(run_command(*purge, "--group", "set-b").stdout)
        assert {b"old"} == pull()
        assert {"purged": 1} == json.loads(run_command(*purge, "--group", "set-a").stdout)
        assert {b"new!"} == pull()


def test_a_write_ends_what_is_stored_of_it(share: Share, redis_url: str, policies: Path) -> None:
    """The URI itself (RFC 9111 4.4), and the groups that the backend names (RFC 9875)."""
    grouped = b'Cache-Groups: "scripts"'
    answers = (
        reply(b"one", grouped),
        reply(b"", status=b"201 Created"),
        reply(b"two", grouped),
        reply(b"", b'Cache-Group-Invalidation: "scripts"'),
        reply(b"three", grouped),
    )
    with backend(policies, Counting(*answers)):
        gateway = share()
        token = mint(redis_url, policies)["token"]
        seen = []
        for written in (EXPORT, "/elsewhere", None):
            seen += [ask(gateway.port, "GET", EXPORT, token=token).content for _ in range(2)]
            if written is not None:
                ask(gateway.port, "POST", written, token=token, content=b"x")
                wait_for_next_millisecond(redis_url)
        assert [b"one", b"one", b"two", b"two", b"three", b"three"] == seen


def test_variants_cost_no_second_round_trip(serve: Serve, redis_url: str, policies: Path) -> None:
    """All heads come with the admission: a hit and a 304 of any variant are one round trip, a refused token too."""
    vary = b"Vary: Accept-Language"
    with (
        backend(policies, Counting(*(reply(b"%d" % number, vary) for number in range(3)))),
        relay_to(urlsplit(redis_url).port or 0) as relay,
    ):
        gateway = serve(f"redis://127.0.0.1:{relay.port}/0")
        token = mint(redis_url, policies)["token"]
        tags = {}
        for language in ("de", "fr", "it"):
            answer = ask(gateway.port, "GET", EXPORT, token=token, fields=[("Accept-Language", language)])
            tags[language] = answer.field("etag") or ""
        for language, tag in tags.items():
            for condition, status in (([], 200), ([("If-None-Match", tag)], 304)):
                relay.round_trips.clear()
                fields = [("Accept-Language", language), *condition]
                assert status == ask(gateway.port, "GET", EXPORT, token=token, fields=fields).status
                assert 1 == len(relay.round_trips)


JSON = b"Content-Type: application/json"
CODINGS = ("Accept-Encoding", "br, zstd, gzip")
LONG = b'{"key": "a value that is there again and again"}, ' * 2000


def test_a_coded_hit_costs_no_second_round_trip(serve: Serve, redis_url: str, policies: Path) -> None:
    """While the worker has the content in that coding: a hit, a 304 and a HEAD are one round trip each."""
    with (
        backend(policies, Counting(reply(LONG, JSON))) as counting,
        relay_to(urlsplit(redis_url).port or 0) as relay,
    ):
        gateway = serve(f"redis://127.0.0.1:{relay.port}/0")
        token = mint(redis_url, policies)["token"]
        for coding in ("br", "zstd", "gzip"):
            fields = [("Accept-Encoding", coding)]
            first = ask(gateway.port, "GET", EXPORT, token=token, fields=fields)
            tag = [("If-None-Match", first.field("etag") or "")]
            for method, more, status in (("GET", [], 200), ("GET", tag, 304), ("HEAD", [], 200)):
                relay.round_trips.clear()
                again = ask(gateway.port, method, EXPORT, token=token, fields=[*fields, *more])
                assert status == again.status
                assert 1 == len(relay.round_trips)
                if status == 200:
                    assert coding == again.field("content-encoding")
                    assert str(len(first.content)) == again.field("content-length")
    assert 1 == len(counting.heads)


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip"])
def test_curl_decodes_what_it_gets(share: Share, redis_url: str, policies: Path, coding: str) -> None:
    """A client that shares no code with us, over two workers: one request to the backend, one tag, 304 in the end."""
    curl = find_curl(coding)
    with backend(policies, Counting(reply(LONG, JSON))) as counting:
        gateway = share("node 1")
        token = mint(redis_url, policies)["token"]
        command = [curl, "-fsS", "--compressed", "-H", f"Authorization: Bearer {token}"]
        command += ["-H", f"Accept-Encoding: {coding}", f"http://127.0.0.1:{gateway.port}{EXPORT}"]
        for _ in range(4):
            assert LONG == subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
        host = f"127.0.0.1:{gateway.port}"
        plain = ask(gateway.port, "GET", EXPORT, token=token, host=host)
        assert LONG == plain.content
        assert plain.field("content-encoding") is None
        tag = [("If-None-Match", plain.field("etag") or ""), ("Accept-Encoding", coding)]
        assert 304 == ask(gateway.port, "GET", EXPORT, token=token, host=host, fields=tag).status
    assert 1 == len(counting.heads)
    assert b"accept-encoding: identity" in counting.heads[0].lower()


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ([b"Content-Type: image/png"], [CODINGS]),
        ([JSON, b"Cache-Control: no-transform"], [CODINGS]),
        ([JSON], [CODINGS, ("Cache-Control", "no-transform")]),
        ([JSON], [("Accept-Encoding", "br;q=0, *;q=0")]),
        ([JSON], []),
    ],
)
def test_what_must_not_be_encoded_is_sent_byte_for_byte(
    share: Share, redis_url: str, policies: Path, fields: list[bytes], asked: list[tuple[str, str]]
) -> None:
    """No-transform of either side, a type that is compressed already, no coding that the client takes."""
    with backend(policies, Counting(reply(LONG, *fields))) as counting:
        gateway = share()
        token = mint(redis_url, policies)["token"]
        for _ in range(2):
            answer = ask(gateway.port, "GET", EXPORT, token=token, fields=asked)
            assert LONG == answer.content
            assert [] == answer.all("content-encoding")
    assert 1 == len(counting.heads)


def test_what_a_backend_encodes_unasked_reaches_each_client_as_it_accepts_it(
    share: Share, redis_url: str, policies: Path
) -> None:
    """It was asked for the content as it is, and sends gzip: it is stored once, for those without gzip too."""
    encoded = reply(gzip.compress(LONG), JSON, b"Content-Encoding: gzip", b"Vary: Accept-Encoding")
    with backend(policies, Counting(encoded)) as counting:
        gateway = share()
        token = mint(redis_url, policies)["token"]
        for coding in ("identity", "br", "gzip"):
            answer = ask(gateway.port, "GET", EXPORT, token=token, fields=[("Accept-Encoding", coding)])
            assert coding == (answer.field("content-encoding") or "identity")
            assert (answer.content == LONG) is (coding == "identity")
    assert 1 == len(counting.heads)


def test_a_full_redis_degrades_to_proxying(serve: Serve, own_redis: RedisServer, policies: Path) -> None:
    """Where Redis takes no writes, answers come from the backend, whole; the log says so."""
    with backend(policies, Counting(reply(b"content"))) as counting:
        gateway = serve(own_redis.url)
        token = mint(own_redis.url, policies)["token"]
        assert 200 == ask(gateway.port, "GET", "/any", token=token).status  # its use is noted, for a minute
        with redis.Redis.from_url(own_redis.url) as client:
            client.config_set("maxmemory", "1")
        answers = [ask(gateway.port, "GET", EXPORT, token=token) for _ in range(2)]
        assert [(200, b"content", "gateway; fwd=uri-miss; detail=store-refused")] * 2 == [
            (answer.status, answer.content, status_of(answer)) for answer in answers
        ]
    assert 3 == len(counting.heads)
    wait_until(lambda: "an export could not be stored" in gateway.text(), "the log says so")


def test_a_large_export_streams_with_a_flat_memory_profile(serve: Serve, redis_url: str, policies: Path) -> None:
    """Fifty megabytes in chunks go through a worker that never holds more than it would store, and a little."""
    megabyte = bytes(1 << 20)

    def behave(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(50):
            connection.sendall(b"100000\r\n" + megabyte + b"\r\n")
        connection.sendall(b"0\r\n\r\n")

    with RawBackend(behave) as running:
        (policies / "system.toml").write_text(POLICY.format(backend=running.port, cache='fresh = "1h"'))
        gateway = serve(redis_url)
        token = mint(redis_url, policies)["token"]
        assert 200 == ask(gateway.port, "GET", "/-/health").status
        before = peak_megabytes(gateway.popen.pid)
        answer = ask(gateway.port, "GET", EXPORT, token=token)
        assert 200 == answer.status
        assert 50 << 20 == len(answer.content)
        assert peak_megabytes(gateway.popen.pid) - before < 40


def peak_megabytes(pid: int) -> float:
    """The most memory that a process has ever had resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def test_a_worker_that_dies_fetching_holds_nobody_up_for_long(serve: Serve, redis_url: str, policies: Path) -> None:
    """Its lease ends by itself, and another gateway fetches."""
    may_answer = threading.Event()
    with backend(policies, Counting(reply(b"content"), delay=may_answer)) as counting:
        dying, staying = serve(redis_url), serve(redis_url)
        token = mint(redis_url, policies)["token"]
        connection = socket.create_connection(("127.0.0.1", dying.port))
        connection.sendall(f"GET {EXPORT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        wait_until(lambda: len(counting.heads) == 1, "the first gateway asks the backend")
        os.kill(dying.popen.pid, signal.SIGKILL)
        connection.close()
        may_answer.set()
        assert b"content" == ask(staying.port, "GET", EXPORT, token=token).content
        assert 2 == len(counting.heads)

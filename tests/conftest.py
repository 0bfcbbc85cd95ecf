"""What many tests share: a real redis-server, the example backend, the running gateway, tokens; and their markers."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import redis
from hypothesis import settings

from gateway.adapters.redis import keys
from gateway.adapters.redis.connection import RedisConnection, open_client
from gateway.adapters.redis.tokens import RedisTokens
from tests.support import processes
from tests.support.processes import Process, RedisServer, free_port, is_listening, wait_until
from tests.support.programs import find_program

POLICIES = Path(__file__).parents[1] / "policies"

SYSTEM = ("tests/system/", "tests/contracts/", "tests/demo/test_story.py")
"""Where the gateway, or something in its place, runs as a process of its own."""
FIXTURES = {
    "redis_executable": "redis",
    "browser": "browser",
    "proxy_kind": "proxies",
    "real_backend": "backends",
    "backend_port": "system",
    "consumers": "system",
}
"""A test that uses the fixture, directly or through another one, has the marker."""
collect_ignore_glob = ["examples/*"]
"""A repository as a user has it: system/test_plugin.py runs its tests there."""
KINDS = {*FIXTURES.values()}

settings.register_profile("gateway", deadline=None, derandomize=True)
settings.load_profile("gateway")  # never against the clock, and the same examples on every machine

Answer = TypeVar("Answer")


def kinds_of(path: str, fixtures: Collection[str], own: Collection[str]) -> set[str]:
    """Return the markers of a test, by its file, its fixtures and the markers it has already."""
    kinds = {*own} & KINDS | {FIXTURES[name] for name in fixtures if name in FIXTURES}
    if path.startswith(SYSTEM):
        kinds.add("system")
    return kinds or {"unit"}


@pytest.hookimpl(tryfirst=True)  # before -m selects by markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give every test its markers."""
    for item in items:
        path = item.path.relative_to(config.rootpath).as_posix()
        own = {mark.name for mark in item.iter_markers()}
        for kind in sorted(kinds_of(path, getattr(item, "fixturenames", ()), own) - own):
            item.add_marker(kind)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let servers be started by no unit test."""
    processes.unit_test = item.nodeid if item.get_closest_marker("unit") else ""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests were left out, and why."""
    left_out: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for report in terminalreporter.stats.get("skipped", ()):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        left_out[reason.removeprefix("Skipped: ")][report.nodeid.partition("::")[0]] += 1
    for reason, files in sorted(left_out.items()):
        terminalreporter.section(f"LEFT OUT: {files.total()} tests: {reason}", yellow=True)
        for file, number in sorted(files.items()):
            terminalreporter.write_line(f"{file}: {number}")


@pytest.fixture(scope="session")
def redis_executable() -> str:
    """The path of redis-server."""
    return find_program("redis-server")


@pytest.fixture(scope="session")
def redis_server(redis_executable: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A redis-server that all tests share; each begins with it empty where it asks for `redis_url`."""
    server = RedisServer(redis_executable, tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def gateways_redis(redis_executable: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A redis-server of the gateways that many tests share: what they write late is in nobody else's way."""
    server = RedisServer(redis_executable, tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty Redis."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
        client.set(keys.marker(), "1")
    return redis_server.url


@pytest.fixture
def own_redis(redis_executable: str, tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server that a test may stop. It is new, and meant to be empty."""
    server = RedisServer(redis_executable, tmp_path)
    with redis.Redis.from_url(server.url) as client:
        client.set(keys.marker(), "1")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def backend_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The example backend, running."""
    import sys

    port = free_port()
    command = [sys.executable, "-m", "gateway.demo.backend.api", "--listen", f"127.0.0.1:{port}"]
    process = Process(command, tmp_path_factory.mktemp("backend") / "backend.log")
    wait_until(lambda: is_listening(port), "the example backend listens")
    yield port
    process.stop()


def run_with_tokens(url: str, work: Callable[[RedisTokens], Awaitable[Answer]]) -> Answer:
    """What `work` returns, given the token records of the Redis at `url`."""

    return run_with_connection(url, lambda connection: work(RedisTokens(connection)))


def run_with_connection(url: str, work: Callable[[RedisConnection], Awaitable[Answer]]) -> Answer:
    """What `work` returns, given a connection to the Redis at `url`."""

    async def run() -> Answer:
        connection = RedisConnection(open_client(url, 5), 5)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run())

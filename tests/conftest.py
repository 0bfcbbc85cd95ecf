"""What many tests share: a real redis-server, the example backend, the running gateway, tokens."""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import redis

from gateway.adapters import names
from gateway.adapters.redis_connection import RedisConnection, open_client
from gateway.adapters.redis_tokens import RedisTokens
from tests.support.processes import Process, RedisServer, free_port, is_listening, wait_until

POLICIES = Path(__file__).parents[1] / "policies"
WITHOUT_REDIS = "GATEWAY_TEST_WITHOUT_REDIS"
"""Set to 1 to leave out the tests that need redis-server; `make test` says so where it has to."""

Answer = TypeVar("Answer")


@pytest.fixture(scope="session")
def redis_executable() -> str:
    """The path of redis-server."""
    executable = shutil.which("redis-server")
    if executable is None:
        if os.environ.get(WITHOUT_REDIS) == "1":
            pytest.skip("there is no redis-server on this machine")
        pytest.fail(f"this test needs redis-server on the PATH; {WITHOUT_REDIS}=1 leaves such tests out")
    return executable


@pytest.fixture(scope="session")
def redis_server(redis_executable: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A redis-server that all tests share; each begins with it empty where it asks for `redis_url`."""
    server = RedisServer(redis_executable, tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty Redis."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
        client.set(names.marker(), "1")
    return redis_server.url


@pytest.fixture
def own_redis(redis_executable: str, tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server that a test may stop."""
    server = RedisServer(redis_executable, tmp_path)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def backend_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The example backend, running."""
    import sys

    port = free_port()
    command = [sys.executable, "-m", "gateway.cli.demo.backend", "--listen", f"127.0.0.1:{port}"]
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

"""Stored exports, in the embedded store and in Redis, and what a worker keeps of them."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.adapters.redis_connection import RedisConnection, open_client
from gateway.adapters.redis_exports import ContentMemory, RedisExports
from tests.support.processes import free_port

NAME = "gw1:export:project:1:5:abc"


def run(url: str, work: Callable[[RedisConnection], Awaitable[None]]) -> None:
    async def run_all() -> None:
        connection = RedisConnection(open_client(url, 5), 5)
        try:
            await work(connection)
        finally:
            await connection.close()

    asyncio.run(run_all())


def test_another_worker_reads_what_one_stored(store_url: str) -> None:
    """Content is read under exactly its head; under another head it is not there."""

    async def work(connection: RedisConnection) -> None:
        here, there = RedisExports(connection, 1000), RedisExports(connection, 1000)
        assert await here.write(NAME, b"head", b"content", 60_000)
        assert (b"content", None) == (here.recall(NAME, b"head"), there.recall(NAME, b"head"))
        assert b"content" == await there.read(NAME, b"head")
        assert b"content" == there.recall(NAME, b"head")
        assert None is await there.read(NAME, b"another head")

    run(store_url, work)


def test_a_stored_export_ends_by_itself(store_url: str) -> None:
    """Redis is told how long to keep it."""

    async def work(connection: RedisConnection) -> None:
        await RedisExports(connection, 1000).write(NAME, b"head", b"content", 60_000)
        assert 0 < await connection.client.pttl(NAME) <= 60_000

    run(store_url, work)


def test_a_store_that_is_away_loses_no_request(caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be stored or read is said in the log and not raised."""

    async def work(connection: RedisConnection) -> None:
        exports = RedisExports(connection, 1000)
        assert not await exports.write(NAME, b"head", b"content", 60_000)
        assert None is await exports.read(NAME, b"head")

    run(f"redis://127.0.0.1:{free_port()}/0", work)
    assert "could not be stored" in caplog.text


def test_memory_forgets_the_least_recently_used() -> None:
    """Beyond the budget the entry that was not asked for longest goes, and a larger one is not kept at all."""
    memory = ContentMemory(10)
    memory.put("a", b"h", b"12345")
    memory.put("b", b"h", b"12345")
    assert b"12345" == memory.get("a", b"h")
    memory.put("c", b"h", b"1")
    assert [b"12345", None, b"1"] == [memory.get(name, b"h") for name in "abc"]
    memory.put("d", b"h", b"x" * 11)
    assert None is memory.get("d", b"h")


def test_memory_counts_what_it_replaces() -> None:
    """A name that is stored again takes its room once."""
    memory = ContentMemory(10)
    for _ in range(5):
        memory.put("a", b"h", b"12345")
    memory.put("b", b"h", b"12345")
    assert [b"12345", b"12345"] == [memory.get(name, b"h") for name in "ab"]

"""Who asks the backend when many want the same: in one worker, between workers, and when one of them dies."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from gateway.adapters.redis import keys
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.fetch_leases import RedisFetches
from gateway.core.cache.fetch import Bypass, Failed, Leader, Shared
from gateway.core.errors import UpstreamTimeout
from tests.support.connections import open_connection
from tests.support.processes import free_port

NOW = 1_800_000_000_000
NAME = keys.export("project", "x", "abc")
LEASE = keys.fetch(NAME, "s")
LONG = {"unstorable": 600.0, "failed": 600.0}
SHARED = Shared((b"head",), NOW, b"content")

Start = Callable[[], RedisFetches]


@asynccontextmanager
async def workers_of(connection: RedisConnection) -> AsyncIterator[Start]:
    """Give a way to start workers; each is closed at the end of the block."""
    started: list[RedisFetches] = []

    def start() -> RedisFetches:
        worker = RedisFetches(connection, look_seconds=0, marks=LONG)
        worker.now = NOW
        started.append(worker)
        return worker

    try:
        yield start
    finally:
        for worker in started:
            await worker.close()


@pytest.fixture
async def start(connection: RedisConnection) -> AsyncIterator[Start]:
    """A way to start workers over an empty store of each kind."""
    async with workers_of(connection) as start:
        yield start


def nothing_suffices(heads: Sequence[bytes], now: int) -> bool:
    return False


def anything_suffices(heads: Sequence[bytes], now: int) -> bool:
    return now == NOW


async def begin(worker: RedisFetches, suffices: Callable[[Sequence[bytes], int], bool] = anything_suffices) -> object:
    return await worker.begin(NAME, "s", suffices)


async def leader_of(worker: RedisFetches) -> Leader:
    role = await begin(worker)
    assert isinstance(role, Leader)
    return role


async def until_it_waits(task: "asyncio.Task[object]") -> None:
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()


async def test_the_first_fetches_and_the_others_get_what_it_got(start: Start) -> None:
    """A hundred requests of one worker: one leader, and ninety-nine who share its answer, content and all."""
    worker = start()
    leader = await leader_of(worker)
    waiting = [asyncio.create_task(begin(worker)) for _ in range(99)]
    await until_it_waits(waiting[-1])
    worker.end(leader, SHARED)
    assert [SHARED] * 99 == await asyncio.gather(*waiting)


async def test_who_selects_another_variant_does_not_wait(start: Start) -> None:
    """Fetches are told apart by what the requests say of the fields that are known to vary."""
    worker = start()
    await leader_of(worker)
    assert isinstance(await worker.begin(NAME, "t", anything_suffices), Leader)


async def test_another_worker_waits_until_something_is_stored(connection: RedisConnection, start: Start) -> None:
    """It looks again and again, and gets the heads that are stored meanwhile."""
    leader = await leader_of(start())
    waiting = asyncio.create_task(begin(start()))
    await until_it_waits(waiting)
    await connection.client.hset(NAME, "v", b"head")
    await connection.client.delete(leader.lease)
    assert Shared([b"head"], NOW) == await waiting


async def test_what_was_stored_since_the_admission_is_not_fetched_again(
    connection: RedisConnection, start: Start
) -> None:
    """Who gets the lease just after another one's answer was stored uses that, and leaves no lease behind."""
    await connection.client.hset(NAME, "v", b"head")
    worker = start()
    assert Shared([b"head"], NOW) == await begin(worker)
    await worker.close()
    assert not await connection.client.exists(LEASE)


async def test_the_lease_of_a_worker_that_died_ends(connection: RedisConnection, start: Start) -> None:
    """Redis ends it by itself; then another one of those who wait fetches."""
    leader = await leader_of(start())
    assert 0 < await connection.client.pttl(leader.lease) <= 3000
    waiting = asyncio.create_task(begin(start(), nothing_suffices))
    await until_it_waits(waiting)
    await connection.client.delete(leader.lease)  # as its time does
    assert isinstance(await waiting, Leader)


async def test_a_lease_is_renewed_by_its_holder_only(connection: RedisConnection, start: Start) -> None:
    """A worker that was thought dead does not take the lease back."""
    worker = start()
    leader = await leader_of(worker)
    await connection.client.set(leader.lease, "another")
    worker.end(leader, Bypass())
    await worker.close()
    assert b"another" == await connection.client.get(leader.lease)


@pytest.mark.parametrize("has_failed", [False, True])
async def test_nobody_waits_for_what_cannot_be_shared(start: Start, has_failed: bool) -> None:
    """Those who waited go on at once, in this worker and in others; and for a while nobody begins to wait."""
    here, there = start(), start()
    leader = await leader_of(here)
    waiting = [asyncio.create_task(begin(worker)) for worker in (here, here, there)]
    await until_it_waits(waiting[-1])
    here.end(leader, Bypass(has_failed))
    here.end(leader, SHARED)  # too late: nothing changes
    assert [Bypass(has_failed)] * 3 == await asyncio.gather(*waiting)
    assert [Bypass(has_failed)] * 2 == [await begin(here), await begin(start())]


async def test_a_failure_is_shared_by_those_who_wait(start: Start) -> None:
    """In the same worker the error itself; elsewhere, and for a moment after, that it has failed."""
    here, there = start(), start()
    leader = await leader_of(here)
    waiting = [asyncio.create_task(begin(worker)) for worker in (here, there)]
    await until_it_waits(waiting[-1])
    here.end(leader, Failed(UpstreamTimeout("too slow")))
    with pytest.raises(UpstreamTimeout, match="too slow"):
        await waiting[0]
    assert Bypass(has_failed=True) == await waiting[1]
    assert Bypass(has_failed=True) == await begin(here)


@pytest.mark.redis
async def test_a_client_that_leaves_ends_nobody_elses_wait(redis_url: str) -> None:
    """One waiting request that is given up leaves the others waiting; a leader that is cancelled lets them go."""
    async with open_connection(redis_url) as connection, workers_of(connection) as start:
        worker, other = start(), start()
        leader = await leader_of(worker)
        leaving, staying = (asyncio.create_task(begin(worker)) for _ in range(2))
        competing = asyncio.create_task(begin(other))
        behind = asyncio.create_task(begin(other))
        await until_it_waits(behind)
        leaving.cancel()
        competing.cancel()
        assert Bypass() == await behind
        worker.end(leader, SHARED)
        assert SHARED == await staying


async def test_without_redis_a_worker_fetches_for_itself() -> None:
    """Nobody is left waiting because the lease cannot be had."""
    nobody = f"redis://127.0.0.1:{free_port()}/0"
    async with open_connection(nobody) as connection, workers_of(connection) as start:
        worker = start()
        leader = await leader_of(worker)
        waiting = asyncio.create_task(begin(worker))
        await until_it_waits(waiting)
        worker.end(leader, SHARED)
        assert "" == leader.holder
        assert None is leader.began_at
        assert SHARED == await waiting

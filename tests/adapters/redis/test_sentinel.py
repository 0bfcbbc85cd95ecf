"""The Sentinels' majority decides which master is asked, also if another server takes itself for one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.asyncio.sentinel import MasterNotFoundError

from gateway.adapters.redis.connection import Client, RedisConnection, address_of, open_client
from gateway.adapters.redis.topologies.sentinel import FollowingPool
from gateway.core.errors import ConfigurationError, StoreUnavailable
from tests.support.connections import until_closed
from tests.support.processes import RedisServer
from tests.support.sentinels import REDIS_PASSWORD, SENTINEL_PASSWORD, SERVICE, SentinelProcess, start_redis, url_of

pytestmark = pytest.mark.redis
TIMEOUT_SECONDS = 5.0


@pytest.fixture
def masters(redis_executable: str, tmp_path: Path) -> Iterator[list[RedisServer]]:
    """Two masters that know nothing of each other, as on both sides of a network that is split."""
    servers = [start_redis(redis_executable, tmp_path) for _ in range(2)]
    for number, server in enumerate(servers):
        with redis.Redis.from_url(server.url) as client:
            client.set("side", str(number))
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture
def sentinels(redis_executable: str, tmp_path: Path, masters: list[RedisServer]) -> Iterator[list[SentinelProcess]]:
    """Two Sentinels name the first master, one names the second; none begins a failover."""
    started = [SentinelProcess(redis_executable, tmp_path, masters[side].port, quorum=9) for side in (0, 0, 1)]
    yield started
    for sentinel in started:
        sentinel.stop()


async def read_side(client: Client) -> bytes:
    found = await client.get("side")
    assert isinstance(found, bytes)
    return found


def turn(sentinel: SentinelProcess, master: RedisServer) -> None:
    """Let a Sentinel name another master, as after a failover."""
    sentinel.ask("SENTINEL", "REMOVE", SERVICE)
    sentinel.ask("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", master.port, 9)
    sentinel.ask("SENTINEL", "SET", SERVICE, "auth-pass", REDIS_PASSWORD)


async def test_the_majority_decides_and_is_followed(
    masters: list[RedisServer], sentinels: list[SentinelProcess]
) -> None:
    """The old master still answers and takes itself for a master: it is asked no more once a majority names another."""
    client = open_client(url_of(sentinels), TIMEOUT_SECONDS, SENTINEL_PASSWORD)
    connection = RedisConnection(client, TIMEOUT_SECONDS)
    assert b"0" == await connection.run(read_side)
    assert address_of(client).startswith(f"127.0.0.1:{masters[0].port}, the master of {SERVICE} of the Sentinels ")
    turn(sentinels[0], masters[1])
    async with asyncio.timeout(20):
        while await connection.run(read_side) != b"1":
            await asyncio.sleep(0)
    with redis.Redis.from_url(masters[0].url) as old:
        assert [] == [one for one in old.client_list() if one["cmd"] == "get"]
    await connection.close()


async def test_without_a_majority_nothing_is_asked(
    masters: list[RedisServer], sentinels: list[SentinelProcess]
) -> None:
    """One Sentinel against one: 503, and the reason names both; no secret is in it."""
    client = open_client(url_of(sentinels[1:]), TIMEOUT_SECONDS, SENTINEL_PASSWORD)
    connection = RedisConnection(client, TIMEOUT_SECONDS)
    with pytest.raises(StoreUnavailable, match="no majority of the Sentinels names a master: 1 of 2 name") as refused:
        await connection.run(read_side)
    assert "s3cret" not in str(refused.value)
    await connection.close()


async def test_sentinels_that_are_away_change_nothing_for_open_connections(
    masters: list[RedisServer], sentinels: list[SentinelProcess]
) -> None:
    """Requests go on with the master of before; who connects anew waits for a majority."""
    client = open_client(url_of(sentinels), TIMEOUT_SECONDS, SENTINEL_PASSWORD)
    connection = RedisConnection(client, TIMEOUT_SECONDS)
    assert b"0" == await connection.run(read_side)
    for sentinel in sentinels:
        sentinel.stop()
    assert isinstance(client.connection_pool, FollowingPool)
    with pytest.raises(MasterNotFoundError):
        await client.connection_pool.get_master_address()
    assert b"0" == await connection.run(read_side)
    await connection.close()


async def test_a_named_server_that_is_no_master_is_not_asked(
    masters: list[RedisServer], sentinels: list[SentinelProcess]
) -> None:
    """It may still be a replica when a failover begins. Once it is a master, it is used."""
    with redis.Redis.from_url(masters[0].url) as named:
        named.replicaof("127.0.0.1", "1")
        client = open_client(url_of(sentinels), TIMEOUT_SECONDS, SENTINEL_PASSWORD)
        connection = RedisConnection(client, TIMEOUT_SECONDS)
        with pytest.raises(StoreUnavailable, match="is no master"):
            await connection.run(read_side)
        named.replicaof("NO", "ONE")
    async with asyncio.timeout(20):
        await until_closed(connection)
        assert b"0" == await connection.run(read_side)
    await connection.close()


async def test_a_wrong_password_is_told_without_it(
    masters: list[RedisServer], sentinels: list[SentinelProcess]
) -> None:
    """Of the Sentinels: each says what it refuses."""
    connection = RedisConnection(open_client(url_of(sentinels), TIMEOUT_SECONDS, "wr0ng"), TIMEOUT_SECONDS)
    with pytest.raises(StoreUnavailable, match=r"invalid username-password pair") as refused:
        await connection.run(read_side)
    assert "wr0ng" not in str(refused.value)
    await connection.close()


@pytest.mark.parametrize("url", ["redis+sentinel://a,b", "redis+sentinel://a/tokens/0?db_=1"])
def test_a_wrong_url_is_a_mistake(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^redis: "):
        open_client(url, TIMEOUT_SECONDS)

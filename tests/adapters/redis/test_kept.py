"""What was acknowledged is on Redis' disk, or it is said that it may not be."""

import signal
from pathlib import Path

import pytest
import redis

from gateway.adapters.redis.connection import EMBEDDED, RedisConnection
from gateway.adapters.redis.tokens import RedisTokens
from gateway.core.errors import MaybeUndone, NotKept
from tests.support.connections import open_connection
from tests.support.processes import RedisServer
from tests.support.redis_keys import ALL_BUT_MARKER
from tests.support.scripted_redis import scripted_redis

SINCE = (7, 2)


async def keep(connection: RedisConnection) -> None:
    """Wait for what was changed a moment ago."""
    tokens = RedisTokens(connection)
    await tokens.keep(await tokens.server())


@pytest.mark.redis
async def test_the_disk_is_waited_for_on_the_connection_of_a_write(own_redis: RedisServer) -> None:
    """WAITAOF waits for writes of its own connection: one that has written nothing is told at once that all is well."""
    with scripted_redis(own_redis.port) as told:
        async with open_connection(told.url) as connection:
            await keep(connection)
            assert [] == await connection.client.keys(ALL_BUT_MARKER)
    ((*_, mark, wait),) = told.waits
    assert b"EVAL" == mark[0]
    assert [b'["SADD","kept"]', b'["DEL"]'] == list(mark[-2:])
    assert (b"WAITAOF", b"1", b"0", b"3000") == wait


@pytest.mark.redis
async def test_a_disk_that_is_late_is_told(own_redis: RedisServer) -> None:
    """It is done and in effect, it may be undone, and repeating it waits again."""
    with scripted_redis(own_redis.port) as told:
        told.answer = (0, 0)
        async with open_connection(told.url) as connection:
            with pytest.raises(NotKept, match=r"done and in effect.*within 3 s.*again"):
                await keep(connection)
            assert not connection.is_circuit_open
            told.answer = (1, 0)
            await keep(connection)


@pytest.mark.redis
@pytest.mark.parametrize(
    "refusal",
    [
        "ERR unknown command 'WAITAOF', with args beginning with: '1' '0' '3000' ",
        "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
        "NOPERM User gateway has no permissions to run the 'waitaof' command",
    ],
)
async def test_a_redis_that_cannot_tell_is_not_waited_for(own_redis: RedisServer, refusal: str) -> None:
    """Before 7.2, without an append-only file, without the permission: what it promises is said by others."""
    with scripted_redis(own_redis.port) as told:
        told.answer = refusal
        async with open_connection(told.url) as connection:
            await keep(connection)
    assert 1 == len(told.waits)


@pytest.mark.redis
async def test_a_redis_that_leaves_the_disk_to_the_system_is_not_waited_for(own_redis: RedisServer) -> None:
    """`appendfsync no`: it would never come, and each revocation would take all of the time."""
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("appendfsync", "no")
    with scripted_redis(own_redis.port) as told:
        async with open_connection(told.url) as connection:
            await keep(connection)
    assert [] == told.waits


async def test_the_embedded_store_is_not_waited_for() -> None:
    """It has no disk."""
    async with open_connection(EMBEDDED) as connection:
        await keep(connection)
        assert [] == await connection.client.keys(ALL_BUT_MARKER)


@pytest.mark.redis
@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_a_real_disk_is_waited_for(redis_executable: str, tmp_path: Path, fsync: str) -> None:
    """With both settings that promise something, also where other commands may take a twentieth of a second only."""
    server = RedisServer(redis_executable, tmp_path, options=("--appendonly", "yes", "--appendfsync", fsync))
    try:
        async with open_connection(server.url, 0.05) as connection:
            info = await connection.client.info("server")
            version = tuple(map(int, info.get("valkey_version", info["redis_version"]).split(".")))
            if version < SINCE:
                pytest.skip("needs WAITAOF, of Redis 7.2")
            await keep(connection)
            stats = await connection.client.info("stats")
            commands = await connection.client.info("commandstats")
            assert 1 == commands["cmdstat_waitaof"]["calls"]
            assert 0 == stats.get("total_error_replies", 0)
    finally:
        server.stop()


@pytest.mark.redis
async def test_a_server_that_was_restarted_confirms_nothing(redis_executable: str, tmp_path: Path) -> None:
    """The disk of a restarted Redis lacks what it had not written: its confirmation is about another log."""
    first = RedisServer(redis_executable, tmp_path)
    async with open_connection(first.url) as connection:
        tokens = RedisTokens(connection)
        before = await tokens.server()
        assert before
        first.stop(signal.SIGKILL)
        second = RedisServer(redis_executable, tmp_path, first.port)
        try:
            with pytest.raises(MaybeUndone, match=r"restarted, or another server took over.*Do it again"):
                await tokens.keep(before)
            await keep(connection)
        finally:
            second.stop()

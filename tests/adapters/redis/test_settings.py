"""What a Redis server says of its own settings."""

from pathlib import Path

import pytest

from gateway.adapters.redis.connection import EMBEDDED, RedisConnection, open_client
from gateway.adapters.redis.readiness import read_store_facts
from gateway.core.durability import StoreFacts
from gateway.core.errors import StoreUnavailable
from tests.support.processes import RedisServer, free_port


async def facts_of(url: str) -> StoreFacts | None:
    connection = RedisConnection(open_client(url, 5), 5)
    try:
        return await read_store_facts(connection)
    finally:
        await connection.close()


@pytest.mark.redis
async def test_a_redis_tells_what_it_keeps_and_what_it_evicts(
    own_redis: RedisServer, redis_executable: str, tmp_path: Path
) -> None:
    """By default, and as it was started."""
    facts = await facts_of(own_redis.url)
    assert facts is not None
    assert not facts.is_append_only
    assert False is facts.has_snapshots
    assert "noeviction" == facts.eviction
    folder = tmp_path / "other"
    folder.mkdir()
    options = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "allkeys-lru", "maxmemory": "100mb"}
    options["save"] = "3600 1"
    words = tuple(word for name, value in options.items() for word in (f"--{name}", value))
    other = RedisServer(redis_executable, folder, options=words)
    facts = await facts_of(other.url)
    other.stop()
    assert facts is not None
    assert facts.is_append_only
    assert "always" == facts.fsync
    assert True is facts.has_snapshots
    assert "allkeys-lru" == facts.eviction
    assert 100 * 1024 * 1024 == facts.maximum_bytes


@pytest.mark.redis
async def test_a_redis_that_refuses_config_tells_the_rest(own_redis: RedisServer) -> None:
    """Managed servers have no CONFIG: when the log reaches the disk, and if there are snapshots, is unknown then."""
    connection = RedisConnection(open_client(own_redis.url, 5), 5)
    rules = ("on", "nopass", "~*", "+@all", "-config")
    await connection.client.execute_command("ACL SETUSER", "gateway", *rules)  # type: ignore[no-untyped-call]  # redis-py's
    await connection.close()
    facts = await facts_of(own_redis.url.replace("//", "//gateway:any@"))
    assert facts is not None
    assert None is facts.fsync
    assert None is facts.has_snapshots
    assert "noeviction" == facts.eviction


async def test_the_embedded_store_tells_nothing() -> None:
    """It keeps nothing and evicts nothing."""
    assert None is await facts_of(EMBEDDED)


async def test_a_redis_that_is_away_is_unavailable() -> None:
    """It is not taken for one that does not tell."""
    with pytest.raises(StoreUnavailable):
        await facts_of(f"redis://127.0.0.1:{free_port()}/0")

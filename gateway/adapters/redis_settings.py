"""What a Redis server says of its own settings."""

from typing import Any

from gateway.adapters.redis_connection import Client, RedisConnection
from gateway.adapters.redis_usage import run_each
from gateway.core.durability import StoreFacts
from gateway.core.errors import StoreUnavailable


async def read_store_facts(connection: RedisConnection) -> StoreFacts | None:
    """Return the settings that matter to tokens, or None if the store does not tell (the embedded one, a proxy).

    Raises StoreUnavailable if Redis does not answer.
    """
    try:
        told: dict[str, Any] = await connection.run(_read_info)
    except StoreUnavailable as error:
        if not error.code:
            raise
        return None
    (fsync,) = await run_each(connection, [("CONFIG GET", "appendfsync")])  # managed servers refuse it
    return StoreFacts(
        version=str(told["redis_version"]),
        is_append_only=bool(told["aof_enabled"]),
        fsync=None if isinstance(fsync, Exception) else fsync["appendfsync"],
        eviction=str(told["maxmemory_policy"]),
        maximum_bytes=int(told["maxmemory"]),
    )


async def _read_info(client: Client) -> dict[str, Any]:
    return await client.info()

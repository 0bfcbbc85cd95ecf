"""Connections to Redis that are open for the length of a block."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.adapters.redis.connection import RedisConnection, open_client


@asynccontextmanager
async def open_connection(url: str, timeout_seconds: float = 10) -> AsyncIterator[RedisConnection]:
    """Open a connection to the Redis at `url`; close it at the end of the block."""
    connection = RedisConnection(open_client(url, timeout_seconds), timeout_seconds)
    try:
        yield connection
    finally:
        await connection.close()


async def until_closed(connection: RedisConnection) -> None:
    """Return when the circuit is closed: a probe has found Redis again."""
    async with asyncio.timeout(10):
        while connection.is_circuit_open:
            await asyncio.sleep(0)

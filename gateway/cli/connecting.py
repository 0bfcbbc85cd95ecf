"""The Redis that a command works on, and who calls the command."""

import asyncio
import getpass
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.adapters.redis_connection import EMBEDDED, RedisConnection, open_client
from gateway.core.audit import Actor
from gateway.core.errors import ConfigurationError
from gateway.settings import NO_REDIS

COMMAND_TIMEOUT_SECONDS = 5.0
"""A person waits longer for Redis than a request may."""

Answer = TypeVar("Answer")


def operator() -> Actor:
    """Return who calls the command: the login name, or the user's number if it has none."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    return Actor(name, "operator")


def with_connection(redis_url: str | None, work: Callable[[RedisConnection], Awaitable[Answer]]) -> Answer:
    """Run `work` on the Redis at the URL, and close the connection."""
    if not redis_url:
        raise ConfigurationError(NO_REDIS)
    if redis_url == EMBEDDED:
        raise ConfigurationError("redis: the embedded store lives inside `gateway serve`; name a real Redis here")

    async def run() -> Answer:
        connection = RedisConnection(open_client(redis_url, COMMAND_TIMEOUT_SECONDS), COMMAND_TIMEOUT_SECONDS)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run())

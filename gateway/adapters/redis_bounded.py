"""A connection to Redis for what comes in crowds: exports that are read, stored and waited for, calls that manage
tokens. Whoever was let in on another connection is not in their way."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.adapters.redis_connection import Client, Meaning, RedisConnection

MAXIMUM_COMMANDS = 32
"""At once. The client's pool ends at a hundred connections, and who is refused one takes Redis for away."""

Answer = TypeVar("Answer")


class BoundedConnection(RedisConnection):
    """Runs so many commands at once; the others wait for their turn, and their time begins with it."""

    def __init__(
        self,
        client: Client,
        timeout_seconds: float,
        counts: Counter[str] | None = None,
        *,
        meaning: Meaning | None = None,
        follow: RedisConnection | None = None,
    ) -> None:
        super().__init__(client, timeout_seconds, counts, meaning=meaning, follow=follow)
        self._turns = asyncio.Semaphore(MAXIMUM_COMMANDS)

    async def run(self, command: Callable[[Client], Awaitable[Answer]], more_seconds: float = 0) -> Answer:
        """See RedisConnection.run."""
        async with self._turns:
            return await super().run(command, more_seconds)

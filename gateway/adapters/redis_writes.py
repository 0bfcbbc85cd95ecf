"""Commands that write little: to lists of tokens and owners, claims, sessions, the history of what was refused.

Rule: what changes tokens, or signs in whoever has to, goes through a script. While Redis is full of what can be done
without, it refuses commands (OOM).
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.adapters.redis_connection import RedisConnection
from gateway.adapters.redis_scripts import read_script

Write = Sequence[str | int]
"""A command, its key, and what follows."""


class RedisWrites:
    """Writes in one script, all or none; raises StoreUnavailable."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._script = read_script("write.lua")

    async def run(self, *writes: Write) -> list[Any]:
        """The answers to the commands."""
        keys, arguments = _split(writes)
        answers: list[Any] = await self._connection.run_script(self._script, keys, arguments)
        return answers

    def as_command(self, *writes: Write) -> Sequence[Any]:
        """The same as one command, for who needs others behind it on the same connection."""
        keys, arguments = _split(writes)
        return ("EVAL", self._script.source, len(keys), *keys, *arguments)


def _split(writes: Sequence[Write]) -> tuple[list[str], list[bytes]]:
    keys = [str(key) for _, key, *_ in writes]
    return keys, [msgspec.json.encode([str(word) for word in (command, *rest)]) for command, _, *rest in writes]

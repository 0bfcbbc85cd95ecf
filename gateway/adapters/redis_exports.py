"""Stored exports in Redis, with the content also in the worker's memory.

The admission brings the current head, so content in memory is used only under exactly that head: what another worker
stores or removes is seen at once, and a hit costs no second round trip.
"""

import logging
from collections import OrderedDict

from gateway.adapters.redis_connection import RedisConnection
from gateway.core.errors import StoreUnavailable

logger = logging.getLogger(__name__)


class RedisExports:
    """See protocols.Exports. Memory holds at most `memory_bytes` of content, the least recently used goes first."""

    def __init__(self, connection: RedisConnection, memory_bytes: int) -> None:
        self._connection = connection
        self._memory = ContentMemory(memory_bytes)

    def forget(self) -> None:
        """Empties the worker's memory; what is in Redis stays."""
        self._memory.clear()

    def recall(self, name: str, raw_head: bytes) -> bytes | None:
        """The content if this worker has it under exactly this head."""
        return self._memory.get(name, raw_head)

    async def read(self, name: str, raw_head: bytes) -> bytes | None:
        """The content stored under exactly this head, from Redis; None where it is gone or another one by now."""
        try:
            found, content = await self._connection.run(lambda client: client.hmget(name, ["head", "content"]))
        except StoreUnavailable as error:
            logger.warning("a stored export could not be read: %s", error)
            return None
        if found != raw_head or not isinstance(content, bytes):
            return None
        self._memory.put(name, raw_head, content)
        return content

    async def write(self, name: str, raw_head: bytes, content: bytes, keep_milliseconds: int) -> bool:
        """Stores head and content together for `keep_milliseconds`; False where Redis did not take them."""
        try:
            async with self._connection.client.pipeline(transaction=True) as pipeline:
                pipeline.hset(name, mapping={"head": raw_head, "content": content})
                pipeline.pexpire(name, keep_milliseconds)
                await self._connection.run(lambda _: pipeline.execute())
        except StoreUnavailable as error:
            logger.warning("an export could not be stored: %s", error)
            return False
        self._memory.put(name, raw_head, content)
        return True


class ContentMemory:
    """Content by name and head, within a budget of bytes."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._used = 0
        self._entries: OrderedDict[str, tuple[bytes, bytes]] = OrderedDict()

    def get(self, name: str, raw_head: bytes) -> bytes | None:
        """The content kept under this name and head."""
        entry = self._entries.get(name)
        if entry is None or entry[0] != raw_head:
            return None
        self._entries.move_to_end(name)
        return entry[1]

    def put(self, name: str, raw_head: bytes, content: bytes) -> None:
        """Keeps the content, in the place of what the name had; makes room by forgetting the least recently used."""
        self._forget(name)
        if len(content) > self._budget:
            return
        self._entries[name] = (raw_head, content)
        self._used += len(content)
        while self._used > self._budget:
            self._forget(next(iter(self._entries)))

    def clear(self) -> None:
        """Forgets everything."""
        self._entries.clear()
        self._used = 0

    def _forget(self, name: str) -> None:
        _, content = self._entries.pop(name, (b"", b""))
        self._used -= len(content)

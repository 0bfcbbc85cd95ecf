"""Exports in a Redis of their own: the heads of what is stored come with a second round trip, after the admission.

Rule: nothing of this Redis is needed to answer. While it is away nothing is stored, and the backends are asked.
"""

from gateway.adapters.redis_connection import RedisConnection
from gateway.adapters.redis_scripts import read_script
from gateway.core.errors import StoreUnavailable


class ApartHeads:
    """See protocols.Heads. `now` sets the clock of the exports' Redis as in RedisExports."""

    def __init__(self, connection: RedisConnection) -> None:
        self.now: int | None = None
        self._connection = connection
        self._find = read_script("find_heads.lua")

    async def find(self, name: str) -> tuple[int | None, tuple[bytes, ...]]:
        """The time there, and the heads of what is stored; neither while that Redis is away: its connection says so."""
        try:
            now, heads = await self._connection.run_script(self._find, [name], ["" if self.now is None else self.now])
        except StoreUnavailable:
            return None, ()
        return now, tuple(heads)

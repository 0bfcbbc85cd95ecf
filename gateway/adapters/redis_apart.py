"""Exports in a Redis of their own: the heads of what is stored come with a second round trip, after the admission.

Rule: nothing of this Redis is needed to answer. While it is away nothing is stored, and the backends are asked.
"""

from msgspec.structs import replace

from gateway.adapters import names
from gateway.adapters.protocols import Admissions
from gateway.adapters.redis_connection import RedisConnection
from gateway.adapters.redis_scripts import read_script
from gateway.core.caching.keys import entitlement
from gateway.core.decision import Asked, Facts
from gateway.core.errors import StoreUnavailable


class ApartAdmissions:
    """See protocols.Admissions. `now` sets the clock of the exports' Redis as in RedisExports."""

    def __init__(self, admissions: Admissions, exports: RedisConnection) -> None:
        self.now: int | None = None
        self._admissions = admissions
        self._exports = exports
        self._find = read_script("find_heads.lua")

    async def admit(self, asked: Asked) -> Facts:
        """What Redis knows of the token, and what the other one has stored for the request if it may pass."""
        facts = await self._admissions.admit(replace(asked, export_key=""))
        cache, key = asked.rule.cache, asked.export_key
        who = entitlement(cache, facts.record) if cache is not None and key and facts.is_charged else ""
        if cache is None or not who:
            return replace(facts, export_key=key)
        name, clock = names.export(cache.shared_by, who, key), "" if self.now is None else self.now
        try:
            now, heads = await self._exports.run_script(self._find, [name], [clock])
        except StoreUnavailable:  # said by the connection
            return replace(facts, export_key=key)
        return replace(facts, export_key=key, stored_heads=tuple(heads), exports_at=now)

"""Settlements: what a request has to give back when it is over, written off its path.

What is settled in one event-loop tick leaves together, and one call at a time is under way, so that nothing can
overtake what was said of the same request before. A call that fails is not repeated: the units stay charged, and a
lease ends by itself. So does all that a killed worker had not settled yet: strict, never lenient.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from gateway.adapters import names
from gateway.adapters.flights import UNCOUNTED, Counted
from gateway.adapters.protocols import Flight
from gateway.adapters.redis_connection import RedisConnection
from gateway.adapters.redis_scripts import read_script
from gateway.core.decision import Facts
from gateway.core.errors import StoreUnavailable
from gateway.core.outcomes import Authorized, Refused
from gateway.core.partitions import holder_of
from gateway.core.policies.rules import Rule
from gateway.core.policies.terms import encode_quota
from gateway.core.quotas import LEASE_SECONDS, Quota

MAXIMUM_BATCH = 256
"""Changes of counters in one script call: Redis serves nobody else for about a millisecond."""
RENEWALS = 3
"""Times that a lease is renewed before it would end: two renewals may be lost, to a slow Redis or a busy worker."""


class _Change(msgspec.Struct, frozen=True):
    """One thing to be done to one counter."""

    key: str
    quota: Quota
    action: Literal["give_back", "renew", "release"]
    first: str | int
    second: int = 0


class RedisSettlements:
    """See protocols.Settlements; `now` sets the script's clock in Unix milliseconds, None leaves it to Redis."""

    def __init__(
        self, connection: RedisConnection, new_id: Callable[[], str], lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self.now: int | None = None
        self._connection = connection
        self._script = read_script("quotas.lua", "settle.lua")
        self._new_id = new_id
        self._renewal_seconds = lease_seconds / RENEWALS
        self._waiting: list[_Change] = []
        self._sending: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._held: dict[str, list[_Change]] = {}

    def lease_for(self, rule: Rule) -> str:
        """A name for a request; empty where the rule does not count those in flight."""
        return self._new_id() if rule.has_leases else ""

    def settle(self, outcome: Authorized | Refused) -> None:
        """Gives what is left of the reserved cost back to every quota that was charged."""
        rule, facts = outcome.rule, outcome.facts
        if rule is None or facts is None or not facts.is_charged or facts.cost == rule.cost.reserved:
            return
        units = rule.cost.reserved - facts.cost
        self._add(
            [
                _Change(_key(rule, facts, window.quota), window.quota, "give_back", units, facts.now)
                for window in facts.windows
                if window.fits_at is None and not window.quota.is_concurrency
            ]
        )

    def in_flight(self, rule: Rule, facts: Facts) -> Flight:
        """Counts the request as in flight until the end of the `with` block, or of a stream that it leads to."""
        renewals = [
            _Change(_key(rule, facts, window.quota), window.quota, "renew", facts.lease)
            for window in (facts.windows if facts.lease else ())
            if window.fits_at is None and window.quota.is_concurrency
        ]
        if not renewals:
            return UNCOUNTED
        self._held[facts.lease] = renewals
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew())
        return Counted(lambda: self._release(facts.lease))

    async def close(self) -> None:
        """Settles what is left."""
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        await self.settled()

    async def settled(self) -> None:
        """Returns when nothing is left to be settled."""
        self._flush()
        while self._sending is not None:
            await asyncio.wait([self._sending])

    def _release(self, lease: str) -> None:
        self._add([msgspec.structs.replace(one, action="release") for one in self._held.pop(lease, ())])

    async def _renew(self) -> None:
        while self._held:
            await asyncio.sleep(self._renewal_seconds)
            self._add([change for changes in self._held.values() for change in changes])
        self._renewing = None

    def _add(self, changes: Sequence[_Change]) -> None:
        if changes and not self._waiting and self._sending is None:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting += changes

    def _flush(self) -> None:
        if self._waiting and self._sending is None:
            batch, self._waiting = self._waiting[:MAXIMUM_BATCH], self._waiting[MAXIMUM_BATCH:]
            self._sending = asyncio.create_task(self._send(batch))
            self._sending.add_done_callback(self._sent)

    def _sent(self, _: "asyncio.Task[None]") -> None:
        self._sending = None
        self._flush()

    async def _send(self, batch: Sequence[_Change]) -> None:
        numbers: dict[Quota, int] = {}
        arguments: list[str | int] = []
        for change in batch:
            number = numbers.setdefault(change.quota, len(numbers) + 1)
            arguments += (number, change.action, change.first, change.second)
        now = "" if self.now is None else self.now
        quotas = [encode_quota(quota) for quota in numbers]
        keys = [change.key for change in batch]
        try:
            await self._connection.run_script_once(self._script, keys, [now, len(quotas), *quotas, *arguments])
        except StoreUnavailable:
            return  # said above


def _key(rule: Rule, facts: Facts, quota: Quota) -> str:
    return names.counter(quota, rule.policy.name, holder_of(quota.per, facts.record, facts.address))

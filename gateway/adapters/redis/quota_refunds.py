"""Refunds: what a request gives back when it is over, written off its path.

What is refunded in one event-loop tick leaves together. A call that fails is not repeated: the units stay charged, and
a lease expires by itself. The same holds for everything that a killed worker had not refunded yet: no failure admits
more.

Requests are in flight from their admission until their content is at hand or their stream has ended. Their leases are
renewed and released by the admissions, which keep the order (admissions.py).
"""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol

import msgspec

from gateway.adapters.ports import InFlight
from gateway.adapters.redis import keys as redis_keys
from gateway.adapters.redis.admissions import LeaseChange
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.scripts import read_script
from gateway.core.admission.decision import AdmissionFacts, Authorized, Refused
from gateway.core.errors import StoreUnavailable
from gateway.core.http.messages import ContentStream, Response
from gateway.core.policies.script_rules import encode_quota
from gateway.core.quotas.model import LEASE_SECONDS, Quota
from gateway.core.quotas.partitions import holder_of


class CountedRequest:
    """A request that is counted while it is in flight, which ends once."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._is_handed_on = False

    def __enter__(self) -> "CountedRequest":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._is_handed_on:
            self._release()

    def until_sent(self, response: Response) -> Response:
        """Return the response, whose stream ends the request; complete content no longer needs the backend."""
        if isinstance(response.content, bytes):
            return response
        self._is_handed_on = True
        return msgspec.structs.replace(response, content=CountedStream(response.content, self._release))


class CountedStream:
    """Content whose end, or whose `aclose`, ends the request; ending it twice does no harm."""

    def __init__(self, content: ContentStream, release: Callable[[], None]) -> None:
        self._content = content
        self._pieces = aiter(content)
        self._release = release

    def __aiter__(self) -> "CountedStream":
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._pieces)
        except BaseException:
            self._release()
            raise

    async def aclose(self) -> None:
        """Close the content before its end."""
        self._release()
        await self._content.aclose()


MAXIMUM_BATCH = 256
"""Refunds in one script call: it blocks Redis for about a millisecond."""
RENEWALS = 3
"""Renewals within the life of a lease: two may be lost, to a slow Redis or a busy worker."""


class _Refund(msgspec.Struct, frozen=True):
    """Units of one counter, and when they were charged, in Unix milliseconds."""

    key: str
    quota: Quota
    units: int
    charged_at: int


class Leases(Protocol):
    """What changes leases: RedisAdmissions."""

    def change_leases(self, changes: Sequence[LeaseChange]) -> None: ...

    async def drain(self) -> None: ...


class RedisQuotaRefunds:
    """The implementation of ports.QuotaRefunds.

    `now` sets the script's clock in Unix milliseconds, None leaves it to Redis.
    """

    def __init__(
        self,
        connection: RedisConnection,
        leases: Leases,
        new_id: Callable[[], str],
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.now: int | None = None
        self._connection = connection
        self._leases = leases
        self._script = read_script("quotas.lua", "settle.lua")
        self._new_id = new_id
        self._renewal_seconds = lease_seconds / RENEWALS
        self._waiting: list[_Refund] = []
        self._sending: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._held: dict[str, list[LeaseChange]] = {}
        """The renewals of each lease that is held."""

    def new_lease(self) -> str:
        """Return a name for a request."""
        return self._new_id()

    def leased(self, facts: AdmissionFacts) -> tuple[tuple[str, Quota], ...]:
        """Return the keys and the limits that count an admitted request among those in flight."""
        if not (facts.is_charged and facts.request.lease):
            return ()
        return tuple(
            [
                (_key(facts, window.quota), window.quota)
                for window in facts.windows
                if window.fits_at is None and window.quota.is_concurrency
            ]
        )

    def hold(self, lease: str, leased: Sequence[tuple[str, Quota]]) -> None:
        """Count the request of this lease as in flight until it is released, though it takes longer than a lease."""
        if leased:  # nothing for a plan without such a limit
            self._held[lease] = [LeaseChange(key, lease, quota.window) for key, quota in leased]
            if self._renewing is None:
                self._renewing = asyncio.create_task(self._renew())

    def release(self, lease: str, leased: Sequence[tuple[str, Quota]]) -> None:
        """End the request of this lease: no later admission of this worker counts it."""
        self._held.pop(lease, None)
        self._leases.change_leases([LeaseChange(key, lease) for key, _ in leased])

    def refund(self, outcome: Authorized | Refused) -> None:
        """Give the rest of the reserved cost back to every quota that was charged."""
        rule, facts = outcome.rule, outcome.facts
        if rule is None or facts is None or not facts.is_charged or facts.cost == rule.cost.reserved:
            return
        units = rule.cost.reserved - facts.cost
        self._add(
            [
                _Refund(_key(facts, window.quota), window.quota, units, facts.now)
                for window in facts.windows
                if window.fits_at is None and not window.quota.is_concurrency
            ]
        )

    def in_flight(self, facts: AdmissionFacts) -> InFlight:
        """Count the request as in flight until the end of the `with` block, or of a stream that it leads to."""
        lease = facts.request.lease if facts.is_charged else ""
        self.hold(lease, self.leased(facts))
        return CountedRequest(lambda: self._release(lease))

    async def close(self) -> None:
        """Refund what is left."""
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        await self.drain()

    async def drain(self) -> None:
        """Wait until nothing is left to be refunded."""
        self._flush()
        while self._sending is not None:
            await asyncio.wait([self._sending])
        await self._leases.drain()

    def _release(self, lease: str) -> None:
        self._leases.change_leases([msgspec.structs.replace(one, lives=0) for one in self._held.pop(lease, ())])

    async def _renew(self) -> None:
        while self._held:
            await asyncio.sleep(self._renewal_seconds)
            self._leases.change_leases([change for changes in self._held.values() for change in changes])
        self._renewing = None

    def _add(self, refunds: Sequence[_Refund]) -> None:
        if refunds and not self._waiting and self._sending is None:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting += refunds

    def _flush(self) -> None:
        if self._waiting and self._sending is None:
            batch, self._waiting = self._waiting[:MAXIMUM_BATCH], self._waiting[MAXIMUM_BATCH:]
            self._sending = asyncio.create_task(self._send(batch))
            self._sending.add_done_callback(self._sent)

    def _sent(self, _: "asyncio.Task[None]") -> None:
        self._sending = None
        self._flush()

    async def _send(self, batch: Sequence[_Refund]) -> None:
        numbers: dict[Quota, int] = {}
        arguments: list[int] = []
        for refund in batch:
            number = numbers.setdefault(refund.quota, len(numbers) + 1)
            arguments += (number, refund.units, refund.charged_at)
        now = "" if self.now is None else self.now
        quotas = [encode_quota(quota) for quota in numbers]
        keys = [refund.key for refund in batch]
        try:
            await self._connection.run_script_once(self._script, keys, [now, len(quotas), *quotas, *arguments])
        except StoreUnavailable:
            return  # logged by the connection


def _key(facts: AdmissionFacts, quota: Quota) -> str:
    request = facts.request
    return redis_keys.counter(quota, request.rule.policy.name, holder_of(quota.per, facts.record, request.address))

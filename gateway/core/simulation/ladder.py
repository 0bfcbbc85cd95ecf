"""What if the limit were another one: a quota at many limits at once, over the same requests.

Rule: as long as a limit refuses nobody, its state is the one of a limit that nobody reaches. So a holder has one state,
and one more for each limit that it went beyond; most holders never reach the lowest. A token bucket repays what its
limit says, so its states differ from the beginning; requests in flight are counted by their ends.

A request counts at its final cost when it comes: what was reserved beyond that is not counted for a while, as it is in
Redis.
"""

from collections.abc import Iterator
from heapq import heappop, heappush

import msgspec

from gateway.core.quotas.algorithms import ALGORITHMS, State, new_state
from gateway.core.quotas.model import EXACT, MAXIMUM_NUMBER, Quota

STEPS_TO_DOUBLE = 4
OCTAVES = 3
"""The limits go from an eighth to eight times the quota's own, each 19 % above the one before."""
SHARES = (0.0, 0.001, 0.01)
"""Of requests or of tokens that may be refused, for which the smallest limit is told."""


class Rung(msgspec.Struct):
    """What one limit would do."""

    quota: Quota
    refused: int = 0
    holders: int = 0
    """Whose requests it would refuse."""


class _Demand(msgspec.Struct):
    """What one holder asked for."""

    free: State
    """As if there were no limit."""
    rungs: list[State]
    """Of the lowest limits: those that it went beyond."""
    hit: list[bool]
    peak: int = 0


class _InFlight:
    """Requests in flight, by when they end: what a concurrency limit counts."""

    def __init__(self) -> None:
        self.ends: list[int] = []

    def count(self, now: int) -> int:
        while self.ends and self.ends[0] <= now:
            heappop(self.ends)
        return len(self.ends)


class Ladder:
    """A quota at many limits."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.rungs = [Rung(rung) for rung in _list_rungs(quota)]
        self._repays = quota.algorithm in ALGORITHMS and ALGORITHMS[quota.algorithm].has_burst
        unlimited = msgspec.structs.replace(quota, limit=max(1, EXACT // quota.window), burst=None)
        self._wide = quota if self._repays else unlimited  # how much a bucket repays is what its limit says
        self._demands: dict[str, _Demand] = {}
        self._flights: dict[str, list[_InFlight]] = {}
        self.requests = 0

    def measure(self, holder: str, cost: int, now: int, ends_at: int) -> float:
        """Count a request; return the share of the quota's own capacity that the holder has asked for by now."""
        self.requests += 1
        if self.quota.is_concurrency:
            return self._measure_flight(holder, now, ends_at) / max(1, self.quota.capacity)
        demand = self._demands.get(holder)
        if demand is None:
            new = new_state(self.quota.algorithm)
            started = [new] * len(self.rungs) if self._repays else []
            demand = self._demands[holder] = _Demand(new, started, [False] * len(self.rungs))
        if cost > 0:
            free = demand.free.advance(self._wide, now)
            units = free.units(self._wide, now) + cost
            if units > demand.peak:
                demand.peak = units
                while len(demand.rungs) < len(self.rungs) and self.rungs[len(demand.rungs)].quota.capacity < units:
                    demand.rungs.append(free)
            for index, state in enumerate(demand.rungs):
                demand.rungs[index] = self._climb(demand, index, state, cost, now)
            demand.free = free.take(self._wide, cost, now)
            return units / max(1, self.quota.capacity)
        return 0.0

    def _climb(self, demand: _Demand, index: int, state: State, cost: int, now: int) -> State:
        rung = self.rungs[index]
        state = state.advance(rung.quota, now)
        if state.units(rung.quota, now) + cost <= rung.quota.capacity:
            return state.take(rung.quota, cost, now)
        rung.refused += 1
        if not demand.hit[index]:
            demand.hit[index] = True
            rung.holders += 1
        return state

    def _measure_flight(self, holder: str, now: int, ends_at: int) -> int:
        flights = self._flights.get(holder)
        if flights is None:
            flights = self._flights[holder] = [_InFlight() for _ in range(len(self.rungs) + 1)]
            self._demands[holder] = _Demand(new_state(self.quota.algorithm), [], [False] * len(self.rungs))
        demand, free = self._demands[holder], flights[-1]
        units = free.count(now) + 1
        heappush(free.ends, ends_at)
        demand.peak = max(demand.peak, units)
        for index, (rung, flight) in enumerate(zip(self.rungs, flights, strict=False)):
            if flight.count(now) < rung.quota.capacity:
                heappush(flight.ends, ends_at)
                continue
            rung.refused += 1
            rung.holders += not demand.hit[index]
            demand.hit[index] = True
        return units

    def peaks(self) -> Iterator[tuple[str, int]]:
        """Yield each holder and the most units that it asked for at once, if nobody had refused it."""
        for holder, demand in self._demands.items():
            yield holder, demand.peak

    @property
    def holders(self) -> int:
        """How many there are."""
        return len(self._demands)

    def smallest(self, share: float, *, of_holders: bool) -> int | None:
        """Return the smallest limit that refuses at most this share of the requests, or of the holders.

        Without a refusal it is exact but for a token bucket; else it is one of the rungs. None if none of them does.
        """
        exact = None if self._repays else max((peak for _, peak in self.peaks()), default=0)
        if share == 0 and exact is not None:
            return exact
        most = share * (self.holders if of_holders else self.requests)
        fitting = (rung for rung in self.rungs if (rung.holders if of_holders else rung.refused) <= most)
        found = next((rung.quota.limit for rung in fitting), None)
        return exact if found is None or (exact is not None and exact < found) else found


def _list_rungs(quota: Quota) -> list[Quota]:
    """Return the quota at each limit, the lowest first; a burst grows with the limit."""
    steps = range(-OCTAVES * STEPS_TO_DOUBLE, OCTAVES * STEPS_TO_DOUBLE + 1)
    limits = {min(MAXIMUM_NUMBER, max(1, round(quota.limit * 2 ** (step / STEPS_TO_DOUBLE)))) for step in steps}
    bursts = {limit: quota.burst and max(1, round(quota.burst * limit / max(1, quota.limit))) for limit in limits}
    return [msgspec.structs.replace(quota, limit=limit, burst=bursts[limit]) for limit in sorted(limits)]

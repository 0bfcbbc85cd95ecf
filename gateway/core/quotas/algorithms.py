"""The algorithms of quotas: the reference model of adapters/scripts/quotas.lua.

Rule: ALGORITHMS is the one table of them. docs/development/contributing.md lists what a new one touches; what is
forgotten fails a test, and readiness.

All computations use whole numbers: milliseconds, units of cost, and ticks (see Quota.tick). A state whose time is over
counts as new.

- fixed-window: the window starts with the first request it counts and ends after its length; the next request after
  that starts another one.
- sliding-window-counter: windows begin at multiples of their length since 1970; units of the window before count by
  the share of it that a window of this length, ending now, would still cover, rounded down.
- moving-window: the units of the last window, counted back from this moment, each request by itself.
- token-bucket: the generic cell rate algorithm. A cost is a debt, repaid at a steady `limit` per window; the debt is
  at most `burst` units.
- concurrent: the requests in flight, one unit each whatever they cost. Each has a lease that expires a window after it
  was last renewed.

Giving units back never leaves more than there would be without the charge: it gives nothing once the window is over,
nothing of a debt that was repaid meanwhile, and nothing to a moving window with over MAXIMUM_LATER newer entries.
"""

from bisect import bisect_right
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol, Self, TypeAlias

import msgspec

from gateway.core.quotas.model import CONCURRENT, FIXED_WINDOW, Quota

MAXIMUM_LATER = 1000
"""Newer entries of a moving window that are rewritten if units are given back to an older one."""
RETRY_MILLISECONDS = 1000
"""Milliseconds until a request that found too many in flight may retry: the end of the others is unknown."""


class State(Protocol):
    """The state of an algorithm for one quota."""

    def advance(self, quota: Quota, now: int) -> Self:
        """Return the state at a later moment."""
        ...

    def units(self, quota: Quota, now: int) -> int:
        """Return the units used; the state must be advanced to `now`."""
        ...

    def take(self, quota: Quota, cost: int, now: int) -> Self:
        """Return the state with `cost` more units used."""
        ...

    def fits_at(self, quota: Quota, cost: int) -> int:
        """Return when units that find no room now, but are fewer than the capacity, will fit."""
        ...

    def refund(self, quota: Quota, units: int, charged_at: int, now: int) -> Self | None:
        """Return the state without units that were charged earlier, or None if they no longer count."""
        ...


class FixedWindow(msgspec.Struct, frozen=True):
    """The current window."""

    resets_at: int
    used: int

    def advance(self, quota: Quota, now: int) -> "FixedWindow":
        """Return the state at a later moment."""
        return self if self.resets_at > now else FixedWindow(now + quota.window, 0)

    def units(self, quota: Quota, now: int) -> int:
        """Return the units used; the state must be advanced to `now`."""
        return self.used

    def take(self, quota: Quota, cost: int, now: int) -> "FixedWindow":
        """Return the state with `cost` more units used."""
        return FixedWindow(self.resets_at, self.used + cost)

    def fits_at(self, quota: Quota, cost: int) -> int:
        """Return when units that find no room now, but are fewer than the capacity, will fit."""
        return self.resets_at

    def refund(self, quota: Quota, units: int, charged_at: int, now: int) -> "FixedWindow | None":
        """Return the state without units that were charged earlier, or None if they no longer count."""
        is_same = self.resets_at > now and self.resets_at - quota.window <= charged_at
        return FixedWindow(self.resets_at, max(0, self.used - units)) if is_same else None


class SlidingCounter(msgspec.Struct, frozen=True):
    """The current window, by its start, and the one before it."""

    start: int
    before: int
    current: int

    def advance(self, quota: Quota, now: int) -> "SlidingCounter":
        start = now - now % quota.window
        if self.start >= start:
            return self
        return SlidingCounter(start, self.current if self.start + quota.window == start else 0, 0)

    def units(self, quota: Quota, now: int) -> int:
        left = -((now - self.start - quota.window) // quota.tick)
        return min(self.before, quota.limit) * min(left, quota.ticks) // quota.ticks + self.current

    def take(self, quota: Quota, cost: int, now: int) -> "SlidingCounter":
        return SlidingCounter(self.start, self.before, self.current + cost)

    def fits_at(self, quota: Quota, cost: int) -> int:
        units, ends = min(self.before, quota.limit), self.start + quota.window
        room = quota.limit - cost - self.current
        if room < 0:  # it fits only in the next window, for which the units of this one count as those before
            units, ends, room = max(1, min(self.current, quota.limit)), ends + quota.window, quota.limit - cost
        left = min(-(-(room + 1) * quota.ticks // units) - 1, quota.ticks)
        return max(ends - left * quota.tick, ends - quota.window)

    def refund(self, quota: Quota, units: int, charged_at: int, now: int) -> "SlidingCounter | None":
        window, start = self.advance(quota, now), charged_at - charged_at % quota.window
        if start == window.start:
            return SlidingCounter(start, window.before, max(0, window.current - units))
        if start + quota.window == window.start:
            return SlidingCounter(window.start, max(0, window.before - units), window.current)
        return None


class MovingLog(msgspec.Struct, frozen=True):
    """The requests from the oldest to the newest: when, and all units up to and including its own."""

    times: tuple[int, ...] = ()
    totals: tuple[int, ...] = ()
    base: int = 0
    """The sum of all units before the oldest entry."""

    def advance(self, quota: Quota, now: int) -> "MovingLog":
        gone = bisect_right(self.times, now - quota.window)
        if gone == len(self.times):
            return MovingLog()
        return MovingLog(self.times[gone:], self.totals[gone:], self.totals[gone - 1]) if gone else self

    def units(self, quota: Quota, now: int) -> int:
        return self.totals[-1] - self.base if self.totals else 0

    def take(self, quota: Quota, cost: int, now: int) -> "MovingLog":
        total = (self.totals[-1] if self.totals else self.base) + cost
        if self.times and now <= self.times[-1]:  # requests of one instant are one entry
            return MovingLog(self.times, (*self.totals[:-1], total), self.base)
        return MovingLog((*self.times, now), (*self.totals, total), self.base)

    def fits_at(self, quota: Quota, cost: int) -> int:
        until = self.totals[-1] + cost - quota.limit
        return self.times[bisect_right(self.totals, until - 1)] + quota.window

    def refund(self, quota: Quota, units: int, charged_at: int, now: int) -> "MovingLog | None":
        index = bisect_right(self.times, charged_at) - 1
        if index < 0 or self.times[index] != charged_at or len(self.times) - 1 - index > MAXIMUM_LATER:
            return None
        if charged_at <= now - quota.window:
            return None
        given = min(units, self.totals[index] - (self.totals[index - 1] if index else self.base))
        totals = (*self.totals[:index], *(total - given for total in self.totals[index:]))
        return MovingLog(self.times, totals, self.base)


class TokenBucket(msgspec.Struct, frozen=True):
    """The debt at a moment. A unit has as many parts as its window has ticks, and `limit` parts are repaid per tick."""

    at: int
    debt: int

    def advance(self, quota: Quota, now: int) -> "TokenBucket":
        debt = min(self.debt, quota.capacity * quota.ticks)
        elapsed = max(0, (now - self.at) // quota.tick)
        repaid = elapsed * quota.limit
        return TokenBucket(self.at + elapsed * quota.tick, debt - repaid) if repaid < debt else TokenBucket(now, 0)

    def units(self, quota: Quota, now: int) -> int:
        return -(-self.debt // quota.ticks)

    def take(self, quota: Quota, cost: int, now: int) -> "TokenBucket":
        return TokenBucket(self.at, self.debt + cost * quota.ticks)

    def fits_at(self, quota: Quota, cost: int) -> int:
        excess = self.debt + (cost - quota.capacity) * quota.ticks
        return self.at + -(-excess // quota.limit) * quota.tick

    def refund(self, quota: Quota, units: int, charged_at: int, now: int) -> "TokenBucket | None":
        owed = self.advance(quota, now)
        repaid = max(0, -((charged_at - now) // quota.tick)) * quota.limit
        left = units * quota.ticks - repaid
        return TokenBucket(owed.at, max(0, owed.debt - left)) if owed.debt > 0 and left > 0 else None


class Leases(msgspec.Struct, frozen=True):
    """The requests in flight, and when each lease expires; read at `at`."""

    ends: tuple[tuple[str, int], ...] = ()
    at: int = 0

    def advance(self, quota: Quota, now: int) -> "Leases":
        return Leases(tuple((lease, end) for lease, end in self.ends if end > now), now)

    def units(self, quota: Quota, now: int) -> int:
        return len(self.ends)

    def take(self, quota: Quota, cost: int, now: int, lease: str = "") -> "Leases":
        return Leases((*(one for one in self.ends if one[0] != lease), (lease, now + quota.window)), now)

    def fits_at(self, quota: Quota, cost: int) -> int:
        return self.at + RETRY_MILLISECONDS

    def refund(self, quota: Quota, units: int, charged_at: int, now: int) -> "None":
        return None  # it ends with the request, by `release`

    def release(self, lease: str) -> "Leases":
        """Return the state without the request of this lease."""
        return Leases(tuple(one for one in self.ends if one[0] != lease), self.at)


class Algorithm(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of an algorithm besides how it counts. The texts are a row of docs/guide/limits.md."""

    new: State
    """The state before the first request."""
    keeps: str
    admits: str
    resets: str
    """The meaning of `t` in the RateLimit field."""
    own_key: str = ""
    """The prefix of its key, if its state has a key of its own: `kind` in quotas.lua."""
    has_burst: bool = False
    maximum_limit: int | None = None
    """The highest limit that it can count; None means any."""


MAXIMUM_LOGGED = 100_000
"""The highest limit of an algorithm that keeps every request, because each is an entry of a list in Redis."""

ALGORITHMS: Mapping[str, Algorithm] = {
    FIXED_WINDOW: Algorithm(
        new=FixedWindow(0, 0),
        keeps="two numbers",
        admits="the limit in a window that starts with the first request; up to twice the limit around the end of a "
        "window",
        resets="until the window ends",
    ),
    "sliding-window-counter": Algorithm(
        new=SlidingCounter(0, 0, 0),
        keeps="three numbers",
        admits="the same without the double burst, because the window before fades out",
        resets="until a unit of the window before has faded",
    ),
    "moving-window": Algorithm(
        new=MovingLog(),
        keeps="an entry for each request",
        admits="the limit in any window, exactly; limits up to 100,000",
        resets="until the oldest request leaves",
        own_key="log",
        maximum_limit=MAXIMUM_LOGGED,
    ),
    "token-bucket": Algorithm(
        new=TokenBucket(0, 0),
        keeps="three numbers",
        admits="the burst at once, then the limit as a steady rate (GCRA)",
        resets="until the next unit",
        has_burst=True,
    ),
}
"""The algorithms that a policy may name for a limit."""

if TYPE_CHECKING:
    AlgorithmName: TypeAlias = str
else:
    AlgorithmName = Literal[tuple(ALGORITHMS)]
"""The type of a name of the table, for the schema of policy files."""


def new_state(algorithm: str) -> State:
    """Return the state of an algorithm before its first request. Raise KeyError for an unknown name."""
    return Leases() if algorithm == CONCURRENT else ALGORITHMS[algorithm].new

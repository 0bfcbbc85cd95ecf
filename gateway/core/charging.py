"""What the four algorithms count: the twin of adapters/scripts/quotas.lua, for simulation and as its oracle.

`charge` gives what the script gives for the same quotas, states, cost and time; a property test holds the two equal.
Only whole numbers are computed with: milliseconds, units of cost, and ticks (see Quota.tick). What has run out reads as
new.

- fixed-window: the window starts with the first request it counts and ends after its length; the next request after
  that starts another one.
- sliding-window-counter: windows begin at multiples of their length since 1970; units of the window before count by
  the share of it that a window of this length, ending now, would still cover, rounded down.
- moving-window: the units of the last window, counted from this very moment back, each request by itself.
- token-bucket: the generic cell rate algorithm. What is taken is a debt, repaid at a steady `limit` a window; at most
  `burst` units can be owed.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from gateway.core.quotas import Quota, Window


class FixedWindow(msgspec.Struct, frozen=True):
    """The window of the moment."""

    resets_at: int
    used: int

    def advance(self, quota: Quota, now: int) -> "FixedWindow":
        """The same at a later moment."""
        return self if self.resets_at > now else FixedWindow(now + quota.window, 0)

    def units(self, quota: Quota, now: int) -> int:
        """Units used, once advanced to `now`."""
        return self.used

    def take(self, quota: Quota, cost: int, now: int) -> "FixedWindow":
        """The same with `cost` more units used."""
        return FixedWindow(self.resets_at, self.used + cost)

    def fits_at(self, quota: Quota, cost: int) -> int:
        """When units that find no room now, but fewer than the capacity, will."""
        return self.resets_at


class SlidingCounter(msgspec.Struct, frozen=True):
    """The window of the moment, by its start, and the one before it."""

    start: int
    before: int
    current: int

    def advance(self, quota: Quota, now: int) -> "SlidingCounter":
        start = now - now % quota.window
        if self.start >= start:
            return SlidingCounter(self.start, min(self.before, quota.limit), self.current)
        before = self.current if self.start + quota.window == start else 0
        return SlidingCounter(start, min(before, quota.limit), 0)

    def units(self, quota: Quota, now: int) -> int:
        left = -((now - self.start - quota.window) // quota.tick)
        return self.before * min(left, quota.ticks) // quota.ticks + self.current

    def take(self, quota: Quota, cost: int, now: int) -> "SlidingCounter":
        return SlidingCounter(self.start, self.before, self.current + cost)

    def fits_at(self, quota: Quota, cost: int) -> int:
        units, ends = self.before, self.start + quota.window
        room = quota.limit - cost - self.current
        if room < 0:  # only when the units of this window are those of the one before
            units, ends, room = max(1, min(self.current, quota.limit)), ends + quota.window, quota.limit - cost
        left = min(-(-(room + 1) * quota.ticks // units) - 1, quota.ticks)
        return max(ends - left * quota.tick, ends - quota.window)


class MovingLog(msgspec.Struct, frozen=True):
    """Requests from the oldest to the newest: when, and all units up to and including its own."""

    times: tuple[int, ...] = ()
    totals: tuple[int, ...] = ()
    base: int = 0
    """All units before the oldest."""

    def advance(self, quota: Quota, now: int) -> "MovingLog":
        gone = bisect_right(self.times, now - quota.window)
        if gone == len(self.times):
            return MovingLog()
        return MovingLog(self.times[gone:], self.totals[gone:], self.totals[gone - 1]) if gone else self

    def units(self, quota: Quota, now: int) -> int:
        return self.totals[-1] - self.base if self.totals else 0

    def take(self, quota: Quota, cost: int, now: int) -> "MovingLog":
        total = (self.totals[-1] if self.totals else self.base) + cost
        at = max(now, self.times[-1]) if self.times else now
        return MovingLog((*self.times, at), (*self.totals, total), self.base)

    def fits_at(self, quota: Quota, cost: int) -> int:
        until = self.totals[-1] + cost - quota.limit
        return self.times[bisect_right(self.totals, until - 1)] + quota.window


class TokenBucket(msgspec.Struct, frozen=True):
    """What is owed at a moment: a unit is as many parts as its window has ticks, `limit` parts are repaid in a tick."""

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


State: TypeAlias = FixedWindow | SlidingCounter | MovingLog | TokenBucket

NEW: dict[str, State] = {
    "fixed-window": FixedWindow(0, 0),
    "sliding-window-counter": SlidingCounter(0, 0, 0),
    "moving-window": MovingLog(),
    "token-bucket": TokenBucket(0, 0),
}
"""The state of each algorithm before its first request."""


class Charge(msgspec.Struct, frozen=True):
    """What became of a request."""

    is_charged: bool
    windows: tuple[Window, ...]
    states: tuple[State | None, ...]


def charge(quotas: Sequence[Quota], states: Sequence[State | None], cost: int, now: int) -> Charge:
    """Charges all quotas or none; `states` are those of the charge before, None at first, in the order of `quotas`."""
    advanced = [(NEW[q.algorithm] if s is None else s).advance(q, now) for q, s in zip(quotas, states, strict=True)]
    has_room = all(s.units(q, now) + cost <= q.capacity for q, s in zip(quotas, advanced, strict=True))
    if has_room and cost > 0:
        advanced = [s.take(q, cost, now) for q, s in zip(quotas, advanced, strict=True)]
        states = advanced
    windows = (_window(q, s, None if has_room else cost, now) for q, s in zip(quotas, advanced, strict=True))
    return Charge(has_room, tuple(windows), tuple(states))


def _window(quota: Quota, state: State, refused_cost: int | None, now: int) -> Window:
    used = state.units(quota, now)
    if isinstance(state, FixedWindow):
        resets_at = state.resets_at
    else:
        resets_at = now if used == 0 else _fits_at(quota, state, max(0, quota.capacity - used) + 1, now)
    return Window(quota, used, resets_at, None if refused_cost is None else _fits_at(quota, state, refused_cost, now))


def _fits_at(quota: Quota, state: State, cost: int, now: int) -> int:
    if state.units(quota, now) + cost <= quota.capacity:
        return now
    return now + quota.window if cost > quota.capacity else state.fits_at(quota, cost)

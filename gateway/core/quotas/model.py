"""Quotas: how many requests may be made in a time window or at once, and how many were made.

policies/compile_rules.py reads them from policy files; algorithms.py has the table of algorithms and says what each
counts. The counting itself happens in Redis, in adapters/scripts/quotas.lua.

This module also reads durations as operators write them: a whole number and one of s, m, h, d, w.
"""

import functools
import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import msgspec

MAXIMUM_NUMBER = 10**12 - 1
"""The highest limit, and the longest window in seconds.

In milliseconds too it is an Integer of RFC 9651 and exact in the script.
"""
EXACT = 2**52
"""The script computes in doubles: whole numbers are exact up to twice this."""
JITTER_SHARE = 10
"""Retry-After is spread over a tenth of the window, so that jobs that start together do not return together."""

LEASE_SECONDS = 15
"""Seconds for which a request counts as in flight without a sign of its worker; a live worker renews in time."""
NEAR_SHARE = 0.8
"""The share of its capacity from which a quota is marked as near in the access log."""

FIXED_WINDOW = "fixed-window"
"""The algorithm of a limit that names none; the script assumes it."""
CONCURRENT = "concurrent"
"""The algorithm of a concurrency limit, which no policy file names."""
Partition: TypeAlias = Literal["token", "owner", "project", "plan", "address"]
"""Whose requests share a counter: a token's lineage, an owner, a project, the tokens of a plan, a client address."""
PARTITIONS: tuple[Partition, ...] = ("token", "owner", "project", "plan", "address")


class Quota(msgspec.Struct, frozen=True, dict=True):
    """At most `limit` units of cost in a window, counted as `algorithm` does; or at most `limit` requests at once.

    What follows from its fields is computed once: a replay asks for it a million times.
    """

    name: str
    limit: int
    window_seconds: int
    """For a concurrency limit: how long a request counts without a sign of its worker."""
    algorithm: str = FIXED_WINDOW
    """A name of algorithms.ALGORITHMS, or CONCURRENT."""
    burst: int | None = None
    """For a token bucket: the units that may be taken at once; None means the limit."""
    per: Partition = "token"
    is_shadow: bool = False
    """Whether it is decided and recorded, but never enforced."""
    rule: str = ""
    """The pattern of the one rule whose requests it counts; empty for all rules."""

    @functools.cached_property
    def counter(self) -> str:
        """Its own name: a changed window or algorithm makes it another quota, a changed limit does not."""
        own = "" if self.algorithm == FIXED_WINDOW else f":{self.algorithm}"
        return f"{self.name}:{self.window_seconds}{own}{f':{self.rule}' if self.rule else ''}"

    @functools.cached_property
    def field(self) -> str:
        """The field of its state in its holder's hash, where other algorithms have also counted for the same limit.

        So a limit whose algorithm is changed admits no more while processes with both policy files run.
        """
        if self.is_concurrency:
            return self.counter
        return f"{self.name}:{self.window_seconds}{f':{self.rule}' if self.rule else ''}"

    @functools.cached_property
    def is_concurrency(self) -> bool:
        """Whether it counts requests in flight, and no units."""
        return self.algorithm == CONCURRENT

    def units_of(self, cost: int) -> int:
        """Return what a request of this cost takes: always one for a concurrency limit."""
        return 1 if self.is_concurrency else cost

    @functools.cached_property
    def capacity(self) -> int:
        """The most units that can ever be taken at once."""
        return self.limit if self.burst is None else self.burst

    @functools.cached_property
    def window(self) -> int:
        """The window in milliseconds."""
        return self.window_seconds * 1000

    @functools.cached_property
    def tick(self) -> int:
        """The milliseconds in which time is measured if it is multiplied with units.

        It is 1, or a larger power of two if limit times window would be too much for a double: more than 4 * 10^15. It
        is computed in doubles, as the script does for an override.
        """
        product, tick = float(max(self.limit, self.capacity)) * self.window, 1
        while product / tick > EXACT:
            tick *= 2
        return tick

    @functools.cached_property
    def ticks(self) -> int:
        """The window in ticks, rounded up."""
        return -(-self.window // self.tick)

    @functools.cached_property
    def policy_window_seconds(self) -> int:
        """The seconds in which `capacity` is allotted: the limit's window, or the time to fill a token bucket."""
        if self.burst is None or not self.limit:
            return self.window_seconds
        return -(-self.burst * self.window_seconds // self.limit)


class Override(msgspec.Struct, frozen=True, array_like=True):
    """A limit of one token's own, until it ends. The admission script reads the first four by position."""

    counter: str
    """Quota.counter: it holds only while the policy's quota is this one."""
    limit: int
    capacity: int
    until: int
    """Unix seconds by Redis' clock; the first second in which it no longer holds."""
    reason: str
    author: str
    set_at: int


def effective_quotas(quotas: tuple[Quota, ...], overrides: Sequence[Override], now: int) -> tuple[Quota, ...]:
    """Return the quotas, with a token's overrides that have not ended; `now` is in Unix milliseconds."""
    if not overrides:
        return quotas
    holding = {override.counter: override for override in overrides if now < override.until * 1000}
    if not holding:
        return quotas
    return tuple([_overridden(quota, holding.get(quota.counter)) for quota in quotas])


def _overridden(quota: Quota, override: Override | None) -> Quota:
    if override is None or quota.per != "token":
        return quota
    burst = None if quota.burst is None else override.capacity
    return msgspec.structs.replace(quota, limit=override.limit, burst=burst)


class Window(msgspec.Struct, frozen=True):
    """The state of one quota after the decision. Times are Unix time in milliseconds."""

    quota: Quota
    used: int
    resets_at: int
    """The end of a fixed window; otherwise when more units are left than now, or now if none are used."""
    fits_at: int | None = None
    """When a request that was not charged finds room, if nothing else is charged; None if it was charged."""

    def remaining(self) -> int:
        """Return the units left at this moment."""
        return max(0, self.quota.capacity - self.used)

    def is_near(self) -> bool:
        """Return whether NEAR_SHARE of it is used, or more."""
        return self.used >= NEAR_SHARE * self.quota.capacity

    def has_no_room(self, cost: int) -> bool:
        """Return whether `cost` more units do not fit."""
        return self.used + self.quota.units_of(cost) > self.quota.capacity

    def after_refund(self, units: int, now: int) -> "Window":
        """Return the window after units were given back, as far as it can tell; `now` is in milliseconds."""
        if self.quota.is_concurrency:
            return self
        used = max(0, self.used - units)
        ends = now if used == 0 and self.quota.algorithm != FIXED_WINDOW else self.resets_at
        return Window(self.quota, used, ends, self.fits_at)

    def left_and_reset(self, now: int) -> tuple[int, int]:
        """Return `remaining` and `reset_seconds` in one call: every answer has both."""
        quota = self.quota
        left = (quota.limit if quota.burst is None else quota.burst) - self.used
        wait = self.resets_at - now
        return left if left > 0 else 0, -(-wait // 1000) if wait > 0 else 0

    def reset_seconds(self, now: int) -> int:
        """Return the seconds until `resets_at`, rounded up; `now` is in milliseconds."""
        return _seconds_until(self.resets_at, now)

    def wait_seconds(self, now: int) -> int:
        """Return the seconds until the refused request finds room, rounded up; `now` is in milliseconds."""
        return _seconds_until(self.resets_at if self.fits_at is None else self.fits_at, now)

    def spread_seconds(self, now: int) -> int:
        """Return the seconds over which waiting clients retry; if units return one by one, no more than the wait."""
        share = self.quota.window_seconds // JITTER_SHARE
        return share if self.quota.algorithm == FIXED_WINDOW else min(share, self.wait_seconds(now))


def exceeded(windows: Iterable[Window], cost: int) -> list[Window]:
    """Return the windows that have no room for `cost` more units, and refuse a request for it."""
    return [window for window in windows if not window.quota.is_shadow and window.has_no_room(cost)]


def retry_after_seconds(windows: Sequence[Window], now: int, who: str) -> int:
    """Return the seconds until the request fits into all of `windows`, at least one, plus a share.

    The share is constant for `who`.
    """
    wait = max((window.wait_seconds(now) for window in windows), default=0)
    spread = max((window.spread_seconds(now) for window in windows), default=0)
    return max(1, wait + zlib.crc32(who.encode()) % (spread + 1))


def _seconds_until(moment: int, now: int) -> int:
    return max(0, -(-(moment - now) // 1000))


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")


def parse_duration(text: str) -> int:
    """Return the seconds in `text`, such as 90 for "90s". Raise ValueError that says what is expected."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write a whole number and s, m, h, d or w, such as 10m")
    return int(match[1]) * _SECONDS[match[2]]

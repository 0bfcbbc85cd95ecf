"""Quotas: how many requests may be made in a window of time or at once, and how far somebody has come.

How they are written is in policies/compile_rules.py; algorithms.py has the table of algorithms and says what each of
them counts. The counting itself happens in Redis, in adapters/scripts/quotas.lua.

Durations as operators write them: a whole number and one of s, m, h, d, w.
"""

import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import msgspec

MAXIMUM_NUMBER = 10**12 - 1
"""Of a limit and of a window's seconds: in milliseconds too it is an Integer of RFC 9651 and exact in the script."""
EXACT = 2**52
"""The script computes in doubles: whole numbers are exact up to twice this."""
JITTER_SHARE = 10
"""Retry-After is spread over a tenth of the window, so that jobs that start together do not return together."""

LEASE_SECONDS = 15
"""For how long a request counts as in flight when nothing is heard of its worker; a living worker renews in time."""
NEAR_SHARE = 0.8
"""Used to this share of its capacity, a quota is marked as near in the access log."""

FIXED_WINDOW = "fixed-window"
"""The algorithm of a limit that names none; the script takes it for granted."""
CONCURRENT = "concurrent"
"""The algorithm of a concurrency limit, which no policy file names."""
Partition: TypeAlias = Literal["token", "owner", "project", "plan", "address"]
"""Who shares a counter: a token's lineage, an owner, a project, the tokens of a plan, a client address."""
PARTITIONS: tuple[Partition, ...] = ("token", "owner", "project", "plan", "address")


class Quota(msgspec.Struct, frozen=True):
    """At most `limit` units of cost in a window, counted as `algorithm` does; or at most `limit` requests at once."""

    name: str
    limit: int
    window_seconds: int
    """Of a concurrency limit: for how long a request counts when nothing is heard of its worker."""
    algorithm: str = FIXED_WINDOW
    """A name of algorithms.ALGORITHMS, or CONCURRENT."""
    burst: int | None = None
    """Of a token bucket: the units that may be taken at once; None: the limit."""
    per: Partition = "token"
    is_shadow: bool = False
    """Whether it is decided and recorded, and never enforced."""
    rule: str = ""
    """The pattern of the one rule whose requests it counts; empty: those of all rules."""

    @property
    def counter(self) -> str:
        """Its own name: a changed window or algorithm makes it another quota, a changed limit does not."""
        own = "" if self.algorithm == FIXED_WINDOW else f":{self.algorithm}"
        return f"{self.name}:{self.window_seconds}{own}{f':{self.rule}' if self.rule else ''}"

    @property
    def field(self) -> str:
        """Where its holder's hash has its state, and beside it what other algorithms have counted for the same limit.

        So a limit whose algorithm is changed admits no more while processes of both policy files run.
        """
        if self.is_concurrency:
            return self.counter
        return f"{self.name}:{self.window_seconds}{f':{self.rule}' if self.rule else ''}"

    @property
    def is_concurrency(self) -> bool:
        """Whether it counts requests in flight, and no units."""
        return self.algorithm == CONCURRENT

    def units_of(self, cost: int) -> int:
        """What a request of this cost takes: of a concurrency limit always one."""
        return 1 if self.is_concurrency else cost

    @property
    def capacity(self) -> int:
        """The most units that can ever be taken at once."""
        return self.limit if self.burst is None else self.burst

    @property
    def window(self) -> int:
        """The window in milliseconds."""
        return self.window_seconds * 1000

    @property
    def tick(self) -> int:
        """The milliseconds in which time is measured where it is multiplied with units.

        It is 1, and a larger power of two only where limit times window would be too much for a double: more than
        4 * 10^15. Computed in doubles, as the script does for an override.
        """
        product, tick = float(max(self.limit, self.capacity)) * self.window, 1
        while product / tick > EXACT:
            tick *= 2
        return tick

    @property
    def ticks(self) -> int:
        """The window in ticks, rounded up."""
        return -(-self.window // self.tick)

    @property
    def policy_window_seconds(self) -> int:
        """In which `capacity` is allotted: the window of the limit, or the time that a token bucket takes to fill."""
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
    """The quotas with a token's overrides that have not ended in their place; `now` in Unix milliseconds."""
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
    """Where somebody stands in one quota, after the decision. Times are Unix time in milliseconds."""

    quota: Quota
    used: int
    resets_at: int
    """Of a fixed window its end; else when more units are left than now, or now where none are used."""
    fits_at: int | None = None
    """When a request that was not charged finds room, if nothing else is charged; None where it was charged."""

    def remaining(self) -> int:
        """Units left at this moment."""
        return max(0, self.quota.capacity - self.used)

    def is_near(self) -> bool:
        """Whether NEAR_SHARE of it is used, or more."""
        return self.used >= NEAR_SHARE * self.quota.capacity

    def has_no_room(self, cost: int) -> bool:
        """Whether `cost` more units do not fit."""
        return self.used + self.quota.units_of(cost) > self.quota.capacity

    def after_refund(self, units: int, now: int) -> "Window":
        """The same after units were given back, as far as the window alone can tell; `now` in milliseconds."""
        if self.quota.is_concurrency:
            return self
        used = max(0, self.used - units)
        ends = now if used == 0 and self.quota.algorithm != FIXED_WINDOW else self.resets_at
        return Window(self.quota, used, ends, self.fits_at)

    def reset_seconds(self, now: int) -> int:
        """Seconds until `resets_at`, rounded up; `now` in milliseconds."""
        return _seconds_until(self.resets_at, now)

    def wait_seconds(self, now: int) -> int:
        """Seconds until the refused request finds room, rounded up; `now` in milliseconds."""
        return _seconds_until(self.resets_at if self.fits_at is None else self.fits_at, now)

    def spread_seconds(self, now: int) -> int:
        """Over how many seconds those who wait come back: where units return bit by bit, no more than the wait."""
        share = self.quota.window_seconds // JITTER_SHARE
        return share if self.quota.algorithm == FIXED_WINDOW else min(share, self.wait_seconds(now))


def exceeded(windows: Iterable[Window], cost: int) -> list[Window]:
    """The windows that have no room for `cost` more units, and refuse a request for it."""
    return [window for window in windows if not window.quota.is_shadow and window.has_no_room(cost)]


def retry_after_seconds(windows: Sequence[Window], now: int, who: str) -> int:
    """Return the seconds until the request fits into all of `windows`, and a share that is the asker's own.

    At least one. The share is always the same for the same `who`.
    """
    wait = max((window.wait_seconds(now) for window in windows), default=0)
    spread = max((window.spread_seconds(now) for window in windows), default=0)
    return max(1, wait + zlib.crc32(who.encode()) % (spread + 1))


def _seconds_until(moment: int, now: int) -> int:
    return max(0, -(-(moment - now) // 1000))


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")


def parse_duration(text: str) -> int:
    """Seconds in `text`, such as 90 for "90s"; ValueError says what is expected."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write a whole number and s, m, h, d or w, such as 10m")
    return int(match[1]) * _SECONDS[match[2]]

"""Quotas: how many requests a token may make in a window of time, and how far it has come.

The grammar is that of the library `limits` ("100/minute", "5 per 2 hours", "1/second; 100/minute"), and so are the
names of the algorithms; charging.py says what each of them counts. The counting itself happens in Redis, in
adapters/scripts/quotas.lua.
"""

import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import limits
import msgspec

QUOTA_NAME = re.compile(r"[a-z][a-z0-9_-]*")
"""A name that is valid as a String and as a Token of RFC 9651: the draft may still move from one to the other."""
MAXIMUM_NUMBER = 10**12 - 1
"""Of a limit and of a window's seconds: in milliseconds too it is an Integer of RFC 9651 and exact in the script."""
MAXIMUM_LOGGED = 100_000
"""Limit of a moving window: it keeps every request for as long, up to 3 MB a token."""
EXACT = 2**52
"""The script computes in doubles: whole numbers are exact up to twice this."""
JITTER_SHARE = 10
"""Retry-After is spread over a tenth of the window, so that jobs that start together do not return together."""

Algorithm: TypeAlias = Literal["fixed-window", "sliding-window-counter", "moving-window", "token-bucket"]


class Quota(msgspec.Struct, frozen=True):
    """At most `limit` units of cost in a window, counted as `algorithm` does."""

    name: str
    limit: int
    window_seconds: int
    algorithm: Algorithm = "fixed-window"
    burst: int | None = None
    """Of a token bucket: the units that may be taken at once; None: the limit."""

    @property
    def counter(self) -> str:
        """Its counter's name in Redis: a changed window or algorithm starts a new one, a changed limit does not."""
        own = "" if self.algorithm == "fixed-window" else f":{self.algorithm}"
        return f"{self.name}:{self.window_seconds}{own}"

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

        It is 1, and more only where limit times window would be too much for a double: more than 4 * 10^15.
        """
        return max(1, -(-max(self.limit, self.capacity) * self.window // EXACT))

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


class Window(msgspec.Struct, frozen=True):
    """Where a token stands in one quota, after the decision. Times are Unix time in milliseconds."""

    quota: Quota
    used: int
    resets_at: int
    """Of a fixed window its end; else when more units are left than now, or now where none are used."""
    fits_at: int | None = None
    """When the refused request finds room, if nothing else is charged; None: when the window is reset."""

    def remaining(self) -> int:
        """Units left at this moment."""
        return max(0, self.quota.capacity - self.used)

    def reset_seconds(self, now: int) -> int:
        """Seconds until `resets_at`, rounded up; `now` in milliseconds."""
        return _seconds_until(self.resets_at, now)

    def wait_seconds(self, now: int) -> int:
        """Seconds until the refused request finds room, rounded up; `now` in milliseconds."""
        return _seconds_until(self.resets_at if self.fits_at is None else self.fits_at, now)

    def spread_seconds(self, now: int) -> int:
        """Over how many seconds those who wait come back: where units return bit by bit, no more than the wait."""
        share = self.quota.window_seconds // JITTER_SHARE
        return share if self.quota.algorithm == "fixed-window" else min(share, self.wait_seconds(now))


def parse_quotas(
    name: str, text: str, algorithm: Algorithm = "fixed-window", burst: int | None = None
) -> tuple[Quota, ...]:
    """The quotas of one policy entry; ValueError says what is wrong.

    Several limits in one text are told apart by their granularity: "1/second; 100/minute" under the name `pull` is
    `pull-second` and `pull-minute`.
    """
    if QUOTA_NAME.fullmatch(name) is None:
        raise ValueError(f"the quota name {name!r} must match [a-z][a-z0-9_-]*")
    try:
        items = limits.parse_many(text)
    except ValueError as error:
        raise ValueError(
            f'{text!r} is not a rate limit: write a number, "/" or "per", and second, minute, hour, day, month '
            'or year, such as "100/minute"'
        ) from error
    if any(max(item.amount, item.get_expiry()) > MAXIMUM_NUMBER for item in items):
        raise ValueError(f"{text!r} is too much to count: neither number nor window may be above {MAXIMUM_NUMBER}")
    names = [name] if len(items) == 1 else [f"{name}-{item.GRANULARITY.name}" for item in items]
    if len(set(names)) < len(names):
        raise ValueError(f"{text!r} limits the same granularity twice: give each limit its own name")
    quotas = tuple(Quota(n, item.amount, item.get_expiry(), algorithm) for n, item in zip(names, items, strict=True))
    if algorithm == "token-bucket":
        return tuple(_fill_bucket(quota, burst, len(quotas)) for quota in quotas)
    if burst is not None:
        raise ValueError(f"burst is for token-bucket only, this is {algorithm}")
    if algorithm == "moving-window" and any(quota.limit > MAXIMUM_LOGGED for quota in quotas):
        raise ValueError(
            f"a moving window keeps every request, so its limit may not be above {MAXIMUM_LOGGED}: "
            "take sliding-window-counter"
        )
    return quotas


def _fill_bucket(quota: Quota, burst: int | None, count: int) -> Quota:
    if burst is not None and count > 1:
        raise ValueError("burst is for one limit: give each limit its own name")
    if quota.limit == 0:
        raise ValueError("a token bucket that never fills admits nothing: its limit must be above 0")
    filled = msgspec.structs.replace(quota, burst=quota.limit if burst is None else burst)
    if filled.policy_window_seconds > MAXIMUM_NUMBER:
        raise ValueError(f"a burst of {burst} takes too long to fill at this limit: above {MAXIMUM_NUMBER} seconds")
    return filled


def exceeded(windows: Iterable[Window], cost: int) -> list[Window]:
    """The windows that have no room for `cost` more units."""
    return [window for window in windows if window.used + cost > window.quota.capacity]


def retry_after_seconds(windows: Sequence[Window], now: int, token_id: str) -> int:
    """Seconds until the request fits into all of `windows`, and a share that is the token's own, always the same."""
    wait = max(window.wait_seconds(now) for window in windows)
    spread = max(window.spread_seconds(now) for window in windows)
    return max(1, wait + zlib.crc32(token_id.encode()) % (spread + 1))


def _seconds_until(moment: int, now: int) -> int:
    return max(0, -(-(moment - now) // 1000))

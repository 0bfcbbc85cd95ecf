"""Quotas: how many requests a token may make in a window of time, and how far it has come.

The grammar is that of the library `limits` ("100/minute", "5 per 2 hours", "1/second; 100/minute"). The counting itself
happens in Redis, in adapters/scripts/admit.lua.

Fixed window: the window starts with the first request it counts and ends `window_seconds` later; the next request
after that starts another one.
"""

import math
import re
import zlib
from collections.abc import Iterable, Sequence

import limits
import msgspec

QUOTA_NAME = re.compile(r"[a-z][a-z0-9_-]*")
"""A name that is valid as a String and as a Token of RFC 9651: the draft may still move from one to the other."""
MAXIMUM_NUMBER = 10**12 - 1
"""Of a limit and of a window's seconds: in milliseconds too it is an Integer of RFC 9651 and exact in the script."""
JITTER_SHARE = 10
"""Retry-After is spread over a tenth of the window, so that jobs that start together do not return together."""


class Quota(msgspec.Struct, frozen=True):
    """At most `limit` units of cost in any one window."""

    name: str
    limit: int
    window_seconds: int

    @property
    def counter(self) -> str:
        """The name of its counter in Redis: a changed window starts a new one, a changed limit does not."""
        return f"{self.name}:{self.window_seconds}"


class Window(msgspec.Struct, frozen=True):
    """Where a token stands in one quota, after the decision. `resets_at` is Unix time in milliseconds."""

    quota: Quota
    used: int
    resets_at: int

    def remaining(self) -> int:
        """Units left in this window."""
        return max(0, self.quota.limit - self.used)

    def reset_seconds(self, now: int) -> int:
        """Seconds until the window ends, rounded up; `now` in milliseconds."""
        return max(0, math.ceil((self.resets_at - now) / 1000))


def parse_quotas(name: str, text: str) -> tuple[Quota, ...]:
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
    return tuple(Quota(n, item.amount, item.get_expiry()) for n, item in zip(names, items, strict=True))


def exceeded(windows: Iterable[Window], cost: int) -> list[Window]:
    """The windows that have no room for `cost` more units."""
    return [window for window in windows if window.used + cost > window.quota.limit]


def retry_after_seconds(windows: Sequence[Window], now: int, token_id: str) -> int:
    """Seconds until all of `windows` have ended, and a share that is the token's own, always the same."""
    wait = max(window.reset_seconds(now) for window in windows)
    spread = max(window.quota.window_seconds for window in windows) // JITTER_SHARE
    return max(1, wait + zlib.crc32(token_id.encode()) % (spread + 1))

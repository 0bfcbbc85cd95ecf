"""When the next request may be sent: Retry-After, RateLimit fields and the time of the whole run.

The RateLimit field is that of draft-ietf-httpapi-ratelimit-headers-11. Time is in seconds of a monotonic clock.
"""

import random
import re
import threading
from collections.abc import Callable, Mapping

import msgspec

from .transport import Head

FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 30.0
"""Between attempts if the server does not say how long."""
SPREAD = 0.1
"""Part of a Retry-After that is added by chance at most, so that jobs do not come back together."""

_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"((?:;[^,"]*)*)')
_REMAINING, _RESET, _CAPACITY = (re.compile(rf";\s*{letter}=(\d{{1,15}})(?![\d.])") for letter in "rtq")


class Clock(msgspec.Struct, frozen=True):
    """What the run knows of time and chance."""

    monotonic: Callable[[], float]
    unix: Callable[[], float]
    wait: Callable[[float], bool]
    """Wait so many seconds, or until the run is stopped; whether it is."""
    chance: Callable[[], float] = random.random
    """From 0 to 1."""


def parse_retry_after(head: Head, now: float) -> float | None:
    """Return the seconds of Retry-After (RFC 9110 10.2.3), None if there is none that can be read; `now` is Unix."""
    value = head.field("retry-after")
    if value.isascii() and value.isdigit():
        return float(value)
    if not value:
        return None
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - costs a tenth of the start, and is seldom used

    try:
        seconds: float = parsedate_to_datetime(value).timestamp() - now
    except ValueError:
        return None
    return max(0.0, seconds)


def choose_delay(retry_after: float | None, attempts: int, chance: float) -> float:
    """Return the seconds before the next attempt: never less than Retry-After, else doubled with each attempt."""
    if retry_after is not None:
        return retry_after + chance * max(1.0, retry_after * SPREAD)
    longest = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** (attempts - 1))
    return longest * (1 + chance) / 2


class Limit(msgspec.Struct, frozen=True):
    """What an answer says of one quota."""

    remaining: int
    reset_seconds: int | None
    """None for one of requests in flight: nobody knows when they end."""
    capacity: int | None = None


def parse_ratelimit(head: Head) -> dict[str, Limit]:
    """Return what RateLimit and RateLimit-Policy say, by name. What cannot be understood says nothing."""
    capacities = {
        name: int(found[1])
        for name, parameters in _ITEM.findall(head.field("ratelimit-policy"))
        if (found := _CAPACITY.search(parameters))
    }
    limits = {}
    for name, parameters in _ITEM.findall(head.field("ratelimit")):
        remaining, reset = _REMAINING.search(parameters), _RESET.search(parameters)
        if remaining:
            limits[name] = Limit(int(remaining[1]), int(reset[1]) if reset else None, capacities.get(name))
    return limits


class Permit(msgspec.Struct, frozen=True):
    """A request may be sent; with it so many are in flight."""

    in_flight: int


class TooLate(msgspec.Struct, frozen=True):
    """No request may be sent before the deadline; why, as the beginning of a sentence."""

    reason: str


class WaitUntil(msgspec.Struct, frozen=True):
    """Nothing may be sent before that time, whatever is in flight; why, as the beginning of a sentence."""

    when: float
    reason: str


class WaitForAnswer(msgspec.Struct, frozen=True):
    """Nothing may be sent before one of the requests in flight is answered."""


class _Room(msgspec.Struct, frozen=True):
    """How many requests one quota leaves room for, until it is reset."""

    requests: int
    reset_at: float | None


class Pace:
    """How many requests with one token to one origin may be in flight. One, until the first answer tells the limits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._in_flight = 0
        self._is_known = False
        self._is_overlapping = False
        """Whether several requests were in flight together since none was: their answers may come in any order."""
        self._rooms: dict[str, _Room] = {}
        self._held_until = 0.0

    def admit(self, deadline: float) -> Permit | TooLate:
        """Wait until a request may be sent, and count it as in flight."""
        with self._changed:
            while True:
                now = self._clock.monotonic()
                step = self.next_step(now)
                if isinstance(step, Permit):
                    self._is_overlapping = step.in_flight > 1 or (self._is_overlapping and self._in_flight > 0)
                    self._in_flight = step.in_flight
                    return step
                if isinstance(step, WaitForAnswer):
                    self._changed.wait()
                    continue
                seconds = step.when - now
                if step.when > deadline:
                    return TooLate(f"{step.reason} for {seconds:.0f} s more, longer than the time that is left")
                self._changed.release()
                try:
                    is_stopped = self._clock.wait(seconds)
                finally:
                    self._changed.acquire()
                if is_stopped:
                    return TooLate("the run was stopped")

    def end(self, permit: Permit, head: Head | None, hold_seconds: float = 0.0) -> None:
        """Count a request as answered; `head` tells the limits. All requests wait for `hold_seconds` from now."""
        now = self._clock.monotonic()
        with self._changed:
            self._in_flight -= 1
            self._held_until = max(self._held_until, now + hold_seconds)
            if head is not None:
                self._is_known = True
                rooms = {name: _find_room(limit, permit, now) for name, limit in parse_ratelimit(head).items()}
                self._rooms = _narrowest(self._rooms, rooms, now) if self._is_overlapping else rooms
            self._changed.notify_all()

    def next_step(self, now: float) -> Permit | WaitUntil | WaitForAnswer:
        """Decide what comes before the next request."""
        if now < self._held_until:
            return WaitUntil(self._held_until, "the server asks to wait")
        rooms = {name: room for name, room in self._rooms.items() if room.reset_at is None or now < room.reset_at}
        if self._in_flight:
            may_join = self._is_known and all(room.requests > self._in_flight for room in rooms.values())
            return Permit(self._in_flight + 1) if may_join else WaitForAnswer()
        for name, room in rooms.items():
            if room.requests < 1 and room.reset_at is not None:
                return WaitUntil(room.reset_at, f'the quota "{name}" is used up')
        return Permit(1)


def _narrowest(known: Mapping[str, _Room], told: Mapping[str, _Room], now: float) -> dict[str, _Room]:
    """Return the rooms that are told, or those known before if they are narrower and not reset yet.

    Of two answers that come together, the one that was counted first leaves more, and may come last.
    """
    still = {name: room for name, room in known.items() if room.reset_at is None or now < room.reset_at}
    return {name: min(room, still.get(name, room), key=_requests_of) for name, room in told.items()}


def _requests_of(room: _Room) -> int:
    return room.requests


def _find_room(limit: Limit, permit: Permit, now: float) -> _Room:
    """Return the room that a quota leaves. One of requests in flight counts those that were in flight with this one."""
    if limit.reset_seconds is not None:
        return _Room(limit.remaining, now + limit.reset_seconds)
    room = max(1, limit.remaining + permit.in_flight - 1)  # one less: what was just answered may still be counted
    return _Room(room if limit.capacity is None else min(room, limit.capacity), None)

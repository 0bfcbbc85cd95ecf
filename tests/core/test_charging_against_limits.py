"""The oracle: what the library `limits` admits under the algorithms that it names too, and where we differ on purpose.

`limits` runs with its storage in memory, the one whose clock a test can set; it is given exact fractions of seconds, so
that its own arithmetic is exact. Its fixed window starts with the first hit that costs something, as ours does.

On purpose different, each with its test below:

1. `limits` charges refused hits in a fixed window: a large request that was refused shuts out the small ones after it.
   Ours charges nothing for a refusal. The oracle therefore asks `test` first and hits only what passes.
2. `limits` still counts a hit of a moving window at the very instant at which it is a window old, in `hit` though not
   in its own `get_window_stats`. Ours counts half-open windows for all algorithms: who waits for the announced time is
   admitted. The oracle is given a window that is half a millisecond shorter: in whole milliseconds the same.
3. `limits` weighs the window before in binary fractions, and admits a unit too many where the exact weight is a whole
   number and its own falls just short of it. Ours rounds the exact weight down, as `limits` means to.
4. The sliding windows of `limits` begin at multiples of their length in memory and memcached, with the first hit in
   Redis. Ours are on the clock: no boundary gives a whole window back, so nobody comes back with everybody else.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from threading import RLock
from types import SimpleNamespace
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MemoryStorage, memory
from limits.strategies import STRATEGIES, RateLimiter

from gateway.core.quotas.algorithms import State
from gateway.core.quotas.charging import charge
from gateway.core.quotas.model import Quota
from tests.core.samples import NOW_MILLISECONDS
from tests.support.quotas import Step, histories, make_quota, quotas_of

Hit = Callable[[RateLimiter, RateLimitItem, int], bool]

START = NOW_MILLISECONDS
HALF_A_MILLISECOND = Fraction(1, 2000)


class Clock:
    """Stands in for the module `time` where `limits` reads it, in seconds; exact unless it is to be a float."""

    def __init__(self, kind: type = Fraction) -> None:
        self.now = START
        self._kind = kind

    def time(self) -> Any:
        return self._kind(Fraction(self.now, 1000))


@contextmanager
def limits_on(clock: Clock) -> Iterator[MemoryStorage]:
    """The storage on our clock, and without the timer that cleans up behind it at moments of its own."""
    timer = SimpleNamespace(start=lambda: None, is_alive=lambda: True)
    threading = SimpleNamespace(Timer=lambda *_: timer, RLock=RLock)
    with mock.patch.object(memory, "time", clock), mock.patch.object(memory, "threading", threading):
        yield MemoryStorage()


def hit(limiter: RateLimiter, item: RateLimitItem, cost: int) -> bool:
    """As `limits` has it."""
    return limiter.hit(item, cost=cost)


def hit_what_passes(limiter: RateLimiter, item: RateLimitItem, cost: int) -> bool:
    """Charges nothing for a refusal: difference 1."""
    return limiter.test(item, cost=cost) and limiter.hit(item, cost=cost)


class ShorterItem(RateLimitItemPerSecond):
    """A limit whose window does not contain its end: difference 2."""

    def get_expiry(self) -> int:
        return super().get_expiry() - HALF_A_MILLISECOND  # type: ignore[return-value]  # computes as an int does


def theirs(
    quota: Quota,
    steps: Sequence[Step],
    hit: Hit,
    seconds: type = Fraction,
    kind: type[RateLimitItem] = RateLimitItemPerSecond,
) -> list[bool]:
    """What `limits` admits of a history."""
    clock, item = Clock(seconds), kind(quota.limit, quota.window_seconds)
    admitted = []
    with limits_on(clock) as storage:
        limiter = STRATEGIES[quota.algorithm](storage)
        for gap, cost in steps:
            clock.now += gap
            admitted.append(hit(limiter, item, cost))
    return admitted


def ours(quota: Quota, steps: Sequence[Step]) -> list[bool]:
    """What the gateway admits of it."""
    states: Sequence[State | None] = [None]
    now, admitted = START, []
    for gap, cost in steps:
        now += gap
        charged = charge([quota], states, cost, now)
        states = charged.states
        admitted.append(charged.is_charged)
    return admitted


def examples(algorithm: str) -> st.SearchStrategy[tuple[Quota, list[Step]]]:
    return quotas_of(algorithm).flatmap(
        lambda quota: st.tuples(st.just(quota), histories([quota.window_seconds], [quota.capacity]))
    )


@given(examples("fixed-window"))
def test_fixed_windows_admit_what_limits_admits(example: tuple[Quota, list[Step]]) -> None:
    """Any history: the same requests pass, but for difference 1."""
    quota, steps = example
    assert theirs(quota, steps, hit_what_passes) == ours(quota, steps)


@given(examples("sliding-window-counter"))
def test_sliding_counters_admit_what_limits_admits(example: tuple[Quota, list[Step]]) -> None:
    """Any history with exact numbers: the same requests pass."""
    quota, steps = example
    assert theirs(quota, steps, hit) == ours(quota, steps)


@given(examples("moving-window"))
def test_moving_windows_admit_what_limits_admits(example: tuple[Quota, list[Step]]) -> None:
    """Any history: the same requests pass, but for difference 2."""
    quota, steps = example
    assert theirs(quota, steps, hit, kind=ShorterItem) == ours(quota, steps)


def test_1_a_refused_request_is_charged_by_limits_and_not_here() -> None:
    """After a refused cost of 5 there is still room for 1 here; in `limits` the window is shut."""
    quota, steps = make_quota("fixed-window", 5, 60), [(0, 3), (0, 5), (0, 1)]
    assert [True, False, False] == theirs(quota, steps, hit)
    assert [True, False, True] == ours(quota, steps) == theirs(quota, steps, hit_what_passes)


def test_2_a_moving_window_of_limits_contains_both_its_ends() -> None:
    """Exactly a window after the hit `limits` refuses though its statistics have room; here it passes."""
    quota, steps = make_quota("moving-window", 1, 60), [(0, 1), (60_000, 1)]
    assert [True, False] == theirs(quota, steps, hit)
    assert [True, True] == ours(quota, steps) == theirs(quota, steps, hit_what_passes_or_stats)


def hit_what_passes_or_stats(limiter: RateLimiter, item: RateLimitItem, cost: int) -> bool:
    """What the statistics of `limits` say of room, and a hit that counts it."""
    has_room = limiter.get_window_stats(item).remaining >= cost
    limiter.hit(item, cost=cost)
    return has_room


def test_3_binary_fractions_admit_one_unit_too_many() -> None:
    """Nine tenths of ten are nine, and two more are too many; on floats `limits` reads 8.999... and admits them."""
    quota, steps = make_quota("sliding-window-counter", 10, 60), [(0, 10), (66_000, 2)]
    assert [True, True] == theirs(quota, steps, hit, seconds=float)
    assert [True, False] == ours(quota, steps) == theirs(quota, steps, hit)


def test_4_a_sliding_window_is_on_the_clock() -> None:
    """Ten seconds before a window's end the units are counted; the next one begins ten seconds later, not sixty."""
    quota = make_quota("sliding-window-counter", 4, 60)
    steps = [(50_000, 4), (10_000, 1), (15_000, 1), (0, 1)]
    assert [True, False, True, False] == ours(quota, steps) == theirs(quota, steps, hit)

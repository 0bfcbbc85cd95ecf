"""What the four algorithms count."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.quotas.algorithms import State
from gateway.core.quotas.charging import Charge, charge
from gateway.core.quotas.model import EXACT, MAXIMUM_NUMBER, Quota, Window
from tests.core.samples import NOW_MILLISECONDS
from tests.support.quotas import ALGORITHMS, Step, any_quota, histories, make_quota

START = NOW_MILLISECONDS
"""A multiple of a minute: a window of the sliding counter begins here."""

quota_and_history = any_quota.flatmap(
    lambda quota: st.tuples(st.just(quota), histories([quota.window_seconds], [quota.capacity]))
)


def play(quotas: Sequence[Quota], steps: Sequence[Step]) -> list[tuple[int, int, Charge]]:
    """The time, cost and charge of each step."""
    states: Sequence[State | None] = [None] * len(quotas)
    now, played = START, []
    for gap, cost in steps:
        now += gap
        charged = charge(quotas, states, cost, now)
        states = charged.states
        played.append((now, cost, charged))
    return played


def seen(quota: Quota, *steps: Step) -> list[tuple[bool, int, int, int]]:
    """Of each step: charged, what remains, and the milliseconds until t and until the cost fits."""
    return [
        (one.is_charged, window.remaining(), window.resets_at - now, (window.fits_at or now) - now)
        for now, _, one in play([quota], steps)
        for window in one.windows
    ]


def test_a_fixed_window_ends_after_its_length() -> None:
    """It starts with the first request, gives all back at its end, and the next request starts another one."""
    assert [
        (True, 1, 60_000, 0),
        (True, 0, 59_000, 0),
        (False, 0, 58_000, 58_000),
        (True, 1, 60_000, 0),
    ] == seen(make_quota("fixed-window", 2, 60), (0, 1), (1000, 1), (1000, 1), (58_000, 1))


def test_a_sliding_counter_gives_back_bit_by_bit() -> None:
    """Ten units of one window weigh less with each moment of the next: a tenth of it after, one of them is back."""
    assert [
        (True, 0, 60_001, 0),
        (False, 0, 60_001, 60_001),
        (False, 0, 1, 1),
        (True, 0, 6000, 0),
        (False, 0, 6000, 12_000),
        (True, 0, 6000, 0),
        (True, 10, 0, 0),
    ] == seen(
        make_quota("sliding-window-counter", 10, 60),
        (0, 10),
        (0, 1),
        (60_000, 1),
        (1, 1),
        (0, 2),
        (12_000, 2),
        (200_000, 0),
    )


def test_a_moving_window_gives_each_request_back_by_itself() -> None:
    """What was used leaves a window's length after it was used, and larger costs wait for several to leave."""
    assert [
        (True, 2, 60_000, 0),
        (True, 1, 50_000, 0),
        (True, 0, 40_000, 0),
        (False, 0, 40_000, 50_000),
        (True, 0, 10_000, 0),
        (False, 0, 1, 1),
        (True, 0, 10_000, 0),
        (True, 3, 0, 0),
    ] == seen(
        make_quota("moving-window", 3, 60),
        (0, 1),
        (10_000, 1),
        (10_000, 1),
        (0, 2),
        (40_000, 1),
        (9_999, 1),
        (1, 1),
        (60_000, 0),
    )


def test_a_token_bucket_allows_its_burst_and_then_its_rate() -> None:
    """Three at once, then one each second; what is not used fills it again, up to the burst."""
    assert [
        (True, 0, 1000, 0),
        (False, 0, 1000, 1000),
        (False, 0, 1, 1),
        (True, 0, 1000, 0),
        (False, 0, 500, 1500),
        (True, 1, 1000, 0),
        (True, 3, 0, 0),
    ] == seen(
        make_quota("token-bucket", 60, 60, burst=3), (0, 3), (0, 1), (999, 1), (1, 1), (500, 2), (2500, 2), (99_000, 0)
    )


def test_several_quotas_are_charged_together_or_not_at_all() -> None:
    """A request that one quota of four refuses leaves the other three as they were."""
    limits = {"fixed-window": 5, "sliding-window-counter": 4, "moving-window": 3, "token-bucket": 2}
    quotas = [make_quota(algorithm, limit, 60) for algorithm, limit in limits.items()]
    played = [charged for _, _, charged in play(quotas, [(0, 1), (0, 3), (0, 1), (0, 1)])]
    assert [True, False, True, False] == [one.is_charged for one in played]
    assert [1, 1, 2, 2] == [one.windows[0].used for one in played]
    assert [START, START, START, START + 30_000] == [window.fits_at for window in played[3].windows]
    assert played[2].states == played[3].states


@given(quota_and_history)
def test_a_refusal_tells_the_first_moment_that_has_room(example: tuple[Quota, list[Step]]) -> None:
    """At `fits_at` the same cost is charged, a millisecond before it is refused; what never fits is told a window."""
    quota, steps = example
    for now, cost, refused in play([quota], steps):
        (window,) = refused.windows
        if refused.is_charged or window.fits_at is None:
            continue
        if cost > quota.capacity:
            assert now + quota.window == window.fits_at
            continue
        assert charge([quota], refused.states, cost, window.fits_at).is_charged
        assert not charge([quota], refused.states, cost, window.fits_at - 1).is_charged


@given(quota_and_history)
def test_no_more_than_r_can_be_used_before_t(example: tuple[Quota, list[Step]]) -> None:
    """Until `resets_at` not one unit more than remains is admitted; from then on there is more."""
    quota, steps = example
    for now, _, charged in play([quota], steps):
        (window,) = charged.windows
        more = window.remaining() + 1
        if window.resets_at > now:
            assert not charge([quota], charged.states, more, window.resets_at - 1).is_charged
        if 0 < window.used and more <= quota.capacity:
            assert charge([quota], charged.states, more, window.resets_at).is_charged


@given(quota_and_history)
def test_a_refused_request_and_a_free_one_charge_nothing(example: tuple[Quota, list[Step]]) -> None:
    """Without its refused and its free requests a history goes the same way."""
    quota, steps = example
    played = play([quota], steps)
    states: Sequence[State | None] = [None]
    for now, cost, one in played:
        if one.is_charged and cost > 0:
            states = charge([quota], states, cost, now).states
    assert played[-1][2].states == tuple(states)


@given(quota_and_history)
def test_no_window_admits_more_than_it_may(example: tuple[Quota, list[Step]]) -> None:
    """The length of a window holds the limit (moving), burst and rate (bucket), or twice the limit (the others)."""
    quota, steps = example
    admitted = [(now, cost) for now, cost, one in play([quota], steps) if one.is_charged]
    for start, _ in admitted:
        inside = [(now, cost) for now, cost in admitted if start <= now < start + quota.window]
        used = sum(cost for _, cost in inside)
        if quota.algorithm == "moving-window":
            assert used <= quota.limit
        elif quota.algorithm == "token-bucket":
            assert (used - quota.capacity) * quota.window <= (inside[-1][0] - start) * quota.limit
        else:  # two windows at most are touched
            assert used <= 2 * quota.limit


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_lowered_limit_holds_for_what_was_counted_under_the_old_one(algorithm: str) -> None:
    """After the limit was lowered nothing is left, no number is negative, and it is right again after two windows."""
    old, new = (make_quota(algorithm, limit, 60) for limit in (10, 2))
    states = charge([old], [None], 9, START).states
    for at in range(START, START + 130_000, 1000):
        charged = charge([new], states, 1, at)
        (window,) = charged.windows
        assert window.resets_at >= at
        assert charged.is_charged or (0, True) == (window.remaining(), (window.fits_at or 0) > at)
    assert charged.is_charged


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "fixed-window"])
@given(st.integers(1, MAXIMUM_NUMBER), st.integers(1, MAXIMUM_NUMBER), st.integers(1, MAXIMUM_NUMBER))
def test_no_product_is_too_large_for_a_double(algorithm: str, limit: int, seconds: int, burst: int) -> None:
    """Whatever a policy may write, units times ticks stay exact, and a tick is a two-thousandth of a window at most."""
    quota = make_quota(algorithm, limit, seconds, burst if algorithm == "token-bucket" else None)
    top = max(quota.limit, quota.capacity)
    assert (top + 1) * quota.ticks < 2 * EXACT
    assert quota.tick == 1 or 2000 < quota.ticks
    assert quota.window <= quota.tick * quota.ticks < quota.window + quota.tick


def test_the_window_of_a_charge_says_nothing_of_waiting() -> None:
    """`fits_at` is there for refused requests only."""
    quota = make_quota("moving-window", 2, 60)
    (window,) = charge([quota], [None], 1, START).windows
    assert Window(quota, 1, START + 60_000) == window

"""What is given back of a charge: all that still counts, and never more than had it not been charged."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.quotas.algorithms import MAXIMUM_LATER, MovingLog, State, new_state
from gateway.core.quotas.charging import charge, refund
from gateway.core.quotas.model import Quota
from tests.core.samples import NOW_MILLISECONDS
from tests.support.quotas import ALGORITHMS, make_quota, quotas_of

START = NOW_MILLISECONDS
steps = st.lists(
    st.tuples(st.one_of(st.just(0), st.integers(0, 90_000)), st.integers(1, 9), st.integers(0, 9)),
    min_size=1,
    max_size=12,
)
"""Milliseconds since the step before, units charged, units of these that are given back some time later."""


def used(quota: Quota, state: State, now: int) -> int:
    return state.advance(quota, now).units(quota, now)


def take(quota: Quota, state: State, units: int, now: int) -> State:
    """The state with a charge that nobody decided on."""
    return state.advance(quota, now).take(quota, units, now) if units else state


@given(
    st.sampled_from(ALGORITHMS).flatmap(quotas_of),
    steps,
    st.integers(0, 200_000),
    st.permutations(range(12)),
    st.integers(0, 200_000),
)
def test_nobody_has_more_than_without_the_charge(
    quota: Quota, history: Sequence[tuple[int, int, int]], delay: int, order: Sequence[int], later: int
) -> None:
    """In whatever order and however late units are given back: at least as much counts as had they never been taken."""
    state = truth = new_state(quota.algorithm)
    now, charged = START, []
    for gap, units, surplus in history:
        now += gap
        if used(quota, state, now) + units > quota.capacity:
            continue
        state, truth = take(quota, state, units, now), take(quota, truth, max(0, units - surplus), now)
        charged.append((min(units, surplus), now))
    for index in order:
        if index < len(charged):
            now += delay // 12
            units, at = charged[index]
            (after,) = refund([quota], [state], units, at, now)
            assert after is not None
            state = after
            assert used(quota, truth, now) <= used(quota, state, now)
    assert used(quota, truth, now + later) <= used(quota, state, now + later)


@given(st.sampled_from(ALGORITHMS), st.integers(60, 86400), st.integers(1, 12), st.integers(1, 12))
def test_what_is_given_back_at_once_counts_no_more(algorithm: str, seconds: int, one: int, other: int) -> None:
    """At the instant of the charge itself nothing of the units is left, in any algorithm."""
    quota, units, surplus = make_quota(algorithm, 12, seconds), max(one, other), min(one, other)
    state = take(quota, new_state(quota.algorithm), units, START)
    assert units - surplus == used(quota, refund([quota], [state], surplus, START, START)[0] or state, START)


@pytest.mark.parametrize(
    ("algorithm", "after", "left"),
    [
        ("fixed-window", 59_999, 4),
        ("fixed-window", 60_000, 0),
        ("sliding-window-counter", 59_999, 4),
        ("sliding-window-counter", 90_000, 2),
        ("moving-window", 59_999, 4),
        ("moving-window", 60_000, 0),
        ("token-bucket", 6000, 4),
        ("token-bucket", 12_000, 4),
        ("token-bucket", 36_000, 4),
    ],
)
def test_what_was_given_back_late_is_what_still_counts(algorithm: str, after: int, left: int) -> None:
    """Ten units charged, six given back: in the window all six; of a debt only what was not repaid meanwhile."""
    quota = make_quota(algorithm, 10, 60)
    state = take(quota, new_state(algorithm), 10, START)
    (rest,) = refund([quota], [state], 6, START, START + after)
    assert rest is not None
    assert left == used(quota, rest, START + after)


def test_the_next_window_is_not_touched() -> None:
    """Units of a fixed window that is over are gone with it."""
    quota = make_quota("fixed-window", 10, 60)
    state = take(quota, take(quota, new_state("fixed-window"), 5, START), 3, START + 60_000)
    assert (state,) == refund([quota], [state], 5, START, START + 60_001)


def test_behind_many_other_entries_nothing_is_given_back() -> None:
    """A moving window writes a thousand entries anew at most."""
    quota = make_quota("moving-window", 5000, 3600)
    state: State = MovingLog()
    for number in range(MAXIMUM_LATER + 2):
        state = take(quota, state, 2, START + number)
    now = START + 2000
    assert (state,) == refund([quota], [state], 1, START, now)
    (rest,) = refund([quota], [state], 1, START + 1, now)
    assert rest is not None
    assert used(quota, state, now) - 1 == used(quota, rest, now)


def test_a_request_in_flight_has_nothing_to_give_back() -> None:
    """It takes one whatever it costs, and gives it up by ending."""
    quota = Quota("parallel", 3, 15, "concurrent")
    states = charge([quota], [None], 10, START, "a").states
    assert states == refund([quota], states, 10, START, START + 1)

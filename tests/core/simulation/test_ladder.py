"""A quota at many limits at once: each limit refuses what it refuses alone."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.quotas.algorithms import State
from gateway.core.quotas.charging import take
from gateway.core.quotas.model import CONCURRENT, Quota
from gateway.core.simulation.ladder import SHARES, Ladder
from tests.support.quotas import ALGORITHMS, make_quota

START = 1_790_000_000_123

steps = st.lists(
    st.tuples(st.sampled_from([0, 0, 1, 400, 5000, 30_000, 61_000, 130_000]), st.integers(0, 2), st.integers(0, 3)),
    min_size=1,
    max_size=80,
)
"""Milliseconds since the step before, who asks, the cost."""


def refused_alone(quota: Quota, history: list[tuple[int, int, int]]) -> tuple[int, int]:
    """Requests, and holders, that the quota refuses if nothing else counts: by the reference model."""
    states: dict[int, State | None] = {}
    now, refused, hit = START, 0, set[int]()
    for gap, who, cost in history:
        now += gap
        taken = take([quota], [states.get(who)], cost, now)
        if not taken.is_charged:
            refused += 1
            hit.add(who)
        elif taken.taken[0] is not None:
            states[who] = taken.taken[0]
    return refused, len(hit)


def climb(quota: Quota, history: list[tuple[int, int, int]]) -> Ladder:
    ladder, now = Ladder(quota), START
    for gap, who, cost in history:
        now += gap
        ladder.measure(str(who), cost, now, now)
    return ladder


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(ALGORITHMS), st.integers(1, 12), st.sampled_from([60, 61, 120]), steps)
def test_each_limit_refuses_what_it_refuses_alone(
    algorithm: str, limit: int, seconds: int, history: list[tuple[int, int, int]]
) -> None:
    """Requests and holders, for each algorithm."""
    ladder = climb(make_quota(algorithm, limit, seconds), history)
    assert [refused_alone(rung.quota, history) for rung in ladder.rungs] == [
        (rung.refused, rung.holders) for rung in ladder.rungs
    ]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([a for a in ALGORITHMS if a != "token-bucket"]), st.integers(1, 12), steps)
def test_the_smallest_limit_that_refuses_nobody_is_exact(
    algorithm: str, limit: int, history: list[tuple[int, int, int]]
) -> None:
    """It refuses nobody, and one less refuses somebody."""
    quota = make_quota(algorithm, limit, 60)
    smallest = climb(quota, history).smallest(0, of_holders=False)
    assert smallest is not None
    assert (0, 0) == refused_alone(msgspec.structs.replace(quota, limit=smallest), history)
    if smallest:
        assert refused_alone(msgspec.structs.replace(quota, limit=smallest - 1), history)[0]


@pytest.mark.parametrize("of_holders", [False, True])
def test_a_larger_share_needs_no_larger_limit(of_holders: bool) -> None:
    """200 holders, of which one asks for ten times as much."""
    history = [(10, who, 1) for _ in range(10) for who in [*range(200), *[0] * 10]]
    ladder = climb(make_quota("fixed-window", 20, 3600), history)
    limits = [ladder.smallest(share, of_holders=of_holders) for share in SHARES]
    assert 110 == limits[0]
    assert sorted(limits, reverse=True, key=lambda one: one or 0) == limits
    assert limits[2] == (10 if of_holders else 95)


def test_requests_in_flight_are_counted_by_their_ends() -> None:
    """Three at once, then one; the next comes when the first has ended."""
    ladder = Ladder(Quota("parallel", 2, 15, CONCURRENT))
    for now, ends_at in ((0, 100), (10, 200), (20, 300), (100, 150)):
        ladder.measure("a", 1, START + now, START + ends_at)
    assert 3 == ladder.smallest(0, of_holders=False)
    refused = {rung.quota.limit: rung.refused for rung in ladder.rungs}
    assert (2, 1, 0) == (refused[1], refused[2], refused[3])


def test_a_bucket_is_used_as_it_repays() -> None:
    """Two units a second of ten: after five at once, three are owed a second later."""
    ladder = Ladder(make_quota("token-bucket", 2, 1, burst=10))
    assert 0.5 == ladder.measure("a", 5, START, START)
    assert 0.4 == ladder.measure("a", 1, START + 1000, START + 1000)

"""What a request costs by how it was answered."""

import pytest

from gateway.core.http.messages import Field, ResponseHead
from gateway.core.quotas.costs import Cost, Outcome, outcome_of

BY_OUTCOME = {Outcome.MISS: 10, Outcome.HIT: 1, Outcome.NOT_MODIFIED: 0, Outcome.ERROR: 2}
HIT = (b"cache-status", b"gateway; hit; ttl=57")


@pytest.mark.parametrize(
    ("status", "fields", "outcome"),
    [
        (200, [], Outcome.MISS),
        (404, [], Outcome.MISS),
        (200, [(b"cache-status", b"gateway; fwd=uri-miss; stored")], Outcome.MISS),
        (200, [HIT], Outcome.HIT),
        (200, [(b"cache-status", b"gateway; hit; ttl=-1; detail=stale-if-error")], Outcome.HIT),
        (200, [(b"cache-status", b"gateway; fwd=uri-miss; collapsed")], Outcome.HIT),
        (200, [(b"cache-status", b"origin; hit"), (b"cache-status", b"gateway; fwd=method")], Outcome.MISS),
        (304, [HIT], Outcome.NOT_MODIFIED),
        (304, [(b"cache-status", b"gateway; fwd=uri-miss; stored")], Outcome.NOT_MODIFIED),
        (500, [], Outcome.ERROR),
        (504, [], Outcome.ERROR),
    ],
)
def test_the_answer_tells_the_outcome(status: int, fields: list[Field], outcome: Outcome) -> None:
    """From the cache, not modified, of a failing backend, or fetched."""
    assert outcome is outcome_of(ResponseHead(status, fields), has_cache=True)


def test_a_backend_cannot_say_that_its_answer_was_cached_here() -> None:
    """Without a cache rule, a Cache-Status is a backend's own."""
    assert Outcome.MISS is outcome_of(ResponseHead(200, [HIT]), has_cache=False)


@pytest.mark.parametrize("outcome", Outcome)
def test_each_outcome_has_its_cost(outcome: Outcome) -> None:
    """What the rule says of it, and one number where it says one."""
    assert BY_OUTCOME[outcome] == Cost(10, BY_OUTCOME).of(outcome, [])
    assert 3 == Cost(3).of(outcome, [])


@pytest.mark.parametrize(
    ("said", "units"), [(b"0", 0), (b"7", 7), (b"11", 10), (b"9" * 15, 10), (b"9" * 16, 10), (b"-1", 10), (b"x", 10)]
)
def test_a_backend_may_say_what_a_miss_cost(said: bytes, units: int) -> None:
    """Up to what was reserved; what is no number of units counts as a miss, and other outcomes are not asked."""
    cost = Cost(10, BY_OUTCOME, b"x-cost")
    assert units == cost.of(Outcome.MISS, [(b"x-cost", said)])
    assert 10 == cost.of(Outcome.MISS, [])
    assert 1 == cost.of(Outcome.HIT, [(b"x-cost", said)])

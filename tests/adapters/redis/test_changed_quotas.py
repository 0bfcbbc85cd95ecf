"""A limit under two algorithms at once, as while a changed policy file is rolled out: together they admit no more."""

from itertools import permutations

import pytest
from msgspec.structs import replace

from gateway.core.policies.model import Rule
from tests.adapters.bench import RECORDS, START, Bench, rule_with
from tests.support.quotas import ALGORITHMS, make_quota

LIMIT, WINDOW = 6, 60
RECORD = RECORDS[0]
PAIRS = [pytest.param(*pair, id=" then ".join(pair)) for pair in permutations(ALGORITHMS, 2)]


@pytest.mark.parametrize(("old", "new"), PAIRS)
@pytest.mark.parametrize("per", ["token", "owner"])
async def test_a_changed_algorithm_admits_no_more(bench: Bench, old: str, new: str, per: str) -> None:
    """Processes of both files take turns: the token gets what one of them would give, and is told so by both."""
    await bench.tokens.create(RECORD)
    rules = [rule_with([replace(make_quota(one, LIMIT, WINDOW), per=per)]) for one in (old, new)]
    admitted = [(await bench.admit(rules[number % 2], RECORD)).is_charged for number in range(3 * LIMIT)]
    assert [True] * LIMIT + [False] * 2 * LIMIT == admitted
    for rule in rules:
        (window,) = (await bench.admit(rule, RECORD)).windows
        assert 0 == window.remaining()
        assert window.fits_at is not None
        assert START < window.fits_at <= START + 2 * WINDOW * 1000


@pytest.mark.parametrize(("old", "new"), PAIRS)
async def test_what_the_old_algorithm_counted_ends(bench: Bench, old: str, new: str) -> None:
    """At the time that a refused request is told, there is room; after two windows there is all of it."""
    await bench.tokens.create(RECORD)
    before, after = (rule_with([make_quota(one, LIMIT, WINDOW)]) for one in (old, new))
    for _ in range(LIMIT):
        assert (await bench.admit(before, RECORD)).is_charged
    refused = await bench.admit(after, RECORD)
    assert not refused.is_charged
    fits_at = refused.windows[0].fits_at
    assert fits_at is not None
    bench.at(fits_at)
    assert (await bench.admit(after, RECORD)).is_charged
    bench.at(START + 4 * WINDOW * 1000)
    assert [True] * LIMIT + [False] == [(await bench.admit(after, RECORD)).is_charged for _ in range(LIMIT + 1)]


@pytest.mark.parametrize(("old", "new"), PAIRS)
async def test_the_quota_of_a_rule_is_found_under_its_other_algorithm(bench: Bench, old: str, new: str) -> None:
    """The counter of one rule's quota has the rule in its name; another rule's is not taken for it."""
    await bench.tokens.create(RECORD)

    def under(algorithm: str, rule: str) -> Rule:
        return rule_with([replace(make_quota(algorithm, LIMIT, WINDOW), rule=rule)])

    for _ in range(LIMIT):
        assert (await bench.admit(under(old, "GET /a"), RECORD)).is_charged
    assert not (await bench.admit(under(new, "GET /a"), RECORD)).is_charged
    assert (await bench.admit(under(new, "GET /b"), RECORD)).is_charged


async def test_requests_in_flight_are_no_units_of_a_limit(bench: Bench) -> None:
    """Where a limit becomes a bound of requests at once, neither counts for the other."""
    await bench.tokens.create(RECORD)
    limit, at_once = (
        make_quota("fixed-window", 1, 15),
        replace(make_quota("fixed-window", 1, 15), algorithm="concurrent"),
    )
    assert (await bench.admit(rule_with([limit]), RECORD)).is_charged
    assert (await bench.admit(rule_with([at_once]), RECORD)).is_charged


@pytest.mark.parametrize(("old", "new"), PAIRS)
async def test_each_gives_back_to_its_own_count(bench: Bench, old: str, new: str) -> None:
    """What a request did not cost in the end returns to the limit, and takes nothing of what the other counted."""
    await bench.tokens.create(RECORD)
    before, after = (rule_with([make_quota(one, LIMIT, WINDOW)], cost=3) for one in (old, new))
    first, second = await bench.admit(before, RECORD), await bench.admit(after, RECORD)
    assert first.is_charged
    assert second.is_charged
    assert not (await bench.admit(before, RECORD)).is_charged
    await bench.refund(before, first, 2)
    await bench.refund(after, second, 1)
    ones = [rule_with([make_quota(one, LIMIT, WINDOW)]) for one in (old, new)]
    admitted = [(await bench.admit(ones[number % 2], RECORD)).is_charged for number in range(6)]
    assert [True] * 3 + [False] * 3 == admitted, "as 1 and 2 of 6 units were left charged"

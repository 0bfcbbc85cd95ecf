"""What a request gives back when it is over: its place among those in flight, and what it did not cost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from gateway.adapters.redis import keys
from gateway.core.admission.decision import Authorized
from gateway.core.policies.model import Rule
from gateway.core.quotas.algorithms import Leases
from gateway.core.quotas.charging import charge
from tests.adapters.bench import PARALLEL, RECORDS, START, Bench, open_bench, rule_with
from tests.support.quotas import ALGORITHMS, make_quota
from tests.support.redis_keys import ALL_BUT_MARKER


@pytest.fixture
async def bench(store_url: str) -> AsyncIterator[Bench]:
    """A store of each kind that holds the tokens of RECORDS."""
    async with open_bench(store_url, RECORDS) as bench:
        yield bench


async def test_a_request_in_flight_is_counted_until_it_ends(bench: Bench) -> None:
    """Of a limit of two a third is refused for a second; when one ends, the next is admitted, whatever it costs."""
    rule = rule_with([PARALLEL], cost=0)
    first, second, third = [await bench.admit(rule, RECORDS[0]) for _ in range(3)]
    assert [True, True, False] == [one.is_charged for one in (first, second, third)]
    assert START + 1000 == third.windows[0].fits_at
    with bench.refunds.in_flight(third):
        pass
    with bench.refunds.in_flight(first):
        await bench.refunds.drain()
        assert not (await bench.admit(rule, RECORDS[0])).is_charged
    await bench.refunds.drain()
    assert (await bench.admit(rule, RECORDS[0])).is_charged


async def test_the_end_of_a_request_overtakes_no_later_admission(bench: Bench) -> None:
    """Of a limit of one, whoever asks again when the last request has ended is admitted, each time."""
    rule = rule_with([msgspec.structs.replace(PARALLEL, limit=1)])
    for _ in range(50):
        facts = await bench.admit(rule, RECORDS[0])
        assert facts.is_charged
        with bench.refunds.in_flight(facts):
            assert not (await bench.admit(rule, RECORDS[0])).is_charged


async def test_ends_come_before_admissions_on_every_connection(bench: Bench) -> None:
    """Also while other requests, with and without such a limit, are admitted on all connections at once."""
    alone, beside = rule_with([msgspec.structs.replace(PARALLEL, limit=1)]), rule_with([PARALLEL])
    unlimited = rule_with([make_quota("fixed-window", 10**6, 60)])
    is_over = False

    async def ask_on(rule: Rule) -> None:
        while not is_over:
            with bench.refunds.in_flight(await bench.admit(rule, RECORDS[1])):
                pass

    others = [asyncio.create_task(ask_on(rule)) for rule in (beside, unlimited, unlimited, unlimited)]
    admitted = []
    for _ in range(200):
        facts = await bench.admit(alone, RECORDS[0])
        admitted.append(facts.is_charged)
        with bench.refunds.in_flight(facts):
            pass
    is_over = True
    await asyncio.gather(*others)
    assert [True] * 200 == admitted


async def test_a_lease_of_a_worker_that_was_killed_ends_by_itself(bench: Bench) -> None:
    """Nobody renews it: it counts for its length, to the millisecond, and no longer."""
    rule = rule_with([PARALLEL])
    for _ in range(2):
        await bench.admit(rule, RECORDS[0])
    admitted = []
    for at in (14_999, 15_000):
        bench.at(START + at)
        admitted.append((await bench.admit(rule, RECORDS[0])).is_charged)
    assert [False, True] == admitted


async def test_a_request_that_takes_long_is_renewed(store_url: str) -> None:
    """While its worker lives, the lease is renewed in time, once for all; after the end nothing of it is left."""
    async with open_bench(store_url, RECORDS, lease_seconds=0.01) as bench:
        rule = rule_with([PARALLEL])
        facts = [await bench.admit(rule, RECORDS[0]) for _ in range(2)]
        key = keys.leases("token", RECORDS[0].policy, RECORDS[0].lineage, PARALLEL.counter)

        async def ends() -> set[float]:
            return {await bench.client.zscore(key, one.request.lease) or 0 for one in facts}

        with bench.refunds.in_flight(facts[0]), bench.refunds.in_flight(facts[1]):
            bench.at(START + 60_000)
            async with asyncio.timeout(10):  # each look is a trip to the store, in which the renewal comes about
                while await ends() != {START + 75_000}:
                    await asyncio.sleep(0)
        await bench.refunds.drain()
        assert not await bench.client.exists(key)


def test_leases_of_the_twin_are_told_apart() -> None:
    """A lease that is taken twice, as when a call to Redis is repeated, counts once."""
    states = charge([PARALLEL], [None], 1, START, "a").states
    again = charge([PARALLEL], states, 1, START + 1, "a").states
    assert (Leases((("a", START + 15_001),), START + 1),) == again


async def test_a_graceful_stop_loses_nothing(bench: Bench) -> None:
    """What was to be settled when the worker ends is settled, and its requests in flight are forgotten."""
    rule = rule_with([make_quota("fixed-window", 900, 60), PARALLEL], cost=3)
    facts = await bench.admit(rule, RECORDS[0])
    with bench.refunds.in_flight(facts):
        for _ in range(300):  # more than one call
            settled = msgspec.structs.replace(facts, cost=2)
            bench.refunds.refund(Authorized(rule, settled))
    await bench.refunds.close()
    (units, parallel) = (await bench.admit(rule, RECORDS[0])).windows
    assert 0 + 3 == units.used
    assert 1 == parallel.used


async def test_settling_makes_no_counter_anew(bench: Bench) -> None:
    """What has ended meanwhile stays gone: nothing is left behind that would never end."""
    rule = rule_with([make_quota(kind, 9, 60, name=kind) for kind in ALGORITHMS], cost=3)
    facts = await bench.admit(rule, RECORDS[0])
    for key in await bench.client.keys("gw1:*quota:*") + await bench.client.keys("gw1:*log:*"):
        await bench.client.delete(key)
    before: Any = await bench.client.keys(ALL_BUT_MARKER)
    await bench.refund(rule, facts, 3)
    assert sorted(before) == sorted(await bench.client.keys(ALL_BUT_MARKER))


async def test_a_settlement_that_redis_did_not_take_is_lost(bench: Bench) -> None:
    """The units stay charged, and the next settlement is sent all the same."""
    rule = rule_with([make_quota("fixed-window", 9, 60)], cost=3)
    first, second = [await bench.admit(rule, RECORDS[0]) for _ in range(2)]
    script, bench.refunds._script = bench.refunds._script, None  # type: ignore[assignment]
    bench.connection.is_circuit_open = True
    await bench.refund(rule, first, 3)
    bench.refunds._script, bench.connection.is_circuit_open = script, False
    await bench.refund(rule, second, 1)
    assert 5 + 3 == (await bench.admit(rule, RECORDS[0])).windows[0].used

"""Everything that quotas can be, in the scripts and in core's twin: the same on the same histories."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.adapters import names
from gateway.adapters.redis_admissions import RedisAdmissions
from gateway.adapters.redis_connection import RedisConnection, open_client
from gateway.adapters.redis_settlements import RedisSettlements
from gateway.adapters.redis_tokens import RedisTokens
from gateway.core.algorithms import Leases, State
from gateway.core.charging import charge, give_back, release
from gateway.core.costs import Cost
from gateway.core.decision import Asked, Facts
from gateway.core.outcomes import Authorized
from gateway.core.partitions import holder_of
from gateway.core.policies.quota_rules import allot
from gateway.core.policies.rules import Rule
from gateway.core.policies.terms import encode_terms
from gateway.core.quotas import MAXIMUM_NUMBER, PARTITIONS, Algorithm, Override, Quota, effective_quotas
from gateway.core.records import TokenRecord
from gateway.core.tokens import token_id
from tests.support.policies import make_record, rule_for
from tests.support.quotas import ALGORITHMS, make_quota, quotas_of

START = 1_800_000_000_000
"""Milliseconds: a moment for tests that set the script's clock."""
PARALLEL = Quota("parallel", 2, 15, "concurrent")
RECORDS = (
    make_record("sml_a", plan="pro", owner="acme"),
    make_record("sml_b", plan="pro", owner="acme", project="shop"),
    make_record("sml_c", plan="pro", owner="сайт:1", project="shop"),
)
ADDRESSES = ("192.0.2.1", "2001:db8::1", "2001:db8::2")
"""The last two are of one network."""


def rule_with(quotas: Sequence[Quota], cost: int = 1) -> Rule:
    """A rule without scopes under quotas of the test's own; of its cost nothing is certain until it is settled."""
    rule = msgspec.structs.replace(
        rule_for("GET /export"),
        cost=Cost(cost, by_outcome={}),
        allotments={"pro": allot(quotas)},
        permitted_plans=frozenset({"pro"}),
        has_leases=any(quota.is_concurrency for quota in quotas),
        counts_addresses=any(quota.per == "address" for quota in quotas),
    )
    return msgspec.structs.replace(rule, terms=encode_terms(rule))


class Bench:
    """A store with three tokens, under a clock of the test's own."""

    def __init__(self, url: str, lease_seconds: float = 15) -> None:
        self.connection = RedisConnection(open_client(url, 5), 5)
        self.client = self.connection.client
        self.tokens = RedisTokens(self.connection)
        self.admissions = RedisAdmissions(self.connection)
        leases = (f"lease-{number}" for number in count())
        self.settlements = RedisSettlements(self.connection, leases.__next__, lease_seconds)
        self.at(START)

    def at(self, now: int) -> None:
        self.admissions.now = self.settlements.now = now

    async def admit(self, rule: Rule, record: TokenRecord, address: str = "") -> Facts:
        lease = self.settlements.lease_for(rule)
        return await self.admissions.admit(Asked(rule, record.digest, address=address, lease=lease))

    async def give_back(self, rule: Rule, facts: Facts, units: int) -> None:
        settled = msgspec.structs.replace(facts, cost=facts.cost - units)
        self.settlements.settle(Authorized(rule, facts.record, settled))
        await self.settlements.settled()


def run(
    url: str,
    work: Callable[[Bench], Awaitable[None]],
    records: Sequence[TokenRecord] = RECORDS,
    lease_seconds: float = 15,
) -> None:
    async def run_all() -> None:
        bench = Bench(url, lease_seconds)
        try:
            await bench.client.flushall()
            for record in records:
                await bench.tokens.create(record)
            await work(bench)
        finally:
            await bench.settlements.close()
            await bench.connection.close()

    asyncio.run(run_all())


Counter = tuple[str, str, str]
"""Whom it counts against, who that is, its name."""


class Twin:
    """The states of all counters, kept by core alone."""

    def __init__(self) -> None:
        self.states: dict[Counter, State | None] = {}

    def read(self, quotas: Sequence[Quota], facts: Facts) -> tuple[list[Counter], list[State | None]]:
        keys: list[Counter] = [
            (one.per, holder_of(one.per, facts.record, facts.address), one.counter) for one in quotas
        ]
        return keys, [self.states.get(key) for key in keys]

    def write(self, keys: Sequence[Counter], states: Sequence[State | None]) -> None:
        self.states.update(zip(keys, states, strict=True))


any_quota = st.sampled_from(ALGORITHMS).flatmap(quotas_of) | st.just(PARALLEL)
any_quotas = st.lists(st.tuples(any_quota, st.sampled_from(PARTITIONS), st.booleans()), min_size=1, max_size=5).map(
    lambda some: [
        msgspec.structs.replace(quota, name=f"q{index}", per=per, is_shadow=is_shadow)
        for index, (quota, per, is_shadow) in enumerate(some)
    ]
)


def some_overrides(quotas: Sequence[Quota]) -> st.SearchStrategy[tuple[Override, ...]]:
    """Overrides of any of the quotas, and of none of them; some end within a history."""

    def make(pick: int, limit: int, capacity: int, seconds: int) -> Override:
        quota = quotas[pick % len(quotas)]
        fills = limit * MAXIMUM_NUMBER // quota.window_seconds  # as much as may be asked of a bucket
        top = min(capacity, fills) if quota.burst is not None else limit
        return Override(quota.counter, limit, top, START // 1000 + seconds, "why", "who", 0)

    limits = st.integers(1, 20) | st.sampled_from([10**6, 10**11 + 7, MAXIMUM_NUMBER])
    return st.lists(st.builds(make, st.integers(0, 4), limits, limits, st.integers(-1, 7200)), max_size=3).map(tuple)


steps = st.tuples(
    st.one_of(st.just(0), st.sampled_from([1, 999, 5000, 15_000, 60_000]), st.integers(0, 200_000), st.just(-7000)),
    st.sampled_from(["charge", "charge", "charge", "give_back", "release"]),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from([0, 1, 1, 1, 2, 3, 12]),
    st.integers(1, 12),
)
"""Milliseconds since the step before, what is done, which token, address, cost or which charge, units."""


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_the_scripts_and_core_agree_on_any_history(store_url: str, data: st.DataObject) -> None:
    """Any quotas of any holders, overridden, in shadow, in flight, given back in any order: the same, to the ms."""
    quotas = data.draw(any_quotas)
    own = data.draw(st.tuples(*(some_overrides(quotas) for _ in RECORDS)))
    records = [msgspec.structs.replace(one, overrides=mine) for one, mine in zip(RECORDS, own, strict=True)]
    history = data.draw(st.lists(steps, min_size=1, max_size=40))

    async def work(bench: Bench) -> None:
        twin, now, charged = Twin(), START, list[tuple[Rule, Facts]]()
        for gap, action, who, where, number, units in history:
            now += gap
            bench.at(now)
            if action == "charge":
                rule = rule_with(quotas, number)
                facts = await bench.admit(rule, records[who], ADDRESSES[where])
                known = effective_quotas(rule.allotments["pro"].quotas, records[who].overrides, now)
                keys, states = twin.read(known, facts)
                lease = f"lease-{int(facts.lease[6:])}" if facts.lease else "refused"
                expected = charge(known, states, number, now, lease)
                twin.write(keys, expected.states)
                assert (expected.is_charged, expected.windows) == (facts.is_charged, facts.windows)
                if facts.is_charged:
                    charged.append((rule, facts))
            elif charged:
                rule, facts = charged.pop(number % len(charged))
                counted = [window.quota for window in facts.windows if window.fits_at is None]
                keys, states = twin.read(counted, facts)
                if action == "give_back":
                    given = min(units, facts.cost)
                    await bench.give_back(rule, facts, given)
                    twin.write(keys, give_back(counted, states, given, facts.now, now))
                elif facts.lease:
                    with bench.settlements.in_flight(rule, facts):
                        pass
                    await bench.settlements.settled()
                    twin.write(keys, release(states, facts.lease))

    run(store_url, work, records)


roomy_quotas = st.lists(
    st.builds(make_quota, st.sampled_from(ALGORITHMS), st.integers(6, 30), st.sampled_from([60, 61, 3600])),
    min_size=1,
    max_size=2,
).map(lambda some: [msgspec.structs.replace(quota, name=f"q{index}") for index, quota in enumerate(some)])
short_steps = st.tuples(
    st.sampled_from([0, 0, 1, 700, 5000, 20_000, 60_000]),
    st.sampled_from(["charge", "charge", "give_back"]),
    st.integers(0, 3),
    st.integers(1, 6),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([make_quota("moving-window", 6, 60)], [(0, "charge", 0, 1)] * 2 + [(0, "give_back", 0, 1)] * 2)
@given(roomy_quotas, st.lists(short_steps, min_size=4, max_size=30))
def test_what_is_given_back_is_the_same_in_redis_and_core(
    store_url: str, quotas: list[Quota], history: list[tuple[int, str, int, int]]
) -> None:
    """Of any charge, the last or an earlier one, in part or in whole: the quota is then seen alike by both."""

    async def work(bench: Bench) -> None:
        states: tuple[State | None, ...] = (None,) * len(quotas)
        now, charged, look = START, list[tuple[Rule, Facts]](), rule_with(quotas, 0)
        for gap, action, pick, units in history:
            now += gap
            bench.at(now)
            if action == "charge":
                rule = rule_with(quotas, units)
                facts = await bench.admit(rule, RECORDS[0])
                states = charge(quotas, states, units, now).states
                charged += [(rule, facts)] if facts.is_charged else []
            elif charged:
                rule, facts = charged.pop(-1 - pick % len(charged))
                given = min(facts.cost, 1 + pick)
                await bench.give_back(rule, facts, given)
                states = give_back(quotas, states, given, facts.now, now)
            assert charge(quotas, states, 0, now).windows == (await bench.admit(look, RECORDS[0])).windows

    run(store_url, work, RECORDS[:1])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("limit", [3, 10**5, 10**9 + 7, MAXIMUM_NUMBER])
def test_an_override_counts_as_a_quota_of_its_limit(store_url: str, algorithm: Algorithm, limit: int) -> None:
    """Also where time has to be measured in longer ticks: the script computes them as core does."""
    quota = make_quota(algorithm, 5, 30 * 86400)
    override = Override(quota.counter, limit, limit, START // 1000 + 10**7, "why", "who", 0)
    record = msgspec.structs.replace(RECORDS[0], overrides=(override,))

    async def work(bench: Bench) -> None:
        known = effective_quotas((quota,), record.overrides, START)
        states: tuple[State | None, ...] = (None,)
        for after, cost in ((0, limit // 3), (86_400_007, limit // 2), (10**9, limit // 3), (10**9 + 7, limit)):
            bench.at(START + after)
            facts = await bench.admit(rule_with([quota], cost), record)
            expected = charge(known, states, cost, START + after)
            states = expected.states
            assert (expected.is_charged, expected.windows) == (facts.is_charged, facts.windows)

    run(store_url, work, [record])


def test_a_child_has_the_limits_of_its_parent(store_url: str) -> None:
    """They count together: the parent's override is the child's too, and what the child's record says is not heard."""
    quota = make_quota("fixed-window", 1, 60)
    more = Override(quota.counter, 3, 3, START // 1000 + 60, "why", "who", 0)
    parent = msgspec.structs.replace(RECORDS[0], overrides=(more,))
    identity = token_id(parent.digest)
    child = msgspec.structs.replace(
        RECORDS[0],
        digest=parent.digest[:2] + "0" * 62,
        lineage=identity,
        parent=identity,
        overrides=(msgspec.structs.replace(more, limit=9, capacity=9),),
    )

    async def work(bench: Bench) -> None:
        facts = [await bench.admit(rule_with([quota]), record) for record in (child, parent, child, child)]
        assert [True, True, True, False] == [one.is_charged for one in facts]
        assert [3] * 4 == [one.windows[0].quota.limit for one in facts]

    run(store_url, work, [parent, child])


@pytest.mark.parametrize("per", PARTITIONS)
def test_a_counter_is_shared_by_those_it_counts_against(store_url: str, per: str) -> None:
    """Two tokens of one owner, of one project, of one plan, from one IPv6 /64 use up one counter, others their own."""
    quota = msgspec.structs.replace(make_quota("fixed-window", 9, 60), per=per)

    async def work(bench: Bench) -> None:
        rule = rule_with([quota])
        asked = zip(RECORDS, ADDRESSES, strict=True)
        used = [(await bench.admit(rule, record, address)).windows[0].used for record, address in asked]
        expected = {
            "token": [1, 1, 1],
            "owner": [1, 2, 1],
            "project": [1, 1, 2],
            "plan": [1, 2, 3],
            "address": [1, 1, 2],
        }
        assert expected[per] == used

    run(store_url, work)


def test_counters_are_where_their_names_say(store_url: str) -> None:
    """The script and names.py call the same keys the same, whatever the script and the separators of a name."""
    kinds: tuple[Algorithm, ...] = ("fixed-window", "moving-window")
    quotas = [
        *(msgspec.structs.replace(make_quota(kind, 9, 60, name=kind), per=per) for kind in kinds for per in PARTITIONS),
        *(msgspec.structs.replace(PARALLEL, per=per) for per in PARTITIONS),
    ]

    async def work(bench: Bench) -> None:
        record, address = RECORDS[2], ADDRESSES[1]
        assert (await bench.admit(rule_with(quotas), record, address)).is_charged
        for quota in quotas:
            key = names.counter(quota, record.policy, holder_of(quota.per, record, address))
            assert await bench.client.exists(key), key

    run(store_url, work)


def test_what_one_holder_refuses_charges_no_other(store_url: str) -> None:
    """The owner's quota is full: the token's own, the project's and the plan's stay as they are, also in flight."""

    async def work(bench: Bench) -> None:
        quotas = [msgspec.structs.replace(make_quota("fixed-window", 5, 60, name=per), per=per) for per in PARTITIONS]
        quotas[1] = msgspec.structs.replace(quotas[1], limit=1)
        rule = rule_with([*quotas, PARALLEL])
        assert (await bench.admit(rule, RECORDS[0], ADDRESSES[0])).is_charged
        keys: Any = await bench.client.keys("gw1:*")
        facts = await bench.admit(rule, RECORDS[1], ADDRESSES[1])
        assert (False, [0, 0, 1, 0, 1, 0]) == (facts.is_charged, [window.used for window in facts.windows])
        assert set(keys) == set(await bench.client.keys("gw1:*"))

    run(store_url, work)


def test_a_quota_in_shadow_refuses_nobody(store_url: str) -> None:
    """It is charged while it has room and says when it has none; the enforced one beside it is charged all along."""

    async def work(bench: Bench) -> None:
        shadow = msgspec.structs.replace(make_quota("fixed-window", 2, 60, name="s"), is_shadow=True)
        rule = rule_with([shadow, make_quota("fixed-window", 4, 60)])
        facts = [await bench.admit(rule, RECORDS[0]) for _ in range(5)]
        assert [True, True, True, True, False] == [one.is_charged for one in facts]
        assert [(1, 1), (2, 2), (2, 3), (2, 4), (2, 4)] == [tuple(w.used for w in one.windows) for one in facts]
        assert [False, False, True, True, True] == [one.windows[0].fits_at is not None for one in facts]

    run(store_url, work)


def test_a_request_in_flight_is_counted_until_it_ends(store_url: str) -> None:
    """Of a limit of two a third is refused for a second; when one ends, the next is admitted, whatever it costs."""

    async def work(bench: Bench) -> None:
        rule = rule_with([PARALLEL], cost=0)
        first, second, third = [await bench.admit(rule, RECORDS[0]) for _ in range(3)]
        assert [True, True, False] == [one.is_charged for one in (first, second, third)]
        assert (START + 1000, "") == (third.windows[0].fits_at, third.lease)
        with bench.settlements.in_flight(rule, first):
            await bench.settlements.settled()
            assert not (await bench.admit(rule, RECORDS[0])).is_charged
        await bench.settlements.settled()
        assert (await bench.admit(rule, RECORDS[0])).is_charged

    run(store_url, work)


def test_a_lease_of_a_worker_that_was_killed_ends_by_itself(store_url: str) -> None:
    """Nobody renews it: it counts for its length, to the millisecond, and no longer."""

    async def work(bench: Bench) -> None:
        rule = rule_with([PARALLEL])
        for _ in range(2):
            await bench.admit(rule, RECORDS[0])
        admitted = []
        for at in (14_999, 15_000):
            bench.at(START + at)
            admitted.append((await bench.admit(rule, RECORDS[0])).is_charged)
        assert [False, True] == admitted

    run(store_url, work)


def test_a_request_that_takes_long_is_renewed(store_url: str) -> None:
    """While its worker lives, the lease is renewed in time, once for all; after the end nothing of it is left."""

    async def work(bench: Bench) -> None:
        rule = rule_with([PARALLEL])
        facts = [await bench.admit(rule, RECORDS[0]) for _ in range(2)]
        key = names.leases("token", RECORDS[0].policy, RECORDS[0].lineage, PARALLEL.counter)

        async def ends() -> set[float]:
            return {await bench.client.zscore(key, one.lease) or 0 for one in facts}

        with bench.settlements.in_flight(rule, facts[0]), bench.settlements.in_flight(rule, facts[1]):
            bench.settlements.now = START + 60_000
            async with asyncio.timeout(10):  # each look is a trip to the store, in which the renewal comes about
                while await ends() != {START + 75_000}:
                    await asyncio.sleep(0)
        await bench.settlements.settled()
        assert not await bench.client.exists(key)

    run(store_url, work, lease_seconds=0.01)


def test_a_graceful_stop_loses_nothing(store_url: str) -> None:
    """What was to be settled when the worker ends is settled, and its requests in flight are forgotten."""

    async def work(bench: Bench) -> None:
        rule = rule_with([make_quota("fixed-window", 900, 60), PARALLEL], cost=3)
        facts = await bench.admit(rule, RECORDS[0])
        with bench.settlements.in_flight(rule, facts):
            for _ in range(300):  # more than one call
                settled = msgspec.structs.replace(facts, cost=2)
                bench.settlements.settle(Authorized(rule, facts.record, settled))
        await bench.settlements.close()
        (units, parallel) = (await bench.admit(rule, RECORDS[0])).windows
        assert (0 + 3, 1) == (units.used, parallel.used)

    run(store_url, work)


def test_settling_makes_no_counter_anew(store_url: str) -> None:
    """What has ended meanwhile stays gone: nothing is left behind that would never end."""

    async def work(bench: Bench) -> None:
        rule = rule_with([make_quota(kind, 9, 60, name=kind) for kind in ALGORITHMS], cost=3)
        facts = await bench.admit(rule, RECORDS[0])
        for key in await bench.client.keys("gw1:*quota:*") + await bench.client.keys("gw1:*log:*"):
            await bench.client.delete(key)
        before: Any = await bench.client.keys("*")
        await bench.give_back(rule, facts, 3)
        assert sorted(before) == sorted(await bench.client.keys("*"))

    run(store_url, work)


def test_a_settlement_that_redis_did_not_take_is_lost(store_url: str) -> None:
    """The units stay charged, and the next settlement is sent all the same."""

    async def work(bench: Bench) -> None:
        rule = rule_with([make_quota("fixed-window", 9, 60)], cost=3)
        first, second = [await bench.admit(rule, RECORDS[0]) for _ in range(2)]
        script, bench.settlements._script = bench.settlements._script, None  # type: ignore[assignment]
        bench.connection._probing = asyncio.current_task()  # the circuit is open
        await bench.give_back(rule, first, 3)
        bench.settlements._script, bench.connection._probing = script, None
        await bench.give_back(rule, second, 1)
        assert 5 + 3 == (await bench.admit(rule, RECORDS[0])).windows[0].used

    run(store_url, work)


def test_leases_of_the_twin_are_told_apart() -> None:
    """A lease that is taken twice, as when a call to Redis is repeated, counts once."""
    states = charge([PARALLEL], [None], 1, START, "a").states
    again = charge([PARALLEL], states, 1, START + 1, "a").states
    assert (Leases((("a", START + 15_001),), START + 1),) == again

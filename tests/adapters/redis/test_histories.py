"""The scripts and their reference model on the same histories: whatever the quotas, the same to the millisecond."""

from collections.abc import Sequence

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.core.admission.decision import AdmissionFacts
from gateway.core.policies.model import Rule
from gateway.core.quotas.algorithms import State
from gateway.core.quotas.charging import charge, refund, release
from gateway.core.quotas.model import MAXIMUM_NUMBER, PARTITIONS, Override, Quota, effective_quotas
from gateway.core.quotas.partitions import holder_of
from tests.adapters.bench import ADDRESSES, PARALLEL, RECORDS, START, open_bench, rule_with
from tests.support.quotas import ALGORITHMS, make_quota, quotas_of

Counter = tuple[str, str, str]
"""Whom it counts against, who that is, its name."""


class ReferenceModel:
    """The states of all counters, kept by core alone."""

    def __init__(self) -> None:
        self.states: dict[Counter, State | None] = {}

    def read(self, quotas: Sequence[Quota], facts: AdmissionFacts) -> tuple[list[Counter], list[State | None]]:
        keys: list[Counter] = [
            (one.per, holder_of(one.per, facts.record, facts.request.address), one.counter) for one in quotas
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
    st.sampled_from(["charge", "charge", "charge", "refund", "release"]),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from([0, 1, 1, 1, 2, 3, 12]),
    st.integers(1, 12),
)
"""Milliseconds since the step before, what is done, which token, address, cost or which charge, units."""


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_the_scripts_and_core_agree_on_any_history(store_url: str, data: st.DataObject) -> None:
    """Any quotas of any holders, overridden, in shadow, in flight, given back in any order: the same, to the ms."""
    quotas = data.draw(any_quotas)
    own = data.draw(st.tuples(*(some_overrides(quotas) for _ in RECORDS)))
    records = [msgspec.structs.replace(one, overrides=mine) for one, mine in zip(RECORDS, own, strict=True)]
    history = data.draw(st.lists(steps, min_size=1, max_size=40))
    async with open_bench(store_url, records) as bench:
        model, now, charged = ReferenceModel(), START, list[tuple[Rule, AdmissionFacts]]()
        for gap, action, who, where, number, units in history:
            now += gap
            bench.at(now)
            if action == "charge":
                rule = rule_with(quotas, number)
                facts = await bench.admit(rule, records[who], ADDRESSES[where])
                known = effective_quotas(rule.allotments["pro"].quotas, records[who].overrides, now)
                keys, states = model.read(known, facts)
                named = facts.request.lease if facts.is_charged else ""
                lease = f"lease-{int(named[6:])}" if named else "refused"
                expected = charge(known, states, number, now, lease)
                model.write(keys, expected.states)
                assert expected.is_charged == facts.is_charged
                assert expected.windows == facts.windows
                if facts.is_charged:
                    charged.append((rule, facts))
            elif charged:
                rule, facts = charged.pop(number % len(charged))
                counted = [window.quota for window in facts.windows if window.fits_at is None]
                keys, states = model.read(counted, facts)
                if action == "refund":
                    given = min(units, facts.cost)
                    await bench.refund(rule, facts, given)
                    model.write(keys, refund(counted, states, given, facts.now, now))
                elif facts.request.lease:
                    with bench.refunds.in_flight(facts):
                        pass
                    await bench.refunds.drain()
                    model.write(keys, release(states, facts.request.lease))


roomy_quotas = st.lists(
    st.builds(make_quota, st.sampled_from(ALGORITHMS), st.integers(6, 30), st.sampled_from([60, 61, 3600])),
    min_size=1,
    max_size=2,
).map(lambda some: [msgspec.structs.replace(quota, name=f"q{index}") for index, quota in enumerate(some)])
short_steps = st.tuples(
    st.sampled_from([0, 0, 1, 700, 5000, 20_000, 60_000]),
    st.sampled_from(["charge", "charge", "refund"]),
    st.integers(0, 3),
    st.integers(1, 6),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([make_quota("moving-window", 6, 60)], [(0, "charge", 0, 1)] * 2 + [(0, "refund", 0, 1)] * 2)
@given(roomy_quotas, st.lists(short_steps, min_size=4, max_size=30))
async def test_what_is_given_back_is_the_same_in_redis_and_core(
    store_url: str, quotas: list[Quota], history: list[tuple[int, str, int, int]]
) -> None:
    """Of any charge, the last or an earlier one, in part or in whole: the quota is then seen alike by both."""
    async with open_bench(store_url, RECORDS[:1]) as bench:
        states: tuple[State | None, ...] = (None,) * len(quotas)
        now, charged, look = START, list[tuple[Rule, AdmissionFacts]](), rule_with(quotas, 0)
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
                await bench.refund(rule, facts, given)
                states = refund(quotas, states, given, facts.now, now)
            assert charge(quotas, states, 0, now).windows == (await bench.admit(look, RECORDS[0])).windows

"""Whom a quota counts against: who shares a counter, whose limit it has, and when it refuses nobody."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from gateway.adapters.redis import keys as redis_keys
from gateway.core.quotas.algorithms import State
from gateway.core.quotas.charging import charge
from gateway.core.quotas.model import MAXIMUM_NUMBER, PARTITIONS, Override, effective_quotas
from gateway.core.quotas.partitions import holder_of
from gateway.core.tokens.text import token_id
from tests.adapters.bench import ADDRESSES, PARALLEL, RECORDS, START, Bench, open_bench, rule_with
from tests.support.quotas import ALGORITHMS, make_quota


@pytest.fixture
async def bench(store_url: str) -> AsyncIterator[Bench]:
    """A store of each kind that holds the tokens of RECORDS."""
    async with open_bench(store_url, RECORDS) as bench:
        yield bench


@pytest.mark.parametrize("per", PARTITIONS)
async def test_a_counter_is_shared_by_those_it_counts_against(bench: Bench, per: str) -> None:
    """Two tokens of one owner, of one project, of one plan, from one IPv6 /64 use up one counter, others their own."""
    quota = msgspec.structs.replace(make_quota("fixed-window", 9, 60), per=per)
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


async def test_counters_are_where_their_names_say(bench: Bench) -> None:
    """The script and redis_keys.py call the same keys the same, whatever the script and the separators of a name."""
    kinds: tuple[str, ...] = ("fixed-window", "moving-window")
    quotas = [
        *(msgspec.structs.replace(make_quota(kind, 9, 60, name=kind), per=per) for kind in kinds for per in PARTITIONS),
        *(msgspec.structs.replace(PARALLEL, per=per) for per in PARTITIONS),
    ]
    record, address = RECORDS[2], ADDRESSES[1]
    assert (await bench.admit(rule_with(quotas), record, address)).is_charged
    for quota in quotas:
        key = redis_keys.counter(quota, record.policy, holder_of(quota.per, record, address))
        assert await bench.client.exists(key), key


async def test_what_one_holder_refuses_charges_no_other(bench: Bench) -> None:
    """The owner's quota is full: the token's own, the project's and the plan's stay as they are, also in flight."""
    quotas = [msgspec.structs.replace(make_quota("fixed-window", 5, 60, name=per), per=per) for per in PARTITIONS]
    quotas[1] = msgspec.structs.replace(quotas[1], limit=1)
    rule = rule_with([*quotas, PARALLEL])
    assert (await bench.admit(rule, RECORDS[0], ADDRESSES[0])).is_charged
    keys: Any = await bench.client.keys("gw1:*")
    facts = await bench.admit(rule, RECORDS[1], ADDRESSES[1])
    assert not facts.is_charged
    assert [0, 0, 1, 0, 1, 0] == [window.used for window in facts.windows]
    assert set(keys) == set(await bench.client.keys("gw1:*"))


async def test_a_child_has_the_limits_of_its_parent(store_url: str) -> None:
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
    async with open_bench(store_url, [parent, child]) as bench:
        facts = [await bench.admit(rule_with([quota]), record) for record in (child, parent, child, child)]
        assert [True, True, True, False] == [one.is_charged for one in facts]
        assert [3] * 4 == [one.windows[0].quota.limit for one in facts]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("limit", [3, 10**5, 10**9 + 7, MAXIMUM_NUMBER])
async def test_an_override_counts_as_a_quota_of_its_limit(store_url: str, algorithm: str, limit: int) -> None:
    """Also where time has to be measured in longer ticks: the script computes them as core does."""
    quota = make_quota(algorithm, 5, 30 * 86400)
    override = Override(quota.counter, limit, limit, START // 1000 + 10**7, "why", "who", 0)
    record = msgspec.structs.replace(RECORDS[0], overrides=(override,))
    async with open_bench(store_url, [record]) as bench:
        known = effective_quotas((quota,), record.overrides, START)
        states: tuple[State | None, ...] = (None,)
        for after, cost in ((0, limit // 3), (86_400_007, limit // 2), (10**9, limit // 3), (10**9 + 7, limit)):
            bench.at(START + after)
            facts = await bench.admit(rule_with([quota], cost), record)
            expected = charge(known, states, cost, START + after)
            states = expected.states
            assert expected.is_charged == facts.is_charged
            assert expected.windows == facts.windows


async def test_a_quota_in_shadow_refuses_nobody(bench: Bench) -> None:
    """It is charged while it has room and says when it has none; the enforced one beside it is charged all along."""
    shadow = msgspec.structs.replace(make_quota("fixed-window", 2, 60, name="s"), is_shadow=True)
    rule = rule_with([shadow, make_quota("fixed-window", 4, 60)])
    facts = [await bench.admit(rule, RECORDS[0]) for _ in range(5)]
    assert [True, True, True, True, False] == [one.is_charged for one in facts]
    assert [(1, 1), (2, 2), (2, 3), (2, 4), (2, 4)] == [tuple(w.used for w in one.windows) for one in facts]
    assert [False, False, True, True, True] == [one.windows[0].fits_at is not None for one in facts]

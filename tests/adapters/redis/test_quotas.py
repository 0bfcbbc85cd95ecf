"""The algorithms of quotas in the admission script: the same as core's, on a real Redis and among many askers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.adapters.redis import keys
from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.tokens import RedisTokens
from gateway.core.admission.decision import AdmissionRequest
from gateway.core.policies.compile_rules import allot
from gateway.core.policies.model import Rule
from gateway.core.policies.script_rules import encode_script_rule
from gateway.core.quotas.algorithms import State
from gateway.core.quotas.charging import charge
from gateway.core.quotas.costs import Cost
from gateway.core.quotas.model import Quota
from gateway.core.tokens.text import token_id
from tests.support.connections import open_connection
from tests.support.policies import make_record, rule_for
from tests.support.quotas import ALGORITHMS, Step, histories, make_quota, quotas_of

START = 1_800_000_000_000
"""Milliseconds: a moment for tests that set the script's clock."""
RECORD = make_record(plan="pro")
IDENTITY = token_id(RECORD.digest)
COUNTERS = keys.quotas("token", RECORD.policy, RECORD.lineage)


class Bench:
    """A store with one token, and admissions under quotas of the test's own."""

    def __init__(self, connection: RedisConnection) -> None:
        self.client = connection.client
        self.tokens = RedisTokens(connection)
        self.admissions = RedisAdmissions(connection)
        self.admissions.now = START

    async def charge(self, rule: Rule, after: int = 0) -> bool:
        assert self.admissions.now is not None
        self.admissions.now += after
        return (await self.admissions.admit(AdmissionRequest(rule, RECORD.digest))).is_charged

    async def entries(self, quota: Quota) -> list[bytes | str]:
        return await self.client.lrange(log_of(quota), 0, -1)


@asynccontextmanager
async def open_bench(url: str) -> AsyncIterator[Bench]:
    """Open a store that holds nothing but the token; close it at the end of the block."""
    async with open_connection(url) as connection:
        bench = Bench(connection)
        await bench.client.flushall()
        await bench.tokens.create(RECORD)
        yield bench


@pytest.fixture
async def bench(store_url: str) -> AsyncIterator[Bench]:
    """A store of each kind with one token."""
    async with open_bench(store_url) as bench:
        yield bench


@pytest.fixture
async def benches(redis_url: str) -> AsyncIterator[list[Bench]]:
    """Eight connections to one Redis with one token."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_bench(redis_url)) for _ in range(8)]


def rule_with(quotas: Sequence[Quota], cost: int = 1) -> Rule:
    """The rule of an export under quotas of the test's own."""
    rule = rule_for("GET /export")
    changed = msgspec.structs.replace(
        rule,
        cost=Cost(cost),
        allotments={"pro": allot(quotas)},
        permitted_plans=frozenset({"pro"}),
        has_leases=any(quota.is_concurrency for quota in quotas),
        counts_addresses=any(quota.per == "address" for quota in quotas),
    )
    return msgspec.structs.replace(changed, script_rule=encode_script_rule(changed))


def log_of(quota: Quota) -> str:
    return keys.quota_log("token", RECORD.policy, RECORD.lineage, quota.counter)


def _histories_of(quotas: list[Quota]) -> st.SearchStrategy[tuple[list[Quota], list[Step]]]:
    windows, capacities = [one.window_seconds for one in quotas], [one.capacity for one in quotas]
    return st.tuples(st.just(quotas), histories(windows, capacities, backwards=True))


mixed = (
    st.lists(st.sampled_from(ALGORITHMS), min_size=1, max_size=4)
    .flatmap(lambda kinds: st.tuples(*(quotas_of(kind, f"q{index}") for index, kind in enumerate(kinds))))
    .flatmap(lambda quotas: _histories_of(list(quotas)))
)
"""One to four quotas of any algorithms, and a history; the clock may also go back, as after a failover."""

HUGE = 10**12 - 1


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mixed)
@example(([make_quota("sliding-window-counter", HUGE, HUGE)], [(0, HUGE), (HUGE * 1000, 1), (10**14, 10**11)]))
@example(([make_quota("token-bucket", HUGE, HUGE)], [(0, HUGE), (10**9 + 7, 10**6), (10**14 + 1, 10**11)]))
@example(([make_quota("token-bucket", 7, 10**9, 10**4)], [(0, 9999), (10**8 + 7, 3), (10**14 + 1, 10**4)]))
@example(([make_quota("moving-window", 9, 60)], [(1000, 1)] * 9 + [(0, 9), (53_000, 2), (0, 3), (3000, 7), (0, 2)]))
async def test_the_script_and_core_charge_alike(store_url: str, played: tuple[list[Quota], list[Step]]) -> None:
    """Any history under any quotas: charged, used, reset and wait are the same in Redis and in core, to the ms."""
    quotas, steps = played
    async with open_bench(store_url) as bench:
        states: Sequence[State | None] = [None] * len(quotas)
        now = START
        for gap, cost in steps:
            now = bench.admissions.now = now + gap
            facts = await bench.admissions.admit(AdmissionRequest(rule_with(quotas, cost), RECORD.digest))
            expected = charge(quotas, states, cost, now)
            states = expected.states
            assert expected.is_charged == facts.is_charged
            assert expected.windows == facts.windows


@pytest.mark.redis
@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_limit_of_n_admits_n_among_64_askers(benches: list[Bench], algorithm: str) -> None:
    """64 askers over eight connections, three requests each: exactly the 51 of the window are admitted, never 52."""
    rule = rule_with([make_quota(algorithm, 51, 3600)])

    async def ask(number: int) -> int:
        return sum([await benches[number % len(benches)].charge(rule) for _ in range(3)])

    assert 51 == sum(await asyncio.gather(*(ask(number) for number in range(64))))


@pytest.mark.redis
@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_the_limit_holds_on_redis_own_clock(benches: list[Bench], algorithm: str) -> None:
    """Without a clock set, 64 askers get the 51 of a window as long as any test may take."""
    for bench in benches:
        bench.admissions.now = None
    rule = rule_with([make_quota(algorithm, 51, 10**9)])
    asked = [benches[n % 8].admissions.admit(AdmissionRequest(rule, RECORD.digest)) for n in range(192)]
    assert 51 == sum(facts.is_charged for facts in await asyncio.gather(*asked))


@pytest.mark.parametrize(
    ("algorithm", "least", "most"),
    [
        ("fixed-window", 60_000, 60_000),
        ("sliding-window-counter", 119_000, 120_000),
        ("token-bucket", 60_000, 120_000),
    ],
)
async def test_a_counter_lives_as_long_as_it_counts(bench: Bench, algorithm: str, least: int, most: int) -> None:
    """The hash ends by itself: not before the last charge has lost all weight, and not long after."""
    assert await bench.charge(rule_with([make_quota(algorithm, 10, 60)], cost=10))
    assert least - 5000 <= await bench.client.pttl(COUNTERS) <= most


async def test_a_bucket_in_use_stays(bench: Bench) -> None:
    """The hash of a bucket is kept longer when it is about to end too soon, and asked for its end only then."""
    rule = rule_with([make_quota("token-bucket", 60, 60)], cost=30)
    assert await bench.charge(rule)
    await bench.client.pexpire(COUNTERS, 50_000)
    assert await bench.charge(rule, 60_000)
    assert await bench.client.pttl(COUNTERS) <= 50_000  # it had been told to live for two minutes
    assert await bench.charge(rule, 45_000)
    assert await bench.charge(rule)
    assert 100_000 < await bench.client.pttl(COUNTERS) <= 120_000


async def test_a_moving_window_keeps_only_what_counts(bench: Bench) -> None:
    """Its list holds one entry an instant, loses what has left the window with the next charge, and ends by itself."""
    quota = make_quota("moving-window", 4, 60)
    rule = rule_with([quota])
    assert [True, True, True, True, False] == [await bench.charge(rule, after) for after in (0, 0, 1000, 1000, 0)]
    first, second = f"{START}:2:2".encode(), f"{START + 1000}:1:3".encode()
    assert [first, second, f"{START + 2000}:1:4".encode()] == await bench.entries(quota)
    assert 60_000 < await bench.client.pttl(log_of(quota)) <= 120_000
    assert await bench.charge(rule, 59_500)
    assert [f"{START + 2000}:1:4".encode(), f"{START + 61_500}:1:5".encode()] == await bench.entries(quota)
    assert await bench.charge(rule, 120_000)
    assert [f"{START + 181_500}:1:1".encode()] == await bench.entries(quota)
    until = START + 181_500 + 120_000
    assert {quota.field.encode(): f"m{until}".encode()} == await bench.client.hgetall(COUNTERS), "that there is a list"
    assert 60_000 < await bench.client.pttl(COUNTERS) <= 120_000


async def test_a_refused_request_writes_nothing(bench: Bench) -> None:
    """What one quota refuses leaves the fields and the lists of all others as they were, byte for byte."""
    quotas = [make_quota(kind, 5, 60, name=f"q{index}") for index, kind in enumerate(ALGORITHMS)]
    rule = rule_with([*quotas, make_quota("fixed-window", 1, 86400, name="day")])
    assert await bench.charge(rule)
    logged = quotas[ALGORITHMS.index("moving-window")]
    counters, entries = await bench.client.hgetall(COUNTERS), await bench.entries(logged)
    assert not await bench.charge(rule, 30_000)
    assert counters == await bench.client.hgetall(COUNTERS)
    assert entries == await bench.entries(logged)
    assert len(ALGORITHMS) + 1 == len(counters)


@pytest.mark.redis
async def test_four_counters_are_one_read_and_one_write(redis_url: str) -> None:
    """Quotas without a list cost Redis one HMGET and one HSET, however many; their lifetime is seen to once."""
    async with open_bench(redis_url) as bench:
        kinds: tuple[str, ...] = ("fixed-window", "sliding-window-counter", "token-bucket", "fixed-window")
        rule = rule_with([make_quota(kind, 1000, 3600, name=f"q{index}") for index, kind in enumerate(kinds)])
        await bench.charge(rule)
        await bench.client.config_resetstat()
        for _ in range(10):
            assert await bench.charge(rule)
        stats = await bench.client.info("commandstats")
        called = {name.removeprefix("cmdstat_"): numbers["calls"] for name, numbers in stats.items()}
        used = {name: count for name, count in called.items() if name not in ("config|resetstat", "info")}
        assert dict.fromkeys(("evalsha", "get", "sismember", "hmget", "hset"), 10) == used

"""Usage, counted by workers and read from Redis."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.redis import keys as redis_keys
from gateway.adapters.redis import usage as redis_usage
from gateway.adapters.redis.connection import EMBEDDED, RedisConnection
from gateway.adapters.redis.usage import KEEP_SECONDS, MAXIMUM_BUSIEST, RedisUsage, RedisUsageCounter
from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest, Authorized, Refused
from gateway.core.errors import StoreUnavailable
from gateway.core.http.messages import ResponseHead
from gateway.core.http.reasons import Reason
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import token_id
from gateway.core.usage import DAY_SECONDS, HOUR_SECONDS, BusyToken, UsageLabels, UsagePoint, build_usage_key
from tests.support.connections import open_connection, until_closed
from tests.support.policies import make_record, rule_for
from tests.support.processes import RedisServer, free_port
from tests.support.redis_keys import ALL_BUT_MARKER

NOON = 1_800_014_400
RECORDS = [make_record(f"sml_{number}") for number in range(300)]
IDS = [token_id(record.digest) for record in RECORDS]
RULE = rule_for("GET /export")
HIT = UsageLabels("small", "", "2xx", "hit")


class Bench:
    """Two workers that count, and one who reads, under one clock of the test's own."""

    def __init__(self, connection: RedisConnection) -> None:
        self.connection = connection
        self.client = connection.client
        self.now = NOON
        self.events: Counter[str] = Counter()
        self.workers = [
            RedisUsageCounter(self.connection, self.events if not n else {}, lambda: self.now) for n in (0, 1)
        ]
        self.usage = RedisUsage(self.connection, lambda: self.now)

    def pass_one(self, record: TokenRecord = RECORDS[0], worker: int = 0) -> None:
        facts = AdmissionFacts(AdmissionRequest(RULE), 0, record, False, True, (), ())
        head = ResponseHead(200, [(b"cache-status", b"gateway; hit; ttl=7")])
        self.workers[worker].count_request(build_usage_key(Authorized(RULE, facts), head))

    def refuse_one(self, reason: Reason, status: int) -> None:
        self.workers[0].count_request(build_usage_key(Refused(reason, RULE), ResponseHead(status, [])))

    async def flush(self) -> None:
        for worker in self.workers:
            await worker.flush()


@asynccontextmanager
async def open_bench(url: str) -> AsyncIterator[Bench]:
    async with open_connection(url) as connection:
        yield Bench(connection)


@pytest.fixture
async def bench(store_url: str) -> AsyncIterator[Bench]:
    """Workers and a reader over an empty store of each kind."""
    async with open_bench(store_url) as bench:
        yield bench


async def test_what_two_workers_count_adds_up(bench: Bench) -> None:
    """For the token, the policy, the busiest, and for ever; flushing again adds nothing."""
    for _ in range(3):
        bench.pass_one(worker=0)
    for _ in range(4):
        bench.pass_one(worker=1)
    bench.pass_one(RECORDS[1], worker=1)
    bench.refuse_one(Reason.UNKNOWN_TOKEN, 401)
    await bench.flush()
    await bench.flush()
    counts = {HIT: 8, UsageLabels("small", "unknown_token", "4xx", ""): 1}
    policy = await bench.usage.policy_usage("small", 2)
    assert counts == policy.counts
    assert (UsagePoint(NOON - HOUR_SECONDS, 0), UsagePoint(NOON, 9)) == policy.hours
    assert counts == (await bench.usage.totals()).requests
    assert (UsagePoint(NOON, 7),) == await bench.usage.token_usage(IDS[0], 1)
    assert [BusyToken(IDS[0], 7), BusyToken(IDS[1], 1)] == await bench.usage.busiest(10)
    assert [BusyToken(IDS[0], 7)] == await bench.usage.busiest(1)


async def test_usage_is_told_by_the_hour_and_by_the_day(bench: Bench) -> None:
    """Oldest first, hours and days without requests too, over the ends of the hashes that they are kept in."""
    ages = {0: 1, 1: 2, 25: 3, 130: 4, 743: 5}
    for age, requests in ages.items():
        bench.now = NOON - age * HOUR_SECONDS
        for _ in range(requests):
            bench.pass_one()
        await bench.flush()
    bench.now = NOON
    hours = await bench.usage.token_usage(IDS[0], 744)
    assert [NOON - age * HOUR_SECONDS for age in reversed(range(744))] == [point.time for point in hours]
    assert ages == {age: point.requests for age, point in enumerate(reversed(hours)) if point.requests}
    days = await bench.usage.tokens_usage(IDS[:2], 7)
    today = NOON - NOON % DAY_SECONDS
    assert [today - age * DAY_SECONDS for age in reversed(range(7))] == [point.time for point in days[IDS[0]]]
    assert [0, 4, 0, 0, 0, 3, 3] == [point.requests for point in days[IDS[0]]]
    assert [0] * 7 == [point.requests for point in days[IDS[1]]]
    assert {} == await bench.usage.tokens_usage([], 7)
    assert (UsagePoint(NOON, 1),) == (await bench.usage.policy_usage("small", 1)).hours


async def test_the_busiest_are_exact(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However requests come together in flushes: who is among the busiest that are remembered, with which number."""
    monkeypatch.setattr(redis_usage, "MAXIMUM_BUSIEST", 10)
    monkeypatch.setattr(redis_usage, "MAXIMUM_BATCH", 16)
    draw = random.Random(7)
    made: Counter[str] = Counter()
    for _ in range(40):
        for _ in range(draw.randrange(60)):
            number = min(int(draw.expovariate(0.05)), 99)
            bench.pass_one(RECORDS[number], draw.randrange(2))
            made[IDS[number]] += 1
        await bench.workers[draw.randrange(2)].flush()
    await bench.flush()
    found = await bench.usage.busiest(100)
    assert 10 == len(found)
    assert [number for _, number in made.most_common(10)] == [one.requests for one in found]
    assert all(made[one.token] == one.requests for one in found)


async def test_what_is_kept_is_bounded_in_number_and_in_time(bench: Bench) -> None:
    """Of the busiest so many an hour; all that is of an hour ends by itself, a month after it was last written."""
    for record in RECORDS:
        bench.pass_one(record)
    await bench.flush()
    found: Any = await bench.client.keys(ALL_BUT_MARKER)
    keys = {key.decode() for key in found}
    lasting = {redis_keys.all_requests(), redis_keys.all_events()}
    ends = {key: await bench.client.ttl(key) for key in keys}
    assert {redis_keys.busiest(500_004), redis_keys.policy_usage("small", 500_004), redis_keys.all_requests()} < keys
    assert all(end == -1 if key in lasting else 0 < end <= KEEP_SECONDS for key, end in ends.items())
    assert MAXIMUM_BUSIEST == await bench.client.zcard(redis_keys.busiest(500_004))
    assert len(RECORDS) == sum(key.startswith("gw1:usage:token:") for key in keys)


async def test_events_are_counted_as_far_as_they_are_new(bench: Bench) -> None:
    """What others count grows in Redis by what it grew by here; two workers' events add up."""
    bench.events.update({"store-refused": 2, "": 9})
    await bench.flush()
    bench.events["store-refused"] += 1
    bench.events["hit"] += 4
    other = RedisUsageCounter(bench.connection, {"hit": 1}, lambda: NOON)
    await other.flush()
    await bench.flush()
    assert {"store-refused": 3, "hit": 5} == (await bench.usage.totals()).events


@pytest.mark.redis
async def test_nothing_is_lost_while_redis_is_away(redis_executable: str, tmp_path: Path) -> None:
    """Counts are kept, in the hour that they belong to, and written when it is there again; once."""
    port = free_port()
    async with open_bench(f"redis://127.0.0.1:{port}/0") as bench:
        bench.pass_one()
        await bench.flush()
        bench.now += HOUR_SECONDS
        bench.pass_one()
        bench.refuse_one(Reason.STORE_UNAVAILABLE, 503)
        await bench.flush()
        server = RedisServer(redis_executable, tmp_path, port)
        try:
            await until_closed(bench.connection)
            await bench.flush()
            await bench.flush()
            assert [1, 1] == [point.requests for point in await bench.usage.token_usage(IDS[0], 2)]
            counts = {HIT: 2, UsageLabels("small", "store_unavailable", "5xx", ""): 1}
            assert (
                counts == (await bench.usage.totals()).requests == (await bench.usage.policy_usage("small", 2)).counts
            )
        finally:
            server.stop()


@pytest.mark.redis
async def test_what_a_full_redis_refuses_is_kept(own_redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """maxmemory: refused counts are written when there is room; the log says it once, and readers see how full."""
    async with open_bench(own_redis.url) as bench:
        await bench.client.config_set("maxmemory", "1")
        for _ in range(3):
            bench.pass_one()
            await bench.flush()
        memory = await bench.usage.memory()
        assert memory is not None
        assert memory.used > memory.maximum == 1
        await bench.client.config_set("maxmemory", "0")
        await bench.flush()
        assert {HIT: 3} == (await bench.usage.totals()).requests
        assert (UsagePoint(NOON, 3),) == await bench.usage.token_usage(IDS[0], 1)
    assert 1 == caplog.text.count("refuses to count usage")


async def test_what_is_kept_while_redis_is_away_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens beyond the bound are not counted, policies are, and how many are missing is counted itself."""
    monkeypatch.setattr(redis_usage, "MAXIMUM_KEPT", 10)
    async with open_connection(f"redis://127.0.0.1:{free_port()}/0") as away:
        counting = RedisUsageCounter(away, {}, lambda: NOON)
        bench.workers[0] = counting
        for record in RECORDS[:20]:
            bench.pass_one(record)
        await counting.flush()
    counting._connection = bench.connection
    await counting.flush()
    await counting.flush()
    totals = await bench.usage.totals()
    assert {HIT: 20} == totals.requests
    assert {"usage-lost": 12} == totals.events
    usage = await bench.usage.tokens_usage(IDS[:20], 1)
    assert 8 == sum(point.requests for points in usage.values() for point in points)


async def test_closing_writes_what_is_left(bench: Bench) -> None:
    """Of a worker that is stopped nothing is missing."""
    bench.pass_one()
    await bench.workers[0].close()
    assert {HIT: 1} == (await bench.usage.totals()).requests


@pytest.mark.redis
async def test_noting_asks_redis_nothing(redis_url: str) -> None:
    """What is counted meets Redis with the flush: two calls for it all, however many requests and tokens."""
    async with open_bench(redis_url) as bench:
        calls = 0
        inner = bench.connection.run

        async def run_counted(command: Callable[..., Awaitable[object]], more_seconds: float = 0) -> object:
            nonlocal calls
            calls += 1
            return await inner(command, more_seconds)

        bench.connection.run = run_counted  # type: ignore[method-assign,assignment]  # counts, and does the same
        for record in RECORDS * 10:
            bench.pass_one(record)
        assert 0 == calls
        await bench.workers[0].flush()
        assert 2 == calls


async def test_what_is_no_usage_is_said_and_not_read(bench: Bench) -> None:
    """A key of another type, which somebody else has put there, is a store that does not answer, as everywhere."""
    await bench.client.set(redis_keys.all_requests(), "1")
    with pytest.raises(StoreUnavailable, match="refused"):
        await bench.usage.totals()


async def test_the_embedded_store_does_not_say_how_full_it_is() -> None:
    """It has no limit, and no such command: metrics leave it out."""
    async with open_bench(EMBEDDED) as bench:
        assert await bench.usage.memory() is None

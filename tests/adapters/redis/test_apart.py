"""Exports in another Redis: what it has stored is found with its clock, or nothing is."""

import pytest
from msgspec.structs import replace

from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.exports import ApartHeads
from tests.adapters.exports import NAME, NOW, STORING, exports
from tests.support.connections import open_connection
from tests.support.exchange_harness import NOW as ROOM_NOW
from tests.support.exchange_harness import ExchangeHarness, cache_status, ok, open_exchange
from tests.support.processes import free_port


async def test_what_is_stored_is_found_with_its_clock(connection: RedisConnection) -> None:
    """All variants, and none of what is not there."""
    heads = ApartHeads(connection)
    heads.now = NOW + 5
    await exports(connection).write(STORING)
    await exports(connection).write(replace(STORING, variant="w", raw_head=b"%013d other" % NOW))
    now, found = await heads.find(NAME)
    assert NOW + 5 == now
    assert {STORING.raw_head, b"%013d other" % NOW} == set(found)
    assert (NOW + 5, ()) == await heads.find(f"{NAME}d")


async def test_a_redis_that_is_away_has_nothing_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A request goes on without it."""
    async with open_connection(f"redis://127.0.0.1:{free_port()}/0") as away:
        assert {(None, ())} == {await ApartHeads(away).find(NAME) for _ in range(3)}
    assert 1 == caplog.text.count("does not answer")


class Apart:
    """Heads of the harness's own store, which an admission does not bring; its clock is another one."""

    def __init__(self, harness: ExchangeHarness) -> None:
        self.asked: list[str] = []
        self.heads = ApartHeads(harness.connection)
        self.heads.now = ROOM_NOW

    async def find(self, name: str) -> tuple[int | None, tuple[bytes, ...]]:
        self.asked.append(name)
        return await self.heads.find(name)


async def test_an_export_is_as_old_as_the_clock_of_its_own_redis_says() -> None:
    """Its admission's clock, which is another server's, makes nothing fresh or stale."""
    async with open_exchange(ok(content=b"first"), ok(content=b"second")) as harness:
        apart = Apart(harness)
        harness.export_cache._heads = apart
        assert b"gateway; fwd=uri-miss; stored" == cache_status(await harness.ask("GET /export"))
        harness.admissions.now = ROOM_NOW + 3_600_000
        assert b"gateway; hit; ttl=60" == cache_status(await harness.ask("GET /export"))
        harness.admissions.now = ROOM_NOW - 3_600_000
        apart.heads.now = harness.fetches.now = harness.exports.now = ROOM_NOW + 61_000
        answer = await harness.ask("GET /export")
        assert b"second" == answer.content


async def test_nothing_is_looked_for_in_vain() -> None:
    """Nothing for who may not pass, and once for who may."""
    async with open_exchange(ok()) as harness:
        apart = Apart(harness)
        harness.export_cache._heads = apart
        assert 401 == (await harness.ask("GET /export", text=None)).head.status
        assert [] == apart.asked
        await harness.ask("GET /export")
        assert 1 == len(apart.asked)

"""Admissions whose exports are in another Redis: what it has stored comes behind them, or nothing does."""

import pytest
from msgspec.structs import replace

from gateway.adapters import names
from gateway.adapters.redis_apart import ApartAdmissions
from gateway.adapters.redis_connection import EMBEDDED
from gateway.core.decision import Asked
from tests.adapters.bench import START, Bench
from tests.adapters.exports import NOW, STORING, exports
from tests.support.connections import open_connection
from tests.support.policies import make_record, rule_for
from tests.support.processes import free_port

STORED = replace(STORING, name=names.export("project", "website", "key"))
RULE = rule_for("GET /export")


async def test_what_the_other_redis_has_stored_comes_with_its_clock(bench: Bench) -> None:
    """To a token of the project, as if it were in the same Redis; the token is judged by the clock of its own."""
    mine, other = make_record("a", plan="open"), make_record("b", plan="open", project="other")
    for record in (mine, other):
        await bench.tokens.create(record)
    async with open_connection(EMBEDDED) as connection:
        admissions = ApartAdmissions(bench.admissions, connection)
        admissions.now = NOW + 5
        await exports(connection).write(STORED)
        found = await admissions.admit(Asked(RULE, mine.digest, "key"))
        assert (STORED.raw_head,) == found.stored_heads
        assert (START, NOW + 5) == (found.now, found.stored_now)
        assert "key" == found.export_key
        assert () == (await admissions.admit(Asked(RULE, other.digest, "key"))).stored_heads
    assert [] == await bench.connection.client.keys("gw1:export:*")


async def test_nothing_is_looked_for_in_vain(bench: Bench) -> None:
    """Not for a request that is refused, or that nothing stored could answer, or without an entitlement."""
    mine, lone = make_record("a", plan="open"), make_record("c", plan="open", project="")
    for record in (mine, lone):
        await bench.tokens.create(record)
    async with open_connection(f"redis://127.0.0.1:{free_port()}/0") as away:
        admissions = ApartAdmissions(bench.admissions, away)
        for asked in (Asked(RULE, "0" * 64, "key"), Asked(RULE, mine.digest), Asked(RULE, lone.digest, "key")):
            found = await admissions.admit(asked)
            assert () == found.stored_heads
            assert asked.export_key == found.export_key
        assert not away.is_open


async def test_a_redis_of_exports_that_is_away_is_a_miss(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The request may pass all the same, and what is fetched has a name to be stored under when it is back."""
    record = make_record("a", plan="open")
    await bench.tokens.create(record)
    async with open_connection(f"redis://127.0.0.1:{free_port()}/0") as away:
        admissions = ApartAdmissions(bench.admissions, away)
        for _ in range(3):
            found = await admissions.admit(Asked(RULE, record.digest, "key"))
            assert found.is_charged
            assert ((), "key", START) == (found.stored_heads, found.export_key, found.stored_now)
    assert 1 == caplog.text.count("does not answer")

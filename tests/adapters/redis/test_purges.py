"""Purges, in the embedded store and in Redis: what they end, what they keep from being stored, what is said of them."""

from typing import Any

import pytest
from msgspec.structs import replace

from gateway.adapters.redis import keys as redis_keys
from gateway.adapters.redis.audit import RedisAudit
from gateway.adapters.redis.connection import RedisConnection, Script
from gateway.adapters.redis.exports import PURGE_BATCH
from gateway.core.errors import StoreUnavailable
from gateway.core.tokens.audit import AuditQuery
from tests.adapters.exports import NAME, NOW, PURGED, STORING, exports, stored_heads
from tests.support.connections import open_connection
from tests.support.processes import RedisServer


@pytest.mark.parametrize("group", ["all", "group:a"])
async def test_a_purge_is_seen_at_once(connection: RedisConnection, group: str) -> None:
    """Heads and contents of all exports in the group are gone, in other groups they stay."""
    store, other = exports(connection), redis_keys.export("project", "y", "abc")
    await store.write(STORING)
    await store.write(replace(STORING, name=other, groups=("group:b",)))
    assert 1 == await store.purge("small", [group])
    assert set() == await stored_heads(connection)
    assert None is await exports(connection).read(NAME, "v", b"digest")
    assert {STORING.raw_head} == await stored_heads(connection, other)
    assert 0 == await store.purge("another", ["group:b"])
    assert {STORING.raw_head} == await stored_heads(connection, other)


async def test_a_purge_that_is_somebodys_act_is_in_the_history(connection: RedisConnection) -> None:
    """With how many exports ended, also where there were none; what a backend ends by itself is nobody's act."""
    store, audit = exports(connection), RedisAudit(connection)
    await store.write(STORING)
    await store.purge("small", ["group:x"])
    assert [] == await audit.search(AuditQuery(), 10)
    for ended in (1, 0):
        assert ended == await store.purge("small", ["group:a"], PURGED)
        entry = (await audit.search(AuditQuery(), 10))[0]
        changes = {"group": (None, "a"), "ended": (None, ended)}
        assert replace(PURGED, changes=changes, id=entry.id, time=entry.time) == entry
    assert 2 == len(await audit.search(AuditQuery(action="export"), 10))


async def test_a_large_group_is_purged_in_several_goes(connection: RedisConnection) -> None:
    """However many exports there are, all end, and Redis is not held up for long; the history has it as one purge."""
    store = exports(connection)
    for number in range(2 * PURGE_BATCH + 1):
        name = redis_keys.export("project", "x", str(number))
        await store.write(replace(STORING, name=name, groups=("all",), content=b""))
    assert 2 * PURGE_BATCH + 1 == await store.purge("small", ["all"], PURGED)
    assert [] == await connection.client.keys("gw1:export:*")
    (entry,) = await RedisAudit(connection).search(AuditQuery(), 10)
    assert (None, 2 * PURGE_BATCH + 1) == entry.changes["ended"]


async def test_of_a_purge_that_comes_to_nothing_half_way_the_history_has_that_half(
    connection: RedisConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever has ended stands there: Redis may go away in between."""
    store, audit, run_script = exports(connection), RedisAudit(connection), connection.run_script
    for number in range(PURGE_BATCH + 1):
        name = redis_keys.export("project", "x", str(number))
        await store.write(replace(STORING, name=name, groups=("all",), content=b""))

    async def run_first(script: Script, keys: list[str], arguments: list[Any]) -> Any:
        if await audit.search(AuditQuery(), 10):
            raise StoreUnavailable("away")
        return await run_script(script, keys, arguments)

    monkeypatch.setattr(connection, "run_script", run_first)
    with pytest.raises(StoreUnavailable):
        await store.purge("small", ["all"], PURGED)
    (entry,) = await audit.search(AuditQuery(), 10)
    assert (None, PURGE_BATCH) == entry.changes["ended"]


@pytest.mark.redis
async def test_a_full_redis_can_be_purged(own_redis: RedisServer) -> None:
    """It is what makes room; the history has it all the same."""
    async with open_connection(own_redis.url) as connection:
        store = exports(connection)
        await store.write(STORING)
        await connection.client.config_set("maxmemory", "1")
        assert 1 == await store.purge("small", ["group:a"], PURGED)
        assert 1 == len(await RedisAudit(connection).search(AuditQuery(), 10))


async def test_a_fetch_that_began_before_a_purge_stores_nothing(connection: RedisConnection) -> None:
    """In the same millisecond neither; one that began after it does."""
    store = exports(connection)
    store.now = NOW + 10
    await store.purge("small", ["group:a"])
    store.now = NOW + 20
    results = [await store.write(replace(STORING, began_at=NOW + after)) for after in (0, 10, 11)]
    assert ["outdated", "outdated", "stored"] == results


async def test_a_fetch_that_takes_longer_than_purges_are_remembered_stores_nothing(connection: RedisConnection) -> None:
    """Nobody knows any more what was purged since it began."""
    store = exports(connection)
    store.now = NOW + 3_600_001
    assert "outdated" == await store.write(STORING)


async def test_a_document_from_before_a_purge_is_not_for_what_was_purged(connection: RedisConnection) -> None:
    """Also of a group that the document was never in: it is ended, and one that was asked for later is not."""
    store = exports(connection)
    await store.write(STORING)
    store.now = NOW + 10
    await store.purge("small", ["group:dark"])
    assert (STORING.raw_head,) == await store.document_heads(NAME, "small", ["all", "group:light"])
    assert () == await store.document_heads(NAME, "small", ["all", "group:dark"])
    assert 0 == await connection.client.exists(NAME, redis_keys.content(NAME, "v"))
    later = replace(STORING, began_at=NOW + 11, raw_head=b"%013d head" % (NOW + 11))
    await store.write(later)
    assert (later.raw_head,) == await store.document_heads(NAME, "small", ["all", "group:dark"])


async def test_what_ends_an_export_ends_the_document_that_it_was_made_of(connection: RedisConnection) -> None:
    """A purge of any of its groups, and other exports of the same document stay."""
    store, document = exports(connection), redis_keys.export("project", "x", "document")
    light, dark = (redis_keys.export("project", "x", mode) for mode in ("light", "dark"))
    await store.write(replace(STORING, name=document, groups=("group:light",)))
    for name, group in ((light, "group:light"), (dark, "group:dark")):
        await store.write(replace(STORING, name=name, groups=(group,), document=document))
    assert 2 == await store.purge("small", ["group:dark"])
    assert [0, 1, 0] == [await connection.client.exists(name) for name in (document, light, dark)]
    assert "stored" == await store.write(replace(STORING, name=dark, groups=("group:more",), document=document))
    assert [dark.encode()] == await connection.client.zrange(redis_keys.group("small", "group:more"), 0, -1)

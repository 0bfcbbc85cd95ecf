"""Stored exports, in the embedded store and in Redis: what is stored with what, and when it is not."""

import pytest
from msgspec.structs import replace

from gateway.adapters.redis import keys
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.exports import MAXIMUM_VARIANTS
from gateway.core.cache.fetch import Leader
from gateway.core.errors import StoreUnavailable
from tests.adapters.exports import LONG, NAME, NOW, STORING, exports, in_pieces, stored_heads
from tests.support.connections import open_connection
from tests.support.processes import RedisServer, free_port
from tests.support.redis_keys import ALL_BUT_MARKER


async def test_another_worker_reads_what_one_stored(connection: RedisConnection) -> None:
    """Content is read under exactly its digest; under another one it is not there."""
    here, there = exports(connection), exports(connection)
    assert "stored" == await here.write(STORING)
    assert b"content" == here.recall(NAME, b"digest")
    assert None is there.recall(NAME, b"digest")
    assert b"content" == await there.read(NAME, "v", b"digest")
    assert b"content" == there.recall(NAME, b"digest")
    assert None is await there.read(NAME, "v", b"another")
    assert {STORING.raw_head} == await stored_heads(connection)


async def test_what_is_stored_ends_by_itself(connection: RedisConnection) -> None:
    """Redis is told how long to keep head, content and indexes: the longest of what is in each."""
    await exports(connection).write(STORING)
    await exports(connection).write(replace(STORING, variant="w", keep_milliseconds=30_000))
    kept = [await connection.client.pttl(key) for key in (NAME, keys.content(NAME, "v"), keys.group("small", "all"))]
    assert all(30_000 < milliseconds <= 60_000 for milliseconds in kept)
    assert 0 < await connection.client.pttl(keys.content(NAME, "w")) <= 30_000
    assert 0 == sum([await connection.client.pttl(key) < 0 for key in await connection.client.keys(ALL_BUT_MARKER)])


async def test_indexes_drop_what_has_ended(connection: RedisConnection) -> None:
    """A group's index holds what may still be there, not all that ever was."""
    store = exports(connection)
    await store.write(STORING)
    store.now = NOW + 120_000
    later = replace(STORING, name=keys.export("project", "x", "other"), began_at=NOW + 120_000)
    await store.write(later)
    assert [later.name.encode()] == await connection.client.zrange(keys.group("small", "all"), 0, -1)


async def test_the_oldest_variant_makes_room(connection: RedisConnection) -> None:
    """All heads of a URI come with each admission, so there is a bound on them; their contents go with them."""
    store = exports(connection)
    for number in [*range(1, MAXIMUM_VARIANTS), 0, MAXIMUM_VARIANTS]:
        head = b"%013d head" % (NOW + number)
        await store.write(replace(STORING, variant=f"v{number}", raw_head=head))
    expected = {b"%013d head" % (NOW + number) for number in range(1, MAXIMUM_VARIANTS + 1)}
    assert expected == await stored_heads(connection)
    assert not await connection.client.exists(keys.content(NAME, "v0"))
    await store.write(replace(STORING, variant="late", raw_head=b"%013d head" % (NOW - 5)))
    assert b"%013d head" % (NOW - 5) in await stored_heads(connection)


async def test_a_head_is_renewed_over_the_content_that_is_there(connection: RedisConnection) -> None:
    """After a 304 only the head is written, and nothing where the content has gone or is another one."""
    store = exports(connection)
    renewed = replace(STORING, is_content_new=False, raw_head=b"%013d new" % NOW)
    assert "outdated" == await store.write(renewed)
    await store.write(STORING)
    assert "stored" == await store.write(renewed)
    assert {renewed.raw_head} == await stored_heads(connection)
    assert b"content" == await exports(connection).read(NAME, "v", b"digest")
    assert "outdated" == await store.write(replace(renewed, digest=b"another"))


async def test_a_variant_is_removed(connection: RedisConnection) -> None:
    """What the backend has answered otherwise since is not there any more."""
    store = exports(connection)
    await store.write(STORING)
    await store.remove(NAME, "v")
    assert set() == await stored_heads(connection)


async def test_a_document_that_no_admission_has_brought_is_read_and_removed_whole(connection: RedisConnection) -> None:
    """The heads of all its variants, and none after its end."""
    store = exports(connection)
    assert () == await store.document_heads(NAME, "small", [])
    await store.write(STORING)
    await store.write(replace(STORING, variant="w"))
    assert 2 == len(await store.document_heads(NAME, "small", ["all"]))
    await store.remove(NAME)
    assert () == await store.document_heads(NAME, "small", ["all"])


async def test_storing_ends_the_lease_of_its_fetch(connection: RedisConnection) -> None:
    """Its own, and not one that somebody else has got meanwhile."""
    store, lease = exports(connection), keys.fetch(NAME, "s")
    for holder, left in (("another", 1), ("me", 0)):
        await connection.client.set(lease, holder)
        await store.write(replace(STORING, leader=Leader(lease, "me", NOW)))
        assert left == await connection.client.exists(lease)


async def test_a_store_that_is_away_loses_no_request(caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be stored or read is said in the log, counted and not raised; a purge must be acknowledged."""
    async with open_connection(f"redis://127.0.0.1:{free_port()}/0") as connection:
        store = exports(connection)
        assert "refused" == await store.write(STORING)
        assert None is await store.read(NAME, "v", b"digest")
        assert () == await store.document_heads(NAME, "small", ["all"])
        await store.remove(NAME, "v")
        assert {"store-refused": 1, "read-failed": 2, "remove-failed": 1} == dict(store.counts)
        with pytest.raises(StoreUnavailable):
            await store.purge("small", ["all"])
    assert 1 == caplog.text.count("Redis does not answer")


@pytest.mark.redis
async def test_a_full_redis_stores_nothing_and_says_so(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """maxmemory: the export is refused, the refusal logged, and Redis still counts as there."""
    async with open_connection(own_redis.url) as connection:
        await connection.client.config_set("maxmemory", "1")
        store = exports(connection)
        assert "refused" == await store.write(STORING)
        assert not connection.is_circuit_open
        await connection.client.config_set("maxmemory", "0")
        assert "stored" == await store.write(STORING)
    assert "could not be stored" in caplog.text


@pytest.mark.redis
@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("content", [b"content", LONG])
async def test_a_redis_that_fills_up_during_a_fetch_stores_nothing_and_ends_the_lease(
    own_redis: RedisServer, content: bytes, is_there: bool
) -> None:
    """The lease that ends first is a write like others: it opens no way past the limit, for a head or for content."""
    async with open_connection(own_redis.url) as connection:
        store, lease = in_pieces(connection), keys.fetch(NAME, "s")
        it = replace(STORING, content=content, raw_head=b"%013d new" % NOW, leader=Leader(lease, "me", NOW))
        if is_there:
            await store.write(replace(it, raw_head=STORING.raw_head, leader=None))
        await connection.client.set(lease, "me")
        await connection.client.config_set("maxmemory", "1")
        assert "refused" == await store.write(it)
        assert ({STORING.raw_head} if is_there else set()) == await stored_heads(connection)
        assert [] == await connection.client.keys("gw1:staged:*")
        assert 0 == await connection.client.exists(lease)

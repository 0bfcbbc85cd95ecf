"""How much of a Redis exports may use: at most a share of it, and each entitlement its part."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.adapters.redis import keys
from gateway.adapters.redis.connection import EMBEDDED, RedisConnection
from gateway.adapters.redis.exports import Limits, RedisExports
from gateway.core.cache.fetch import Storing
from tests.adapters.exports import NAME, NOW, STORING
from tests.support.connections import open_connection
from tests.support.processes import RedisServer
from tests.support.redis_keys import ALL_BUT_MARKER

PULL = 100
"""Bytes of the content of an export, beside its head."""
HEAD = len(STORING.raw_head)
MEBIBYTE = 1024 * 1024


def limited(connection: RedisConnection, limit: int, piece_bytes: int = 1000) -> RedisExports:
    made = RedisExports(connection, 0, piece_bytes=piece_bytes, limits=Limits(limit))
    made.now = NOW
    return made


def pull(number: int, who: str = "x", size: int = PULL) -> Storing:
    """An answer to a query of its own, which was asked for so many milliseconds later."""
    name = keys.export("project", who, f"{number:064x}")
    content = b"%d" % (number % 10) * size
    return replace(STORING, name=name, content=content, digest=b"digest %d" % number, began_at=NOW + number)


async def stored(connection: RedisConnection, who: str = "x") -> list[int]:
    """The numbers of the pulls that are stored for somebody."""
    found: list[Any] = await connection.client.keys(keys.export("project", who, "*"))
    return sorted(int(name.rpartition(b":")[2], 16) for name in found)


async def held_bytes(connection: RedisConnection, who: str = "x") -> int:
    """The bytes that are counted for somebody; what is counted for each is what there is in all."""
    bytes_of, ages, ends = keys.held("project", who)
    counted = {name: int(number) for name, number in (await connection.client.hgetall(bytes_of)).items()}
    total = counted.pop(b"", 0)
    assert total == sum(counted.values())
    listed = [set(await connection.client.zrange(key, 0, -1)) for key in (ages, ends)]
    assert [set(counted), set(counted)] == listed
    return total


async def test_the_oldest_of_an_entitlement_make_room_for_its_newest(connection: RedisConnection) -> None:
    """Whatever one project pulls, it has no more stored than it may; what others have is untouched."""
    store = limited(connection, 3 * (PULL + HEAD))
    await store.write(pull(1, "other"))
    for number in range(1, 9):
        assert "stored" == await store.write(pull(number))
    assert [6, 7, 8] == await stored(connection)
    assert [1] == await stored(connection, "other")
    assert 5 == store.counts["made-room"]
    assert 3 * (PULL + HEAD) == await held_bytes(connection)
    assert b"8" * PULL == await store.read(pull(8).name, "v", b"digest 8")
    assert [] == await connection.client.keys(f"gw1:content:*:{5:064x}:*")


@pytest.mark.parametrize("size", [PULL, 5000])
async def test_what_is_more_than_an_entitlement_may_have_is_not_stored(connection: RedisConnection, size: int) -> None:
    """In pieces or not: it would end all else that is stored, and then itself."""
    store = limited(connection, 3 * (PULL + HEAD))
    await store.write(pull(1))
    assert "stored" == await store.write(pull(2))
    assert "large" == await limited(connection, size - 1).write(pull(3, size=size))
    assert [1, 2] == await stored(connection)
    assert [] == await connection.client.keys("gw1:staged:*")


async def test_what_ends_is_counted_no_longer(connection: RedisConnection) -> None:
    """By its time, by a purge, by being removed, by another answer in its place: no room is lost."""
    store = limited(connection, 10_000)
    await store.write(replace(pull(1), keep_milliseconds=10))
    await store.write(pull(2))
    await store.write(replace(pull(2), variant="w"))
    await store.write(replace(pull(2), content=b"2", digest=b"other"))
    await store.remove(pull(2).name, "w")
    store.now = NOW + 1000
    await store.write(pull(3))
    assert 1 + PULL + 2 * HEAD == await held_bytes(connection)
    await store.remove(pull(2).name)
    assert PULL + HEAD == await held_bytes(connection)
    await store.purge("small", ["all"])
    assert 0 == await held_bytes(connection)
    assert [] == await connection.client.keys("gw1:held:*")


@pytest.mark.parametrize("size", [PULL, 1500])
async def test_what_content_is_encoded_to_is_counted(connection: RedisConnection, size: int) -> None:
    """Once, however often it is written, and with the content; it makes room as well."""
    store = limited(connection, 3000 + 2 * HEAD, piece_bytes=400)
    await store.write(pull(1, size=1000))
    await store.write(pull(2, size=size))
    for _ in range(2):
        await store.keep_encoded(pull(2).name, "v", b"digest 2", b"br", b"e" * 400)
    assert 1000 + size + 400 + 2 * HEAD == await held_bytes(connection)
    assert [1, 2] == await stored(connection)
    await store.keep_encoded(pull(2).name, "v", b"digest 2", b"gzip", b"e" * 400)
    await store.keep_encoded(pull(2).name, "v", b"digest 2", b"zstd", b"e" * 1200)
    assert [2] == await stored(connection)
    await store.remove(pull(2).name, "v")
    assert 0 == await held_bytes(connection)


async def test_an_answer_that_is_still_good_keeps_its_place(connection: RedisConnection) -> None:
    """After a 304 the head is new and the content the same: it is counted once, as the newest."""
    store = limited(connection, 3 * (PULL + HEAD))
    for number in (1, 2, 3):
        await store.write(pull(number))
    await store.write(replace(pull(1), is_content_new=False, began_at=NOW + 10))
    await store.write(pull(4))
    assert [1, 3, 4] == await stored(connection)
    assert 3 * (PULL + HEAD) == await held_bytes(connection)


async def test_no_limit_is_any_number_of_bytes(connection: RedisConnection) -> None:
    """0 is how a setting says that."""
    store = limited(connection, 0)
    for number in range(20):
        assert "stored" == await store.write(pull(number))
    assert list(range(20)) == await stored(connection)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(["write", "remove", "encode", "purge"]), st.integers(0, 5), st.integers(1, 90)),
        max_size=25,
    )
)
async def test_what_is_counted_is_what_is_there(acts: list[tuple[str, int, int]]) -> None:
    """Whatever is stored, encoded, removed or purged, in any order."""
    async with open_connection(EMBEDDED) as connection:
        store = limited(connection, 200, piece_bytes=50)
        for turn, (act, number, size) in enumerate(acts):
            it = replace(pull(number, size=size), keep_milliseconds=100_000 + number)
            if act == "write":
                await store.write(replace(it, began_at=NOW + 1 + turn, digest=b"%d" % turn))
            elif act == "encode":
                digest: Any = await connection.client.hget(keys.content(it.name, "v"), "digest")
                await store.keep_encoded(it.name, "v", bytes(digest or b""), b"br", b"e" * size)
            elif act == "remove":
                await store.remove(it.name, "v")
            else:
                await store.purge("small", ["all"])
            total = await held_bytes(connection)
            assert total <= 200
            assert total == await bytes_there(connection)


async def bytes_there(connection: RedisConnection) -> int:
    """The bytes of all heads and contents."""
    total = 0
    for key in await connection.client.keys("gw1:export:*"):
        total += sum(map(len, await connection.client.hvals(key)))
    for key in await connection.client.keys("gw1:content:*"):
        held: dict[Any, Any] = await connection.client.hgetall(key)
        total += sum(len(value) for field, value in held.items() if field != b"digest" and not field.endswith(b"/of"))
    return total


# -- a share of Redis' memory


@pytest.mark.redis
@pytest.mark.parametrize("piece_bytes", [MEBIBYTE, 64 * 1024])
async def test_exports_leave_a_share_of_redis_free(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture, piece_bytes: int
) -> None:
    """Whoever pulls: what is stored stays, a head can be renewed, and it is said as it begins and ends."""
    async with open_connection(own_redis.url) as connection:
        await connection.client.config_set("maxmemory", 40 * MEBIBYTE)
        store = RedisExports(connection, 0, piece_bytes=piece_bytes)
        outcomes = [
            await store.write(replace(pull(number, f"p{number}", 500_000), began_at=AHEAD)) for number in range(90)
        ]
        told = await connection.client.info("memory")
        assert told["used_memory"] < 0.75 * 40 * MEBIBYTE
        first = outcomes.index("full")
        assert 40 < first < 62
        assert {"full"} == set(outcomes[first:])
        assert 90 - first == store.counts["store-full"]
        assert "stored" == await store.write(replace(pull(0, "p0", 500_000), is_content_new=False, began_at=AHEAD))
        assert [] == await connection.client.keys("gw1:staged:*")
        await connection.client.config_set("maxmemory", 0)
        assert "stored" == await store.write(replace(pull(90, size=500_000), began_at=AHEAD))
    said = [record.message for record in caplog.records if "exports" in record.message]
    assert 2 == len(said) or 4 == len(said), said


AHEAD = 4_000_000_000_000
"""Later than any clock says: Redis' own is used here."""


@pytest.mark.redis
async def test_one_entitlement_has_an_eighth_of_redis_at_most(own_redis: RedisServer) -> None:
    """Where that is less than it may have at all; with what is encoded beside it, too."""
    async with open_connection(own_redis.url) as connection:
        await connection.client.config_set("maxmemory", 40 * MEBIBYTE)
        store = RedisExports(connection, 0)
        for number in range(30):
            assert "stored" == await store.write(replace(pull(number, size=500_000), began_at=AHEAD + number))
        assert list(range(20, 30)) == await stored(connection)
        await store.keep_encoded(pull(29).name, "v", b"digest 29", b"br", b"e" * 400_000)
        assert list(range(21, 30)) == await stored(connection)
        assert "large" == await store.write(replace(pull(31, size=6 * MEBIBYTE), began_at=AHEAD))


@pytest.mark.redis
async def test_an_index_that_is_evicted_is_begun_anew(own_redis: RedisServer) -> None:
    """A Redis that may evict ends keys of the count as well: storing goes on."""
    async with open_connection(own_redis.url) as connection:
        store = limited(connection, 3 * (PULL + HEAD))
        for number in (1, 2, 3):
            await store.write(pull(number))
        await connection.client.delete(keys.held("project", "x")[1])
        assert "stored" == await store.write(pull(4))
        await connection.client.delete(keys.held("project", "x")[0])
        assert "stored" == await store.write(pull(5))


@pytest.mark.parametrize("name", [NAME])
async def test_a_store_that_tells_nothing_of_its_memory_counts_as_never_full(
    connection: RedisConnection, name: str
) -> None:
    """The embedded one does not, and a Redis without maxmemory has no share that could be used up."""
    store = RedisExports(connection, 0, limits=Limits(share=1))
    store.now = NOW
    assert "stored" == await store.write(replace(STORING, name=name))
    assert await connection.client.keys(ALL_BUT_MARKER)

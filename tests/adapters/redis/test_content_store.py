"""Contents of stored exports: what they were encoded to, long ones in pieces, and what memory keeps of them."""

import pytest
from msgspec.structs import replace

from gateway.adapters.redis import keys
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.exports import ContentMemory, RedisContentStore, StoredContent
from gateway.core.errors import ContentLost
from tests.adapters.exports import LONG, NAME, STORING, exports, in_pieces
from tests.support.connections import open_connection
from tests.support.processes import RedisServer
from tests.support.redis_keys import ALL_BUT_MARKER


async def test_what_content_was_encoded_to_is_kept_beside_it(connection: RedisConnection) -> None:
    """For all workers and as long as the content; the same content stored again keeps it, another one does not."""
    here, there = exports(connection), exports(connection)
    await here.write(STORING)
    assert None is await there.read(NAME, "v", b"digest", b"br")
    await here.keep_encoded(NAME, "v", b"digest", b"br", b"encoded")
    assert b"encoded" == here.recall(NAME, b"digest", b"br")
    assert b"content" == here.recall(NAME, b"digest")
    assert b"encoded" == await there.read(NAME, "v", b"digest", b"br")
    assert b"encoded" == there.recall(NAME, b"digest", b"br")
    assert None is await there.read(NAME, "v", b"digest", b"gzip")
    assert 30_000 < await connection.client.pttl(keys.content(NAME, "v")) <= 60_000
    await here.write(STORING)
    assert b"encoded" == await exports(connection).read(NAME, "v", b"digest", b"br")
    await here.write(replace(STORING, digest=b"another"))
    assert {b"digest", b"content"} == set(await connection.client.hkeys(keys.content(NAME, "v")))


async def test_encoded_content_is_kept_only_beside_the_content_it_is_of(connection: RedisConnection) -> None:
    """What was encoded while a purge or another content came is not written: nothing is left that has no end."""
    store = exports(connection)
    await store.write(replace(STORING, digest=b"another"))
    await store.keep_encoded(NAME, "v", b"digest", b"br", b"encoded")
    assert None is await exports(connection).read(NAME, "v", b"another", b"br")
    await store.purge("small", ["all"])
    await store.keep_encoded(NAME, "v", b"another", b"br", b"encoded")
    assert 0 == await connection.client.exists(keys.content(NAME, "v"))


# -- in pieces


@pytest.mark.parametrize("length", [0, 9, 10, 11, 20, 21, 700])
async def test_long_content_is_stored_in_pieces_and_read_as_it_was(connection: RedisConnection, length: int) -> None:
    """As it is and in a coding, for exactly as long as short content, and nothing else is left behind."""
    store, key = in_pieces(connection), keys.content(NAME, "v")
    assert "stored" == await store.write(replace(STORING, content=LONG[:length]))
    await store.keep_encoded(NAME, "v", b"digest", b"br", LONG[:length][::-1])
    assert LONG[:length] == await store.read(NAME, "v", b"digest")
    assert LONG[:length][::-1] == await store.read(NAME, "v", b"digest", b"br")
    assert 30_000 < await connection.client.pttl(key) <= 60_000
    values: list[bytes] = await connection.client.hvals(key)  # type: ignore[assignment]  # as in stored_heads
    assert max(map(len, values)) <= 20  # a piece, or how many there are
    assert {NAME.encode(), key.encode(), *(name.encode() for name in keys.held("project", "x"))} == {
        name for name in await connection.client.keys(ALL_BUT_MARKER) if b":group:" not in name
    }
    assert 1 == await store.purge("small", ["all"])
    assert None is await store.read(NAME, "v", b"digest")


async def test_long_content_takes_the_place_of_other_content_at_one_instant(connection: RedisConnection) -> None:
    """Until its head is stored the old one is read; then nothing of that is left, nor of what it was encoded to."""
    store = in_pieces(connection)
    for digest, content in ((b"1", LONG), (b"2", LONG[::-1]), (b"3", b"short"), (b"4", LONG)):
        await store.write(replace(STORING, digest=digest, content=content))
        assert content == await store.read(NAME, "v", digest)
        await store.keep_encoded(NAME, "v", digest, b"br", content)
    fields: list[bytes] = await connection.client.hkeys(keys.content(NAME, "v"))  # type: ignore[assignment]  # as above
    assert {b"digest", b"content/of", b"br/of"} == {field for field in fields if field.count(b"/") < 2}
    assert 3 + 2 * 70 == len(fields)
    await store.write(replace(STORING, digest=b"4", content=LONG))
    assert LONG == await store.read(NAME, "v", b"4", b"br")
    assert [] == await connection.client.keys("gw1:staged:*")


async def test_long_content_that_a_purge_overtakes_leaves_nothing(connection: RedisConnection) -> None:
    """Neither head nor pieces; and what a worker left that died in the middle ends by itself."""
    store = in_pieces(connection)
    await store.purge("small", ["all"])
    assert "outdated" == await store.write(replace(STORING, content=LONG))
    assert [] == [name for name in await connection.client.keys(ALL_BUT_MARKER) if b":purged:" not in name]
    staged = await RedisContentStore(connection, 10).stage(NAME, "v", b"digest", LONG)
    assert 30_000 < await connection.client.pttl(staged) <= 60_000


async def test_pieces_of_another_content_are_never_mixed_in(connection: RedisConnection) -> None:
    """Who reads while the content is replaced, or lost in part, gets nothing; two encoders' pieces have other names."""
    store, key = in_pieces(connection), keys.content(NAME, "v")
    await store.write(replace(STORING, content=LONG))
    await store.keep_encoded(NAME, "v", b"digest", b"br", LONG)
    await store.keep_encoded(NAME, "v", b"digest", b"br", LONG[::-1])
    assert LONG[::-1] == await store.read(NAME, "v", b"digest", b"br")
    fields: list[bytes] = await connection.client.hkeys(key)  # type: ignore[assignment]  # as above
    lost = [field for field in fields if field.endswith(b"/69")]
    await connection.client.hdel(key, *lost)
    assert None is await store.read(NAME, "v", b"digest")
    assert None is await store.read(NAME, "v", b"digest", b"br")


# -- in memory


def test_memory_forgets_the_least_recently_used() -> None:
    """Beyond the budget the entry that was not asked for longest goes, and a larger one is not kept at all."""
    memory = ContentMemory(10)
    memory.put(("a", b"h"), b"12345")
    memory.put(("b", b"h"), b"12345")
    assert b"12345" == memory.get(("a", b"h"))
    memory.put(("c", b"h"), b"1")
    assert [b"12345", None, b"1"] == [memory.get((name, b"h")) for name in "abc"]
    memory.put(("d", b"h"), b"x" * 11)
    assert None is memory.get(("d", b"h"))


def test_memory_counts_what_it_replaces() -> None:
    """A name that is stored again takes its room once."""
    memory = ContentMemory(10)
    for _ in range(5):
        memory.put(("a", b"h"), b"12345")
    memory.put(("b", b"h"), b"12345")
    assert [b"12345", b"12345"] == [memory.get((name, b"h")) for name in "ab"]


# -- as it is taken


@pytest.mark.parametrize(
    "part", [slice(0, 700), slice(0, 1), slice(9, 11), slice(10, 20), slice(15, 695), slice(699, 700)]
)
@pytest.mark.parametrize("coding", [b"", b"br"])
async def test_long_content_is_read_as_it_is_taken(connection: RedisConnection, part: slice, coding: bytes) -> None:
    """All of it or a part, which is known in its length before; no command carries more than a piece."""
    store = in_pieces(connection)
    await store.write(replace(STORING, content=LONG))
    await store.keep_encoded(NAME, "v", b"digest", b"br", LONG)
    stream = await store.open(NAME, "v", b"digest", coding)
    assert isinstance(stream, StoredContent)
    assert 700 == len(stream)
    wanted = stream[part]
    assert len(LONG[part]) == len(wanted)
    pieces = [piece async for piece in wanted]
    assert LONG[part] == b"".join(pieces)
    assert max(map(len, pieces)) <= 10


async def test_content_that_is_short_is_read_at_once(connection: RedisConnection) -> None:
    """Under another digest, or in a coding that is not there, there is nothing."""
    store = in_pieces(connection)
    await store.write(replace(STORING, content=b"short"))
    assert b"short" == await store.open(NAME, "v", b"digest")
    await store.write(replace(STORING, content=LONG, digest=b"long"))
    assert None is await store.open(NAME, "v", b"digest")
    assert None is await store.open(NAME, "v", b"long", b"br")
    assert None is await store.open(NAME, "w", b"long")


@pytest.mark.parametrize("what", ["purged", "replaced"])
async def test_content_that_goes_while_it_is_taken_breaks_off(connection: RedisConnection, what: str) -> None:
    """No piece of another content is taken for the next one of this, and the end is not taken for whole."""
    store = in_pieces(connection)
    await store.write(replace(STORING, content=LONG))
    stream = await store.open(NAME, "v", b"digest")
    assert isinstance(stream, StoredContent)
    pieces = aiter(stream)
    assert LONG[:10] == await anext(pieces)
    if what == "purged":
        await store.purge("small", ["all"])
    else:
        await store.write(replace(STORING, content=LONG[::-1], digest=b"another"))
    with pytest.raises(ContentLost):
        await anext(pieces)


@pytest.mark.redis
async def test_a_redis_that_goes_while_content_is_taken_breaks_it_off(own_redis: RedisServer) -> None:
    """As a backend's would, and not as a mistake of the gateway."""
    async with open_connection(own_redis.url) as connection:
        store = in_pieces(connection)
        await store.write(replace(STORING, content=LONG))
        stream = await store.open(NAME, "v", b"digest")
        assert isinstance(stream, StoredContent)
        own_redis.stop()
        with pytest.raises(ContentLost):
            await anext(aiter(stream))
        assert None is await store.open(NAME, "v", b"digest")

"""Stored exports, in the embedded store and in Redis: what is stored with what, what purges end, what memory keeps."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.adapters import names
from gateway.adapters.redis_audit import RedisAudit
from gateway.adapters.redis_connection import RedisConnection, Script, open_client
from gateway.adapters.redis_contents import RedisContents
from gateway.adapters.redis_exports import MAXIMUM_VARIANTS, PURGE_BATCH, ContentMemory, RedisExports
from gateway.core.audit import Actor, AuditQuery
from gateway.core.caching.fetching import Lead, Storing
from gateway.core.caching.purging import Purge, about_purge
from gateway.core.errors import StoreUnavailable
from tests.support.processes import RedisServer, free_port

NOW = 1_800_000_000_000
NAME = names.export("project", "x", "abc")
PURGED = about_purge(Actor('"ended":[null,0]', "operator"), "small", Purge(group="a"))
STORING = Storing(
    policy="small",
    name=NAME,
    variant="v",
    raw_head=b"%013d head" % NOW,
    digest=b"digest",
    content=b"content",
    is_content_new=True,
    groups=("all", "group:a"),
    began_at=NOW,
    keep_milliseconds=60_000,
    lead=None,
)


def run(url: str, work: Callable[[RedisConnection], Awaitable[None]]) -> None:
    async def run_all() -> None:
        connection = RedisConnection(open_client(url, 5), 5)
        try:
            await work(connection)
        finally:
            await connection.close()

    asyncio.run(run_all())


def exports(connection: RedisConnection, memory_bytes: int = 1000) -> RedisExports:
    made = RedisExports(connection, memory_bytes)
    made.now = NOW
    return made


async def stored_heads(connection: RedisConnection, name: str = NAME) -> set[bytes]:
    heads: list[bytes] = await connection.client.hvals(name)  # type: ignore[assignment]  # the client leaves bytes as they are
    return set(heads)


def test_another_worker_reads_what_one_stored(store_url: str) -> None:
    """Content is read under exactly its digest; under another one it is not there."""

    async def work(connection: RedisConnection) -> None:
        here, there = exports(connection), exports(connection)
        assert "stored" == await here.write(STORING)
        assert (b"content", None) == (here.recall(NAME, b"digest"), there.recall(NAME, b"digest"))
        assert b"content" == await there.read(NAME, "v", b"digest")
        assert b"content" == there.recall(NAME, b"digest")
        assert None is await there.read(NAME, "v", b"another")
        assert {STORING.raw_head} == await stored_heads(connection)

    run(store_url, work)


def test_what_content_was_encoded_to_is_kept_beside_it(store_url: str) -> None:
    """For all workers and as long as the content; the same content stored again keeps it, another one does not."""

    async def work(connection: RedisConnection) -> None:
        here, there = exports(connection), exports(connection)
        await here.write(STORING)
        assert None is await there.read(NAME, "v", b"digest", b"br")
        await here.keep_encoded(NAME, "v", b"digest", b"br", b"encoded")
        assert (b"encoded", b"content") == (here.recall(NAME, b"digest", b"br"), here.recall(NAME, b"digest"))
        assert b"encoded" == await there.read(NAME, "v", b"digest", b"br")
        assert b"encoded" == there.recall(NAME, b"digest", b"br")
        assert None is await there.read(NAME, "v", b"digest", b"gzip")
        assert 30_000 < await connection.client.pttl(names.content(NAME, "v")) <= 60_000
        await here.write(STORING)
        assert b"encoded" == await exports(connection).read(NAME, "v", b"digest", b"br")
        await here.write(replace(STORING, digest=b"another"))
        assert {b"digest", b"content"} == set(await connection.client.hkeys(names.content(NAME, "v")))

    run(store_url, work)


def test_encoded_content_is_kept_only_beside_the_content_it_is_of(store_url: str) -> None:
    """What was encoded while a purge or another content came is not written: nothing is left that has no end."""

    async def work(connection: RedisConnection) -> None:
        store = exports(connection)
        await store.write(replace(STORING, digest=b"another"))
        await store.keep_encoded(NAME, "v", b"digest", b"br", b"encoded")
        assert None is await exports(connection).read(NAME, "v", b"another", b"br")
        await store.purge("small", ["all"])
        await store.keep_encoded(NAME, "v", b"another", b"br", b"encoded")
        assert 0 == await connection.client.exists(names.content(NAME, "v"))

    run(store_url, work)


def test_what_is_stored_ends_by_itself(store_url: str) -> None:
    """Redis is told how long to keep head, content and indexes: the longest of what is in each."""

    async def work(connection: RedisConnection) -> None:
        await exports(connection).write(STORING)
        await exports(connection).write(replace(STORING, variant="w", keep_milliseconds=30_000))
        kept = [
            await connection.client.pttl(key) for key in (NAME, names.content(NAME, "v"), names.group("small", "all"))
        ]
        assert all(30_000 < milliseconds <= 60_000 for milliseconds in kept)
        assert 0 < await connection.client.pttl(names.content(NAME, "w")) <= 30_000
        assert 0 == sum([await connection.client.pttl(key) < 0 for key in await connection.client.keys("*")])

    run(store_url, work)


def test_indexes_drop_what_has_ended(store_url: str) -> None:
    """A group's index holds what may still be there, not all that ever was."""

    async def work(connection: RedisConnection) -> None:
        store = exports(connection)
        await store.write(STORING)
        store.now = NOW + 120_000
        later = replace(STORING, name=names.export("project", "x", "other"), began_at=NOW + 120_000)
        await store.write(later)
        assert [later.name.encode()] == await connection.client.zrange(names.group("small", "all"), 0, -1)

    run(store_url, work)


def test_the_oldest_variant_makes_room(store_url: str) -> None:
    """All heads of a URI come with each admission, so there is a bound on them; their contents go with them."""

    async def work(connection: RedisConnection) -> None:
        store = exports(connection)
        for number in [*range(1, MAXIMUM_VARIANTS), 0, MAXIMUM_VARIANTS]:
            head = b"%013d head" % (NOW + number)
            await store.write(replace(STORING, variant=f"v{number}", raw_head=head))
        expected = {b"%013d head" % (NOW + number) for number in range(1, MAXIMUM_VARIANTS + 1)}
        assert expected == await stored_heads(connection)
        assert not await connection.client.exists(names.content(NAME, "v0"))
        await store.write(replace(STORING, variant="late", raw_head=b"%013d head" % (NOW - 5)))
        assert b"%013d head" % (NOW - 5) in await stored_heads(connection)

    run(store_url, work)


def test_a_purge_that_is_somebodys_act_is_in_the_history(store_url: str) -> None:
    """With how many exports ended, also where there were none; what a backend ends by itself is nobody's act."""

    async def work(connection: RedisConnection) -> None:
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

    run(store_url, work)


@pytest.mark.parametrize("group", ["all", "group:a"])
def test_a_purge_is_seen_at_once(store_url: str, group: str) -> None:
    """Heads and contents of all exports in the group are gone, in other groups they stay."""

    async def work(connection: RedisConnection) -> None:
        store, other = exports(connection), names.export("project", "y", "abc")
        await store.write(STORING)
        await store.write(replace(STORING, name=other, groups=("group:b",)))
        assert 1 == await store.purge("small", [group])
        assert (set(), None) == (await stored_heads(connection), await exports(connection).read(NAME, "v", b"digest"))
        assert {STORING.raw_head} == await stored_heads(connection, other)
        assert 0 == await store.purge("another", ["group:b"])
        assert {STORING.raw_head} == await stored_heads(connection, other)

    run(store_url, work)


def test_a_fetch_that_began_before_a_purge_stores_nothing(store_url: str) -> None:
    """In the same millisecond neither; one that began after it does."""

    async def work(connection: RedisConnection) -> None:
        store = exports(connection)
        store.now = NOW + 10
        await store.purge("small", ["group:a"])
        store.now = NOW + 20
        results = [await store.write(replace(STORING, began_at=NOW + after)) for after in (0, 10, 11)]
        assert ["outdated", "outdated", "stored"] == results

    run(store_url, work)


def test_a_fetch_that_takes_longer_than_purges_are_remembered_stores_nothing(store_url: str) -> None:
    """Nobody knows any more what was purged since it began."""

    async def work(connection: RedisConnection) -> None:
        store = exports(connection)
        store.now = NOW + 3_600_001
        assert "outdated" == await store.write(STORING)

    run(store_url, work)


def test_a_large_group_is_purged_in_several_goes(store_url: str) -> None:
    """However many exports there are, all end, and Redis is not held up for long; the history has it as one purge."""

    async def work(connection: RedisConnection) -> None:
        store = exports(connection)
        for number in range(2 * PURGE_BATCH + 1):
            name = names.export("project", "x", str(number))
            await store.write(replace(STORING, name=name, groups=("all",), content=b""))
        assert 2 * PURGE_BATCH + 1 == await store.purge("small", ["all"], PURGED)
        assert [] == await connection.client.keys("gw1:export:*")
        (entry,) = await RedisAudit(connection).search(AuditQuery(), 10)
        assert (None, 2 * PURGE_BATCH + 1) == entry.changes["ended"]

    run(store_url, work)


def test_of_a_purge_that_comes_to_nothing_half_way_the_history_has_that_half(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever has ended stands there: Redis may go away in between."""

    async def work(connection: RedisConnection) -> None:
        store, audit, run_script = exports(connection), RedisAudit(connection), connection.run_script
        for number in range(PURGE_BATCH + 1):
            name = names.export("project", "x", str(number))
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

    run(store_url, work)


def test_a_head_is_renewed_over_the_content_that_is_there(store_url: str) -> None:
    """After a 304 only the head is written, and nothing where the content has gone or is another one."""

    async def work(connection: RedisConnection) -> None:
        store = exports(connection)
        renewed = replace(STORING, is_content_new=False, raw_head=b"%013d new" % NOW)
        assert "outdated" == await store.write(renewed)
        await store.write(STORING)
        assert "stored" == await store.write(renewed)
        assert {renewed.raw_head} == await stored_heads(connection)
        assert b"content" == await exports(connection).read(NAME, "v", b"digest")
        assert "outdated" == await store.write(replace(renewed, digest=b"another"))

    run(store_url, work)


def test_a_variant_is_removed(store_url: str) -> None:
    """What the backend has answered otherwise since is not there any more."""

    async def work(connection: RedisConnection) -> None:
        store = exports(connection)
        await store.write(STORING)
        await store.remove(NAME, "v")
        assert set() == await stored_heads(connection)

    run(store_url, work)


def test_a_document_that_no_admission_has_brought_is_read_and_removed_whole(store_url: str) -> None:
    """The heads of all its variants, and none after its end."""

    async def work(connection: RedisConnection) -> None:
        store = exports(connection)
        assert () == await store.document_heads(NAME, "small", [])
        await store.write(STORING)
        await store.write(replace(STORING, variant="w"))
        assert 2 == len(await store.document_heads(NAME, "small", ["all"]))
        await store.remove(NAME)
        assert () == await store.document_heads(NAME, "small", ["all"])

    run(store_url, work)


def test_a_document_from_before_a_purge_is_not_for_what_was_purged(store_url: str) -> None:
    """Also of a group that the document was never in: it is ended, and one that was asked for later is not."""

    async def work(connection: RedisConnection) -> None:
        store = exports(connection)
        await store.write(STORING)
        store.now = NOW + 10
        await store.purge("small", ["group:dark"])
        assert (STORING.raw_head,) == await store.document_heads(NAME, "small", ["all", "group:light"])
        assert () == await store.document_heads(NAME, "small", ["all", "group:dark"])
        assert 0 == await connection.client.exists(NAME, names.content(NAME, "v"))
        later = replace(STORING, began_at=NOW + 11, raw_head=b"%013d head" % (NOW + 11))
        await store.write(later)
        assert (later.raw_head,) == await store.document_heads(NAME, "small", ["all", "group:dark"])

    run(store_url, work)


def test_what_ends_an_export_ends_the_document_that_it_was_made_of(store_url: str) -> None:
    """A purge of any of its groups, and other exports of the same document stay."""

    async def work(connection: RedisConnection) -> None:
        store, document = exports(connection), names.export("project", "x", "document")
        light, dark = (names.export("project", "x", mode) for mode in ("light", "dark"))
        await store.write(replace(STORING, name=document, groups=("group:light",)))
        for name, group in ((light, "group:light"), (dark, "group:dark")):
            await store.write(replace(STORING, name=name, groups=(group,), document=document))
        assert 2 == await store.purge("small", ["group:dark"])
        assert [0, 1, 0] == [await connection.client.exists(name) for name in (document, light, dark)]
        assert "stored" == await store.write(replace(STORING, name=dark, groups=("group:more",), document=document))
        assert [dark.encode()] == await connection.client.zrange(names.group("small", "group:more"), 0, -1)

    run(store_url, work)


LONG = STORING.content * 100
"""In pieces of ten bytes: seventy of them."""


def in_pieces(connection: RedisConnection, memory_bytes: int = 0) -> RedisExports:
    made = RedisExports(connection, memory_bytes, piece_bytes=10)
    made.now = NOW
    return made


@pytest.mark.parametrize("length", [0, 9, 10, 11, 20, 21, 700])
def test_long_content_is_stored_in_pieces_and_read_as_it_was(store_url: str, length: int) -> None:
    """As it is and in a coding, for exactly as long as short content, and nothing else is left behind."""

    async def work(connection: RedisConnection) -> None:
        store, key = in_pieces(connection), names.content(NAME, "v")
        assert "stored" == await store.write(replace(STORING, content=LONG[:length]))
        await store.keep_encoded(NAME, "v", b"digest", b"br", LONG[:length][::-1])
        assert LONG[:length] == await store.read(NAME, "v", b"digest")
        assert LONG[:length][::-1] == await store.read(NAME, "v", b"digest", b"br")
        assert 30_000 < await connection.client.pttl(key) <= 60_000
        values: list[bytes] = await connection.client.hvals(key)  # type: ignore[assignment]  # as in stored_heads
        assert max(map(len, values)) <= 20  # a piece, or how many there are
        assert {NAME.encode(), key.encode()} == {
            name for name in await connection.client.keys("*") if b":group:" not in name
        }
        assert 1 == await store.purge("small", ["all"])
        assert None is await store.read(NAME, "v", b"digest")

    run(store_url, work)


def test_long_content_takes_the_place_of_other_content_at_one_instant(store_url: str) -> None:
    """Until its head is stored the old one is read; then nothing of that is left, nor of what it was encoded to."""

    async def work(connection: RedisConnection) -> None:
        store = in_pieces(connection)
        for digest, content in ((b"1", LONG), (b"2", LONG[::-1]), (b"3", b"short"), (b"4", LONG)):
            await store.write(replace(STORING, digest=digest, content=content))
            assert content == await store.read(NAME, "v", digest)
            await store.keep_encoded(NAME, "v", digest, b"br", content)
        fields: list[bytes] = await connection.client.hkeys(names.content(NAME, "v"))  # type: ignore[assignment]  # as above
        assert {b"digest", b"content/of", b"br/of"} == {field for field in fields if field.count(b"/") < 2}
        assert 3 + 2 * 70 == len(fields)
        await store.write(replace(STORING, digest=b"4", content=LONG))
        assert LONG == await store.read(NAME, "v", b"4", b"br")
        assert [] == await connection.client.keys("gw1:staged:*")

    run(store_url, work)


def test_long_content_that_a_purge_overtakes_leaves_nothing(store_url: str) -> None:
    """Neither head nor pieces; and what a worker left that died in the middle ends by itself."""

    async def work(connection: RedisConnection) -> None:
        store = in_pieces(connection)
        await store.purge("small", ["all"])
        assert "outdated" == await store.write(replace(STORING, content=LONG))
        assert [] == [name for name in await connection.client.keys("*") if b":purged:" not in name]
        staged = await RedisContents(connection, 10).stage(NAME, "v", b"digest", LONG)
        assert 30_000 < await connection.client.pttl(staged) <= 60_000

    run(store_url, work)


def test_pieces_of_another_content_are_never_mixed_in(store_url: str) -> None:
    """Who reads while the content is replaced, or lost in part, gets nothing; two encoders' pieces have other names."""

    async def work(connection: RedisConnection) -> None:
        store, key = in_pieces(connection), names.content(NAME, "v")
        await store.write(replace(STORING, content=LONG))
        await store.keep_encoded(NAME, "v", b"digest", b"br", LONG)
        await store.keep_encoded(NAME, "v", b"digest", b"br", LONG[::-1])
        assert LONG[::-1] == await store.read(NAME, "v", b"digest", b"br")
        fields: list[bytes] = await connection.client.hkeys(key)  # type: ignore[assignment]  # as above
        lost = [field for field in fields if field.endswith(b"/69")]
        await connection.client.hdel(key, *lost)
        assert (None, None) == (await store.read(NAME, "v", b"digest"), await store.read(NAME, "v", b"digest", b"br"))

    run(store_url, work)


def test_storing_ends_the_lease_of_its_fetch(store_url: str) -> None:
    """Its own, and not one that somebody else has got meanwhile."""

    async def work(connection: RedisConnection) -> None:
        store, lease = exports(connection), names.fetch(NAME, "s")
        for holder, left in (("another", 1), ("me", 0)):
            await connection.client.set(lease, holder)
            await store.write(replace(STORING, lead=Lead(lease, "me", NOW)))
            assert left == await connection.client.exists(lease)

    run(store_url, work)


def test_a_store_that_is_away_loses_no_request(caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be stored or read is said in the log, counted and not raised; a purge must be acknowledged."""

    async def work(connection: RedisConnection) -> None:
        store = exports(connection)
        assert "refused" == await store.write(STORING)
        assert None is await store.read(NAME, "v", b"digest")
        assert () == await store.document_heads(NAME, "small", ["all"])
        await store.remove(NAME, "v")
        assert {"store-refused": 1, "read-failed": 2, "remove-failed": 1} == dict(store.counts)
        with pytest.raises(StoreUnavailable):
            await store.purge("small", ["all"])

    run(f"redis://127.0.0.1:{free_port()}/0", work)
    assert "could not be stored" in caplog.text


@pytest.mark.redis
def test_a_full_redis_stores_nothing_and_says_so(own_redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """maxmemory: the export is refused, the refusal logged, and Redis still counts as there."""

    async def work(connection: RedisConnection) -> None:
        await connection.client.config_set("maxmemory", "1")
        store = exports(connection)
        assert "refused" == await store.write(STORING)
        assert not connection.is_open
        await connection.client.config_set("maxmemory", "0")
        assert "stored" == await store.write(STORING)

    run(own_redis.url, work)
    assert "could not be stored" in caplog.text


@pytest.mark.redis
@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("content", [b"content", LONG])
def test_a_redis_that_fills_up_during_a_fetch_stores_nothing_and_ends_the_lease(
    own_redis: RedisServer, content: bytes, is_there: bool
) -> None:
    """The lease that ends first is a write like others: it opens no way past the limit, for a head or for content."""

    async def work(connection: RedisConnection) -> None:
        store, lease = in_pieces(connection), names.fetch(NAME, "s")
        it = replace(STORING, content=content, raw_head=b"%013d new" % NOW, lead=Lead(lease, "me", NOW))
        if is_there:
            await store.write(replace(it, raw_head=STORING.raw_head, lead=None))
        await connection.client.set(lease, "me")
        await connection.client.config_set("maxmemory", "1")
        assert "refused" == await store.write(it)
        assert ({STORING.raw_head} if is_there else set()) == await stored_heads(connection)
        assert [] == await connection.client.keys("gw1:staged:*")
        assert 0 == await connection.client.exists(lease)

    run(own_redis.url, work)


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


@pytest.mark.redis
def test_a_full_redis_can_be_purged(own_redis: RedisServer) -> None:
    """It is what makes room; the history has it all the same."""

    async def work(connection: RedisConnection) -> None:
        store = exports(connection)
        await store.write(STORING)
        await connection.client.config_set("maxmemory", "1")
        assert 1 == await store.purge("small", ["group:a"], PURGED)
        assert 1 == len(await RedisAudit(connection).search(AuditQuery(), 10))

    run(own_redis.url, work)

"""Rules with variants: what a purge ends of a document and of what was made of it."""

import asyncio
from collections.abc import AsyncIterator

from gateway.core.cache.keys import uri_group
from tests.support.exchange_harness import NOW, Pieces, ok, open_exchange
from tests.support.shaped import EXPORT, GERMAN, POLICY, change, document, status_of


async def test_a_purge_of_the_path_ends_the_document_and_all_variants() -> None:
    """As does a write to the path: nothing is made of what was there before."""
    async with open_exchange(document(), ok(), document(change(de="Hallo")), policy=POLICY) as harness:
        await harness.ask(GERMAN)
        await harness.ask(f"{EXPORT}?lang=en")
        await harness.ask("POST /texts/website/export")
        harness.now = NOW + 1
        answer = await harness.ask(GERMAN)
        assert b'{"home":{"title":"Hallo"}}\n' == answer.content
        assert b"gateway; hit" in status_of(await harness.ask(f"{EXPORT}?lang=fr"))
        assert b"gateway; fwd=uri-miss" not in status_of(await harness.ask(f"{EXPORT}?lang=en"))
        assert ["GET", "POST", "GET"] == [sent.method for sent in harness.upstreams.sent]


async def test_a_purge_of_one_variant_ends_the_document_behind_it_and_no_other_variant() -> None:
    """By its URL as the client wrote it: made anew it has what the backend says now."""
    async with open_exchange(document(), document(change(de="Hallo", en="Hello")), policy=POLICY) as harness:
        german, english = await harness.ask(GERMAN), await harness.ask(f"{EXPORT}?lang=en")
        harness.now = NOW + 1000
        assert 2 == await harness.exports.purge("small", [uri_group("small.example", GERMAN.removeprefix("GET "))])
        harness.now = NOW + 2000
        assert b'{"home":{"title":"Hallo"}}\n' == (await harness.ask(GERMAN)).content != german.content
        assert english.content == (await harness.ask(f"{EXPORT}?lang=en")).content
        assert 2 == len(harness.upstreams.sent)


async def test_a_purge_of_a_variant_that_is_not_stored_is_no_less() -> None:
    """What is made after it is not made of a document from before it, whoever that was asked for by."""
    async with open_exchange(document(), document(change(de="Hallo")), policy=POLICY) as harness:
        await harness.ask(f"{EXPORT}?lang=en")
        harness.now = NOW + 1000
        assert 0 == await harness.exports.purge("small", [uri_group("small.example", GERMAN.removeprefix("GET "))])
        harness.now = NOW + 2000
        assert b'{"home":{"title":"Hallo"}}\n' == (await harness.ask(GERMAN)).content


async def test_a_document_that_is_fetched_while_a_variant_is_purged_is_not_used_for_it() -> None:
    """Another variant's request asked for it before the purge; who comes after the purge asks again."""
    gate, begun = asyncio.Event(), asyncio.Event()

    class Slow(Pieces):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            begun.set()
            await gate.wait()
            async for piece in super().__aiter__():
                yield piece

    content = document().content
    assert isinstance(content, bytes)
    async with open_exchange(ok(content=Slow(content)), document(change(de="Hallo")), policy=POLICY) as harness:
        english = asyncio.create_task(harness.ask(f"{EXPORT}?lang=en"))
        await begun.wait()
        harness.now = NOW + 1000
        await harness.exports.purge("small", [uri_group("small.example", GERMAN.removeprefix("GET "))])
        harness.now = NOW + 2000
        german = asyncio.create_task(harness.ask(GERMAN))
        for _ in range(50):
            await asyncio.sleep(0)
        gate.set()
        assert b'{"home":{"title":"Hallo"}}\n' == (await german).content
        assert b'{"home":{"title":"Welcome"}}\n' == (await english).content
        assert b'{"home":{"title":"Hallo"}}\n' == (await harness.ask(GERMAN)).content
        assert 2 == len(harness.upstreams.sent)

"""Rules with variants, when the document is none, the backend fails, or a client leaves."""

import asyncio

import msgspec
import pytest

from gateway.core.errors import UpstreamUnreachable
from gateway.core.variants.model import DocumentForm, InvalidOptions, Rendered, Variant
from tests.support.exchange_harness import NOW, ExchangeHarness, Pieces, field, ok, open_exchange
from tests.support.shaped import EXPORT, GERMAN, POLICY, change, document, status_of


async def test_a_broken_document_is_502_with_its_place() -> None:
    """The answer and the access log say so, and the next request asks the backend again."""
    async with open_exchange(
        ok(content=b'{"entries": [{"id": "a", "values": 1}]}'), document(), policy=POLICY
    ) as harness:
        answer = await harness.ask(GERMAN)
        assert isinstance(answer.content, bytes)
        assert 502 == answer.head.status
        assert "$.entries[0].values" in msgspec.json.decode(answer.content)["detail"]
        assert "broken_document" == harness.records[0].reason
        assert 502 == harness.records[0].status
        assert 200 == (await harness.ask(GERMAN)).head.status


async def test_a_stream_of_events_is_no_document() -> None:
    """It is not waited for: 502, and the backend's work on it is ended."""
    events = Pieces(b"data: 1\n\n")
    async with open_exchange(ok((b"content-type", b"text/event-stream"), content=events), policy=POLICY) as harness:
        answer = await harness.ask(GERMAN)
        assert isinstance(answer.content, bytes)
        assert 502 == answer.head.status
        assert "a stream of events is no document" in msgspec.json.decode(answer.content)["detail"]
        assert events.is_closed


async def test_the_last_good_variant_stands_in_for_a_broken_document() -> None:
    """As it does while the backend cannot be reached; only what was never made is 502."""
    broken = ok(content=b"<html>")
    async with open_exchange(document(), broken, UpstreamUnreachable("refused"), broken, policy=POLICY) as harness:
        good = await harness.ask(GERMAN)
        for seconds in (61, 62):
            harness.now = NOW + seconds * 1000
            answer = await harness.ask(GERMAN)
            assert 200 == answer.head.status
            assert good.content == answer.content
            assert b"detail=stale-if-error" in status_of(answer)
        assert 502 == (await harness.ask(f"{EXPORT}?lang=en")).head.status


async def test_a_new_variant_can_be_made_of_a_stale_document_while_the_backend_fails() -> None:
    """It says so, and is not kept as a fresh one."""
    answers = document(), UpstreamUnreachable("refused"), document(change(en="Hello"))
    async with open_exchange(*answers, policy=POLICY) as harness:
        await harness.ask(GERMAN)
        harness.now = NOW + 61_000
        answer = await harness.ask(f"{EXPORT}?lang=en")
        assert b'{"home":{"title":"Welcome"}}\n' == answer.content
        assert b"detail=stale-if-error" in status_of(answer)
        assert b"gateway; fwd=stale" in status_of(await harness.ask(f"{EXPORT}?lang=en"))


async def test_any_other_answer_of_the_backend_passes() -> None:
    """What is no document is none to be shaped: its status, content and type are the backend's."""
    fields = [(b"content-type", b"text/plain"), (b"cache-status", b"gateway; hit")]  # of a cache behind us
    async with open_exchange(ok(*fields, content=b"no such project", status=404), policy=POLICY) as harness:
        answer = await harness.ask(GERMAN)
        assert 404 == answer.head.status
        assert b"no such project" == answer.content
        assert b"text/plain" == field(answer, b"content-type")
        assert 1 == len(harness.upstreams.sent)


class Gate:
    """A renderer that waits until it may."""

    def __init__(self, harness: ExchangeHarness) -> None:
        self.may = asyncio.Event()
        self.begun = asyncio.Event()
        self.rendered = 0
        self._render = harness.renderer.render

    async def render(self, content: bytes, form: DocumentForm, variant: Variant) -> Rendered | InvalidOptions:
        """What the renderer makes, later."""
        self.rendered += 1
        self.begun.set()
        await self.may.wait()
        return await self._render(content, form, variant)


async def test_a_client_that_leaves_cancels_nothing_that_others_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten want the same variant, and the one that asked first leaves: it is made once, for the nine."""
    async with open_exchange(document(), policy=POLICY) as harness:
        gate = Gate(harness)
        monkeypatch.setattr(harness.renderer, "render", gate.render)
        first = asyncio.create_task(harness.ask(GERMAN))
        await gate.begun.wait()
        others = [asyncio.create_task(harness.ask(GERMAN)) for _ in range(9)]
        for _ in range(20):
            await asyncio.sleep(0)
        first.cancel()
        gate.may.set()
        answers = await asyncio.gather(*others)
        assert first.cancelled()
        assert {b'{"home":{"title":"Willkommen"}}\n'} == {answer.content for answer in answers}
        assert 1 == gate.rendered
        assert 1 == len(harness.upstreams.sent)


async def test_all_who_wait_for_a_broken_document_are_told_its_place() -> None:
    """One of them has it asked for and shaped; the others get the same error."""
    async with open_exchange(ok(content=b"[]"), policy=POLICY) as harness:
        answers = await asyncio.gather(*(harness.ask(GERMAN) for _ in range(5)))
        assert {502} == {answer.head.status for answer in answers}
        assert 1 == len({answer.content for answer in answers})
        assert 1 == len(harness.upstreams.sent)

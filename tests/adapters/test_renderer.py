"""Variants are made in another process, which may fail without failing anybody else."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import rendering
from benchmarks.documents import build_translations
from gateway.adapters import renderer_process
from gateway.adapters.renderer import ProcessRenderer
from gateway.adapters.renderer_process import MEMORY_BYTES, Broken, Done, read_outcome, work, write_job
from gateway.core.errors import BrokenDocument
from gateway.core.variants.formats import FORMATS
from gateway.core.variants.model import InvalidOptions, Variant
from gateway.core.variants.rendering import render
from tests.core.variants.samples import DESIGN_TOKENS, TRANSLATIONS, entry, texts, token, tokens
from tests.core.variants.test_translations import ASKS

DOCUMENT = texts(*(entry(f"key{index}", de="x" * 100, en="é👩") for index in range(2000)))
"""More than a pipe holds at once, in both directions."""


@pytest.fixture(scope="module")
def long() -> bytes:
    """20,000 texts in 30 languages: 15 MiB."""
    return build_translations()


@pytest.fixture
def renderer() -> Iterator[ProcessRenderer]:
    renderer = ProcessRenderer(inline_bytes=0)
    yield renderer
    renderer.close()


def children() -> set[int]:
    """The processes that this one has started and that render."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(os.getpid())], stdout=subprocess.PIPE, text=True, check=False
    )
    return {int(line.split()[0]) for line in listed.stdout.splitlines() if "renderer_process" in line}


async def test_another_process_gives_the_same_bytes(renderer: ProcessRenderer) -> None:
    """Content and tag are those of core's function, for every format and document, again and again."""
    for variant in (Variant(), Variant(format="csv"), Variant(format="xml", pretty=True), Variant(lang=("de",))):
        assert render(DOCUMENT, TRANSLATIONS, variant) == await renderer.render(DOCUMENT, TRANSLATIONS, variant)
    css = tokens(token("a", "color", "#fff"))
    variant = Variant(format="css")
    assert render(css, DESIGN_TOKENS, variant) == await renderer.render(css, DESIGN_TOKENS, variant)
    assert 1 == len(children())


async def test_a_hangup_does_not_end_it(renderer: ProcessRenderer) -> None:
    """A service manager sends it to all processes of the gateway, and what is being rendered goes on."""
    await renderer.render(DOCUMENT, TRANSLATIONS, Variant())
    (process,) = children()
    os.kill(process, signal.SIGHUP)
    assert render(DOCUMENT, TRANSLATIONS, Variant()) == await renderer.render(DOCUMENT, TRANSLATIONS, Variant())
    assert {process} == children()


async def test_refusals_come_back_as_what_they_are(renderer: ProcessRenderer) -> None:
    """A broken document is told with its place, a language that is not there with those that are."""
    with pytest.raises(BrokenDocument) as broken:
        await renderer.render(texts({"id": [], "values": {}}), TRANSLATIONS, Variant())
    assert "$.entries[0].id" == broken.value.place
    assert "Expected `int | str`, got `array`" == broken.value.problem
    found = await renderer.render(DOCUMENT, ASKS, Variant(lang=("fr",)))
    assert isinstance(found, InvalidOptions)
    assert ("de", "en") == found.mistakes[0].allowed


async def test_several_at_once_wait_for_each_other(renderer: ProcessRenderer) -> None:
    """Each gets its own answer, from no more processes than there may be."""
    variants = [Variant(lang=("de",)), Variant(lang=("en",)), Variant(), Variant(format="csv")] * 3
    found = await asyncio.gather(*(renderer.render(DOCUMENT, TRANSLATIONS, variant) for variant in variants))
    assert [render(DOCUMENT, TRANSLATIONS, variant) for variant in variants] == found
    assert 1 == len(children())


async def test_small_documents_need_no_process() -> None:
    """What takes no time is done at once."""
    renderer = ProcessRenderer(inline_bytes=len(DOCUMENT))
    found = await renderer.render(DOCUMENT, TRANSLATIONS, Variant())
    assert render(DOCUMENT, TRANSLATIONS, Variant()) == found
    assert set() == children()


async def test_one_that_ends_is_replaced(renderer: ProcessRenderer) -> None:
    """A process that is killed fails what it was doing as a broken document, and the next is served."""
    expected = await renderer.render(DOCUMENT, TRANSLATIONS, Variant())
    (process,) = children()
    os.kill(process, signal.SIGKILL)
    with pytest.raises(BrokenDocument, match="rendering it ended the process"):
        await renderer.render(DOCUMENT, TRANSLATIONS, Variant())
    assert expected == await renderer.render(DOCUMENT, TRANSLATIONS, Variant())
    assert process not in children()


async def test_one_that_takes_too_long_is_ended(renderer: ProcessRenderer) -> None:
    """A process that hangs is killed at its time, and nobody gets its late answer."""
    await renderer.render(DOCUMENT, TRANSLATIONS, Variant())
    (process,) = children()
    os.kill(process, signal.SIGSTOP)
    renderer._timeout_seconds = 0.05
    with pytest.raises(BrokenDocument, match=r"takes more than 0\.05 seconds"):
        await renderer.render(DOCUMENT, TRANSLATIONS, Variant())
    assert process not in children()
    renderer._timeout_seconds = 30
    found = await renderer.render(DOCUMENT, TRANSLATIONS, Variant(lang=("en",)))
    assert render(DOCUMENT, TRANSLATIONS, Variant(lang=("en",))) == found


async def test_one_that_nobody_waits_for_is_ended(renderer: ProcessRenderer) -> None:
    """Its answer would come to the next who asks."""
    await renderer.render(DOCUMENT, TRANSLATIONS, Variant())
    (process,) = children()
    os.kill(process, signal.SIGSTOP)
    waiting = asyncio.create_task(renderer.render(DOCUMENT, TRANSLATIONS, Variant()))
    while not renderer._free.locked():
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    found = await renderer.render(DOCUMENT, TRANSLATIONS, Variant(lang=("en",)))
    assert render(DOCUMENT, TRANSLATIONS, Variant(lang=("en",))) == found


def test_running_out_of_memory_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that makes too much of itself is broken, and the process goes on."""

    def run_out(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(renderer_process, "render_pieces", run_out)
    jobs, outcomes = io.BytesIO(), io.BytesIO()
    for _ in range(2):
        write_job(jobs, (TRANSLATIONS, Variant()), b"{}")
    jobs.seek(0)
    work(jobs, outcomes)
    outcomes.seek(0)
    expected = (Broken("$", "rendering it takes more memory than a document may"), b"")
    assert [expected, expected] == [read_outcome(outcomes), read_outcome(outcomes)]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps limits of address space, and tells them")
async def test_memory_is_bounded(renderer: ProcessRenderer) -> None:
    """The process may have so much address space and no more."""
    await renderer.render(DOCUMENT, TRANSLATIONS, Variant())
    (process,) = children()
    (limit,) = [line for line in Path(f"/proc/{process}/limits").read_text().splitlines() if "address space" in line]
    assert str(MEMORY_BYTES) in limit


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the most memory that a process had")
@pytest.mark.parametrize("format_", FORMATS["translations"])
def test_a_variant_takes_at_most_twice_its_document(format_: str, long: bytes) -> None:
    """The renderer's process never has more above what it had before: the document, what it knows of it, the pieces."""
    is_of_one = FORMATS["translations"][format_].has_one_language
    cost = rendering.measure(long, TRANSLATIONS, Variant(format=format_, lang=("de",) if is_of_one else None))
    assert cost.content_mib > 0
    assert cost.peak_mib * rendering.MIB <= 2 * len(long)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the most memory that a process had")
def test_an_indented_variant_takes_at_most_twice_its_document(long: bytes) -> None:
    """What is indented is indented piece by piece, also where all languages are in one object."""
    for format_ in ("json", "xml", "xcstrings"):
        cost = rendering.measure(long, TRANSLATIONS, Variant(format=format_, pretty=True))
        assert cost.content_mib > 0
        assert cost.peak_mib * rendering.MIB <= 2 * len(long)


async def test_a_process_knows_no_settings(renderer: ProcessRenderer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pepper is for those who check tokens."""
    monkeypatch.setenv("GATEWAY_TOKEN_PEPPER", "secret")
    await renderer.render(DOCUMENT, TRANSLATIONS, Variant())
    (process,) = children()
    environment = subprocess.run(["ps", "eww", str(process)], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert "renderer_process" in environment
    assert "GATEWAY_" not in environment


async def test_closing_ends_the_processes() -> None:
    """None is left behind."""
    renderer = ProcessRenderer(inline_bytes=0)
    await renderer.render(DOCUMENT, TRANSLATIONS, Variant())
    assert children()
    renderer.close()
    assert set() == children()


def test_the_other_end_reads_jobs_until_there_are_none() -> None:
    """Jobs are answered one after the other; a part of a job is none."""
    jobs, outcomes = io.BytesIO(), io.BytesIO()
    write_job(jobs, (TRANSLATIONS, Variant(lang=("de",))), texts(entry("a", de="x")))
    write_job(jobs, (TRANSLATIONS, Variant()), b"[]")
    jobs.write(b"\0\0")
    jobs.seek(0)
    work(jobs, outcomes)
    outcomes.seek(0)
    done, content = read_outcome(outcomes)
    assert isinstance(done, Done)
    assert b'{"a":"x"}\n' == content
    assert (Broken("$", "Expected `object`, got `array`"), b"") == read_outcome(outcomes)
    with pytest.raises(EOFError):
        read_outcome(outcomes)

"""`python -m benchmarks.rendering`: what each variant of a large document costs. Nothing is asserted.

Each row is rendered in a renderer's process of its own. CPU time is what the process takes for the document. Memory is
the most that it has resident, above what it had before the document came: the document itself is in that, and so are
the pieces that it sends. Then the row is rendered in a thread and by the adapter, beside an event loop that asks every
millisecond how late it is: that is what a request of somebody else would wait.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from benchmarks.documents import build_tokens, build_translations
from gateway.adapters.renderer import ProcessRenderer
from gateway.adapters.renderer_process import read_outcome, write_job
from gateway.core.variants.formats import FORMATS
from gateway.core.variants.model import DocumentForm, DocumentKind, Variant
from gateway.core.variants.rendering import render

ROUNDS = 3
TICK_SECONDS = 0.001
MIB = 1024 * 1024
EMPTY: dict[DocumentKind, bytes] = {"translations": b'{"entries":[]}', "design-tokens": b'{"tokens":[]}'}

ROWS: dict[str, tuple[DocumentKind, Variant]] = {
    "texts, json": ("translations", Variant()),
    "texts, json, flat": ("translations", Variant(shape="flat")),
    "texts, json, pretty": ("translations", Variant(pretty=True)),
    "texts, json, one language": ("translations", Variant(lang=("de",))),
    "texts, json, one language, two statuses": ("translations", Variant(lang=("de",), status=("approved", "shipped"))),
    "texts, csv": ("translations", Variant(format="csv")),
    "texts, csv, one language": ("translations", Variant(format="csv", lang=("de",))),
    "texts, xml": ("translations", Variant(format="xml")),
    "texts, xml, flat": ("translations", Variant(format="xml", shape="flat")),
    "texts, xml, one language": ("translations", Variant(format="xml", lang=("de",))),
    **{
        f"texts, {name}{', one language' if one.has_one_language else ''}": (
            "translations",
            Variant(format=name, lang=("de",) if one.has_one_language else None),
        )
        for name, one in FORMATS["translations"].items()
        if name not in ("json", "csv", "xml")
    },
    **{f"tokens, {name}": ("design-tokens", Variant(format=name, mode="dark")) for name in FORMATS["design-tokens"]},
}
HEADINGS = (
    "",
    "CPU ms",
    "content MiB",
    "peak MiB",
    "by document",
    "thread: p99 ms",
    "thread: longest ms",
    "process: p99 ms",
    "longest ms",
)


class Cost(msgspec.Struct):
    """What one row costs a renderer's process: CPU time, which other work on the machine disturbs least, and memory."""

    milliseconds: float
    content_mib: float
    peak_mib: float
    """Above what the process had before the document came; it is in this."""


def main() -> None:
    """Measure and print; arguments name rows, otherwise all are measured."""
    documents: dict[DocumentKind, bytes] = {"translations": build_translations(), "design-tokens": build_tokens()}
    sizes = ", ".join(f"{kind}: {len(content) / MIB:.1f} MiB" for kind, content in documents.items())
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---" + "|---:" * (len(HEADINGS) - 1) + "|"]
    for name in sys.argv[1:] or ROWS:
        kind, variant = ROWS[name]
        form = DocumentForm(kind)
        costs = [measure(documents[kind], form, variant) for _ in range(ROUNDS)]
        peak = max(cost.peak_mib for cost in costs)
        milliseconds = statistics.median(cost.milliseconds for cost in costs)
        pauses = asyncio.run(_measure_pauses(documents[kind], form, variant))
        cells = [f"{milliseconds:,.0f}", f"{costs[0].content_mib:.1f}", f"{peak:.1f}"]
        cells.append(f"{peak * MIB / len(documents[kind]):.2f}")
        lines.append("| " + " | ".join([name, *cells, *(f"{pause:.1f}" for pause in pauses)]) + " |")
    sys.stdout.write("\n".join([*lines, "", f"{ROUNDS} rounds. Documents: {sizes}."]) + "\n")


def measure(content: bytes, form: DocumentForm, variant: Variant) -> Cost:
    """Render the document in a new process, and return what that costs it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.adapters.renderer_process"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    jobs, outcomes = cast(BinaryIO, process.stdin), cast(BinaryIO, process.stdout)
    with process, jobs, outcomes:
        write_job(jobs, (form, variant), EMPTY[form.kind])
        read_outcome(outcomes)  # it has imported what it needs
        before, spent = _kib(process.pid, "VmRSS"), _cpu_seconds(process.pid)
        write_job(jobs, (form, variant), content)
        _, made = read_outcome(outcomes)
        spent = _cpu_seconds(process.pid) - spent
        return Cost(spent * 1000, len(made) / MIB, (_kib(process.pid, "VmHWM") - before) / 1024)


async def _measure_pauses(content: bytes, form: DocumentForm, variant: Variant) -> list[float]:
    """Measure how late the loop is while the variant is made in a thread and by the adapter: p99 and longest, in ms."""
    renderer = ProcessRenderer(inline_bytes=0)
    await renderer.render(content, form, variant)  # the process is there
    in_thread = await _lateness(lambda: asyncio.to_thread(render, content, form, variant))
    in_process = await _lateness(lambda: renderer.render(content, form, variant))
    renderer.close()
    return [
        in_thread[int(len(in_thread) * 0.99)],
        in_thread[-1],
        in_process[int(len(in_process) * 0.99)],
        in_process[-1],
    ]


async def _lateness(work: Callable[[], Awaitable[object]]) -> list[float]:
    late: list[float] = []

    async def tick() -> None:
        while True:
            due = time.perf_counter() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            late.append((time.perf_counter() - due) * 1000)

    ticking = asyncio.create_task(tick())
    for _ in range(ROUNDS):
        await work()
    ticking.cancel()
    with suppress(asyncio.CancelledError):
        await ticking
    return sorted(late)


def _kib(process: int, name: str) -> int:
    """Return a figure of the kernel about a process, in KiB (proc(5))."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def _cpu_seconds(process: int) -> float:
    """Return user and system time of a process (proc(5))."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()

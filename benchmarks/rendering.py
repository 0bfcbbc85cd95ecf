"""`python -m benchmarks.rendering`: what each variant of a large document costs. Nothing is asserted.

Each row is rendered in a process of its own, so that its memory is its own; then in a thread and by the adapter, beside
an event loop that asks every millisecond how late it is: that is what a request of somebody else would wait.
"""

import asyncio
import gc
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from benchmarks.documents import build_tokens, build_translations
from gateway.adapters.renderer import ProcessRenderer
from gateway.core.variants.formats import FORMATS
from gateway.core.variants.model import DocumentForm, DocumentKind, Rendered, Variant
from gateway.core.variants.rendering import render

ROUNDS = 3
TICK_SECONDS = 0.001
MIB = 1024 * 1024

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
    "thread: p99 ms",
    "thread: longest ms",
    "process: p99 ms",
    "longest ms",
)


class Cost(msgspec.Struct):
    """Of one row in a process of its own: CPU time, which other work on the machine disturbs least."""

    milliseconds: float
    content_mib: float
    peak_mib: float
    """Above what the process had with the document in memory."""


def main() -> None:
    """Measure and print."""
    if len(sys.argv) > 1:
        sys.stdout.buffer.write(msgspec.json.encode(_measure(*ROWS[sys.argv[1]])))
        return
    documents: dict[DocumentKind, bytes] = {"translations": build_translations(), "design-tokens": build_tokens()}
    sizes = ", ".join(f"{kind}: {len(content) / MIB:.1f} MiB" for kind, content in documents.items())
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---" + "|---:" * (len(HEADINGS) - 1) + "|"]
    for name, (kind, variant) in ROWS.items():
        command = [sys.executable, "-m", "benchmarks.rendering", name]
        cost = msgspec.json.decode(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout, type=Cost)
        pauses = asyncio.run(_measure_pauses(documents[kind], DocumentForm(kind), variant))
        cells = [f"{cost.milliseconds:,.0f}", f"{cost.content_mib:.1f}", f"{cost.peak_mib:.0f}"]
        lines.append("| " + " | ".join([name, *cells, *(f"{pause:.1f}" for pause in pauses)]) + " |")
    sys.stdout.write("\n".join([*lines, "", f"Median of {ROUNDS}. Documents: {sizes}."]) + "\n")


def _measure(kind: DocumentKind, variant: Variant) -> Cost:
    content = build_translations() if kind == "translations" else build_tokens()
    form = DocumentForm(kind)
    gc.disable()  # as in the adapter's process
    _reset_peak()
    before = _resident_kib()
    times, size = [], 0
    for _ in range(ROUNDS):
        start = time.process_time()
        found = render(content, form, variant)
        times.append(time.process_time() - start)
        size = len(found.content) if isinstance(found, Rendered) else 0
    return Cost(statistics.median(times) * 1000, size / MIB, (_peak_kib() - before) / 1024)


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


def _reset_peak() -> None:
    with suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:  # noqa: PTH123 - a file of the kernel, not of a folder
        file.write("5")


def _resident_kib() -> int:
    return _status("VmRSS")


def _peak_kib() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123 - a file of the kernel, not of a folder
        for line in file:
            if line.startswith(name):
                return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()

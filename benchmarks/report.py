"""Results as Markdown."""

import statistics
from collections.abc import Callable, Iterator, Sequence

from benchmarks.runs import Measured, Results, Sample

HEADINGS = (
    "",
    "server",
    "CPU us/request",
    "x compared",
    "requests/s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "p99, x compared",
    "vCPU",
    "Redis CPU us",
    "memory MB",
)
BUSY = 0.9
"""Below this share of its core the server waited: for the load, for Redis, or for other work on the machine."""
COLUMNS: tuple[tuple[Callable[[Sample], float], str], ...] = (
    (lambda one: one.load.requests / one.load.seconds, ",.0f"),
    (lambda one: one.load.p50_us / 1000, ".2f"),
    (lambda one: one.load.p95_us / 1000, ".2f"),
    (lambda one: one.load.p99_us / 1000, ".2f"),
)


def build_report(results: Results) -> str:
    """Return a page: a table of each section, and what a reader has to know to read it."""
    lines = [f"# Measured: version {results.version}", "", *_notes(results)]
    for section in dict.fromkeys(row.section for row in results.rows):
        lines += ["", f"## {section}", "", *_table(results, [row for row in results.rows if row.section == section])]
    return "\n".join(lines) + "\n"


def _table(results: Results, rows: Sequence[Measured]) -> Iterator[str]:
    yield _line(*HEADINGS)
    yield "|---|---" + "|---:" * (len(HEADINGS) - 2) + "|"
    kind = ""
    for row in rows:
        yield _line("" if row.kind == kind else row.kind, row.server, *_cells(results, row))
        kind = row.kind
    bases = {row.base for row in rows if row.base} - {row.name for row in rows}
    for base in sorted(bases):
        yield ""
        yield f"Compared with `{base}`."


def _cells(results: Results, row: Measured) -> Iterator[str]:
    yield _spread([one.cpu_us_per_request for one in row.samples], ".1f")
    yield _spread(results.ratios(row, lambda one: one.cpu_us_per_request), ".2f")
    for value, form in COLUMNS:
        yield _spread([value(one) for one in row.samples], form)
    yield _spread(results.ratios(row, lambda one: one.load.p99_us), ".2f")
    yield format(row.median(lambda one: one.cores), ".2f")
    yield format(row.median(lambda one: one.redis.cpu_us / one.load.requests), ".1f") if row.uses_redis else ""
    yield f"{row.memory_bytes / 1e6:.0f}"


def _notes(results: Results) -> Iterator[str]:
    before, after = results.system_load
    apart = "a core of its own" if results.is_apart else "NO core of its own: there is only one"
    yield f"- {results.date}, CPython {results.python}, {results.cores} cores of {results.processor}."
    yield f"- Load average: {before:.1f} before, {after:.1f} after. One worker, the server on {apart}."
    yield f"- Rounds: {results.rounds}, in each of which every row had {results.seconds:g} s. Load by {results.client}."
    yield "- Cells are the median of the rounds, with the lowest and the highest in brackets."
    yield "- CPU is user and system time of the server's processes, the access log's thread included."
    yield (
        "- `x compared` is the proportion to the row that is named below the table, or to the one of the same kind "
        "that has no proportion, round by round."
    )
    yield (
        "- 1,000 tokens are drawn in turn (in variations 200), over 32 connections (10 MiB: 4; alone: 1). "
        "Requests are those of curl. An access log is written unless the row says `no log`."
    )
    yield "- Every answer was counted by its status: an unexpected one ends the run."
    loaded = [row for row in results.rows if row.connections > 1]
    idle = [row for row in loaded if row.median(lambda one: one.cores) < BUSY]
    yield (
        f"- In {len(idle)} of {len(loaded)} rows the server used less than {BUSY:.0%} of a core (column vCPU): there "
        "the load generator, Redis or other work bounded requests/s and latency, and CPU is the figure to look at."
    )
    for what in results.missing:
        yield f"- Left out: {what}."


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _spread(values: Sequence[float], form: str) -> str:
    if not values:
        return ""
    median = format(statistics.median(values), form)
    if len(values) == 1:
        return median
    return f"{median} ({min(values):{form}}–{max(values):{form}})"  # noqa: RUF001 - an en dash between numbers

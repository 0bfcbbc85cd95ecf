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
    apart = "a core of its own" if results.is_apart else "NO core of its own: there is only one"
    yield (
        f"{results.date}, CPython {results.python}, {results.cores} cores of {results.processor}; load average "
        f"{results.system_load[0]:.1f} before and {results.system_load[1]:.1f} after. {results.rounds} rounds, in each "
        f"of which every row had {results.seconds:g} s in turn; cells are the median, with the lowest and the highest "
        f"round in brackets. One worker, the server on {apart}, load by {results.client}."
    )
    yield ""
    yield (
        "CPU is user and system time of the server's processes. `x compared` is the proportion to the row that the "
        "table compares with, round by round. Tokens are drawn in turn, 1,000 of them unless the row says otherwise; "
        "there are 32 keep-alive connections (10 MiB: 4; alone: 1); an access log is written unless the row says `no "
        "log`; requests are those of curl. Every answer was counted by its status: an unexpected one ends the run."
    )
    idle = [row.name for row in results.rows if row.connections > 1 and row.median(lambda one: one.cores) < BUSY]
    if idle:
        yield ""
        yield (
            f"These servers used less than {BUSY:.0%} of their core, so that the load generator, Redis or other work "
            f"bounded requests/s and latency: {'; '.join(idle)}."
        )
    for base, rows in _compared(results).items():
        yield ""
        yield f"Compared with `{base}`: {rows} rows."
    for what in results.missing:
        yield ""
        yield f"Left out: {what}."


def _compared(results: Results) -> dict[str, int]:
    bases = [row.base for row in results.rows if row.base]
    return {base: bases.count(base) for base in dict.fromkeys(bases)}


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _spread(values: Sequence[float], form: str) -> str:
    if not values:
        return ""
    median = format(statistics.median(values), form)
    if len(values) == 1:
        return median
    return f"{median} ({min(values):{form}}–{max(values):{form}})"  # noqa: RUF001 - an en dash between numbers

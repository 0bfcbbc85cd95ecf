"""The measurements as Markdown."""

import os
import platform
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks.load import Load
from benchmarks.usage import RedisUsage

HEADINGS = ("", "CPU us/request", "x hello", "requests/s", "p50 ms", "p99 ms")
REDIS_HEADINGS = ("Redis, of these rows", "script us/request", "requests/script call", "CPU us/request")
LATENCY_HEADINGS = ("One connection, 2 KiB", "p50 us", "p99 us", "added to the backend's p50, us")
BUSY = 0.9
"""Below this share of its core the server waited: for the load, for Redis, or for other work on the machine."""


class Sample(msgspec.Struct, frozen=True):
    """One row in one round."""

    load: Load
    cpu_us: float
    hello_cpu_us: float
    """Of the bare hello, a request, in the same round."""
    redis: RedisUsage

    @property
    def cpu_us_per_request(self) -> float:
        """The server's CPU time, a request."""
        return self.cpu_us / self.load.requests

    @property
    def busy(self) -> float:
        """The share of one core that the server used."""
        return self.cpu_us / (self.load.seconds * 1e6)


def build_table(samples: dict[str, list[Sample]]) -> Iterator[str]:
    """Yield the lines of the main table: the median of each row's rounds, and the range if there are several."""
    yield from _heading(HEADINGS)
    for name, rounds in samples.items():
        cells = (
            _spread(rounds, lambda one: one.cpu_us_per_request, ".1f"),
            _spread(rounds, lambda one: one.cpu_us_per_request / one.hello_cpu_us, ".2f"),
            _spread(rounds, lambda one: one.load.requests / one.load.seconds, ",.0f"),
            _spread(rounds, lambda one: one.load.p50_us / 1000, ".2f"),
            _spread(rounds, lambda one: one.load.p99_us / 1000, ".2f"),
        )
        yield _line(name, *cells)


def build_redis_table(samples: dict[str, list[Sample]]) -> Iterator[str]:
    """Yield the lines of the table of what the rows cost Redis."""
    yield from _heading(REDIS_HEADINGS)
    for name, rounds in samples.items():
        cells = (
            _spread(rounds, lambda one: one.redis.script_us / one.load.requests, ".1f"),
            _spread(rounds, lambda one: one.load.requests / one.redis.scripts, ".1f"),
            _spread(rounds, lambda one: one.redis.cpu_us / one.load.requests, ".1f"),
        )
        yield _line(name, *cells)


def build_latency_table(samples: dict[str, list[Sample]]) -> Iterator[str]:
    """Yield the lines of the table of latencies without concurrency, in microseconds. The first row is bare."""
    yield from _heading(LATENCY_HEADINGS)
    bare = next(iter(samples.values()))
    for name, rounds in samples.items():
        added = [one.load.p50_us - other.load.p50_us for one, other in zip(rounds, bare, strict=True)]
        yield _line(
            name,
            _spread(rounds, lambda one: one.load.p50_us, ".0f"),
            _spread(rounds, lambda one: one.load.p99_us, ".0f"),
            "" if rounds is bare else f"{statistics.median(added):.0f}",
        )


def build_notes(samples: dict[str, list[Sample]], missing: Iterable[str]) -> Iterator[str]:
    """Yield what a reader has to know to read the tables."""
    yield f"{platform.python_implementation()} {platform.python_version()}, {_processor()}. Access logs off."
    yield "Every answer was counted by its status; a single unexpected one would have ended the run."
    for name, rounds in samples.items():
        busy = statistics.median(one.busy for one in rounds)
        if busy < BUSY:
            yield f"{name}: the server used {busy:.0%} of its core, so others bound its requests/s and latency."
    for what in missing:
        yield f"Left out: {what}."


def _heading(headings: Sequence[str]) -> Iterator[str]:
    yield _line(*headings)
    yield "|---" + "|---:" * (len(headings) - 1) + "|"


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _spread(rounds: Sequence[Sample], value: Callable[[Sample], float], form: str) -> str:
    values = [value(one) for one in rounds]
    median = format(statistics.median(values), form)
    if len(values) == 1:
        return median
    return f"{median} ({min(values):{form}}–{max(values):{form}})"  # noqa: RUF001 - an en dash between numbers


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores"

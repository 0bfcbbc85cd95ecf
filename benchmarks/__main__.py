"""`python -m benchmarks`: what a request costs the gateway, beside what it costs others. Nothing is asserted.

CPU time is measured rather than speed: it is what a worker has to give, and other work on the machine disturbs it
least. Rows that are compared take turns, so that what disturbs one round disturbs all rows of it. README.md explains
the rest.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import gateway
from benchmarks.load import Client, Load, choose_client, put_load
from benchmarks.report import build_report
from benchmarks.rows import build_rows
from benchmarks.runs import Measured, Results, Sample, load_average, processor, save
from benchmarks.stage import Row, Stage, set_up
from benchmarks.usage import Cores, cpu_us, divide_cores, memory_bytes, redis_usage

WARM_UP_SECONDS = 1.0
WARM_UP_REQUESTS = 4
"""Of each token: then what a server remembers of it is remembered, and the interpreter has specialised its way."""
WARM_UP_LOADS = 20
"""At most; a server that is slower than this is measured cold."""


def main() -> None:
    """Measure all rows and print the tables."""
    if not sys.platform.startswith("linux"):
        raise SystemExit("the benchmarks read /proc and pin processes to cores: they run on Linux only")
    options = _parse(sys.argv[1:])
    client, cores, before = choose_client(options.client), divide_cores(), load_average()
    os.sched_setaffinity(0, cores.rest)  # load generators inherit it
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder, set_up(Path(folder), cores) as stage:
        rows = _choose(list(build_rows(stage)), options.only)
        samples = _measure_all(stage, client, rows, options.rounds, options.seconds)
        measured = [_sum_up(row, samples[row.name]) for row in rows]
        results = _describe(client, options, cores, before, stage.missing, measured)
    sys.stdout.write(build_report(results))
    if options.save:
        file = save(results)
        file.with_suffix(".md").write_text(build_report(results))
        _progress(f"written: {file} and {file.with_suffix('.md')}")


def _choose(rows: list[Row], words: list[str]) -> list[Row]:
    """Return the rows whose section or name has one of the words, and those that they are compared with."""
    chosen = [row for row in rows if any(word in f"{row.section}: {row.name}" for word in words or [""])]
    bases = {row.base for row in chosen}
    return [row for row in rows if row in chosen or row.name in bases]


def _measure_all(stage: Stage, client: Client, rows: list[Row], rounds: int, seconds: float) -> dict[str, list[Sample]]:
    """Measure all rows, one group after the other: what a worker remembers of one is not to push out another's."""
    samples: dict[str, list[Sample]] = {row.name: [] for row in rows}
    for group in dict.fromkeys(row.group or row.section for row in rows):
        _progress(group)
        for number in range(rounds + 1):
            for row in rows:
                if (row.group or row.section) != group:
                    continue
                if number:
                    samples[row.name].append(_measure(client, row, seconds, stage.redis_url))
                else:
                    _warm_up(client, row)
                stage.empty_logs()
    return samples


def _warm_up(client: Client, row: Row) -> None:
    """Ask until nothing is done for the first time. The first requests of an exhausted quota still pass."""
    answered = 0
    for _ in range(WARM_UP_LOADS):
        answered += put_load(client, row.order(WARM_UP_SECONDS)).requests
        if answered >= WARM_UP_REQUESTS * row.token_count():
            break
    row.probe()


def _measure(client: Client, row: Row, seconds: float, redis_url: str) -> Sample:
    redis_before, cpu_before = redis_usage(redis_url), sum(map(cpu_us, row.pids))
    load: Load = put_load(client, row.order(seconds))
    spent = sum(map(cpu_us, row.pids)) - cpu_before
    if load.errors or load.statuses.keys() != {row.status}:
        raise SystemExit(f"{row.name}: {load.errors} errors, and answers by status {load.statuses}")
    return Sample(load, spent, redis_usage(redis_url).since(redis_before))


def _sum_up(row: Row, samples: list[Sample]) -> Measured:
    return Measured(
        section=row.section,
        kind=row.kind,
        server=row.server,
        base=row.base,
        uses_redis=row.uses_redis,
        connections=row.connections,
        tokens=row.token_count(),
        is_tls=row.is_tls,
        memory_bytes=sum(map(memory_bytes, row.pids)),
        samples=samples,
    )


def _describe(
    client: Client, options: argparse.Namespace, cores: Cores, before: float, missing: list[str], rows: list[Measured]
) -> Results:
    return Results(
        version=gateway.__version__,
        date=datetime.now(UTC).date().isoformat(),
        python=platform.python_version(),
        processor=processor(),
        cores=os.cpu_count() or 1,
        is_apart=cores.are_apart,
        system_load=(before, load_average()),
        client=client,
        rounds=options.rounds,
        seconds=options.seconds,
        missing=missing,
        rows=rows,
    )


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Prints the measured tables.")
    add = parser.add_argument
    add("--rounds", type=int, default=3, choices=range(1, 21), metavar="N", help="default: 3")
    add("--seconds", type=int, default=1, choices=range(1, 61), metavar="N", help="of a row in a round; default: 1")
    add("--client", default="auto", choices=("auto", "wrk", "own"), help="default: wrk where it is installed, else own")
    add("--only", nargs="+", default=[], metavar="WORD", help="rows that have one of these in their names")
    add("--save", action="store_true", help="write benchmarks/results/VERSION.json and .md")
    return parser.parse_args(arguments)


def _progress(text: str) -> None:
    sys.stderr.write(f"benchmarks: {text}\n")


if __name__ == "__main__":
    main()

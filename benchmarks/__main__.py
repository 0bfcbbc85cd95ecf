"""`python -m benchmarks`: what a request costs the gateway, beside what it costs others. Nothing is asserted.

CPU time is measured rather than speed: it is what a worker has to give, and other work on the machine disturbs it
least. The rows take turns, so that what disturbs one round disturbs all rows of it.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load import Client, Load, Order, choose_client, put_load
from benchmarks.report import Sample, build_latency_table, build_notes, build_redis_table, build_table
from benchmarks.stage import CONNECTIONS, FEW_CONNECTIONS, Row, set_up
from benchmarks.usage import cpu_us, divide_cores, redis_usage

WARM_UP_SECONDS = 1.0
"""Connections to Redis and the backend are made, and the interpreter has specialised what runs often."""


def main() -> None:
    """Measure all rows and print the tables."""
    if not sys.platform.startswith("linux"):
        raise SystemExit("the benchmarks read /proc and pin processes to cores: they run on Linux only")
    options = _parse(sys.argv[1:])
    client, cores = choose_client(options.client), divide_cores()
    os.sched_setaffinity(0, cores.rest)  # load generators inherit it
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder, set_up(Path(folder), cores) as stage:
        rows = list(stage.rows())
        for row in rows:
            row.probe()
            _load(client, row, WARM_UP_SECONDS)
        samples: dict[str, list[Sample]] = {row.name: [] for row in rows}
        for number in range(1, options.rounds + 1):
            _progress(f"round {number} of {options.rounds}")
            hello = 0.0
            for row in rows:
                sample = _measure(client, row, options.seconds, stage.redis_url, hello)
                hello = hello or sample.cpu_us_per_request
                samples[row.name].append(sample)
        alone = {row.name: samples.pop(row.name) for row in rows if row.connections == 1}
        with_redis = {row.name: samples[row.name] for row in rows if row.uses_redis}
        apart = "a core of its own" if cores.are_apart else "NO core of its own: there is only one"
        lines = [
            *build_table(samples),
            "",
            *build_redis_table(with_redis),
            "",
            *build_latency_table(alone),
            "",
            f"2 KiB of content, one worker, {CONNECTIONS} keep-alive connections (10 MiB: {FEW_CONNECTIONS}), the "
            f"server on {apart}, load by {client}; median (lowest–highest) "  # noqa: RUF001 - a range has an en dash
            f"of {options.rounds} rounds of {options.seconds} s.",
            *build_notes(samples, stage.missing),
        ]
    sys.stdout.write("\n".join(lines) + "\n")


def _measure(client: Client, row: Row, seconds: float, redis_url: str, hello: float) -> Sample:
    row.probe()
    redis_before, cpu_before = redis_usage(redis_url), cpu_us(row.pid)
    load = _load(client, row, seconds)
    spent = cpu_us(row.pid) - cpu_before
    redis_spent = redis_usage(redis_url).since(redis_before)
    return Sample(load, spent, hello or spent / load.requests, redis_spent)


def _load(client: Client, row: Row, seconds: float) -> Load:
    load = put_load(client, Order(row.port, row.target, row.fields, row.connections, seconds))
    if load.errors or load.statuses.keys() != {row.status}:
        raise SystemExit(f"{row.name}: {load.errors} errors, and answers by status {load.statuses}")
    return load


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Prints the measured table.")
    add = parser.add_argument
    add("--rounds", type=int, default=3, choices=range(1, 21), metavar="N", help="default: 3")
    add("--seconds", type=int, default=4, choices=range(1, 61), metavar="N", help="of a row in a round; default: 4")
    add("--client", default="auto", choices=("auto", "wrk", "own"), help="default: wrk where it is installed, else own")
    return parser.parse_args(arguments)


def _progress(text: str) -> None:
    sys.stderr.write(f"benchmarks: {text}\n")


if __name__ == "__main__":
    main()

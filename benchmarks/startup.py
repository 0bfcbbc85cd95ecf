"""`python -m benchmarks.startup`: what it costs to start a command, and the gateway. Nothing is asserted.

CPU time (user and system) of the command with all its processes: other work on the machine disturbs it least. An
installed program has its bytecode beside it; a checkout may not (PYTHONDONTWRITEBYTECODE), which the last line says.
"""

import argparse
import importlib.util
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import gateway.cli.main
from benchmarks.usage import cpu_us
from tests.conftest import POLICIES
from tests.support.client import ask
from tests.support.processes import GatewayServer, RedisServer, is_listening, wait_until

PROGRAM = (sys.executable, "-c", "from gateway.cli.main import main; main()")
"""What the script `gateway` does."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup")
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    executable = shutil.which("redis-server")
    if executable is None:
        raise SystemExit("this measures with a real redis-server: install one")
    with tempfile.TemporaryDirectory(prefix="gateway-startup-") as folder:
        redis = RedisServer(executable, Path(folder))
        try:
            rows = build_rows(Path(folder), redis.url)
            samples: dict[str, list[float]] = {name: [] for name in rows}
            for number in range(rounds + 1):
                for name, measure in rows.items():  # in turns: what disturbs one round disturbs all rows of it
                    seconds = measure()
                    if number:  # the first round reads files that the others find in memory
                        samples[name].append(seconds)
        finally:
            redis.stop()
    sys.stdout.write("| | CPU seconds |\n|---|---:|\n")
    for name, found in samples.items():
        sys.stdout.write(f"| {name} | {statistics.median(found):.3f} ({min(found):.3f} to {max(found):.3f}) |\n")
    compiled = Path(importlib.util.cache_from_source(gateway.cli.main.__file__ or "")).exists()
    kept = "with" if compiled else "WITHOUT"
    sys.stdout.write(f"\nMedian (lowest to highest) of {rounds} rounds, {kept} the gateway's bytecode at hand.\n")


def build_rows(folder: Path, redis_url: str) -> dict[str, Callable[[], float]]:
    """Return what is measured, by name."""
    redis, policies = ("--redis", redis_url), ("--policies", str(POLICIES))
    create = ("token", "create", "--policy", "example", "--project", "website", "--name", "CI", *redis, *policies)
    return {
        "python, nothing else": lambda: run(sys.executable, "-c", "pass"),
        "gateway --help": lambda: run(*PROGRAM, "--help"),
        "gateway token create": lambda: run(*PROGRAM, *create),
        "gateway policy check": lambda: run(*PROGRAM, "policy", "check", str(POLICIES)),
        "gateway cache purge": lambda: run(*PROGRAM, "cache", "purge", "--policy", "example", "--all", *redis),
        "gateway audit tail": lambda: run(*PROGRAM, "audit", "tail", *redis),
        "gateway serve, until it answers": lambda: serve(folder, *redis, *policies),
        "gateway serve --workers 2, until one answers": lambda: serve(folder, *redis, *policies, "--workers", "2"),
    }


def run(*command: str) -> float:
    """Run a command; return its CPU seconds from start to end."""
    before = _children_seconds()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return _children_seconds() - before


def serve(folder: Path, *options: str) -> float:
    """Run a gateway without an admin listener; return the CPU seconds of all its processes until it answers."""
    server = GatewayServer(folder, *options)
    try:
        wait_until(lambda: is_listening(server.port), "the gateway listens")
        ask(server.port, "GET", "/-/health")
        return cpu_us(server.popen.pid) / 1e6
    finally:
        server.stop()


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    for variable in [name for name in os.environ if name.startswith("GATEWAY_")]:
        del os.environ[variable]
    main()

"""`python -m benchmarks.workers`: two workers beside one. Nothing is asserted.

Whole requests a second say how well workers scale only if load generator, Redis and backend have cores of their own
beside those of two workers. On smaller machines both workers share one core, and what remains to be seen is whether a
request costs more CPU with two of them: what it costs more is lost for scaling.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.clients import build_head
from benchmarks.load import Load, Order, choose_client, put_load
from benchmarks.stage import TOKENS, Served, Stage
from benchmarks.usage import Cores, cpu_us

CORES_NEEDED = 4
"""Two for the workers, two for the rest."""
WARM_UP_REQUESTS = 10
"""Of each token: every worker learns by itself."""
CONNECTIONS = 64
"""Enough for both workers, however the kernel deals them out."""


def main() -> None:
    """Measure and print."""
    options = _parse(sys.argv[1:])
    cores = _divide()
    os.sched_setaffinity(0, cores.rest)
    client, cpu, speed = choose_client("auto"), dict[int, list[float]](), dict[int, list[float]]()
    with tempfile.TemporaryDirectory(prefix="gateway-workers-") as folder, ExitStack() as ending:
        stage = Stage(Path(folder), cores, ending)
        tokens = stage.tokens("one")
        gateways = {count: stage.serve_gateway(f"{count} workers", workers=str(count)) for count in (1, 2)}
        for gateway in gateways.values():
            answered = 0
            while answered < WARM_UP_REQUESTS * TOKENS:
                answered += _put_load(client, gateway, tokens, 1).requests
        for _ in range(options.rounds):
            for count, gateway in gateways.items():
                before = cpu_us(gateway.pid)
                load = _put_load(client, gateway, tokens, options.seconds)
                cpu.setdefault(count, []).append((cpu_us(gateway.pid) - before) / load.requests)
                speed.setdefault(count, []).append(load.requests / load.seconds)
                stage.empty_logs()
    lines = [
        f"workers: {count}, CPU a request: {median(cpu[count]):.1f} us, requests/s: {median(speed[count]):,.0f}"
        for count in gateways
    ]
    dearer = median(two / one for one, two in zip(cpu[1], cpu[2], strict=True))
    lines.append(f"a request costs {dearer:.2f} times the CPU with two workers: at best {2 / dearer:.2f} times as many")
    if len(cores.server) > 1:
        faster = median(two / one for one, two in zip(speed[1], speed[2], strict=True))
        lines.append(f"two workers answered {faster:.2f} times as many requests, each with a core of its own")
    else:
        lines.append(f"both workers shared one core: requests/s would need {CORES_NEEDED} cores")
    sys.stdout.write("\n".join(lines) + "\n")


def _divide() -> Cores:
    """Give two cores to the workers where there are enough, else one."""
    available = sorted(os.sched_getaffinity(0))
    count = 2 if len(available) >= CORES_NEEDED else 1
    return Cores(frozenset(available[-count:]), frozenset(available[:-count] or available))


def _put_load(client: str, gateway: Served, tokens: str, seconds: float) -> Load:
    order = Order(gateway.port, build_head("/export"), CONNECTIONS, seconds, tokens)
    load = put_load("wrk" if client == "wrk" else "own", order)
    if load.errors or load.statuses.keys() != {200}:
        raise SystemExit(f"{load.errors} errors, and answers by status {load.statuses}")
    return load


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description="Two workers beside one.")
    add = parser.add_argument
    add("--rounds", type=int, default=5, metavar="N", help="default: 5")
    add("--seconds", type=int, default=3, metavar="N", help="of each in a round; default: 3")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()

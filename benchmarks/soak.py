"""`python -m benchmarks.soak`: very many requests while tokens, owners and policies change, and what is left of them.

The first part runs a gateway in verify mode, which answers each recognised request both ways and compares the answers.
The second part runs one as it is shipped, with 50,000 kinds of requests, and looks at the worker's memory. Both end
when enough requests were answered. The exit code is 1 if the ways differ, if a request was answered as its token no
longer allows, if memory is above the bar, or if the requests were not answered in time. A change of a token counts from
the moment at which Redis has it: every request that is sent later has to be answered accordingly.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import msgspec
import uvloop

from benchmarks.soaking import Changes, Crowd, Load
from benchmarks.stage import REDIS_TIMEOUT_SECONDS, Stage
from benchmarks.usage import divide_cores, worker_memory_bytes
from gateway.settings import Settings
from tests.support.processes import DIFFERENCE, free_port

POLICY = """
name = "bench"
upstream = "http://127.0.0.1:{port}"
[token]
prefixes = ["bench_"]
bound_to = "project"
[scopes]
read = "Read"
write = "Write"
[plans.wide]
scopes = ["read", "write"]
quotas = {{ minute = "1000000000/minute", day = {{ limit = "1000000000/day", algorithm = "sliding-window-counter" }} }}
[plans.tight]
scopes = ["read", "write"]
quotas = {{ minute = "60/minute", bucket = {{ limit = "600/minute", algorithm = "token-bucket", burst = 20 }} }}
[[rules]]
match = "GET /export/**"
scopes = ["read"]
cache = {{ fresh = "10m", shared_by = "project" }}
[[rules]]
match = "GET /live/**"
scopes = ["read"]
"""
REQUESTS = 1_000_000
KINDS = 50_000
MEMORY_BAR = 110_000_000
"""Bytes of a worker after a million requests of 50,000 kinds."""
LOOK_SECONDS = 2.0
"""Between two looks at memory and metrics."""
FAULTS_SHOWN = 10
RECOGNITION = "gateway_recognition_total{"
MEGA = 1e6


class Part(msgspec.Struct, frozen=True):
    """One part of the soak."""

    mode: Literal["verify", "on"]
    kinds: int
    requests: int
    minutes: float


class Look(msgspec.Struct, frozen=True):
    """What is to be seen from outside at one moment."""

    requests: int
    memory: int
    recognition: dict[str, int]
    """From /metrics, by result, and by result and reason where there is one."""


def main() -> None:
    """Run both parts, and exit with 1 if one of them shows a fault."""
    options = _parse(sys.argv[1:])
    parts = [
        Part("verify", 0, options.requests, options.minutes),
        Part("on", options.kinds, options.requests, options.minutes),
    ]
    faults: list[str] = []
    for part in parts:
        if options.mode in ("both", part.mode):
            faults += uvloop.run(_run_alone(part, options.seed))
    for fault in faults:
        _say(f"FAULT: {fault}")
    sys.exit(1 if faults else 0)


async def _run_alone(part: Part, seed: int) -> list[str]:
    """Run one part with servers of its own, and return the faults."""
    faults: list[str] = []
    try:
        await _run_part(part, seed, faults)
    except AssertionError as error:  # a gateway that has logged a difference says so when it is stopped
        faults += [line for line in str(error).splitlines() if DIFFERENCE in line][:FAULTS_SHOWN]
        if not faults:
            raise
    return faults


async def _run_part(part: Part, seed: int, faults: list[str]) -> None:
    cores = divide_cores()
    os.sched_setaffinity(0, cores.rest)
    with tempfile.TemporaryDirectory(prefix="gateway-soak-") as folder, ExitStack() as ending:
        stage = Stage(Path(folder), cores, ending)
        (stage.policies / "bench.toml").write_text(POLICY.format(port=stage.backend))
        admin_port = free_port()
        gateway = stage.serve_gateway("gateway", recognition=part.mode, admin_listen=f"127.0.0.1:{admin_port}")
        settings = Settings(
            redis_url=stage.redis_url, policies=str(stage.policies), redis_timeout=float(REDIS_TIMEOUT_SECONDS)
        )
        changes = await Changes.open(settings, stage.policies / "bench.toml", seed)
        crowd = Crowd(changes, part.kinds, seed)
        load = Load(crowd, changes, gateway.port)
        looks = await _watch(part, stage, gateway.pid, admin_port, load)
        await changes.close()
        faults += _report(part, looks, load)


async def _watch(part: Part, stage: Stage, pid: int, admin_port: int, load: Load) -> list[Look]:
    """Keep the load up until there were enough requests or the time is over; return what was seen."""
    looks = [_look(pid, admin_port, 0)]
    deadline = time.monotonic() + 60 * part.minutes
    await load.start()
    while not (_is_enough(part, looks[-1]) or time.monotonic() > deadline or load.failed):
        await asyncio.sleep(LOOK_SECONDS)
        looks.append(await asyncio.to_thread(_look, pid, admin_port, load.answered))
        stage.empty_logs()
        if len(looks) % 10 == 0:
            _say(f"{part.mode}: {looks[-1].requests:,} answered, {looks[-1].memory / MEGA:.0f} MB")
    await load.stop()
    for _ in range(60):  # workers report their counts once a second
        looks.append(await asyncio.to_thread(_look, pid, admin_port, load.answered))
        if looks[-1].recognition == looks[-2].recognition:
            break
        await asyncio.sleep(LOOK_SECONDS)
    return looks


def _is_enough(part: Part, look: Look) -> bool:
    """Return whether enough requests were compared; in the second part, answered."""
    return (look.recognition.get("compared", 0) if part.mode == "verify" else look.requests) >= part.requests


def _look(pid: int, admin_port: int, answered: int) -> Look:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics", timeout=30) as page:
        lines = page.read().decode().splitlines()
    found: Counter[str] = Counter()
    for line in lines:
        if line.startswith(RECOGNITION):
            labels, _, number = line.removeprefix(RECOGNITION).rpartition("} ")
            result, reason = (part.partition("=")[2].strip('"') for part in labels.split(","))
            found[f"{result}: {reason}" if reason else result] += int(number)
    return Look(answered, worker_memory_bytes(pid), dict(found))


def _report(part: Part, looks: Sequence[Look], load: Load) -> list[str]:
    """Print what was seen, and return the faults."""
    last, memory = looks[-1], [one.memory / MEGA for one in looks]
    kinds = f", {part.kinds:,} kinds of requests" if part.kinds else ""
    _say(f"\n{part.mode}{kinds}: {last.requests:,} requests answered")
    for name, number in sorted({"different": 0, **last.recognition}.items()):
        _say(f"  {name}: {number:,}")
    _say(f"  answers: {', '.join(f'{status}: {number:,}' for status, number in sorted(load.statuses.items()))}")
    _say(f"  changes: {', '.join(f'{name}: {number:,}' for name, number in sorted(load.changes.made.items()))}")
    _say(f"  answers checked against the state of their token: {load.checked:,}, wrong: {len(load.wrong)}")
    half = memory[len(memory) // 2]
    first = f"{memory[1]:.0f} after the first {LOOK_SECONDS:g} s"
    _say(f"  memory of the worker, MB: {first}, {half:.0f} half-way, {memory[-1]:.0f} at the end")
    faults = [f"{part.mode}: {wrong}" for wrong in load.wrong[:FAULTS_SHOWN]] + load.failed
    if last.recognition.get("different"):
        faults.append(f"{part.mode}: {last.recognition['different']} requests were answered differently both ways")
    if not any(_is_enough(part, look) for look in looks):
        faults.append(f"{part.mode}: not {part.requests:,} requests within {part.minutes:g} minutes")
    if part.mode == "on" and memory[-1] * MEGA > MEMORY_BAR:
        faults.append(f"on: the worker uses {memory[-1]:.0f} MB, more than {MEMORY_BAR / MEGA:.0f} MB")
    return faults


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Very many requests, and changes.")
    add = parser.add_argument
    add("--requests", type=int, default=REQUESTS, metavar="N", help="compared ones, then answered ones; 1,000,000")
    add("--kinds", type=int, default=KINDS, metavar="N", help="of requests, in the second part; default: 50,000")
    add("--minutes", type=float, default=20.0, metavar="N", help="after which a part has failed; default: 20")
    add("--mode", default="both", choices=("both", "verify", "on"), help="which part; default: both")
    add("--seed", type=int, default=7, metavar="N", help="of requests and changes; default: 7")
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

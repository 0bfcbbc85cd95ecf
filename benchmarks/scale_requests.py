"""What a request costs gateway and Redis together, with few tokens and with very many. Nothing is asserted.

Each request is one admission: it is asked for as nginx asks (forward-auth), so neither cache nor backend has a part in
it. The cases take turns.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.clients import AUTHORIZED, build_head
from benchmarks.load import Load, Order, put_load
from benchmarks.stage import ASKED, CONNECTIONS, REDIS_TIMEOUT_SECONDS
from benchmarks.usage import Cores, cpu_us, pinned, redis_usage
from tests.support.processes import Process, free_port, is_listening, wait_until

TARGET = ("X-Original-URL", "https://api.example.com/export")
ROUNDS = 5
SECONDS = 3


class Case(msgspec.Struct, frozen=True):
    """Requests with `tokens`, one after the other, at a gateway whose Redis has so many."""

    redis_url: str
    stored: int
    tokens: Sequence[str]

    @property
    def name(self) -> str:
        """The name of the case in the table."""
        return f"{len(self.tokens):,} in use among {self.stored:,}"


class Cost(msgspec.Struct, frozen=True):
    """Of one request, in microseconds: the gateway's CPU, all of Redis' CPU, and what half the clients waited."""

    gateway: float
    redis: float
    waited: float


def compare(cases: Sequence[Case], policy: str, folder: Path, cores: Cores) -> Iterator[str]:
    """Yield a table's lines: medians, and the lowest and highest of the rounds."""
    policies = folder / "policies"
    policies.mkdir()
    (policies / "scale.toml").write_text(policy)
    rounds: list[list[Cost]] = [[] for _ in cases]
    with ExitStack() as ending:
        loads = [ending.enter_context(_serve(case, policies, folder, cores)) for case in cases]
        for number in range(ROUNDS + 1):
            for load, case, spent in zip(loads, cases, rounds, strict=True):
                cost = _measure(case, *load)
                if number:  # the first one makes the counters
                    spent.append(cost)
    yield "| tokens | gateway µs | Redis µs | both | p50 µs |"
    yield "|---|---|---|---|---|"
    for case, spent in zip(cases, rounds, strict=True):
        columns = zip(*[(one.gateway, one.redis, one.gateway + one.redis, one.waited) for one in spent], strict=True)
        told = [f"{median(column):.1f} ({min(column):.1f}–{max(column):.1f})" for column in columns]  # noqa: RUF001 - an en dash between numbers
        yield f"| {case.name} | {' | '.join(told)} |"


@contextmanager
def _serve(case: Case, policies: Path, folder: Path, cores: Cores) -> Iterator[tuple[int, int, Path]]:
    """Run a gateway for the case; give its process id, its port and the file with its tokens."""
    port, own = free_port(), folder / f"{case.stored}-{len(case.tokens)}"
    own.write_text("\n".join(case.tokens) + "\n")
    command = [sys.executable, "-m", "gateway", "serve", "--policies", str(policies), "--redis", case.redis_url]
    settings = {"GATEWAY_TRUSTED_PROXIES": "127.0.0.1", "GATEWAY_REDIS_TIMEOUT": str(REDIS_TIMEOUT_SECONDS)}
    with pinned(cores.server):
        listen = ["--listen", f"127.0.0.1:{port}", "--admin-listen", ""]
        process = Process([*command, *listen], own.with_suffix(".log"), settings)
    try:
        wait_until(lambda: is_listening(port), "the gateway listens")
        yield process.popen.pid, port, own
    finally:
        process.stop()


def _measure(case: Case, pid: int, port: int, tokens: Path) -> Cost:
    before, redis_before = cpu_us(pid), redis_usage(case.redis_url).cpu_us
    head = build_head("/-/authorize/nginx", (*ASKED[:1], TARGET, *ASKED[2:], *AUTHORIZED))
    order = Order(port, head, CONNECTIONS, SECONDS, str(tokens))
    load: Load = put_load("wrk", order)
    if load.errors or load.statuses.keys() != {200}:
        raise SystemExit(f"{case.name}: {load.errors} errors, and answers by status {load.statuses}")
    spent = cpu_us(pid) - before, redis_usage(case.redis_url).cpu_us - redis_before
    return Cost(spent[0] / load.requests, spent[1] / load.requests, load.p50_us)

"""`python -m benchmarks.shaping`: what others wait while a gateway of one worker shapes a large document.

A real gateway, Redis and backend; a client that asks for a small stored export again and again, beside `curl` that
pulls variants of 20,000 texts in 30 languages which nobody has made before. Nothing is asserted.

What the client waits has the noise of the machine in it: the first row, where nothing is made, says how much. The
gateway's own share is told by CPU time, which other processes do not change (watched.py).
"""

import http.client
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.documents import build_translations
from benchmarks.watched import MARK, Busy
from tests.support.command_line import run_json
from tests.support.processes import GatewayServer, Process, RedisServer, free_port, is_listening, wait_until

POLICY = """
name = "shaping"
upstream = "http://127.0.0.1:{port}"
[token]
prefixes = ["shp_"]
[[rules]]
match = "GET /small"
cache = {{ fresh = "1h" }}
[[rules]]
match = "GET /export"
cache = {{ fresh = "1h" }}
[rules.variants]
document = "translations"
source = "/document.json"
[rules.variants.options]
format = ["json", "csv", "xml", "xcstrings"]
shape = ["nested", "flat"]
pretty = {{}}
lang = {{}}
"""
ROWS: dict[str, tuple[str, Sequence[str]]] = {
    "nothing else": ("", ()),
    "the document is fetched, German": ("", ("lang=de",)),
    "six languages": ("", tuple(f"lang={lang}" for lang in ("ar", "bg", "cs", "da", "el", "en"))),
    "csv, all languages": ("", ("format=csv",)),
    "json, flat, all languages": ("", ("shape=flat",)),
    "xml, all languages": ("", ("format=xml",)),
    "xcstrings, all languages": ("", ("format=xcstrings",)),
    "csv, from the cache": ("", ("format=csv",)),
    "csv, from the cache, in gzip": ("gzip", ("format=csv",)),
    "json, indented, all languages, in br": ("br", ("pretty=true",)),
}
"""The content coding that the client asks for, and the query of each pull."""
LOOP = "loop's CPU at once, ms"
HEADINGS = (
    "while it makes",
    "seconds",
    "median ms",
    "p99 ms",
    "longest ms",
    LOOP,
    "all threads' CPU at once, ms",
    "loop late by, ms",
    "not 200",
)
QUIET_SECONDS = 2
ROUNDS = 7


def main() -> None:
    """Measure and print the least of all rounds for each figure, as other work on the machine only adds to it.

    Of the loop's CPU time, to which it adds nothing, it is the most of all rounds.
    """
    rounds = [_measure_all() for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)]
    print("| " + " | ".join(HEADINGS) + " |\n|---" + "|---:" * (len(HEADINGS) - 1) + "|")
    for title in ROWS:
        *times, failures, asked = zip(*(one[title] for one in rounds), strict=True)
        chosen = (
            max(column) if heading == LOOP else min(column)
            for heading, column in zip(HEADINGS[1:-1], times, strict=True)
        )
        figures = " | ".join(f"{figure:.1f}" for figure in chosen)
        print(f"| {title} | {figures} | {sum(failures):.0f} of {sum(asked):,.0f} |")


def _measure_all() -> dict[str, Sequence[float]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        site, policies = folder / "site", folder / "policies"
        site.mkdir()
        policies.mkdir()
        (site / "document.json").write_bytes(build_translations())
        (site / "small").write_bytes(b"small")
        port = free_port()
        (policies / "shaping.toml").write_text(POLICY.format(port=port))
        serve = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(site)]
        redis, backend = RedisServer("redis-server", folder), Process(serve, folder / "backend.log")
        wait_until(lambda: is_listening(port), "the backend listens")
        options = ("--policies", str(policies), "--redis", redis.url)
        gateway = GatewayServer(folder, *options, program=("-m", "benchmarks.watched")).wait()
        create = ("token", "create", "--policy", "shaping", "--project", "website", "--name", "bench")
        token = run_json(*create, *options)["token"]
        found = {title: _measure(gateway, token, coding, queries) for title, (coding, queries) in ROWS.items()}
        gateway.stop()
        backend.stop()
        redis.stop()
    return found


def _measure(gateway: GatewayServer, token: str, coding: str, queries: Sequence[str]) -> Sequence[float]:
    """Measure one round.

    Return the seconds it took; the others' median, 99th percentile and longest wait in milliseconds; how long the
    gateway was busy at once; how many of the others' requests failed, and of how many.
    """
    _read_busy(gateway)
    began, port = time.perf_counter(), gateway.port
    command = ["curl", "--fail", "--silent", "--show-error", "-o", "/dev/null", "-H", f"Authorization: Bearer {token}"]
    command += ["-H", f"Accept-Encoding: {coding or 'identity'}"]
    pulls = [subprocess.Popen([*command, f"http://127.0.0.1:{port}/export?{query}"]) for query in queries]
    connection = http.client.HTTPConnection("127.0.0.1", port)
    waits, failures = [], 0
    while any(pull.poll() is None for pull in pulls) or (not pulls and time.perf_counter() - began < QUIET_SECONDS):
        asked = time.perf_counter()
        connection.request("GET", "/small", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        failures += answer.status != 200
        answer.read()
        waits.append((time.perf_counter() - asked) * 1000)
        time.sleep(0.001)
    seconds = time.perf_counter() - began
    assert all(pull.wait() == 0 for pull in pulls)
    waits.sort()
    busy = _read_busy(gateway)
    cpu = busy.loop_ms, busy.process_ms, busy.late_ms
    return seconds, waits[len(waits) // 2], waits[int(len(waits) * 0.99)], waits[-1], *cpu, failures, len(waits)


def _read_busy(gateway: GatewayServer) -> Busy:
    """Return how long the gateway was busy at once since this was asked before."""
    before = gateway.text().count(MARK)
    gateway.send(signal.SIGUSR2)
    wait_until(lambda: gateway.text().count(MARK) > before, "the gateway says how busy it was")
    line = gateway.text().rpartition(MARK)[2].splitlines()[0]
    return msgspec.json.decode(line, type=Busy)


if __name__ == "__main__":
    main()

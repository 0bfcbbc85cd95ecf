"""`python -m benchmarks.simulation`: how long the replay of a log takes, and how much memory.

The log is made here: tokens of different diligence, bursts, exports that are mostly unchanged, one record in a hundred
refused. It is replayed by `gateway policy simulate` in a process of its own, as an operator does.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

POLICY = """\
name = "api"
upstream = "http://127.0.0.1:9001"

[token]
prefixes = ["api_"]

[scopes]
"read" = "Read"

[quotas]
minute = "60/minute"
day = { limit = "5000/day", algorithm = "sliding-window-counter" }
team = { limit = "20000/day", per = "project" }

[[rules]]
match = "GET /projects/{project}/export"
project = "{project}"
scopes = ["read"]
cache = { fresh = "5m" }

[[rules]]
match = "GET /**"
scopes = ["read"]
"""


def write_log(file: Path, requests: int, tokens: int, seconds: int) -> None:
    """Write the records of `requests` requests of `tokens` tokens in `seconds` seconds, in their order."""
    chance = random.Random(7)
    weights = [1 / (1 + rank) ** 0.8 for rank in range(tokens)]
    names = [f"{number:024x}" for number in range(tokens)]
    who = chance.choices(range(tokens), weights, k=requests)
    at, step = 1_790_000_000.0, seconds / requests
    with file.open("w", encoding="utf-8") as out:
        for number, token in enumerate(who):
            at += chance.expovariate(1 / step)
            refused = chance.random() < 0.01
            project = f"p{token % (tokens // 5 or 1)}"
            record = {
                "time": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"),
                "request_id": f"{number:024x}",
                "client": f"192.0.2.{token % 250}",
                "method": "GET",
                "host": "api.example.com",
                "path": f"/projects/{project}/export",
                "status": 429 if refused else chance.choice((200, 304, 304)),
                "ended": "complete",
                "sent_bytes": 2048,
                "duration_seconds": round(chance.expovariate(200), 6),
                "policy": "api",
                "rule": "GET /projects/{project}/export",
                "token": names[token],
                "token_name": f"CI {token}",
                "project": project,
                "cost": 1,
                "trace": f"{number:032x}",
                "span": f"{number:016x}",
            }
            if refused:
                record["reason"] = "quota_exceeded"
            out.write(json.dumps(record, separators=(",", ":")) + "\n")


def main() -> None:
    """Make the log and replay it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=86_400)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "api.toml").write_text(POLICY)
        write_log(folder / "access.log", given.requests, given.tokens, given.seconds)
        command = [sys.executable, "-m", "gateway", "policy", "simulate", "--log", str(folder / "access.log")]
        began = time.perf_counter()
        done = subprocess.Popen([*command, "--policies", name, "--html", str(folder / "report.html")])
        _, status, used = os.wait4(done.pid, 0)
        took = time.perf_counter() - began
        told = f"{given.requests:,} requests of {given.tokens:,} tokens"
        print(f"{told}: {took:.1f} s, of the processor {used.ru_utime + used.ru_stime:.1f} s")
        print(f"memory at most {used.ru_maxrss / 1024:.0f} MB; exit code {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()

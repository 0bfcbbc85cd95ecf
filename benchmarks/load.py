"""Put load on a port from a process of its own: wrk, or our own client if wrk is not installed."""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import msgspec

Client = Literal["wrk", "own"]

MARGIN_SECONDS = 15
"""What a load generator may take beyond the time it was given."""
SCRIPT = Path(__file__).with_name("wrk.lua")


class Order(msgspec.Struct, frozen=True):
    """The load that is wanted: one request after the other on each connection."""

    port: int
    head: str
    """The whole request, in which TOKEN and TURN (clients.py) are replaced."""
    connections: int
    seconds: float
    tokens: str = ""
    """A file with tokens, one a line: the requests of all connections have them in turn. Empty: there are none."""
    repeats: int = 0
    """How often each token has had its turn before the number in the place of TURN grows; 0: there is no such number.
    With 1, no request is like any before it, of this load or of an earlier one."""
    is_tls: bool = False


class Load(msgspec.Struct, frozen=True):
    """What came back, every answer counted by its status. Latencies are microseconds."""

    statuses: dict[int, int]
    errors: int
    """Connections that could not be made, broke or fell silent."""
    seconds: float
    p50_us: float
    p95_us: float
    p99_us: float

    @property
    def requests(self) -> int:
        """Answers, whatever their status."""
        return sum(self.statuses.values())


def choose_client(wanted: str) -> Client:
    """Resolve `auto`: wrk if it is installed, else our own client."""
    if wanted == "own" or (wanted == "auto" and shutil.which("wrk") is None):
        return "own"
    if shutil.which("wrk") is None:
        raise SystemExit("there is no wrk on the PATH; --client own needs none")
    return "wrk"


def put_load(client: Client, order: Order) -> Load:
    """Put the load on the port and return what came back. Raise CalledProcessError if the load generator failed."""
    start = str(time.time_ns())  # of the numbers in the place of TURN: no two loads have the same
    command = _wrk(order, start) if client == "wrk" else _own(order, start)
    printed = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=order.seconds + MARGIN_SECONDS
    ).stdout
    return msgspec.json.decode(printed.rpartition("LOAD ")[2], type=Load)


def _wrk(order: Order, start: str) -> list[str]:
    size = ["-t", "1", "-c", str(order.connections), "-d", str(max(1, round(order.seconds)))]
    scheme = "https" if order.is_tls else "http"
    command = ["wrk", *size, "-s", str(SCRIPT), f"{scheme}://127.0.0.1:{order.port}/", "--"]
    return [*command, order.head, order.tokens, str(order.repeats), start]


def _own(order: Order, start: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.client", msgspec.json.encode(order).decode(), start]

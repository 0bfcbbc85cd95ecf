"""Put load on a port from a process of its own: wrk, or our own client if wrk is not installed."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

import msgspec

Client = Literal["wrk", "own"]

MARGIN_SECONDS = 15
"""What a load generator may take beyond the time it was given."""
SCRIPT = Path(__file__).with_name("wrk.lua")


class Order(msgspec.Struct, frozen=True):
    """The load that is wanted: GET of one target, one request after the other on each connection."""

    port: int
    target: str
    fields: tuple[tuple[str, str], ...]
    connections: int
    seconds: float
    tokens: str = ""
    """A file with tokens, one a line, that the requests are made with in turn; wrk only."""


class Load(msgspec.Struct, frozen=True):
    """What came back, every answer counted by its status. Latencies are microseconds."""

    statuses: dict[int, int]
    errors: int
    """Connections that could not be made, broke or fell silent."""
    seconds: float
    p50_us: float
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
    command = _wrk(order) if client == "wrk" else _own(order)
    printed = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=order.seconds + MARGIN_SECONDS
    ).stdout
    return msgspec.json.decode(printed.rpartition("LOAD ")[2], type=Load)


def _wrk(order: Order) -> list[str]:
    fields = [part for name, value in order.fields for part in ("-H", f"{name}: {value}")]
    size = ["-t", "1", "-c", str(order.connections), "-d", str(max(1, round(order.seconds)))]
    command = ["wrk", *size, "-s", str(SCRIPT), *fields, f"http://127.0.0.1:{order.port}{order.target}"]
    return [*command, "--", order.tokens] if order.tokens else command


def _own(order: Order) -> list[str]:
    return [sys.executable, "-m", "benchmarks.client", msgspec.json.encode(order).decode()]

"""What a run has measured: one struct, written as JSON into a file a version, from which tables and plots are made."""

import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.load import Load
from benchmarks.usage import RedisUsage

FOLDER = Path(__file__).with_name("results")


class Sample(msgspec.Struct, frozen=True):
    """One row in one round. `cpu_us` is the server's CPU time of all its requests."""

    load: Load
    cpu_us: float
    redis: RedisUsage

    @property
    def cpu_us_per_request(self) -> float:
        """The server's CPU time, a request."""
        return self.cpu_us / self.load.requests

    @property
    def cores(self) -> float:
        """How many cores the server used (vCPU)."""
        return self.cpu_us / (self.load.seconds * 1e6)


class Measured(msgspec.Struct, frozen=True):
    """One row in all rounds; see stage.Row."""

    section: str
    kind: str
    server: str
    base: str
    uses_redis: bool
    connections: int
    tokens: int
    is_tls: bool
    memory_bytes: int
    """Of the server at the end of the run."""
    samples: list[Sample]

    @property
    def name(self) -> str:
        """Kind and server."""
        return f"{self.kind}: {self.server}"

    def median(self, value: Callable[[Sample], float]) -> float:
        """Return the median of a value of the rounds."""
        return statistics.median(map(value, self.samples))


class Results(msgspec.Struct, frozen=True):
    """A whole run."""

    version: str
    date: str
    python: str
    processor: str
    cores: int
    is_apart: bool
    """Whether the server had a core of its own."""
    system_load: tuple[float, float]
    """Load average of the last minute, at the start and at the end: more than two at the start, and others worked."""
    client: str
    rounds: int
    seconds: float
    missing: list[str]
    rows: list[Measured]

    def base_of(self, row: Measured) -> Measured | None:
        """Return the row that another is compared with; None if there is none."""
        return next((one for one in self.rows if one.name == row.base), None)

    def ratios(self, row: Measured, value: Callable[[Sample], float]) -> list[float]:
        """Return a value in the proportion to that of the base in the same round; empty without a base."""
        base = self.base_of(row)
        pairs = zip(row.samples, base.samples, strict=True) if base else ()
        return [value(one) / value(other) for one, other in pairs]


def save(results: Results) -> Path:
    """Write the results of this version; return the file."""
    file = FOLDER / f"{results.version}.json"
    FOLDER.mkdir(exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    return file


def read(file: Path) -> Results:
    """Return saved results."""
    return msgspec.json.decode(file.read_bytes(), type=Results)


def processor() -> str:
    """Return the name of this machine's processor."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def load_average() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]

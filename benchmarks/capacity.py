"""What a fleet needs, worked out from measured costs: `python -m benchmarks.capacity` prints the table of the docs.

This is arithmetic, not a measurement: nobody has run a billion tokens. Each cost has its source beside it, and a share
of each core is left free. What has no measured cost is not in it: the network, and the backends' own work.
"""

from collections.abc import Iterator
from math import ceil

import msgspec


class Costs(msgspec.Struct, frozen=True):
    """Measured costs of one machine (two cores of an AMD EPYC), and what is left free."""

    worker_microseconds: float = 91.3
    """CPU of a worker for a request that is not recognised (benchmarks/results/0.1.0.md, recognition off)."""
    recognised_microseconds: float = 35.3
    """The same for a request whose bytes were seen before (benchmarks/results/0.1.0.md, cached 2 KiB)."""
    redis_microseconds: float = 24.0
    """CPU of Redis for a request, many tokens in use, in batches (benchmarks/MEASURED.md)."""
    lone_microseconds: float = 113.9
    """CPU of Redis for an admission that comes alone (benchmarks/MEASURED.md, naive stack)."""
    token_bytes: int = 457
    """Memory of a token with its indexes (benchmarks/MEASURED.md, all in)."""
    usage_bytes: int = 1570
    """Memory of a month's usage of a token in use two hours a day (docs/operations/scaling.md)."""
    busy: float = 0.6
    """The share of a core that is planned for: beyond it, waiting grows faster than the load."""
    memory: float = 0.5
    """The share of a machine's memory that data may take: a snapshot or a rewrite copies what changes meanwhile."""
    shard_gigabytes: float = 64.0
    """Data of one Redis that still starts in minutes."""


class Need(msgspec.Struct, frozen=True):
    """What a fleet needs."""

    workers: int
    redis_cores: int
    data_gigabytes: float
    shards: int
    """Redis servers; more than one is a Cluster. Each has a replica beside it."""
    memory_gigabytes: float
    """Memory of one of them."""


class Fleet(msgspec.Struct, frozen=True):
    """A load."""

    tokens: int
    requests_per_second: int
    recognised: float = 0.0
    """The share of requests whose bytes come again soon at the same worker."""
    active: float = 0.1
    """The share of tokens that are used in a month."""


FLEETS = (
    Fleet(1_000, 100),
    Fleet(100_000, 2_000),
    Fleet(1_000_000, 10_000),
    Fleet(10_000_000, 50_000),
    Fleet(100_000_000, 200_000),
    Fleet(1_000_000_000, 1_000_000),
)


def plan(fleet: Fleet, costs: Costs) -> Need:
    """Return what a fleet needs, every number rounded up."""
    rate, budget = fleet.requests_per_second, costs.busy * 1e6
    request = fleet.recognised * costs.recognised_microseconds + (1 - fleet.recognised) * costs.worker_microseconds
    workers = max(2, ceil(rate * request / budget))
    redis_cores = max(1, ceil(rate * redis_cost(rate / workers, costs) / budget))
    gigabytes = fleet.tokens * (costs.token_bytes + fleet.active * costs.usage_bytes) / 1e9
    shards = max(redis_cores, ceil(gigabytes / costs.shard_gigabytes))
    return Need(workers, redis_cores, gigabytes, shards, max(0.1, gigabytes / shards / costs.memory))


def redis_cost(rate: float, costs: Costs) -> float:
    """Return the CPU of Redis for a request, in microseconds, of a worker with this rate.

    A worker with less than a tenth of what it can do sends its admissions alone, as none waits for another. The batches
    were measured at full load; in between, the cost is taken to fall in a straight line.
    """
    full = 1e6 / costs.worker_microseconds
    share = min(1.0, max(0.0, (rate / full - 0.1) / 0.5))
    return costs.lone_microseconds + share * (costs.redis_microseconds - costs.lone_microseconds)


def rows() -> Iterator[str]:
    """Yield the lines of the table in docs/operations/capacity.md."""
    yield "| tokens | requests/s | workers (cores) | Redis cores | data, GB | Redis servers | memory of each, GB |"
    yield "|---:|---:|---:|---:|---:|---:|---:|"
    for fleet in FLEETS:
        need = plan(fleet, Costs())
        yield (
            f"| {fleet.tokens:,} | {fleet.requests_per_second:,} | {need.workers:,} | {need.redis_cores:,} | "
            f"{need.data_gigabytes:,.1f} | {need.shards:,} | {need.memory_gigabytes:,.1f} |"
        )


if __name__ == "__main__":
    print("\n".join(rows()))

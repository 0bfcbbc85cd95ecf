"""CPU time of processes and of Redis, and the cores they run on. Linux only: it is read from /proc."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import redis

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Cores(msgspec.Struct, frozen=True):
    """Which cores run what; the same ones where there is only one."""

    server: frozenset[int]
    rest: frozenset[int]
    """Of the load generator, the backend and Redis."""

    @property
    def are_apart(self) -> bool:
        """Whether the server has a core of its own."""
        return self.server.isdisjoint(self.rest)


class RedisUsage(msgspec.Struct, frozen=True):
    """What Redis has spent since its start."""

    scripts: int
    script_us: float
    cpu_us: float
    """User and system time of the whole server: sockets and parsing too."""

    def since(self, earlier: "RedisUsage") -> "RedisUsage":
        """Return what was spent since `earlier`."""
        return RedisUsage(
            self.scripts - earlier.scripts, self.script_us - earlier.script_us, self.cpu_us - earlier.cpu_us
        )


def divide_cores() -> Cores:
    """Divide the cores that this process may use: one for the server, the others for the rest."""
    *others, last = sorted(os.sched_getaffinity(0))
    return Cores(frozenset({last}), frozenset(others or [last]))


@contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """Pin the processes that are started inside the block to these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_us(pid: int) -> float:
    """Return the CPU time of a process and all its descendants, ended ones included, in microseconds.

    It is user and system time. The kernel counts in ticks of 10 ms: over a few seconds of load that is a quarter of a
    percent.
    """
    stats = dict(_stats())
    found = _family(pid, stats)
    # proc(5): utime, stime, cutime and cstime are fields 14 to 17, the state after the name being the third.
    return sum(int(ticks) for one in found for ticks in stats[one][11:15]) * 1e6 / TICKS_PER_SECOND


def memory_bytes(pid: int) -> int:
    """Return the resident memory of a process and all its descendants; what they share counts for each of them."""
    stats = dict(_stats())
    return sum(int(stats[one][21]) for one in _family(pid, stats)) * os.sysconf(
        "SC_PAGE_SIZE"
    )  # proc(5): rss, field 24


def worker_memory_bytes(pid: int) -> int:
    """Return the resident memory of the one process of the family that has used most CPU time: the only worker."""
    stats = dict(_stats())
    worker = max(_family(pid, stats), key=lambda one: int(stats[one][11]) + int(stats[one][12]))
    return int(stats[worker][21]) * os.sysconf("SC_PAGE_SIZE")


def redis_usage(url: str) -> RedisUsage:
    """Return what Redis reports about itself in INFO."""
    with redis.Redis.from_url(url) as client:
        commands = client.info("commandstats").get("cmdstat_evalsha", {"calls": 0, "usec": 0})
        cpu = client.info("cpu")
    return RedisUsage(commands["calls"], commands["usec"], (cpu["used_cpu_user"] + cpu["used_cpu_sys"]) * 1e6)


def _family(pid: int, stats: dict[int, list[str]]) -> set[int]:
    """Return a process and all its descendants."""
    found = {pid}
    while more := {child for child, fields in stats.items() if int(fields[1]) in found} - found:
        found |= more
    return found


def _stats() -> Iterator[tuple[int, list[str]]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            yield int(folder.name), text.rpartition(")")[2].split()

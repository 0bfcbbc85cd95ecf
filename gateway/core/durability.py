"""The meaning of Redis' settings for tokens: which acknowledged writes it may lose, and what it may evict.

Rule: a revocation that Redis has acknowledged must not be undone. A setting that can undo one is a finding.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

KEEPS_ALL = "noeviction"
WAITS_SINCE = (7, 2)
"""The version from which Redis reports when its disk has what it acknowledged (WAITAOF)."""


class StoreFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The known settings of a Redis server; None if it does not report one."""

    version: str
    is_append_only: bool
    """Whether it writes each change to a log (`appendonly`)."""
    fsync: str | None
    """When it flushes that log to disk (`appendfsync`): always, everysec or no."""
    has_snapshots: bool | None
    """Whether it writes snapshots by itself (`save`), also at an orderly stop."""
    eviction: str
    """What it evicts if its memory is full (`maxmemory-policy`)."""
    maximum_bytes: int
    """`maxmemory`; 0 means no limit."""

    @property
    def is_waited_for(self) -> bool:
        """Whether a revocation is answered only once it is on Redis' disk."""
        numbers = tuple(int(part) for part in self.version.split(".")[:2] if part.isdecimal())
        return self.is_append_only and self.fsync != "no" and numbers >= WAITS_SINCE


class Finding(msgspec.Struct, frozen=True):
    """A setting that can undo an acknowledged write."""

    kind: Literal["eviction", "durability"]
    problem: str
    """The loss that can happen."""
    remedy: tuple[str, ...]
    """The lines of redis.conf that prevent it."""

    def __str__(self) -> str:
        return f"{self.problem} Set: {'; '.join(self.remedy)}"


class Readiness(msgspec.Struct, frozen=True):
    """Whether requests can be answered, and what an operator should change nevertheless."""

    failures: dict[str, str] = {}
    """What Redis fails to do for the gateway, by name, with the reason. Empty if it is ready."""
    warnings: tuple[str, ...] = ()


class StoreReport(msgspec.Struct, frozen=True):
    """The report of `gateway redis check`."""

    version: str
    promise: str
    failures: dict[str, str]
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the report as text: what is promised, what fails, what should be changed."""
        found = [f"FAIL {name}: {why}" for name, why in self.failures.items()]
        found += [f"WARN {warning}" for warning in self.warnings]
        return [f"Redis {self.version}", self.promise, *(found or ["OK: nothing to change."])]


def check_store(facts: StoreFacts) -> tuple[Finding, ...]:
    """Return what an operator should change, the gravest first."""
    return tuple(_findings(facts))


def _findings(facts: StoreFacts) -> Iterator[Finding]:
    if facts.eviction != KEEPS_ALL:
        yield Finding(
            "eviction",
            f"Redis may evict tokens, revocations and counters (maxmemory-policy {facts.eviction}): "
            "revoked tokens would pass again.",
            (f"maxmemory-policy {KEEPS_ALL}",),
        )
    if not facts.is_append_only:
        loss = (
            "Redis writes no append-only file and no snapshots: when it ends, all tokens and revocations are lost."
            if facts.has_snapshots is False
            else "Redis writes no append-only file: if it is killed, revocations since its last snapshot are lost."
        )
        yield Finding("durability", loss, ("appendonly yes", "appendfsync everysec"))
    elif facts.fsync == "no":
        yield Finding(
            "durability",
            "Redis leaves it to the system when its append-only file reaches the disk: if the machine fails, "
            "revocations of half a minute may be lost.",
            ("appendfsync everysec",),
        )


_PROMISES_WITHOUT_LOG = {
    True: "Acknowledged revocations survive until Redis ends in any other way than an orderly stop.",
    False: "Acknowledged revocations are lost when Redis ends, also at an orderly stop.",
    None: "Redis does not report its `save` setting. If that is empty, acknowledged revocations are lost when Redis "
    "ends; otherwise they survive an orderly stop only.",
}
"""Whether Redis writes snapshots, to what happens to a revocation if it writes no append-only file."""


def promise_of(facts: StoreFacts) -> str:
    """Return what happens to a revocation that Redis has acknowledged, under these settings."""
    if not facts.is_append_only:
        return _PROMISES_WITHOUT_LOG[facts.has_snapshots]
    if facts.fsync == "always" or facts.is_waited_for:
        return "Acknowledged revocations survive a crash of Redis and of its machine."
    if facts.fsync == "no":
        return (
            "Acknowledged revocations survive a crash of Redis; if its machine fails, those of 30 seconds may be lost."
        )
    return (
        "Acknowledged revocations survive a crash of Redis; if its machine fails, those of the last second may be lost."
    )

"""What Redis' settings mean for tokens: which acknowledged writes it may lose, and what it may evict.

Rule: a revocation that Redis has acknowledged must not come undone. What can undo one is a finding.
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

KEEPS_ALL = "noeviction"
WAITS_SINCE = (7, 2)
"""From this version on Redis tells when its disk has what it acknowledged (WAITAOF)."""


class StoreFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a Redis server's settings; None where it does not tell."""

    version: str
    is_append_only: bool
    """Whether it writes each change to a log (`appendonly`)."""
    fsync: str | None
    """When it makes the disk keep what it wrote there (`appendfsync`): always, everysec or no."""
    eviction: str
    """What it removes when its memory is used up (`maxmemory-policy`)."""
    maximum_bytes: int
    """`maxmemory`; 0 is none."""

    @property
    def is_waited_for(self) -> bool:
        """Whether revocations are answered when they are on its disk."""
        numbers = tuple(int(part) for part in self.version.split(".")[:2] if part.isdecimal())
        return self.is_append_only and self.fsync != "no" and numbers >= WAITS_SINCE


class Finding(msgspec.Struct, frozen=True):
    """A setting that can undo what was acknowledged."""

    kind: Literal["eviction", "durability"]
    problem: str
    """What can happen."""
    remedy: tuple[str, ...]
    """The lines of redis.conf that prevent it."""

    def __str__(self) -> str:
        return f"{self.problem} Set: {'; '.join(self.remedy)}"


class Readiness(msgspec.Struct, frozen=True):
    """Whether requests can be answered, and what an operator should change all the same."""

    failures: dict[str, str] = {}
    """What Redis does not do for the gateway, by name, with why. Empty: ready."""
    warnings: tuple[str, ...] = ()


class StoreReport(msgspec.Struct, frozen=True):
    """What `gateway redis check` says."""

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
        yield Finding(
            "durability",
            "Redis writes no append-only file: if it is killed, revocations since its last snapshot are lost.",
            ("appendonly yes", "appendfsync everysec"),
        )
    elif facts.fsync == "no":
        yield Finding(
            "durability",
            "Redis leaves it to the system when its append-only file reaches the disk: if the machine fails, "
            "revocations of half a minute may be lost.",
            ("appendfsync everysec",),
        )


def promise_of(facts: StoreFacts) -> str:
    """Return what becomes of a revocation that Redis has acknowledged, under these settings."""
    if not facts.is_append_only:
        return "Acknowledged revocations survive until Redis ends in any other way than an orderly stop."
    if facts.fsync == "always" or facts.is_waited_for:
        return "Acknowledged revocations survive a crash of Redis and of its machine."
    if facts.fsync == "no":
        return (
            "Acknowledged revocations survive a crash of Redis; if its machine fails, those of 30 seconds may be lost."
        )
    return (
        "Acknowledged revocations survive a crash of Redis; if its machine fails, those of the last second may be lost."
    )

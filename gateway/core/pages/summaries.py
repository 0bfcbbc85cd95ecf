"""What an operator wants to know of a day at a glance."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from gateway.core.usage import HIT, MISS, NOT_MODIFIED, STALE, PolicyUsage

MOST_REASONS = 8
FAILING_SHARE = 0.05
"""Of a day's requests: a backend that fails more of them is failing."""


class Summary(msgspec.Struct, frozen=True):
    """All policies together."""

    requests: int
    refused: int
    refusals: Mapping[str, int]
    """The most frequent reasons."""
    from_cache: int
    cacheable: int
    """What the cache could have answered."""
    not_modified: int
    upstream_failures: int


class Service(msgspec.Struct, frozen=True):
    """How a policy is served at the moment: `state` for the eye, and in words."""

    state: Literal["active", "ending", "revoked"]
    words: str
    causes: tuple[str, ...] = ()


def describe_service(targets: int, unreachable: Sequence[str], usage: PolicyUsage, *, is_outdated: bool) -> Service:
    """What an operator has to know first; `unreachable` says why some of the `targets` cannot be connected to."""
    causes = tuple(unreachable)
    if causes and len(causes) == targets:
        return Service("revoked", "Backend unreachable", causes)
    if usage.upstream_failures > usage.requests * FAILING_SHARE:
        return Service("revoked", "Backend failing", causes)
    if causes:
        return Service("ending", f"{len(causes)} of {targets} backends unreachable", causes)
    return Service("ending", "Older than its file") if is_outdated else Service("active", "Served")


def summarize(usages: Sequence[PolicyUsage]) -> Summary:
    """The sums of what was counted for each policy, and for requests that met none."""
    refusals: Counter[str] = Counter()
    caches: Counter[str] = Counter()
    for usage in usages:
        refusals.update(usage.refusals)
        caches.update(usage.caches)
    from_cache = caches[HIT] + caches[STALE] + caches[NOT_MODIFIED]
    return Summary(
        requests=sum(usage.requests for usage in usages),
        refused=refusals.total(),
        refusals=dict(refusals.most_common(MOST_REASONS)),
        from_cache=from_cache,
        cacheable=from_cache + caches[MISS],
        not_modified=caches[NOT_MODIFIED],
        upstream_failures=sum(usage.upstream_failures for usage in usages),
    )

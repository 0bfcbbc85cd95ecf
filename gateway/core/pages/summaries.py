"""What an operator wants to know of a day at a glance."""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from gateway.core.usage import HIT, MISS, NOT_MODIFIED, STALE, PolicyUsage

MOST_REASONS = 8


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

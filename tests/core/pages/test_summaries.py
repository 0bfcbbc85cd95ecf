"""A day at a glance."""

import pytest

from gateway.core.pages.formatting import MOST_REASONS, Service, Summary, describe_service, summarize
from gateway.core.usage import PolicyUsage, UsageLabels


def test_policies_are_added_up() -> None:
    """Requests, refusals by reason, what the cache answered of what it could, and failures of backends."""
    one = {
        UsageLabels("a", "", "2xx", "hit"): 3,
        UsageLabels("a", "", "3xx", "not_modified"): 2,
        UsageLabels("a", "", "2xx", "miss"): 5,
        UsageLabels("a", "quota_exceeded", "4xx", ""): 4,
    }
    other = {
        UsageLabels("b", "quota_exceeded", "4xx", ""): 1,
        UsageLabels("b", "upstream_timeout", "5xx", ""): 2,
        UsageLabels("b", "", "2xx", "stale"): 1,
    }
    assert Summary(
        requests=18,
        refused=7,
        refusals={"quota_exceeded": 5, "upstream_timeout": 2},
        from_cache=6,
        cacheable=11,
        not_modified=2,
        upstream_failures=2,
    ) == summarize([PolicyUsage("a", (), one), PolicyUsage("b", (), other)])


def test_only_the_most_frequent_reasons_are_told() -> None:
    """The number of all stays whole."""
    counts = {UsageLabels("a", f"reason_{number}", "4xx", ""): number + 1 for number in range(20)}
    summary = summarize([PolicyUsage("a", (), counts)])
    assert 210 == summary.refused
    assert MOST_REASONS == len(summary.refusals)
    assert 20 == max(summary.refusals.values())


def test_a_day_without_requests_is_all_zeros() -> None:
    """Nothing is divided here."""
    assert Summary(0, 0, {}, 0, 0, 0, 0) == summarize([])


CALM = PolicyUsage("a", (), {UsageLabels("a", "", "2xx", ""): 95, UsageLabels("a", "upstream_timeout", "5xx", ""): 5})
FAILING = PolicyUsage(
    "a", (), {UsageLabels("a", "", "2xx", ""): 94, UsageLabels("a", "upstream_timeout", "5xx", ""): 6}
)


@pytest.mark.parametrize(
    ("targets", "unreachable", "usage", "is_outdated", "expected"),
    [
        (1, [], CALM, False, Service("active", "Served")),
        (0, [], CALM, False, Service("active", "Served")),
        (1, [], CALM, True, Service("ending", "Older than its file")),
        (1, [], FAILING, True, Service("revoked", "Backend failing")),
        (1, ["why"], CALM, True, Service("revoked", "Backend unreachable", ("why",))),
        (3, ["why"], CALM, True, Service("ending", "1 of 3 backends unreachable", ("why",))),
        (3, ["why"], FAILING, False, Service("revoked", "Backend failing", ("why",))),
    ],
)
def test_an_operator_is_told_the_worst_first(
    targets: int, unreachable: list[str], usage: PolicyUsage, is_outdated: bool, expected: Service
) -> None:
    """Nobody there, then failures of the day, then a part that is missing, then a file with mistakes."""
    assert expected == describe_service(targets, unreachable, usage, is_outdated=is_outdated)

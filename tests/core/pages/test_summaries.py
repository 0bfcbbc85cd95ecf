"""A day at a glance."""

from gateway.core.pages.summaries import MOST_REASONS, Summary, summarize
from gateway.core.usage import Counted, PolicyUsage


def test_policies_are_added_up() -> None:
    """Requests, refusals by reason, what the cache answered of what it could, and failures of backends."""
    one = {
        Counted("a", "", "2xx", "hit"): 3,
        Counted("a", "", "3xx", "not_modified"): 2,
        Counted("a", "", "2xx", "miss"): 5,
        Counted("a", "quota_exceeded", "4xx", ""): 4,
    }
    other = {
        Counted("b", "quota_exceeded", "4xx", ""): 1,
        Counted("b", "upstream_timeout", "5xx", ""): 2,
        Counted("b", "", "2xx", "stale"): 1,
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
    counts = {Counted("a", f"reason_{number}", "4xx", ""): number + 1 for number in range(20)}
    summary = summarize([PolicyUsage("a", (), counts)])
    assert 210 == summary.refused
    assert MOST_REASONS == len(summary.refusals)
    assert 20 == max(summary.refusals.values())


def test_a_day_without_requests_is_all_zeros() -> None:
    """Nothing is divided here."""
    assert Summary(0, 0, {}, 0, 0, 0, 0) == summarize([])

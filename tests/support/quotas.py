"""Quotas and histories of requests for property tests."""

from hypothesis import strategies as st

from gateway.core.quotas import algorithms
from gateway.core.quotas.model import Quota

ALGORITHMS = tuple(algorithms.ALGORITHMS)

Step = tuple[int, int]
"""Milliseconds since the step before, and the cost."""


def make_quota(algorithm: str, limit: int, window_seconds: int, burst: int | None = None, name: str = "q") -> Quota:
    """A quota; a token bucket's burst is the limit where it is not said."""
    filled = limit if burst is None and algorithms.ALGORITHMS[algorithm].has_burst else burst
    return Quota(name, limit, window_seconds, algorithm, filled)


def quotas_of(algorithm: str, name: str = "q") -> st.SearchStrategy[Quota]:
    """Quotas of an algorithm, small enough to be met and now and then too large for a tick of a millisecond."""
    seconds = st.sampled_from([60, 61, 3600, 86400, 30 * 86400])  # shorter ones could end while a test runs
    known = algorithms.ALGORITHMS[algorithm]
    least = 1 if known.has_burst else 0
    small = st.integers(least, 12)
    limits = small if known.maximum_limit else st.one_of(small, small, st.integers(10**6, 10**12 - 1))
    quotas = st.builds(make_quota, st.just(algorithm), limits, seconds, st.none(), st.just(name))
    if not known.has_burst:
        return quotas
    # A small burst of a large limit fills, and its state ends, within milliseconds: also while the test's clock stands.
    return quotas | st.builds(make_quota, st.just(algorithm), small, seconds, st.integers(1, 20), st.just(name))


any_quota = st.sampled_from(ALGORITHMS).flatmap(quotas_of)


def histories(windows: list[int], capacities: list[int], backwards: bool = False) -> st.SearchStrategy[list[Step]]:
    """Requests at one instant and after gaps, some of exactly a window; costs from nothing to more than fits."""
    exact = [window * 1000 // part + more for window in windows for part in (1, 2, 7) for more in (-1, 0, 1)]
    exact += [0, 0, 0, 1, 2 * max(windows) * 1000, 5 * max(windows) * 1000] + ([-1, -40_000] if backwards else [])
    gaps = st.one_of(st.sampled_from(exact), st.sampled_from(exact), st.integers(0, 2 * max(windows) * 1000))
    costs = st.one_of(st.just(1), st.integers(0, 3), *(st.integers(max(0, top - 1), top + 1) for top in capacities))
    return st.lists(st.tuples(gaps, costs), min_size=1, max_size=40)

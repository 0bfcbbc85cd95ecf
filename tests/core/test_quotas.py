"""Quotas: their grammar, their windows and when to come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.quotas.model import (
    JITTER_SHARE,
    Quota,
    Window,
    exceeded,
    retry_after_seconds,
)
from tests.core.samples import NOW_MILLISECONDS
from tests.support.quotas import ALGORITHMS, make_quota

MINUTE = Quota("minute", 100, 60)

windows = st.builds(
    Window,
    st.builds(Quota, st.just("q"), st.integers(0, 1000), st.integers(1, 100_000)),
    st.integers(0, 2000),
    st.integers(NOW_MILLISECONDS - 10_000, NOW_MILLISECONDS + 10**8),
)


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "fixed-window"])
def test_who_waits_for_one_unit_is_not_spread_over_a_window(algorithm: str) -> None:
    """Where units return bit by bit, the share of one's own is the wait itself at most, and a tenth of the window."""
    quota = make_quota(algorithm, 1000, 86400)
    told = {
        retry_after_seconds(
            [Window(quota, 1000, NOW_MILLISECONDS + 1, NOW_MILLISECONDS + wait)], NOW_MILLISECONDS, name
        )
        for name in (f"{number:024x}" for number in range(300))
        for wait in (2500,)
    }
    assert {3, 4, 5, 6} == told


def test_a_changed_limit_keeps_its_counter() -> None:
    """A counter belongs to name and window: another limit goes on counting, another window begins anew."""
    assert Quota("minute", 100, 60).counter == Quota("minute", 5, 60).counter
    assert Quota("minute", 100, 60).counter != Quota("minute", 100, 120).counter


@given(windows)
def test_what_remains_and_was_used_never_exceeds_the_limit(window: Window) -> None:
    """What is left is the limit less what was used, and never below nothing."""
    assert max(window.quota.limit, window.used) == window.used + window.remaining()


@given(windows, st.integers(0, 100))
def test_a_window_is_exceeded_where_the_cost_does_not_fit(window: Window, cost: int) -> None:
    """A window has room exactly for what remains in it; one used beyond its limit has none even for nothing."""
    has_room = cost <= window.remaining() and window.used <= window.quota.limit
    assert ([] if has_room else [window]) == exceeded([window], cost)


@given(windows)
def test_the_reset_is_rounded_up(window: Window) -> None:
    """Who waits for the announced seconds comes after the reset, and less than a second after it."""
    after = NOW_MILLISECONDS + window.reset_seconds(NOW_MILLISECONDS) * 1000 - window.resets_at
    assert after >= 0
    assert after < 1000 or window.resets_at < NOW_MILLISECONDS


@given(windows)
def test_both_numbers_of_an_answer_are_those_of_the_window(window: Window) -> None:
    """What is worked out in one call is what each call gives."""
    both = (window.remaining(), window.reset_seconds(NOW_MILLISECONDS))
    assert both == window.left_and_reset(NOW_MILLISECONDS)


@given(st.lists(windows, min_size=1, max_size=3), st.text("0123456789abcdef", min_size=24, max_size=24))
def test_retry_after_is_never_too_early(some: list[Window], token_id: str) -> None:
    """Who waits for Retry-After finds all windows ended, and waits at most a tenth of the longest longer."""
    seconds = retry_after_seconds(some, NOW_MILLISECONDS, token_id)
    latest = max(window.reset_seconds(NOW_MILLISECONDS) for window in some)
    longest = max(window.quota.window_seconds for window in some)

    assert max(1, latest) <= seconds <= max(1, latest + longest // JITTER_SHARE)
    assert seconds == retry_after_seconds(some, NOW_MILLISECONDS, token_id)


def test_retry_after_differs_between_tokens() -> None:
    """Jobs that were refused at one moment are told different moments to come back."""
    window = Window(MINUTE, 100, NOW_MILLISECONDS + 30_000)
    told = {retry_after_seconds([window], NOW_MILLISECONDS, f"{number:024x}") for number in range(100)}
    assert set(range(30, 37)) == told

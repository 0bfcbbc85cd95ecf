"""Quotas: their grammar, their windows and when to come back."""

import limits
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.quotas import (
    JITTER_SHARE,
    MAXIMUM_NUMBER,
    Algorithm,
    Quota,
    Window,
    exceeded,
    parse_quotas,
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


@pytest.mark.parametrize(
    ("text", "quotas"),
    [
        ("100/minute", (Quota("pull", 100, 60),)),
        ("5 per 2 hours", (Quota("pull", 5, 7200),)),
        ("0/day", (Quota("pull", 0, 86400),)),
        ("1/second; 100/minute", (Quota("pull-second", 1, 1), Quota("pull-minute", 100, 60))),
        (f"{MAXIMUM_NUMBER}/second", (Quota("pull", MAXIMUM_NUMBER, 1),)),
    ],
)
def test_the_grammar_is_that_of_limits(text: str, quotas: tuple[Quota, ...]) -> None:
    """A quota reads as the library `limits` reads it; several in one text are named by their granularity."""
    assert quotas == parse_quotas("pull", text)


@given(st.integers(0, 10**6), st.integers(1, 50), st.sampled_from(["second", "minute", "hour", "day", "month", "year"]))
def test_numbers_and_windows_agree_with_limits(amount: int, multiple: int, granularity: str) -> None:
    """Limit and window are what `limits` makes of the same text."""
    text = f"{amount} per {multiple} {granularity}"
    item = limits.parse(text)
    assert (Quota("pull", item.amount, item.get_expiry()),) == parse_quotas("pull", text)


def test_an_algorithm_is_counted_apart_from_others() -> None:
    """A changed algorithm starts a new counter, as its numbers mean something else; a fixed window keeps its name."""
    counters = [parse_quotas("pull", "5/minute", algorithm)[0].counter for algorithm in ALGORITHMS]
    assert ["pull:60", "pull:60:sliding-window-counter", "pull:60:moving-window", "pull:60:token-bucket"] == counters


def test_a_token_bucket_holds_its_limit_unless_told() -> None:
    """Without a burst a bucket holds as much as its limit; each of several limits its own."""
    assert (
        Quota("pull-second", 1, 1, "token-bucket", 1),
        Quota("pull-minute", 100, 60, "token-bucket", 100),
    ) == parse_quotas("pull", "1/second; 100/minute", "token-bucket")
    assert 20 == parse_quotas("pull", "100/minute", "token-bucket", 20)[0].capacity


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "fixed-window"])
def test_who_waits_for_one_unit_is_not_spread_over_a_window(algorithm: Algorithm) -> None:
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


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("Pull", "1/day", "the quota name 'Pull' must match [a-z][a-z0-9_-]*"),
        ("pull\n", "1/day", "the quota name 'pull\\n' must match [a-z][a-z0-9_-]*"),
        (
            "pull",
            "100/fortnight",
            '\'100/fortnight\' is not a rate limit: write a number, "/" or "per", and second, minute, hour, day, month '
            'or year, such as "100/minute"',
        ),
        ("pull", "1/day; 2/day", "'1/day; 2/day' limits the same granularity twice: give each limit its own name"),
        (
            "pull",
            "1000000000000/day",
            "'1000000000000/day' is too much to count: neither number nor window may be above 999999999999",
        ),
        (
            "pull",
            "1 per 1000000 years",
            "'1 per 1000000 years' is too much to count: neither number nor window may be above 999999999999",
        ),
    ],
)
def test_a_wrong_quota_is_told(name: str, text: str, message: str) -> None:
    """What is no quota is refused with what is expected instead."""
    with pytest.raises(ValueError) as refused:
        parse_quotas(name, text)
    assert message == str(refused.value)


@given(st.text())
def test_any_text_is_a_quota_or_refused(text: str) -> None:
    """Any text gives quotas that can be counted or a ValueError, nothing else."""
    try:
        quotas = parse_quotas("pull", text)
    except ValueError:
        return
    assert all(0 <= quota.limit <= MAXIMUM_NUMBER and 1 <= quota.window_seconds <= MAXIMUM_NUMBER for quota in quotas)


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

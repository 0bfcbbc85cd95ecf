"""Quotas as policies write them, and who has which."""

import limits
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.policies.quota_rules import parse_quotas
from gateway.core.quotas import MAXIMUM_NUMBER, Quota
from tests.support.quotas import ALGORITHMS


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

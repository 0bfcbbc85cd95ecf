"""The RateLimit fields, ours alone and joined with a backend's."""

from gateway.core.quotas import Quota, Window
from gateway.core.ratelimits import build_ratelimit, build_ratelimit_policy
from tests.core.samples import NOW_MILLISECONDS


def test_ratelimit_policy_is_a_list_of_strings() -> None:
    """RateLimit-Policy names each quota with its limit and window."""
    built = build_ratelimit_policy([Quota("minute", 100, 60), Quota("day", 5000, 86400)])
    assert b'"minute";q=100;w=60, "day";q=5000;w=86400' == built


def test_ratelimit_policy_of_a_token_bucket_is_its_burst_and_its_rate() -> None:
    """q is what a full bucket holds, w the seconds it takes to fill, rounded up: q over w is never above the rate."""
    built = build_ratelimit_policy(
        [Quota("steady", 60, 60, "token-bucket", 20), Quota("small", 100, 60, "token-bucket", 1)]
    )
    assert b'"steady";q=20;w=20, "small";q=1;w=1' == built


def test_ratelimit_never_promises_more_than_there_is() -> None:
    """RateLimit says what is left, never below nothing, and the seconds until the reset rounded up."""
    windows = [
        Window(Quota("minute", 100, 60), 43, NOW_MILLISECONDS + 16_001),
        Window(Quota("day", 10, 86400), 12, NOW_MILLISECONDS - 5),
    ]
    assert b'"minute";r=57;t=17, "day";r=0;t=0' == build_ratelimit(windows, NOW_MILLISECONDS)

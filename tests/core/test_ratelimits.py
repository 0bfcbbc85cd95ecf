"""The RateLimit fields, ours alone and joined with a backend's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http.ratelimit_fields import build_ratelimit, build_ratelimit_policy, join_backends
from gateway.core.quotas.model import Quota, Window
from tests.core.samples import NOW_MILLISECONDS

OWN = (b'"minute";q=100;w=60, "day";q=5000;w=86400', b'"minute";r=57;t=17, "day";r=4120;t=36000')


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


def test_what_is_in_flight_has_no_window() -> None:
    """A concurrency limit tells its unit in the place of a window, and no time: nobody knows when a request ends."""
    parallel = Quota("parallel", 10, 15, "concurrent")
    assert b'"parallel";q=10;qu="concurrent-requests"' == build_ratelimit_policy([parallel])
    assert b'"parallel";r=7' == build_ratelimit([Window(parallel, 3, NOW_MILLISECONDS + 1000)], NOW_MILLISECONDS)


def test_what_is_in_shadow_is_not_announced() -> None:
    """A client that paced itself by it would be refused by nothing."""
    shadow = Quota("shadow", 10, 60, is_shadow=True)
    assert b"" == build_ratelimit_policy([shadow])
    assert b"" == build_ratelimit([Window(shadow, 3, NOW_MILLISECONDS)], NOW_MILLISECONDS)


@pytest.mark.parametrize(
    ("policies", "limits", "joined_policies", "joined_limits"),
    [
        ([b'"a";q=1;w=1'], [b'"a";r=1;t=9'], OWN[0] + b', "a";q=1;w=1', OWN[1] + b', "a";r=1;t=9'),
        ([], [b'"minute";r=56;t=1'], OWN[0], OWN[1].replace(b"r=57;t=17", b"r=56;t=1")),
        ([], [b'"minute";r=58;t=90'], *OWN),
        ([], [b'"minute";r=57;t=90'], *OWN),
        ([], [b'"minute";t=90'], *OWN),
        ([b'"minute";q=99;w=1'], [b'"minute";r=58;t=1'], *OWN),
        (
            [b'"minute";q=200;w=60;pk=:cGs=:'],
            [b'"minute";r=5;t=1;pk=:cGs=:'],
            OWN[0].replace(b"q=100;w=60", b"q=200;w=60;pk=:cGs=:"),
            OWN[1].replace(b"r=57;t=17", b"r=5;t=1;pk=:cGs=:"),
        ),
        ([b'"minute";q=99;w=60'], [], OWN[0].replace(b"q=100", b"q=99"), OWN[1]),
        ([b'"minute";q=101;w=60'], [], *OWN),
        ([b'"a";q=1', b'"b";q=2;x="\\", ;"'], [], OWN[0] + b', "a";q=1, "b";q=2;x="\\", ;"', OWN[1]),
        ([b"limit=100"], [b"100"], *OWN),
        ([b'"a";q=1,'], [b'"a" "b"'], *OWN),
        ([b'"a";q=1 "b"'], [b'"open'], *OWN),
    ],
)
def test_a_backends_word_counts_where_it_is_stricter(
    policies: list[bytes], limits: list[bytes], joined_policies: bytes, joined_limits: bytes
) -> None:
    """The smaller r stays and takes its policy along, else the smaller q; other names stay, the malformed goes."""
    lines = [*((b"ratelimit-policy", value) for value in policies), *((b"ratelimit", value) for value in limits)]
    expected = [(b"ratelimit-policy", joined_policies), (b"ratelimit", joined_limits)]
    assert expected == join_backends(*OWN, lines)


@given(st.lists(st.binary(max_size=40), max_size=3), st.lists(st.binary(max_size=40), max_size=3))
def test_whatever_a_backend_says_ours_can_be_read(policies: list[bytes], limits: list[bytes]) -> None:
    """Any bytes: the joined list is read as a list, and none of our names is missing in it."""
    lines = [*((b"ratelimit-policy", value) for value in policies), *((b"ratelimit", value) for value in limits)]
    once = join_backends(*OWN, lines)
    assert once == join_backends(once[0][1], once[1][1], [])
    assert all(b'"minute"' in value and b'"day"' in value for _, value in once)

"""Limits of one token's own: what may be asked of them, and what they do to its quotas."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.errors import ChangeRefused
from gateway.core.quotas.model import EXACT, MAXIMUM_NUMBER, Override, Quota, effective_quotas
from gateway.core.tokens.changes import TokenChange, update_record
from gateway.core.tokens.overrides import OverrideRequest, override_quota, remove_override
from tests.core.samples import NOW, RECORD, SHOP, load

POLICY = load(
    SHOP.replace(
        'minute = "100/minute"',
        """minute = "100/minute"
parallel = { concurrent = 3 }
steady = { limit = "60/minute", algorithm = "token-bucket", burst = 20 }
log = { limit = "10/minute", algorithm = "moving-window" }
team = { limit = "10/day", per = "plan" }""",
    ).replace('scopes = ["read"]\ncache', 'scopes = ["read"]\nquotas = { item = "5/hour" }\ncache')
).policies["shop"]
REQUEST = OverrideRequest(limit="1000/minute", burst=None, until=NOW + 60, reason="a launch", author="ada")


@pytest.mark.parametrize(
    ("quota", "limit", "burst", "made"),
    [
        ("minute", "1000/minute", None, ("minute:60", 1000, 1000)),
        ("minute", "1000 per 60 second", None, ("minute:60", 1000, 1000)),
        ("minute", "7", None, ("minute:60", 7, 7)),
        ("parallel", "9", None, ("parallel:15:concurrent", 9, 9)),
        ("steady", "600/minute", None, ("steady:60:token-bucket", 600, 20)),
        ("steady", "600/minute", 200, ("steady:60:token-bucket", 600, 200)),
        ("log", "100", None, ("log:60:moving-window", 100, 100)),
        ("item", "50/hour", None, ("item:3600:GET /items/{item}", 50, 50)),
        ("day", "2000/day", None, ("day:86400", 2000, 2000)),
    ],
)
def test_a_quota_is_overridden_as_it_is_counted(
    quota: str, limit: str, burst: int | None, made: tuple[str, int, int]
) -> None:
    """A number, or a limit of the same window; who says so, why and until when is kept beside it."""
    changed = override_quota(POLICY, RECORD, quota, replace(REQUEST, limit=limit, burst=burst), NOW)
    assert (Override(*made, NOW + 60, "a launch", "ada", NOW),) == changed.overrides
    assert RECORD == replace(changed, overrides=())


@pytest.mark.parametrize(
    ("quota", "change", "message"),
    [
        ("minut", {}, "unknown quota 'minut': did you mean 'minute'?"),
        ("team", {}, "the quota team is counted per plan: one token cannot have its own limit"),
        ("minute", {"limit": "9/hour"}, "minute is counted in windows of 60 s, 9/hour has 3600 s"),
        ("minute", {"limit": "many"}, "'many' is not a rate limit: "),
        ("minute", {"limit": str(MAXIMUM_NUMBER + 1)}, "is too much to count"),
        ("minute", {"burst": 5}, "burst is for token-bucket only"),
        ("log", {"limit": "100001"}, "moving-window counts limits up to 100000 only"),
        ("steady", {"limit": "0"}, "a token bucket that never fills admits nothing"),
        ("parallel", {}, "parallel counts requests in flight: write a number from 1 to 10000"),
        ("parallel", {"limit": "0"}, "write a number from 1 to 10000"),
        ("minute", {"until": NOW}, "the override would have ended already"),
        ("minute", {"reason": ""}, "a reason has 1 to 255 characters and no control characters"),
        ("minute", {"author": "a\nb"}, "an author has 1 to 128 characters and no control characters"),
    ],
)
def test_what_cannot_be_is_refused(quota: str, change: dict[str, object], message: str) -> None:
    """With what is wrong, and the same bounds as a policy's."""
    request = OverrideRequest(**{**{f: getattr(REQUEST, f) for f in REQUEST.__struct_fields__}, **change})
    with pytest.raises(ChangeRefused) as refused:
        override_quota(POLICY, RECORD, quota, request, NOW)
    assert message in str(refused.value)


def test_a_child_has_none_of_its_own() -> None:
    """What it may take is its parent's, whose counters it shares."""
    with pytest.raises(ChangeRefused, match="override those of token " + "ab" * 12):
        override_quota(POLICY, replace(RECORD, parent="ab" * 12), "minute", REQUEST, NOW)


def test_one_takes_the_place_of_another() -> None:
    """Of one quota there is one override; those that have ended go with the next change, of whatever kind."""
    first = override_quota(POLICY, RECORD, "minute", REQUEST, NOW)
    second = override_quota(POLICY, first, "minute", replace(REQUEST, limit="5", until=NOW + 9), NOW)
    third = override_quota(POLICY, second, "day", replace(REQUEST, limit="6"), NOW + 1)
    assert [[1000], [5], [5, 6]] == [[one.limit for one in record.overrides] for record in (first, second, third)]
    assert [6] == [one.limit for one in update_record(POLICY, third, TokenChange(name="new"), NOW + 9).overrides]
    assert [5] == [one.limit for one in remove_override(POLICY, third, "day", NOW + 8).overrides]
    with pytest.raises(ChangeRefused, match="has no override of minute"):
        remove_override(POLICY, third, "minute", NOW + 9)


def test_it_holds_until_its_end_and_for_this_quota_alone() -> None:
    """To the millisecond; another window or algorithm of the policy's quota is not overridden."""
    quotas = (Quota("minute", 100, 60), Quota("minute", 100, 120), Quota("steady", 9, 60, "token-bucket", 9))
    overrides = (
        Override("minute:60", 5, 5, NOW, "", "", 0),
        Override("steady:60:token-bucket", 600, 200, NOW + 1, "", "", 0),
    )
    steady = Quota("steady", 600, 60, "token-bucket", 200)
    assert (replace(quotas[0], limit=5), quotas[1], steady) == effective_quotas(quotas, overrides, NOW * 1000 - 1)
    assert (*quotas[:2], steady) == effective_quotas(quotas, overrides, NOW * 1000)
    assert quotas is effective_quotas(quotas, overrides, NOW * 1000 + 1000)


@given(st.integers(1, MAXIMUM_NUMBER), st.integers(1, MAXIMUM_NUMBER))
def test_a_tick_is_the_smallest_power_of_two_that_is_exact(limit: int, seconds: int) -> None:
    """The script computes the same for an override: in doubles, by doubling."""
    tick = Quota("q", limit, seconds).tick
    product = float(limit) * (seconds * 1000)
    assert 1 == tick.bit_count()
    assert product / tick <= EXACT
    assert tick == 1 or product / (tick // 2) > EXACT

"""How long an answer is good, and how old it is (RFC 9111 4.2)."""

import pytest

from gateway.core.cache.reuse import current_age
from gateway.core.http.fields import build_http_date
from gateway.core.http.messages import Field
from gateway.core.policies.model import CacheRule, Rule
from tests.core.cache.answers import FIXED, SHARED, cc, make
from tests.core.samples import NOW, make_rule
from tests.core.samples import NOW_MILLISECONDS as NOW_MS

GUESSING = make_rule(CacheRule(fresh_seconds=None, shared_by="project", heuristic_seconds=86400))


def at(name: bytes, seconds: int) -> Field:
    """A field with a date so many seconds from now."""
    return (name, build_http_date(NOW + seconds))


def lifetime(*fields: Field, rule: Rule = SHARED, status: int = 200) -> int:
    head = make(*fields, rule=rule, status=status)
    return (head.fresh_until - head.stored_at) // 1000


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([], 0),
        ([cc(b"max-age=60")], 60),
        ([cc(b"MaX-aGe=60, foobar")], 60),
        ([cc(b"max-age=0")], 0),
        ([cc(b"max-age=99999999999")], 2**31),
        ([cc(b"max-age=0060")], 60),
        ([cc(b'max-age="60"')], 60),
        ([cc(b"max-age='60'")], 0),
        ([cc(b"max-age=-60")], 0),
        ([cc(b"max-age=60.5")], 0),
        ([cc(b"max-age=60a")], 0),
        ([cc(b"max-age =60")], 0),
        ([cc(b"max-age")], 0),
        ([cc(b'extension="max-age=3600", max-age=1')], 1),
        ([cc(b'max-age="1", extension="max-age=3600"')], 1),
        ([cc(b"max-age=60, s-maxage=5")], 5),
        ([cc(b"max-age=1"), cc(b"s-maxage=60")], 60),
        ([cc(b"max-age=60, s-maxage=x")], 0),
        ([cc(b"max-age=60, no-cache")], 0),
        ([cc(b"max-age=60"), (b"gateway-cache-control", b"max-age=5")], 5),
        ([at(b"expires", 60), at(b"date", 0)], 60),
        ([at(b"expires", 60)], 60),
        ([at(b"expires", 60), (b"date", b"foo")], 60),
        ([at(b"expires", 0), at(b"date", 0)], 0),
        ([at(b"expires", -60), at(b"date", 0)], 0),
        ([at(b"expires", 300), at(b"date", 400)], 0),
        ([(b"expires", b"0")], 0),
        ([at(b"expires", 600), cc(b"max-age=60")], 60),
        ([at(b"expires", -600), cc(b"max-age=60")], 60),
        ([(b"expires", b"0"), cc(b"max-age=60")], 60),
        ([at(b"expires", 600), cc(b"max-age=0")], 0),
        ([at(b"expires", 600), (b"gateway-cache-control", b"public")], 0),
        ([at(b"expires", 600), (b"cdn-cache-control", b"public")], 0),
        ([cc(b"max-age=60"), (b"cdn-cache-control", b"max-age=5")], 5),
        ([cc(b"no-store"), (b"cdn-cache-control", b"max-age=5")], 5),
        ([(b"cdn-cache-control", b"max-age=6"), (b"gateway-cache-control", b"max-age=5")], 5),
        ([(b"cdn-cache-control", b"max-age=6"), (b"gateway-cache-control", b"")], 6),
        ([(b"cdn-cache-control", b"max-age=6"), (b"gateway-cache-control", b"max-age=x")], 6),
        ([cc(b"max-age=60"), (b"cdn-cache-control", b'max-age="5"')], 60),
        ([cc(b"max-age=60"), (b"cdn-cache-control", b"max-age=5, &&&&&")], 60),
        ([cc(b"max-age=60"), (b"cdn-cache-control", b"max-age=5"), (b"cdn-cache-control", b"max-age=7")], 7),
    ],
)
def test_the_backend_says_how_long_its_answer_is_fresh(fields: list[Field], seconds: int) -> None:
    """The fields for shared caches come first, then Expires; what cannot be read is of no seconds."""
    assert seconds == lifetime(*fields)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([(b"age", b"20")], 40),
        ([(b"age", b"90")], 0),
        ([(b"age", b"20"), at(b"date", -30)], 30),
        ([at(b"date", -7200)], 0),
        ([at(b"date", 100)], 60),
        ([(b"age", b"soon")], 60),
        ([(b"age", b"-5")], 60),
        ([(b"age", b"7200.0")], 60),
        ([(b"age", b"7200;a=1")], 60),
        ([(b"age", b"")], 60),
        ([(b"age", b"soon"), at(b"date", -30)], 30),
        ([(b"age", b"0, 7200")], 60),
        ([(b"age", b"7200, 0")], 0),
        ([(b"age", b"0"), (b"age", b"7200")], 60),
        ([(b"age", b"7200"), (b"age", b"0")], 0),
        ([(b"age", b"soon, 7200")], 60),
    ],
)
def test_what_an_answer_is_old_is_no_longer_fresh(fields: list[Field], seconds: int) -> None:
    """Age and Date both count (RFC 9111 4.2.3); of several ages the first does, and nonsense is ignored (5.1)."""
    assert seconds == lifetime(cc(b"max-age=60"), *fields)


def test_a_rule_says_how_long_answers_are_fresh() -> None:
    """With `fresh` in the rule, the operator's word replaces the backend's time, but not its no-cache."""
    assert 60 == lifetime(cc(b"max-age=5"), (b"age", b"50"), rule=FIXED)
    assert 0 == lifetime(cc(b"no-cache"), rule=FIXED)


@pytest.mark.parametrize(
    ("fields", "status", "seconds"),
    [
        ([at(b"last-modified", -86400), at(b"date", 0)], 200, 8640),
        ([at(b"last-modified", -86400)], 410, 8640),
        ([at(b"last-modified", -86400)], 201, 0),
        ([at(b"last-modified", -86400)], 503, 0),
        ([at(b"last-modified", -86400)], 599, 0),
        ([at(b"last-modified", -86400), cc(b"public")], 599, 8640),
        ([at(b"last-modified", 86400)], 200, 0),
        ([at(b"last-modified", -(10**8))], 200, 86400),
        ([at(b"last-modified", -86400), cc(b"max-age=5")], 200, 5),
        ([at(b"last-modified", -86400), at(b"expires", 0)], 200, 0),
        ([], 200, 0),
    ],
)
def test_a_lifetime_is_guessed_only_where_a_rule_asks_for_it(fields: list[Field], status: int, seconds: int) -> None:
    """A tenth of the time since Last-Modified, up to what the rule says, for the statuses of RFC 9110 15.1."""
    assert seconds == lifetime(*fields, rule=GUESSING, status=status)
    assert lifetime(*fields, status=status) in (0, 5)


@pytest.mark.parametrize("strict", [b"s-maxage=60", b"proxy-revalidate, max-age=60", b"must-revalidate, max-age=60"])
def test_only_a_rule_that_names_it_overrules_s_maxage(strict: bytes) -> None:
    """s-maxage forbids stale answers as proxy-revalidate does (RFC 9111 5.2.2.10), also where a rule keeps answers."""
    keeping = make_rule(CacheRule(None, "project", keep_seconds=3600, may_share=True))
    naming = make_rule(CacheRule(None, "project", stale_if_error_seconds=3600, may_share=True))
    kept = make(cc(strict), (b"etag", b'"a"'), rule=keeping)
    assert NOW_MS + 60_000 == kept.stand_in_until == kept.refresh_until
    assert not kept.may_be_stale
    named = make(cc(strict), rule=naming)
    assert NOW_MS + 60_000 + (3_600_000 if strict == b"s-maxage=60" else 0) == named.stand_in_until
    assert NOW_MS + 3_660_000 == make(cc(b"max-age=60"), rule=keeping).stand_in_until


def test_the_age_counts_from_when_the_answer_was_made() -> None:
    """Age is the age at arrival and the time since the fetch began, and does not run backwards with the clock."""
    head = make((b"age", b"10"))
    assert 10 == current_age(head, NOW_MS)
    assert 12 == current_age(head, NOW_MS + 2999)
    assert 10 == current_age(head, NOW_MS - 5000)

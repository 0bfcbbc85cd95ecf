"""What requests count as, and what is told of them."""

import pytest

from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest, Authorized, Refused
from gateway.core.http.messages import Field, ResponseHead
from gateway.core.http.reasons import Reason
from gateway.core.usage import (
    DAY_SECONDS,
    HOUR_SECONDS,
    MAXIMUM_HOURS,
    UPSTREAM_FAILURES,
    PolicyUsage,
    UsageLabels,
    UsagePoint,
    build_usage_key,
    by_day,
    by_hour,
    format_usage_labels,
    last_days,
    last_hours,
    parse_usage_labels,
    read_usage_key,
)
from gateway.pipeline.exchange import UPSTREAM_REASONS
from tests.support.policies import make_record, rule_for

RECORD = make_record()
CACHED, PASSED = rule_for("GET /export"), rule_for("GET /other")
FACTS = AdmissionFacts(AdmissionRequest(CACHED), 0, RECORD, False, True, (), ())
NOON = 1_800_014_400
"""Of a day; the hour is number 500,004."""


def count(outcome: Authorized | Refused, status: int, *fields: Field) -> UsageLabels:
    return read_usage_key(*build_usage_key(outcome, ResponseHead(status, [(b"etag", b'W/"a"'), *fields]))[:-1])


@pytest.mark.parametrize(
    ("status", "told", "cache"),
    [
        (200, b"gateway; hit; ttl=42", "hit"),
        (206, b"gateway; hit; ttl=42", "hit"),
        (304, b"gateway; hit; ttl=42", "not_modified"),
        (200, b"gateway; hit; ttl=-9; detail=stale-while-revalidate", "stale"),
        (304, b"gateway; hit; ttl=-9; detail=stale-if-error", "stale"),
        (200, b"gateway; fwd=uri-miss; collapsed", "hit"),
        (304, b"gateway; fwd=stale; collapsed", "not_modified"),
        (200, b"gateway; fwd=uri-miss; stored", "miss"),
        (200, b"gateway; fwd=vary-miss; stored", "miss"),
        (304, b"gateway; fwd=stale; fwd-status=304; stored", "miss"),
        (201, b"gateway; fwd=method", "bypass"),
        (200, b"gateway; fwd=request", "bypass"),
    ],
)
def test_an_answer_counts_by_the_part_of_the_cache(status: int, told: bytes, cache: str) -> None:
    """By its own Cache-Status, wherever that stands among the fields, and whatever a cache before it has said."""
    expected = UsageLabels("small", "", f"{status // 100}xx", cache)
    backends, own = (b"cache-status", b"squid; hit"), (b"cache-status", told)
    assert expected == count(Authorized(CACHED, FACTS), status, own)
    assert expected == count(Authorized(CACHED, FACTS), status, backends, own, (b"repr-digest", b"sha-256=::"))


def test_without_a_cache_there_is_no_part_of_it() -> None:
    """A rule without one says nothing of caches, also where the backend's cache does; nor does who asks for a proxy."""
    told = (b"cache-status", b"squid; hit")
    assert UsageLabels("small", "", "2xx", "") == count(Authorized(PASSED, FACTS), 204, told)
    refused = Refused(Reason.QUOTA_EXCEEDED, CACHED, FACTS)
    assert UsageLabels("small", "quota_exceeded", "4xx", "") == count(refused, 429)
    assert UsageLabels("", "no_matching_rule", "4xx", "") == count(Refused(Reason.NO_MATCHING_RULE), 404)
    allowed = build_usage_key(Authorized(CACHED, FACTS), ResponseHead(200, []))  # by forward-auth: not even a field
    assert UsageLabels("small", "", "2xx", "") == read_usage_key(*allowed[:-1])
    assert UsageLabels("small", "", "2xx", "") == count(Authorized(CACHED, FACTS), 200)


def test_a_request_counts_for_the_token_that_was_authenticated() -> None:
    """Refused or not; who was not authenticated is nobody."""
    head = ResponseHead(429, [])
    assert RECORD.digest == build_usage_key(Refused(Reason.QUOTA_EXCEEDED, PASSED, FACTS), head)[-1]
    assert RECORD.digest == build_usage_key(Authorized(PASSED, FACTS), head)[-1]
    assert "" == build_usage_key(Refused(Reason.UNKNOWN_TOKEN, PASSED), head)[-1]


@pytest.mark.parametrize("reason", ["", *Reason])
def test_what_is_written_reads_the_same(reason: str) -> None:
    """Whatever a request counts as comes back from its text."""
    counted = UsageLabels("tokencraft", reason, "4xx", "")
    assert counted == parse_usage_labels(format_usage_labels(counted))


def test_a_policys_usage_is_told_by_what_it_counts_as() -> None:
    """Refusals by reason, the most frequent first; the share that the cache answered; backends' failures."""
    usage = PolicyUsage(
        "small",
        (),
        {
            UsageLabels("small", "", "2xx", "hit"): 5,
            UsageLabels("small", "", "3xx", "not_modified"): 2,
            UsageLabels("small", "", "2xx", "stale"): 2,
            UsageLabels("small", "", "2xx", "miss"): 2,
            UsageLabels("small", "", "5xx", "miss"): 1,
            UsageLabels("small", "", "2xx", "bypass"): 50,
            UsageLabels("small", "upstream_timeout", "5xx", ""): 4,
            UsageLabels("small", "unknown_token", "4xx", ""): 7,
            UsageLabels("small", "store_unavailable", "5xx", ""): 1,
        },
    )
    assert 74 == usage.requests
    assert ["unknown_token", "upstream_timeout", "store_unavailable"] == list(usage.refusals)
    assert {"bypass": 50, "hit": 5, "miss": 3, "not_modified": 2, "stale": 2} == usage.caches
    assert {"2xx": 59, "4xx": 7, "5xx": 6, "3xx": 2} == usage.statuses
    assert 0.75 == usage.hit_ratio
    assert 5 == usage.upstream_failures
    assert PolicyUsage("small", (), {}).hit_ratio is None


def test_all_failures_of_backends_count_as_that() -> None:
    """Every reason that an UpstreamError has is a failure of the backend."""
    assert set(UPSTREAM_REASONS.values()) == UPSTREAM_FAILURES


def test_hours_and_days_are_whole_and_include_the_present() -> None:
    """The last hour is the one that is running; a day is all of its hours; nobody asks for more than is kept."""
    assert [500_002, 500_003, 500_004] == list(last_hours(NOON + 1, 3))
    assert MAXIMUM_HOURS == len(last_hours(NOON, 10_000))
    today = 500_004 // 24
    assert [today - 1, today] == list(last_days(NOON, 2))
    assert 31 == len(last_days(NOON, 10_000))
    counts = {500_004: 3, (today - 1) * 24: 1, today * 24 - 1: 2, (today - 1) * 24 - 1: 50, (today + 1) * 24: 50}
    assert (UsagePoint((today - 1) * DAY_SECONDS, 3), UsagePoint(today * DAY_SECONDS, 3)) == by_day(
        last_days(NOON, 2), counts
    )
    assert (UsagePoint(NOON - HOUR_SECONDS, 0), UsagePoint(NOON, 3)) == by_hour(last_hours(NOON, 2), counts)

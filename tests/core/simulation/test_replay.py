"""Requests of a log under other policies."""

from typing import Any

import pytest

from gateway.core.policies.loading import load_policies
from gateway.core.simulation.ordering import Ordering
from gateway.core.simulation.replay import Replay
from gateway.core.simulation.requests import LoggedRequest
from gateway.core.simulation.tally import Report, Tally

POLICY = """
name = "api"
upstream = "http://127.0.0.1:9001"
token = { prefixes = ["api_"] }
scopes = { read = "Read", write = "Write" }
quotas = { minute = "3/minute" }

[plans.free]

[plans.pro]
quotas = { minute = "5/minute" }

[[rules]]
match = "GET /export"
scopes = ["read"]

[[rules]]
match = "POST /**"
scopes = ["write"]
cost = 2

[[rules]]
match = "GET /cached"
scopes = ["read"]
cache = { fresh = "5m" }
cost = { miss = 3, hit = 1, not_modified = 0 }

[[rules]]
match = "GET /open"
public = true
"""
START = 1_790_000_000_000


def request(at: int = 0, **said: Any) -> LoggedRequest:
    """A request of a token, `at` milliseconds after the start."""
    given = {"method": "GET", "path": "/export", "status": 200, "token": "a", "plan": "free", **said}
    given.setdefault("lineage", given["token"])
    return LoggedRequest(time="", decided=START + at, **given)


def reasons(*requests: LoggedRequest, text: str = POLICY, **chosen: Any) -> list[str]:
    replay = Replay(load_policies({"api.toml": text}), **chosen)
    return [replay.decide(one)[0].reason for one in requests]


def tally(*requests: LoggedRequest, text: str = POLICY) -> Report:
    counted = Tally(Replay(load_policies({"api.toml": text})))
    for one in requests:
        counted.replay(one)
    return counted.report()


def test_a_quota_refuses_what_it_would_have_refused() -> None:
    """Three in a minute of a token; another token and the next minute have their own."""
    asked = [request(n) for n in range(4)]
    assert ["", "", "", "quota_exceeded", "", ""] == reasons(*asked, request(5, token="b"), request(60_001))


def test_the_plan_of_the_log_says_which_quota_counts() -> None:
    """Five in a minute for one plan; a plan that is no more passes nothing."""
    assert [""] * 5 + ["quota_exceeded"] == reasons(*(request(n, plan="pro") for n in range(6)))
    assert ["insufficient_plan"] == reasons(request(plan="gone"))


def test_rotated_tokens_share_their_counter() -> None:
    """By the lineage."""
    assert ["", "", "", "quota_exceeded"] == reasons(
        request(), request(1), request(2, token="new", lineage="a"), request(3, token="new", lineage="a")
    )


def test_a_cost_counts() -> None:
    """Two units for a POST: the second finds one."""
    posts = [request(n, method="POST", path="/x") for n in range(2)]
    assert ["", "quota_exceeded", ""] == reasons(*posts, request(3))


def test_what_was_reserved_is_given_back_when_the_request_ends() -> None:
    """A 304 is free once it has ended; until then the most is reserved."""
    quick = {"path": "/cached", "status": 304, "duration_seconds": 0.001}
    assert ["", "", ""] == reasons(request(0, **quick), request(10, **quick), request(20, **quick))
    slow = {"path": "/cached", "status": 304, "duration_seconds": 1.0}
    assert ["", "quota_exceeded", ""] == reasons(request(0, **slow), request(10), request(1001))
    hit = {"path": "/cached", "cache": "gateway; hit; ttl=3", "duration_seconds": 0.001}
    assert ["", "", ""] == reasons(request(0, **hit), request(10, path="/export"), request(20, path="/export"))


@pytest.mark.parametrize("reason", ["revoked_token", "unknown_token", "expired_token", "too_many_failures"])
def test_what_no_policy_changes_stays_refused_and_charges_nothing(reason: str) -> None:
    """Whatever the candidate says."""
    refused = [request(n, reason=reason, status=401) for n in range(5)]
    assert [reason] * 5 + [""] * 3 == reasons(*refused, *(request(10 + n) for n in range(3)))


def test_rules_and_tokens_are_asked_for() -> None:
    """A path without a rule, a request without a token, and a public rule."""
    assert ["no_matching_rule"] == reasons(request(path="/nothing"))
    assert ["missing_credentials", ""] == reasons(request(token=""), request(token="", path="/open"))


def test_scopes_are_as_in_the_log_unless_they_are_known() -> None:
    """A token export says what tokens hold."""
    lacking = request(reason="insufficient_scope", status=403)
    assert ["insufficient_scope"] == reasons(lacking)
    assert [""] == reasons(lacking, scopes={"a": ["read"]})
    assert ["insufficient_scope"] == reasons(request(), scopes={"a": ["write"]})
    assert [""] == reasons(request(token="b"), scopes={"a": ["write"]})


def test_a_concurrency_limit_counts_until_the_answer_ended() -> None:
    """Two at once."""
    text = POLICY.replace('minute = "3/minute"', "parallel = { concurrent = 2 }", 1)
    asked = [request(n, duration_seconds=1.0) for n in range(3)]
    assert ["", "", "quota_exceeded", ""] == reasons(*asked, request(1001), text=text)


def test_shadow_refuses_nobody_and_is_told() -> None:
    """It is counted apart."""
    text = POLICY.replace('minute = "3/minute"', 'minute = { limit = "3/minute", shadow = true }', 1)
    report = tally(*(request(n) for n in range(5)), text=text)
    assert (0, 2) == (report.total.refused_then, report.quotas[0].refused)


def test_changes_of_verdicts_are_told_by_token_rule_and_plan() -> None:
    """Who, when first, by which quota; and requests that pass now."""
    report = tally(
        *(request(n, token_name="CI") for n in range(5)),
        request(10, token="b", plan="pro", reason="quota_exceeded", status=429),
        request(11, token="c", reason="upstream_timeout", status=504),
    )
    assert (7, 1, 2, 2, 1) == (
        report.total.requests,
        report.total.refused_now,
        report.total.refused_then,
        report.total.newly_refused,
        report.total.newly_passing,
    )
    changed = report.by_token["a"]
    assert ("CI", 5, 2, {"minute": 2}) == (changed.name, changed.requests, changed.newly_refused, changed.by_quota)
    assert "2026-09-21T14:13:20.003+00:00" == changed.first == report.newly_refused[0].time
    assert ["a", "b"] == list(report.by_token)
    assert {"free", "pro"} == set(report.plans)
    assert [2] == [one.newly_refused for name, one in report.rules.items() if name == "GET /export of api"]
    assert {"2026-09-21": {14: (7, 2)}} == report.hours
    assert ("passes", "quota_exceeded") == (report.newly_passing[0].then, report.newly_passing[0].now)


def test_records_are_put_in_the_order_of_their_decisions() -> None:
    """They come in the order of their ends; of one millisecond, those that passed come first; what is late is told."""
    first = [request(5), request(1), request(3, reason="quota_exceeded"), request(3)]
    ordering = Ordering(at_once=2)
    found = list(ordering.sort([[*first, request(7), request(8), request(0), request(9)]]))
    assert [1, 3, 3, 5, 5, 7, 8, 9] == [one.decided - START for one in found]
    assert ["", "", "quota_exceeded"] == [one.reason for one in found[:3]]
    assert 1 == ordering.late


def test_several_logs_are_one() -> None:
    """In the order of their times."""
    found = Ordering().sort([[request(1), request(4)], [request(2), request(3)]])
    assert [1, 2, 3, 4] == [one.decided - START for one in found]

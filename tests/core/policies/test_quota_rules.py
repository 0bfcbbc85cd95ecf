"""Quotas as policies write them, and who has which."""

import limits
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.policies.compile_rules import parse_limits, parse_quotas
from gateway.core.policies.model import Rule
from gateway.core.quotas.costs import Cost, Outcome
from gateway.core.quotas.model import LEASE_SECONDS, MAXIMUM_NUMBER, Quota
from tests.core.samples import load
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


LIMITS = st.from_regex(r"[0-9]{1,4} ?(/|per) ?[0-9]{0,2} ?(?i:second|minute|hour|day|month|year)s?", fullmatch=True)
TEXTS = st.lists(LIMITS | st.text("019 \t/perPERsecondayth", max_size=12), min_size=1, max_size=3)


@given(TEXTS, st.sampled_from([",", ";", "|", " ; ", ";;"]))
def test_limits_read_as_the_library_reads_them(texts: list[str], separator: str) -> None:
    """Any text is what `limits` makes of it, or neither takes it."""
    text = separator.join(texts)
    try:
        items = [(item.amount, item.get_expiry(), item.GRANULARITY.name) for item in limits.parse_many(text)]
    except ValueError:
        with pytest.raises(ValueError, match="is not a limit"):
            parse_limits(text)
    else:
        assert items == parse_limits(text)


def test_an_algorithm_is_counted_apart_from_others() -> None:
    """A changed algorithm starts a new counter, as its numbers mean something else; a fixed window keeps its name."""
    counters = [parse_quotas("pull", "5/minute", algorithm)[0].counter for algorithm in ALGORITHMS]
    assert ["pull:60", *(f"pull:60:{algorithm}" for algorithm in ALGORITHMS if algorithm != "fixed-window")] == counters


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


POLICY = """
name = "shop"
upstream = "http://127.0.0.1:9001"
token = { prefixes = ["shp_"], bound_to = "owner" }
[plans.free]
quotas = { minute = "5/minute", parallel = { concurrent = 3, shadow = true } }
[plans.pro]
[quotas]
flood = { limit = "9/second", per = "address" }
minute = "100/minute"
team = { limit = "50/day", per = "owner", algorithm = "sliding-window-counter" }
[[rules]]
match = "GET /items"
[[rules]]
match = "GET /export"
cost = { miss = 5, hit = 1, not_modified = 0, reported_by = "X-Cost" }
quotas = { export = { limit = "7/hour", per = "owner" }, exports = "6/hour" }
[[rules]]
match = "GET /status"
public = true
quotas = { status = { limit = "9/minute", per = "address" } }
"""
MINUTE, PRO = Quota("minute", 5, 60), Quota("minute", 100, 60)
PARALLEL = Quota("parallel", 3, LEASE_SECONDS, "concurrent", is_shadow=True)
TEAM = Quota("team", 50, 86400, "sliding-window-counter", per="owner")
FLOOD = Quota("flood", 9, 1, per="address")


def rule_of(path: str) -> Rule:
    rule = load(POLICY).match("", "GET", (path,))
    assert rule is not None
    return rule


def test_a_request_has_the_quotas_of_policy_plan_and_rule() -> None:
    """Joined, one holder after the other; what is in shadow is decided and not announced."""
    free, pro = (rule_of("items").allotments[plan] for plan in ("free", "pro"))
    assert (MINUTE, PARALLEL, TEAM, FLOOD) == free.quotas
    assert (PRO, TEAM, FLOOD) == pro.quotas
    assert b'"minute";q=5;w=60, "team";q=50;w=86400, "flood";q=9;w=1' == free.policy_field


def test_a_quota_of_a_rule_counts_that_rule_alone() -> None:
    """It is there for no other rule, and its counter names the rule, so that two of one name are two."""
    own = [quota for quota in rule_of("export").allotments["pro"].quotas if quota not in (PRO, TEAM, FLOOD)]
    assert ["exports:3600:GET /export", "export:3600:GET /export"] == [quota.counter for quota in own]
    assert all("export" not in quota.name for quota in rule_of("items").allotments["pro"].quotas)


def test_a_public_rule_has_what_counts_addresses() -> None:
    """Nobody presents a token there, so the policy's and its own quotas per address are all that it has."""
    rule = rule_of("status")
    assert (FLOOD, Quota("status", 9, 60, per="address", rule="GET /status")) == rule.allotments[""].quotas
    assert rule.counts_addresses
    assert not rule.has_leases
    assert rule.allotment_of(None) is rule.allotments[""]


def test_of_a_cost_the_most_is_reserved() -> None:
    """What is said of an outcome holds for it, the others cost what a miss does; a number is for all of them."""
    by_outcome = {Outcome.MISS: 5, Outcome.HIT: 1, Outcome.NOT_MODIFIED: 0, Outcome.ERROR: 5}
    assert Cost(5, by_outcome, b"x-cost") == rule_of("export").cost
    assert Cost(1) == rule_of("items").cost


def test_the_script_reads_shared_quotas_apart() -> None:
    """The usual case, quotas of the token alone, is as short as it was; others follow by holder."""
    plans = msgspec.json.decode(rule_of("items").script_rule)["plans"]
    assert [
        ["minute:60", 5, 60_000],
        ["parallel:15:concurrent", 3, 15_000, "concurrent", 1, 15_000, 3, "parallel:15:concurrent", True],
    ] == plans["free"]["quotas"]
    assert [
        [
            "owner",
            [
                [
                    "team:86400:sliding-window-counter",
                    50,
                    86_400_000,
                    "sliding-window-counter",
                    1,
                    86_400_000,
                    50,
                    "team:86400",
                ]
            ],
        ],
        ["address", [["flood:1", 9, 1000]]],
    ] == plans["pro"]["shared"]

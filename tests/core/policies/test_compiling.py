"""What requests meet is what the documents say."""

import json

import pytest

from gateway.core.http.problems import PROBLEMS
from gateway.core.policies.compiler import DIALECT_KEYS
from gateway.core.policies.loading import load_policies
from gateway.core.policies.model import (
    CacheRule,
    CredentialSource,
    Policy,
    PolicySet,
    Rule,
    Scheme,
    Upstream,
)
from gateway.core.quotas.model import Quota
from tests.core.samples import SHOP, load, load_shop

POLICY = load_shop()
SMALL = """
name = "small"
upstream = "http://127.0.0.1:9001/base/"
token = { prefixes = ["sml_"] }
rules = [{ match = "* /**" }]
"""


def match(policies: PolicySet, host: str = "", method: str = "GET", path: str = "/items/1") -> Rule | None:
    return policies.match(host, method, tuple(path[1:].split("/")))


def rule_of(policies: PolicySet, method: str = "GET", path: str = "/items/1") -> Rule:
    rule = match(policies, method=method, path=path)
    assert rule is not None
    return rule


def load_small(extra: str = "", **replaced: str) -> Policy:
    text = SMALL
    for name, value in replaced.items():
        lines = [f"{name} = {value}" if line.startswith(f"{name} = ") else line for line in text.splitlines()]
        text = "\n".join(lines) + "\n"
    return load(text + extra).policies["small"]


@pytest.mark.parametrize(
    ("written", "compiled"),
    [
        ('"http://127.0.0.1:9001/base/"', Upstream(("http://127.0.0.1:9001/base",), host="client")),
        ('"https://app.example"', Upstream(("https://app.example",), host="client")),
        ('"http://[::1]:80"', Upstream(("http://[::1]:80",), host="client")),
        (
            '{ url = "http://a", connect_timeout = "1s", response_timeout = "5m" }',
            Upstream(("http://a",), 1, 300, 300, host="client"),
        ),
    ],
)
def test_a_backend_is_a_url_or_a_table(written: str, compiled: Upstream) -> None:
    """A backend has its times in seconds and no slash at its end."""
    assert compiled == load_small(upstream=written).upstream


def test_a_backend_can_be_replaced_by_name() -> None:
    """The operator's option goes before the file, for the policy that it names and no other; its times stay."""
    policies = load_policies({"small.toml": SMALL}, {"small": "http://other/", "else": "http://no"})
    assert Upstream(("http://other",), host="client") == policies.policies["small"].upstream


@pytest.mark.parametrize(
    ("written", "compiled"),
    [
        ('"bearer"', [CredentialSource(b"authorization", Scheme.BEARER)]),
        ('"header:X-API-Key"', [CredentialSource(b"x-api-key", Scheme.BARE)]),
        (
            '["header:X-API-Key", "bearer"]',
            [CredentialSource(b"x-api-key", Scheme.BARE), CredentialSource(b"authorization", Scheme.BEARER)],
        ),
    ],
)
def test_credentials_are_looked_for_where_the_policy_says(written: str, compiled: list[CredentialSource]) -> None:
    """`bearer` is the field Authorization, `header:NAME` the field of that name."""
    policy = load_small(token=f'{{ prefixes = ["sml_"], credential = {written} }}')
    assert tuple(compiled) == policy.credentials


def test_a_plan_joins_the_policys_quotas_with_its_own() -> None:
    """Each plan has all quotas of the policy and its own, its own in the place of one of the same name."""
    policy = load_small(
        '[quotas]\nminute = "100/minute"\nday = "9/day"\n[plans.a]\n[plans.b]\nquotas = { minute = "5/minute" }\n'
    )
    assert (Quota("minute", 100, 60), Quota("day", 9, 86400)) == policy.plans["a"].quotas
    assert (Quota("minute", 5, 60), Quota("day", 9, 86400)) == policy.plans["b"].quotas


def test_a_policy_without_plans_has_one_that_permits_all() -> None:
    """Tokens of a policy without plans are bounded by their scopes alone."""
    policy = load_small('[quotas]\nminute = "1/minute"\n')
    assert [""] == list(policy.plans)
    assert None is policy.plans[""].held
    assert (Quota("minute", 1, 60),) == policy.plans[""].quotas


def test_a_plan_holds_what_its_scopes_imply() -> None:
    """A plan with a scope permits the rules of every scope that it implies, and no others."""
    policies = load(SHOP)
    assert frozenset({"free", "pro", "all"}) == rule_of(policies).permitted_plans
    assert frozenset({"pro", "all"}) == rule_of(policies, "POST", "/items").permitted_plans


def test_a_rule_is_granted_by_whatever_implies_its_scopes() -> None:
    """For each scope of a rule, the scopes that grant it are looked up beforehand."""
    assert (frozenset({"write", "admin"}),) == rule_of(load(SHOP), "POST", "/items").granting


@pytest.mark.parametrize(
    ("written", "compiled"),
    [
        ("{}", CacheRule(None, "project")),
        ('{ fresh = "10m" }', CacheRule(600, "project", may_share=True)),
        ('{ fresh = "0s", shared_by = "token" }', CacheRule(0, "token", may_share=True)),
        ('{ heuristic = "1d" }', CacheRule(None, "project", heuristic_seconds=86400, may_share=True)),
        (
            '{ stale_while_revalidate = "1m", stale_if_error = "2m", keep = "3m" }',
            CacheRule(None, "project", 120, 60, 180, may_share=True),
        ),
        (
            '{ groups = ["a", "b"], client_cache_control = "backend" }',
            CacheRule(None, "project", groups=("a", "b"), passes_cache_control=True),
        ),
    ],
)
def test_a_cache_table_says_how_answers_are_kept(written: str, compiled: CacheRule) -> None:
    """Who shares them is what the tokens are bound to, unless it says more; saying so, or a time, is leave to share."""
    rule = rule_of(load(SMALL.replace('"* /**"', f'"* /**", cache = {written}')))
    assert compiled == rule.cache


def test_the_script_reads_the_same_terms() -> None:
    """What the admission script gets of a rule says what the rule says."""
    encoded = json.loads(rule_of(load(SHOP), "POST", "/items").script_rule)
    quotas = [["minute:60", 100, 60_000]]
    assert {
        "policy": "shop",
        "is_public": False,
        "needed": [["admin", "write"]],
        "plans": {
            "free": {"permits": False, "quotas": quotas},
            "pro": {"permits": True, "quotas": [*quotas, ["day:86400", 1000, 86_400_000]]},
            "all": {"permits": True, "quotas": quotas},
        },
        "plan": "free",
        "own_plans": False,
        "cost": 10,
        "resolution": 60,
        "shared_by": "",
    } == encoded


def test_a_host_that_a_policy_names_is_its_alone() -> None:
    """Rules of any host do not hold there: what the host's own policy does not match, nothing does."""
    hosted = 'hosts = ["a.example", "b.example"]\n' + SMALL.replace("small", "hosted").replace("* /**", "GET /items/1")
    policies = load_policies({"small.toml": SMALL, "hosted.toml": hosted})

    def name_of(host: str, method: str) -> str:
        rule = match(policies, host, method)
        return rule.policy.name if rule else ""

    found = [
        name_of(*request)
        for request in [("a.example", "GET"), ("b.example", "GET"), ("c", "GET"), ("a.example", "PUT")]
    ]
    assert ["hosted", "hosted", "small", ""] == found


def test_without_a_rule_nothing_matches() -> None:
    """A request for which no rule was written matches none."""
    assert match(load(SHOP), method="DELETE") is None


def test_an_error_format_is_kept_as_json() -> None:
    """The content of an error format is encoded once, when the policy is loaded."""
    assert {"404": b'{"error":"nothing here"}', "insufficient_plan": b'{"error":"upgrade"}'} == POLICY.errors


def test_every_status_and_reason_can_have_an_error_format() -> None:
    """An error format may answer each reason and each status that the gateway gives, and no others."""
    expected = {str(problem.status) for problem in PROBLEMS.values()} | {str(reason) for reason in PROBLEMS}
    assert sorted(expected) == DIALECT_KEYS


def test_rules_and_tests_are_counted() -> None:
    """A policy knows how many rules and tests it has, for those who check it."""
    assert 2 == POLICY.rule_count
    assert 0 == POLICY.test_count

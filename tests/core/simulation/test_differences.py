"""What other policies change, in words."""

import pytest

from gateway.core.policies.loading import load_policies
from gateway.core.simulation.differences import list_differences

POLICY = """
name = "api"
hosts = ["api.example.com"]
upstream = "http://127.0.0.1:9001"
token = { prefixes = ["api_"] }
quotas = { minute = "100/minute", team = { limit = "5000/day", per = "project" } }

[scopes]
read = "Read"
write = { description = "Write", implies = ["read"] }

[plans.free]
scopes = ["read"]

[plans.pro]
quotas = { minute = "1000/minute" }

[[rules]]
match = "GET /export"
scopes = ["read"]
cache = { fresh = "5m" }

[[rules]]
match = "POST /x"
scopes = ["write"]
"""


def differences(*changes: tuple[str, str]) -> list[str]:
    text = POLICY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    found = list_differences(load_policies({"api.toml": POLICY}), load_policies({"api.toml": text}))
    return [": ".join(part for part in (one.policy, one.what, one.words) if part) for one in found]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"100/minute"', '"60/minute"', "api: plan free: quota minute: 100 in 60 s becomes 60 in 60 s"),
        ('"1000/minute"', '"10/second"', "api: plan pro: quota minute: 1,000 in 60 s becomes 10 in 1 s"),
        (
            'per = "project"',
            'per = "plan"',
            "api: quota team: 5,000 in 86,400 s, per project becomes 5,000 in 86,400 s, per plan",
        ),
        (
            ', team = { limit = "5000/day", per = "project" }',
            "",
            "api: quota team: is gone: nothing limits what it limited",
        ),
        ("[scopes]", '[errors.404]\nerror = "no"\n[scopes]', "api: errors changes"),
        (
            '["api.example.com"]',
            '["a.example", "b.example"]',
            "api: hosts: api.example.com becomes a.example, b.example",
        ),
        (', implies = ["read"]', "", "api: scope read: granted by read, write, becomes granted by read"),
        ('scopes = ["read"]\n\n[plans.pro]', 'scopes = ["write"]\n\n[plans.pro]', "api: plan free: now covers write"),
        ("[plans.pro]", "[plans.team]", "api: plan pro: is gone: its tokens are refused with 403 (insufficient_plan)"),
        (
            'match = "POST /x"',
            'match = "PUT /x"',
            "api: rule POST /x: is gone: another rule takes its requests, or 404",
        ),
        ('scopes = ["write"]', 'scopes = ["read"]', "api: rule POST /x: scopes: write becomes read"),
        ('scopes = ["write"]', "public = true", "api: rule POST /x: public: no becomes yes"),
        ('scopes = ["write"]', 'scopes = ["write"]\ncost = 5', "api: rule POST /x: cost: 1 becomes 5"),
        ('fresh = "5m"', 'fresh = "10m"', "api: rule GET /export: cache changes"),
        (":9001", ":9002", "api: upstream changes"),
    ],
)
def test_each_change_is_told_by_name(old: str, new: str, told: str) -> None:
    """Whom it is about, and how it was and becomes."""
    assert told in differences((old, new))


def test_nothing_is_told_of_what_means_the_same() -> None:
    """Another spelling, another order, a comment."""
    assert [] == differences(('"100/minute"', '"100 per 1 minute"'), ("[plans.free]", "# a comment\n[plans.free]"))


def test_policies_come_and_go() -> None:
    """By their names."""
    one, two = load_policies({"a.toml": POLICY}), load_policies({"b.toml": POLICY.replace('"api"', '"other"', 1)})
    assert [("api", "is gone: its requests get 404"), ("other", "is new")] == [
        (found.policy, found.words) for found in list_differences(one, two)
    ]

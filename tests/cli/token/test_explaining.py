"""`gateway token explain`, against a real Redis."""

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.adapters.redis import keys
from tests.support.admitting import admit
from tests.support.command_line import CREATE, run_command, run_json
from tests.support.policies import SMALL

pytestmark = pytest.mark.redis

OTHER = """
name = "other"
hosts = ["other.example"]
upstream = "http://127.0.0.1:9001"
[token]
prefixes = ["oth_"]
[[rules]]
match = "GET /elsewhere/{item}"
"""


def explain(where: tuple[str, ...], identity: str, request: str, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code and what is said."""
    result = run_command("token", "explain", identity, "--request", request, *options, "--json", *where)
    assert result.exit_code in (0, 1), f"{result.output}{result.exception!r}"
    return result.exit_code, json.loads(result.stdout)


def failed(said: dict[str, Any]) -> dict[str, str]:
    return {check["reason"]: check["note"] for check in said["checks"] if not check["passes"]}


def test_a_request_that_would_pass(where: tuple[str, ...]) -> None:
    """Exit code 0, every check in the order of decisions, the rule and its cost."""
    identity = run_json(*CREATE, *where)["id"]
    code, said = explain(where, identity, "GET /costly?x=1")
    assert 0 == code
    assert said["passes"] is True
    assert None is said["reason"]
    assert None is said["status"]
    assert "small" == said["policy"]
    assert "GET /costly" == said["rule"]
    assert ["read"] == said["scopes"]
    assert 2 == said["cost"]
    assert [
        "malformed_target",
        "no_matching_rule",
        "revoked_token",
        "unknown_token",
        "parent_ended",
        "disabled_token",
        "not_yet_valid_token",
        "expired_token",
        "owner_blocked",
        "other_project",
        "insufficient_scope",
        "insufficient_plan",
        "quota_exceeded",
    ] == [check["reason"] for check in said["checks"]]
    assert {} == failed(said)


def test_the_text_says_the_same(where: tuple[str, ...]) -> None:
    """A line for each check and quota, and the verdict at the end."""
    identity = run_json(*CREATE, *where)["id"]
    passed = run_command("token", "explain", identity, "--request", "GET /export", *where)
    assert 0 == passed.exit_code
    assert "pass  a rule matches: GET /export of small" == passed.stdout.splitlines()[1]
    assert "quota minute: 0 of 5 used" in passed.stdout
    assert "The request would pass, at a cost of 1." == passed.stdout.splitlines()[-1]
    refused = run_command("token", "explain", identity, "--request", "POST /any", *where)
    assert 1 == refused.exit_code
    assert "FAIL  its plan covers the scopes of the rule: the plan 'free' lacks write" in refused.stdout
    assert "The request would be refused: insufficient_plan, status 403." == refused.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ("--scope", "read"),
            {"insufficient_scope": "the token lacks write", "insufficient_plan": "the plan 'free' lacks write"},
        ),
        (("--scope", "read", "--plan", "pro"), {"insufficient_scope": "the token lacks write"}),
        (("--scope", "write"), {"insufficient_plan": "the plan 'free' lacks write"}),
        (("--plan", "open"), {}),
    ],
)
def test_the_side_that_lacks_a_scope_is_named(
    where: tuple[str, ...], options: tuple[str, ...], expected: dict[str, str]
) -> None:
    """The token, its plan, or both; a scope that implies the other is enough."""
    identity = run_json(*CREATE, *options, *where)["id"]
    code, said = explain(where, identity, "POST /any")
    assert bool(expected) == bool(code)
    assert expected == failed(said)


def test_the_state_of_a_token_is_explained(where: tuple[str, ...]) -> None:
    """Each of several checks that fail is said; the first one is the answer."""
    identity = run_json(*CREATE, "--not-before", "2098-01-31T00:00:00Z", *where)["id"]
    assert {"not_yet_valid_token": "it begins 2098-01-31T00:00:00Z"} == failed(
        explain(where, identity, "GET /export")[1]
    )
    run_json("token", "update", identity, "--disable", *where)
    run_json("token", "revoke", identity, *where[:2])
    code, said = explain(where, identity, "GET /export")
    assert 1 == code
    assert "revoked_token" == said["reason"]
    assert 401 == said["status"]
    assert ["revoked_token", "disabled_token", "not_yet_valid_token"] == list(failed(said))


def test_an_ended_token_is_explained(where: tuple[str, ...]) -> None:
    """With the moment of its end."""
    created = run_json(*CREATE, *where)
    ended = run_json("token", "rotate", created["id"], "--overlap", "0s", *where)["predecessor_expires_at"]
    assert {"expired_token": f"it ended {ended}"} == failed(explain(where, created["id"], "GET /export")[1])


def test_a_plan_that_is_gone_is_named(where: tuple[str, ...]) -> None:
    """The policy has changed since the token was made."""
    identity = run_json(*CREATE, "--plan", "pro", *where)["id"]
    Path(where[3], "small.toml").write_text(SMALL.replace("[plans.pro]", "[plans.team]"))
    assert {"insufficient_plan": "the policy has no plan 'pro'"} == failed(explain(where, identity, "GET /export")[1])


@pytest.mark.parametrize(
    ("request_line", "host", "expected"),
    [
        ("GET /a/../b", "", {"malformed_target": ""}),
        ("GET /elsewhere", "other.example", {"no_matching_rule": "none has this path"}),
        ("GET /elsewhere/1", "", {"no_matching_rule": "none on an unnamed host; one does on other.example"}),
        ("POST /elsewhere/1", "Other.Example:80", {"no_matching_rule": "none for POST; the path takes GET, HEAD"}),
        ("GET /elsewhere/1", "other.example", {"unknown_token": "the rule is of the policy other, the token of small"}),
    ],
)
def test_why_no_rule_is_met_is_said(
    where: tuple[str, ...], request_line: str, host: str, expected: dict[str, str]
) -> None:
    """An ambiguous path, another path, another method, another host, or a rule of another policy."""
    identity = run_json(*CREATE, *where)["id"]
    narrow = SMALL.replace('"* /**"', '"* /small/**"')
    Path(where[3], "small.toml").write_text(narrow)
    Path(where[3], "other.toml").write_text(OTHER)
    code, said = explain(where, identity, request_line, *(("--host", host) if host else ()))
    assert 1 == code
    assert expected == failed(said)
    assert [] == said["quotas"]


def test_quotas_are_shown_as_they_are(where: tuple[str, ...]) -> None:
    """What requests have used, and whether the next one fits: the gateway then says the same."""
    created = run_json(*CREATE, "--plan", "pro", *where)
    admit(where[1], [created["token"]] * 50)
    code, said = explain(where, created["id"], "GET /export")
    (quota,) = said["quotas"]
    assert 0 == code
    assert "minute" == quota["name"]
    assert 51 == quota["limit"]
    assert 50 == quota["used"]
    assert 1 == quota["remaining"]
    assert None is not quota["resets"]
    assert {"quota_exceeded": "minute has no room for 2"} == failed(explain(where, created["id"], "GET /costly")[1])
    assert [True, False] == [facts.is_charged for facts in admit(where[1], [created["token"]] * 2)]
    code, said = explain(where, created["id"], "GET /export")
    assert 1 == code
    assert "quota_exceeded" == said["reason"]
    assert 429 == said["status"]


def test_nothing_is_charged_or_noted(where: tuple[str, ...]) -> None:
    """Redis is the same afterwards, key by key, for a token in use and for one never used."""
    used, unused = run_json(*CREATE, *where), run_json(*CREATE, *where)
    admit(where[1], [used["token"]])
    with redis.Redis.from_url(where[1]) as client:
        before = {key: client.dump(key) for key in client.keys("*")}
        for created in (used, unused):
            for request in ("GET /export", "POST /any", "GET /costly"):
                explain(where, created["id"], request)
        assert before == {key: client.dump(key) for key in client.keys("*")}


@pytest.mark.parametrize(
    ("identity", "options", "message"),
    [
        ("0" * 24, ("--request", "GET /export"), "there is no token"),
        ("", ("--request", "/export"), "is no request"),
        ("", ("--request", "GET /export", "--host", "a b"), "is no host"),
    ],
)
def test_what_cannot_be_explained_is_said(
    where: tuple[str, ...], identity: str, options: tuple[str, ...], message: str
) -> None:
    """An unknown token, no method, no host: an error, not a verdict."""
    created = run_json(*CREATE, *where)["id"]
    refused = run_command("token", "explain", identity or created, *options, *where)
    assert refused.exit_code != 0
    assert message in f"{refused.output}{refused.exception}"


def explain_failures(where: tuple[str, ...], identity: str, request: str) -> dict[str, str]:
    return failed(explain(where, identity, request)[1])


def test_every_side_that_lacks_a_scope_is_named(where: tuple[str, ...]) -> None:
    """Token, owner, parent and plan, each by itself and all at once; then nothing lacks it."""
    parent = run_json(*CREATE, "--owner", "ada", "--scope", "read", *where)
    child = run_json("token", "create", "--parent", parent["id"], "--name", "actor", *where)
    owner = ("owner", "set", "ada", "--policy", "small")
    run_json(*owner, "--permission", "website=read", *where)
    sides = ("the token", "the owner ada", f"the parent {parent['id']}")
    assert {
        "insufficient_scope": "; ".join(f"{side} lacks write" for side in sides),
        "insufficient_plan": "the plan 'free' lacks write",
    } == explain_failures(where, child["id"], "POST /any")
    run_json(*owner, "--permission", "website=write", *where)
    run_json("token", "update", parent["id"], "--scope", "write", "--plan", "pro", *where)
    assert {"insufficient_scope": "the token lacks write"} == explain_failures(where, child["id"], "POST /any")
    run_json("token", "update", child["id"], "--scope", "write", *where)
    assert {} == explain_failures(where, child["id"], "POST /any")
    run_json("token", "update", parent["id"], "--scope", "read", *where)
    lacking = {"insufficient_scope": f"the parent {parent['id']} lacks write"}
    assert lacking == explain_failures(where, child["id"], "POST /any")


def test_owner_and_project_are_explained(where: tuple[str, ...]) -> None:
    """A block, a project that the owner has no part in, and a path of another project."""
    identity = run_json(*CREATE, "--owner", "ada", "--plan", "open", *where)["id"]
    owner = ("owner", "set", "ada", "--policy", "small")
    run_json(*owner, "--status", "blocked", *where)
    code, said = explain(where, identity, "GET /export")
    assert 1 == code
    assert "owner_blocked" == said["reason"]
    assert 403 == said["status"]
    assert {"owner_blocked": "the owner ada is blocked"} == failed(said)
    run_json(*owner, "--status", "active", "--permission", "shop=read", "--without", "*", *where)
    assert "the owner ada has no part in website" == explain_failures(where, identity, "GET /export")["other_project"]
    note = explain_failures(where, identity, "GET /projects/shop/content")["other_project"]
    assert "the token is for website, the request for shop" == note


def test_the_state_of_a_parent_is_explained(where: tuple[str, ...]) -> None:
    """What is the matter with it, and that the child is refused as an invalid token."""
    parent = run_json(*CREATE, *where)["id"]
    child = run_json("token", "create", "--parent", parent, "--name", "actor", *where)["id"]
    assert {} == explain_failures(where, child, "GET /export")
    run_json("token", "update", parent, "--disable", *where)
    assert {"parent_ended": f"the parent {parent} is disabled"} == explain_failures(where, child, "GET /export")
    run_json("token", "revoke", parent, *where[:2])
    code, said = explain(where, child, "GET /export")
    assert 1 == code
    assert "parent_ended" == said["reason"]
    assert 401 == said["status"]
    assert {"parent_ended": f"the parent {parent} is revoked"} == failed(said)
    with redis.Redis.from_url(where[1]) as client:
        client.delete(keys.token(parent))
    assert {"parent_ended": f"the parent {parent} is gone"} == explain_failures(where, child, "GET /export")


def test_a_public_rule_asks_nothing_of_a_token(where: tuple[str, ...]) -> None:
    """What it answers does not depend on the token, so a revoked one passes, too."""
    identity = run_json(*CREATE, *where)["id"]
    run_json("token", "revoke", identity, *where[:2])
    code, said = explain(where, identity, "GET /published")
    assert 0 == code
    assert ["malformed_target", "no_matching_rule"] == [check["reason"] for check in said["checks"]]

"""Tokens of a product without projects and accounts, against a real Redis."""

from pathlib import Path

import pytest

from gateway.core.policies.loading import load_policies
from tests.support.admitting import admit
from tests.support.command_line import run_command, run_json
from tests.support.policies import SMALL, rule_for

pytestmark = pytest.mark.redis
UNBOUND = SMALL.replace("[token]\n", '[token]\nbound_to = "none"\nunique_names = true\n')
CREATE = ("token", "create", "--policy", "small", "--plan", "open")


@pytest.fixture
def where(redis_url: str, tmp_path: Path) -> tuple[str, ...]:
    """Options that name an empty Redis and the policy."""
    (tmp_path / "small.toml").write_text(UNBOUND)
    return ("--redis", redis_url, "--policies", str(tmp_path))


def test_a_token_is_made_without_project_and_owner(where: tuple[str, ...]) -> None:
    """As `policy check` accepts the file; it passes, is listed, rotated and revoked like any other."""
    checked = run_command("policy", "check", where[3])
    assert 0 == checked.exit_code
    created = run_json(*CREATE, "--name", "CI", *where)
    assert (None, None) == (created["project"], created["owner"])
    assert admit(where[1], [created["token"]])[0].is_charged
    rotated = run_json("token", "rotate", created["id"], *where)
    assert admit(where[1], [rotated["token"]])[0].is_charged
    listed = run_json("token", "list", "--policy", "small", *where)
    assert {created["id"], rotated["id"]} == {one["id"] for one in listed}
    run_json("token", "revoke", rotated["id"], *where[:2])
    assert admit(where[1], [rotated["token"]])[0].is_revoked


def test_a_name_is_unique_among_all_of_the_policy(where: tuple[str, ...]) -> None:
    """As tokens share nothing else; whoever names a project besides has no name space of its own."""
    run_json(*CREATE, "--name", "CI", "--project", "website", *where)
    refused = run_command(*CREATE, "--name", "CI", *where)
    assert "another token of the policy small is named 'CI'" in str(refused.exception)
    run_json(*CREATE, "--name", "other", *where)


def test_what_nobody_shares_is_stored_for_each_token() -> None:
    """An entry of the cache is the token's own, unless the rule says that all share it."""
    shared = UNBOUND.replace("GET /costly", "GET /shared").replace("cost = 2", 'cache = { shared_by = "public" }')
    for text, request, expected in ((UNBOUND, "GET /export", "token"), (shared, "GET /shared", "public")):
        rule = rule_for(request, load_policies({"small.toml": text}))
        assert rule.cache is not None
        assert expected == rule.cache.shared_by

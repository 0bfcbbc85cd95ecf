"""`gateway audit`, and the command line as an actor, against a real Redis."""

import getpass
import json
from pathlib import Path

import pytest

from tests.support.command_line import CREATE, run_command, run_json
from tests.support.policies import SMALL

pytestmark = pytest.mark.redis


@pytest.fixture
def where(redis_url: str, tmp_path: Path) -> tuple[str, ...]:
    """Options that name an empty Redis and the small policy."""
    (tmp_path / "small.toml").write_text(SMALL)
    return ("--redis", redis_url, "--policies", str(tmp_path))


def test_every_command_that_changes_something_is_in_the_history(where: tuple[str, ...]) -> None:
    """Under the login name, the newest first; what was refused is there with its code."""
    identity = run_json(*CREATE, *where)["id"]
    run_json("token", "update", identity, "--name", "Nightly", "--description", "of the site", *where)
    run_json("token", "override", identity, "minute", "9", "--until", "7d", "--reason", "launch", *where)
    run_json("token", "rotate", identity, *where)
    run_json("token", "revoke", "--lineage", identity, *where[:2])
    run_json("owner", "set", "ada", "--policy", "small", *where)
    assert 0 != run_command("token", "update", identity, "--scope", "raed", *where).exit_code
    entries = run_json("audit", "search", *where[:2])
    assert [
        ("token.update", "ended"),
        ("owner.change", "done"),
        ("token.revoke", "done"),
        ("token.revoke", "done"),
        ("token.rotate", "done"),
        ("token.override", "done"),
        ("token.update", "done"),
        ("token.create", "done"),
    ] == [(entry["action"], entry["outcome"]) for entry in entries]
    assert {(getpass.getuser(), "operator")} == {(entry["actor"], entry["actor_kind"]) for entry in entries}
    assert {"name": ["CI", "Nightly"], "description": ["", "of the site"]} == entries[-2]["changes"]


def test_the_history_is_searched_and_exported(where: tuple[str, ...]) -> None:
    """By token, action, owner, refusal and time; as lines to read, as JSON, and as one object a line."""
    first, second = (run_json(*CREATE, *where)["id"] for _ in range(2))
    run_json("token", "revoke", second, *where[:2])
    assert ["token.create"] == [e["action"] for e in run_json("audit", "search", "--token", first, *where[:2])]
    assert [second] == [e["target"] for e in run_json("audit", "search", "--action", "token.revoke", *where[:2])]
    assert [] == run_json("audit", "search", "--refused", *where[:2])
    assert [] == run_json("audit", "search", "--until", "1h", *where[:2])
    assert 3 == len(run_json("audit", "search", "--since", "1h", "--project", "website", *where[:2]))
    exported = run_command("audit", "export", *where[:2]).stdout.splitlines()
    assert run_json("audit", "search", *where[:2]) == list(map(json.loads, exported))
    printed = run_command("audit", "tail", "-n", "2", *where[:2]).stdout.splitlines()
    assert "token.create" in printed[0]
    assert "token.revoke" in printed[1]
    assert "2001" in str(run_command("audit", "search", "--since", "2001", *where[:2]).output)


@pytest.mark.parametrize("command", ["search", "tail", "export"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--action", "token.revok"), "unknown action 'token.revok': did you mean 'token.revoke'?"),
        (("--action", "tokens"), "unknown action 'tokens': did you mean 'token'?"),
        (("--policy", "smal"), "unknown policy 'smal': did you mean 'small'?; no token of it was ever made"),
        (("--project", "websit"), "no token was ever made for the project 'websit'"),
        (("--owner", "adda"), "no token was ever made for the owner 'adda', and it has no record"),
        (("--token", "0" * 24), "there is no token of this id, nor any entry about one"),
    ],
)
def test_a_misspelled_name_is_no_empty_history(
    where: tuple[str, ...], command: str, options: tuple[str, ...], message: str
) -> None:
    """What there is no such thing of is an error; what there is, and has no entry, is an empty history."""
    created = run_json(*CREATE, *where)
    refused = run_command("audit", command, *options, *where)
    assert 1 == refused.exit_code
    assert message == str(refused.exception)
    known = ("--policy", "small", "--project", "website", "--action", "token.revoke", "--token", created["id"])
    assert 0 == run_command("audit", command, *known, *where).exit_code
    assert 0 == run_command("audit", command, "--action", "export", *where).exit_code


def test_an_admin_token_is_minted_in_the_place_of_a_policys(where: tuple[str, ...]) -> None:
    """It is listed with the others, named as nobody's; with a policy or a project it is refused."""
    created = run_json("token", "create", "--admin", "--name", "ops", "--scope", "read", *where)
    assert "" == created["policy"]
    assert ["read"] == created["scopes"]
    assert created["token"].startswith("gwa_")
    assert [created["id"]] == [token["id"] for token in run_json("token", "list", *where[:2])]
    assert 2 == run_command(*CREATE, "--admin", *where).exit_code

"""`gateway owner`, against a real Redis."""

from typing import Any

import pytest

from tests.support.admitting import admit
from tests.support.command_line import CREATE, run_command, run_json

pytestmark = pytest.mark.redis
OF_ADA = (*CREATE, "--owner", "ada", "--plan", "open")


def set_owner(where: tuple[str, ...], *options: str) -> Any:
    return run_json("owner", "set", "ada", "--policy", "small", *options, *where)


def passes(where: tuple[str, ...], text: str) -> bool:
    return admit(where[1], [text])[0].is_charged


def test_an_owner_is_set_and_shown(where: tuple[str, ...]) -> None:
    """Status, permissions by project, version, and how many tokens it has; in both forms."""
    run_json(*OF_ADA, *where)
    expected = {
        "owner": "ada",
        "policy": "small",
        "status": "active",
        "plan": "pro",
        "permissions": {"": [], "*": ["read"], "website": ["write", "read"]},
        "version": 1,
        "tokens": 1,
    }
    options = ("--permission", "website=write,read", "--permission", "*=read", "--permission", "=", "--plan", "pro")
    assert expected == set_owner(where, *options)
    assert expected == run_json("owner", "show", "ada", "--policy", "small", *where[:2])
    shown = run_command("owner", "show", "ada", "--policy", "small", *where[:2]).stdout
    for line in (
        "status  active",
        "plan  pro",
        "tokens  1",
        "in website: write, read",
        "in every other project: read",
        "no scope",
    ):
        assert line in shown
    (listed,) = run_json("owner", "list", "--policy", "small", *where[:2])
    assert {name: value for name, value in expected.items() if name != "tokens"} == listed
    assert (
        "ada  active  pro  no project: -; every other project: read; website: write,read\n"
        == run_command("owner", "list", "--policy", "small", *where[:2]).stdout
    )


def test_a_change_acts_on_the_next_request(where: tuple[str, ...]) -> None:
    """A scope taken away, a project taken away, a block, a removal: and each of them undone."""
    text = run_json(*OF_ADA, *where)["token"]
    for options, expected in (
        (("--permission", "website=read"), True),
        (("--permission", "website="), False),
        (("--permission", "website=write"), True),
        (("--without", "website"), False),
        (("--permission", "*=read"), True),
        (("--status", "blocked"), False),
        (("--permission", "website=write"), False),
        (("--status", "active"), True),
    ):
        set_owner(where, *options)
        assert expected == passes(where, text), options
    assert "removed" == run_json("owner", "remove", "ada", "--policy", "small", *where)["status"]
    assert not passes(where, text)
    assert "active" == set_owner(where)["status"]
    assert passes(where, text)


def test_a_removed_owner_brings_no_revoked_token_back(where: tuple[str, ...]) -> None:
    """Removal refuses, revocation ends: setting the owner again brings back what is not revoked."""
    first, second = (run_json(*OF_ADA, *where) for _ in range(2))
    run_json("token", "revoke", first["id"], *where[:2])
    run_json("owner", "remove", "ada", "--policy", "small", *where)
    set_owner(where)
    assert [False, True] == [passes(where, one["token"]) for one in (first, second)]
    run_json("token", "revoke", "--policy", "small", "--owner", "ada", *where[:2])
    set_owner(where, "--permission", "*=write")
    assert not passes(where, second["token"])


def test_blocking_a_mere_name_changes_nothing_else(where: tuple[str, ...]) -> None:
    """An owner that nobody has set holds everything; blocked and active again, it still does."""
    text = run_json(*OF_ADA, *where)["token"]
    assert {"*": ["read", "write"]} == set_owner(where, "--status", "blocked")["permissions"]
    assert not passes(where, text)
    set_owner(where, "--status", "active")
    assert passes(where, text)


def test_an_owner_that_is_a_name_only_is_shown_as_such(where: tuple[str, ...]) -> None:
    """It is active, bounds nothing, and has its tokens."""
    run_json(*OF_ADA, *where)
    shown = run_json("owner", "show", "ada", "--policy", "small", *where[:2])
    assert "active" == shown["status"]
    assert None is shown["permissions"]
    assert None is shown["version"]
    assert 1 == shown["tokens"]
    assert "bounds nothing" in run_command("owner", "show", "ada", "--policy", "small", *where[:2]).stdout
    assert [] == run_json("owner", "list", "--policy", "small", *where)


def test_a_token_gets_what_its_owner_may_grant(where: tuple[str, ...]) -> None:
    """By default all of it; more is refused, and so is everything while the owner is blocked or not of the project."""
    set_owner(where, "--permission", "website=read")
    assert ["read"] == run_json(*OF_ADA, *where)["scopes"]
    refused = run_command(*OF_ADA, "--scope", "write", *where)
    assert "the owner ada may not grant 'write': it has read" == str(refused.exception)
    refused = run_command(*OF_ADA, "--project", "shop", *where)
    assert "the owner ada has no part in shop: its tokens would be refused" == str(refused.exception)
    set_owner(where, "--status", "blocked")
    refused = run_command(*OF_ADA, *where)
    assert "the owner ada is blocked: its tokens would be refused" == str(refused.exception)
    imported = ("token", "import", *OF_ADA[2:], "--digest", "ab" * 32)
    assert "the owner ada is blocked" in str(run_command(*imported, *where).exception)
    assert 1 == len(run_json("token", "list", *where[:2]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("set", "ada", "--permission", "website=raed"), "unknown scope 'raed': did you mean 'read'?"),
        (("set", "ada", "--permission", "website"), "'website' is not PROJECT=SCOPE,SCOPE"),
        (("set", "ada", "--permission", "a=read", "--permission", "a=write"), "the project 'a' is named twice"),
        (("set", "ada", "--without", "website"), "no permissions under 'website': there are none"),
        (("set", "ada", "--status", "removed"), "'removed' is not one of"),
        (("set", ""), "an owner needs an id"),
        (("set", "x" * 129), "at most 128 characters"),
        (("show", "ada"), "the policy small has no owner ada"),
        (("remove", "ada"), "the policy small has no owner ada"),
        (("set", "ada", "--status", "blocked"), "the policy small has no owner ada"),
    ],
)
def test_what_cannot_be_done_is_said(where: tuple[str, ...], arguments: tuple[str, ...], message: str) -> None:
    """And nothing is there afterwards."""
    refused = run_command("owner", *arguments, "--policy", "small", *where)
    assert 0 != refused.exit_code
    assert message in f"{refused.output}{refused.exception}"
    assert [] == run_json("owner", "list", "--policy", "small", *where)

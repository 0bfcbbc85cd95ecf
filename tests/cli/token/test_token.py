"""`gateway token`, against a real Redis."""

import re
from pathlib import Path

import pytest

from tests.support.command_line import CREATE, run_command, run_json
from tests.support.policies import SMALL
from tests.support.processes import free_port

pytestmark = pytest.mark.redis


def test_the_text_is_printed_once(where: tuple[str, ...]) -> None:
    """`create` prints it; `list` and `show` print its beginning only, in both forms."""
    created = run_command(*CREATE, *where)
    assert 0 == created.exit_code
    text = created.stdout.splitlines()[-1]
    assert re.fullmatch(r"sml_[0-9A-Za-z]{40}", text)
    identity = re.findall(r"[0-9a-f]{24}", created.stdout)[0]
    outputs = [
        run_command("token", *command, *where[:2], *form).stdout
        for command in (("list",), ("show", identity))
        for form in ((), ("--json",))
    ]
    assert all(identity in output and text[:12] in output and text not in output for output in outputs)


def test_create_prints_one_object(where: tuple[str, ...]) -> None:
    """With --json it is one object with id, token and all that was asked for."""
    options = ("--scope", "read", "--plan", "pro", "--expires", "2099-01-31T00:00:00Z", "--owner", "ada")
    created = run_json(*CREATE, *options, *where)
    assert {
        "name": "CI",
        "state": "active",
        "policy": "small",
        "plan": "pro",
        "scopes": ["read"],
        "project": "website",
        "owner": "ada",
        "not_before": None,
        "expires_at": "2099-01-31T00:00:00Z",
        "last_used_at": None,
        "predecessor": None,
        "successor": None,
        "parent": None,
        "made_by": None,
        "disabled_by": None,
        "description": None,
        "updated_at": None,
        "is_active": True,
        "number": None,
        "overrides": [],
    } == {
        name: value for name, value in created.items() if name not in ("id", "token", "shown", "created_at", "version")
    }
    assert created["token"].startswith(created["shown"])


def test_a_token_holds_all_scopes_where_none_is_named(where: tuple[str, ...]) -> None:
    """Without --scope and --plan: every scope, and the policy's first plan."""
    created = run_json(*CREATE, *where)
    assert ["read", "write"] == created["scopes"]
    assert "free" == created["plan"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--policy", "smal"), "no policy is named 'smal': there are small"),
        (("--scope", "raed"), "unknown scope 'raed': did you mean 'read'?"),
        (("--plan", "fre"), "unknown plan 'fre': did you mean 'free'?"),
        (("--project", ""), "binds each token to its project: name one"),
        (("--project", "x" * 129), "at most 128 characters"),
        (("--name", ""), "a token needs a name"),
        (("--name", "a\nb"), "no control characters"),
        (("--name", "x" * 256), "at most 255 characters"),
        (("--expires", "soon"), "'soon' is neither a duration"),
        (("--expires", "2027-01-31T00:00:00"), "neither a duration, such as 90d, nor a time"),
        (("--expires", "2001-01-01T00:00:00Z"), "would have ended already"),
        (("--expires", "999999999w"), "before the year 10000"),
        (("--not-before", "999999999w"), "begins before the year 10000"),
        (("--not-before", "soon"), "'soon' is neither a duration"),
        (("--not-before", "2d", "--expires", "1d"), "would end before it begins"),
    ],
)
def test_what_cannot_be_minted_is_said(where: tuple[str, ...], options: tuple[str, ...], message: str) -> None:
    """A mistake in an option names what is wrong, and no token is there afterwards."""
    refused = run_command(*CREATE, *options, *where)
    assert 0 != refused.exit_code
    assert message in f"{refused.output}{refused.exception}"
    assert [] == run_json("token", "list", *where[:2])


def test_a_token_is_changed_in_place(where: tuple[str, ...]) -> None:
    """Name, scopes, plan and end can be changed, the end taken away; what is not named stays."""
    identity = run_json(*CREATE, "--expires", "90d", *where)["id"]
    changed = run_json("token", "update", identity, "--name", "Nightly", "--scope", "read", "--plan", "pro", *where)
    assert "Nightly" == changed["name"]
    assert ["read"] == changed["scopes"]
    assert "pro" == changed["plan"]
    assert None is not changed["expires_at"]
    assert None is run_json("token", "update", identity, "--expires", "never", *where)["expires_at"]
    assert "disabled" == run_json("token", "update", identity, "--disable", *where)["state"]
    assert "active" == run_json("token", "update", identity, "--enable", *where)["state"]
    assert "Nightly" == run_json("token", "show", identity, *where[:2])["name"]


def test_a_token_of_a_plan_that_is_gone_can_still_be_disabled(where: tuple[str, ...], tmp_path: Path) -> None:
    """What a change leaves alone is not checked against a policy that has changed meanwhile."""
    identity = run_json(*CREATE, "--plan", "pro", *where)["id"]
    (tmp_path / "small.toml").write_text(SMALL.replace("[plans.pro]", "[plans.team]"))
    assert "disabled" == run_json("token", "update", identity, "--disable", *where)["state"]


def test_a_token_can_begin_later(where: tuple[str, ...]) -> None:
    """Until then it is listed as not yet valid; the bound is shown, and `now` or `never` takes it away."""
    created = run_json(*CREATE, "--not-before", "2098-01-31T00:00:00Z", *where)
    identity = created["id"]
    assert "not yet valid" == created["state"]
    assert "2098-01-31T00:00:00Z" == created["not_before"]
    assert "2098-01-31T00:00:00Z" in run_command("token", "show", identity, *where[:2]).stdout
    for word in ("now", "never"):
        run_json("token", "update", identity, "--not-before", "90d", *where)
        changed = run_json("token", "update", identity, "--not-before", word, *where)
        assert "active" == changed["state"]
        assert None is changed["not_before"]


@pytest.mark.parametrize("options", [("--not-before", "3d"), ("--not-before", "2d"), ("--expires", "12h")])
def test_a_beginning_and_an_end_must_leave_time_between_them(where: tuple[str, ...], options: tuple[str, str]) -> None:
    """A change of either that would leave the token no moment to work in is refused, and nothing is changed."""
    created = run_json(*CREATE, "--not-before", "1d", "--expires", "2d", *where)
    refused = run_command("token", "update", created["id"], *options, *where)
    assert refused.exit_code != 0
    assert "the token would end before it begins" == str(refused.exception)
    shown = run_json("token", "show", created["id"], *where[:2])
    assert created["not_before"] == shown["not_before"]
    assert created["expires_at"] == shown["expires_at"]


@pytest.mark.parametrize("command", ["show", "update", "rotate", "revoke"])
def test_an_unknown_id_is_said(where: tuple[str, ...], command: str) -> None:
    """A command for a token that is not there fails and says so."""
    options = where if command in ("update", "rotate") else where[:2]
    refused = run_command("token", command, "0" * 24, *options)
    assert refused.exit_code != 0
    assert "there is no token " + "0" * 24 == str(refused.exception)


def test_a_store_that_is_away_makes_no_promise(where: tuple[str, ...]) -> None:
    """A change that Redis did not acknowledge is an error, not a token."""
    refused = run_command(*CREATE, "--redis", f"redis://127.0.0.1:{free_port()}/0", *where[2:])
    assert refused.exit_code != 0
    assert "Redis did not answer" in str(refused.exception)


def test_the_embedded_store_has_no_command_line() -> None:
    """Its tokens live in the serving process: a command that would write to a store of its own is refused."""
    refused = run_command("token", "list", "--redis", "memory://")
    assert "lives inside" in str(refused.exception)

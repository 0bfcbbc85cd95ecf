"""`gateway token revoke`, against a real Redis."""

import json
from typing import Any

import pytest
import redis

from gateway.adapters.redis import keys
from tests.support.command_line import CREATE, read_lines, run_command, run_json

pytestmark = pytest.mark.redis


def states(where: tuple[str, ...]) -> dict[str, str]:
    return {one["id"]: one["state"] for one in run_json("token", "list", *where[:2])}


def create(where: tuple[str, ...], *options: str) -> str:
    return str(run_json(*CREATE, *options, *where)["id"])


def rotate(where: tuple[str, ...], identity: str) -> str:
    return str(run_json("token", "rotate", identity, *where)["id"])


def revoke(where: tuple[str, ...], *options: str) -> Any:
    return run_json("token", "revoke", *options, *where[:2])


def test_revoking_is_shown(where: tuple[str, ...]) -> None:
    """A revoked token stays listed as such, and revoking it again changes nothing."""
    identity = create(where)
    for _ in range(2):
        assert "revoked" == revoke(where, identity)["state"]
    (listed,) = run_json("token", "list", "--policy", "small", "--project", "website", *where[:2])
    assert identity == listed["id"]
    assert "revoked" == listed["state"]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_lineage_is_revoked_from_any_of_its_tokens(where: tuple[str, ...], which: int) -> None:
    """All that the token was rotated from and to, and no other."""
    first, other = create(where), create(where)
    second = rotate(where, first)
    chain = [first, second, rotate(where, second)]
    revoked = revoke(where, "--lineage", chain[which])
    assert set(chain) == {one["id"] for one in revoked}
    assert {"revoked"} == {one["state"] for one in revoked}
    assert {**dict.fromkeys(chain, "revoked"), other: "active"} == states(where)


def test_a_lineage_with_a_gap_is_revoked_as_far_as_it_goes(where: tuple[str, ...]) -> None:
    """A record that was deleted by hand does not keep the others from being revoked."""
    first = create(where)
    second = rotate(where, first)
    third = rotate(where, second)
    with redis.Redis.from_url(where[1]) as client:
        client.delete(keys.token(first))
    assert {second, third} == {one["id"] for one in revoke(where, "--lineage", third)}


@pytest.mark.parametrize("kind", ["project", "owner"])
def test_all_of_a_project_or_an_owner_are_revoked(where: tuple[str, ...], kind: str) -> None:
    """Those of this policy, this project or owner, and no others; the answer lists those not revoked before."""
    bound = [("--project", name, "--owner", name) for name in ("mine", "mine", "other")]
    first, second, other = (create(where, *options) for options in bound)
    rotated = rotate(where, second)
    revoke(where, first)
    revoked = revoke(where, "--policy", "small", f"--{kind}", "mine")
    assert {second, rotated} == {one["id"] for one in revoked}
    assert {**dict.fromkeys((first, second, rotated), "revoked"), other: "active"} == states(where)
    assert [] == revoke(where, "--policy", "small", f"--{kind}", "mine")


def test_more_than_one_token_needs_yes(where: tuple[str, ...]) -> None:
    """Without it nothing is revoked and the number is said; one token needs none."""
    identity = create(where)
    rotate(where, identity)
    options = ("token", "revoke", "--policy", "small", "--project", "website")
    refused = run_command(*options, *where[:2])
    assert refused.exit_code != 0
    assert "would revoke 2 tokens: say --yes" in str(refused.exception)
    assert {"active"} == set(states(where).values())
    assert "Revoked 2 token(s)." == run_command(*options, "--yes", *where[:2]).stdout.splitlines()[-1]
    alone = create(where, "--project", "alone")
    done = run_command("token", "revoke", "--policy", "small", "--project", "alone", *where[:2])
    assert [f"{alone}  CI", "Revoked 1 token(s)."] == done.stdout.splitlines()


def test_what_stays_of_a_lineage_is_said(where: tuple[str, ...]) -> None:
    """Revoking one token leaves its successor: who revokes a leaked one should know."""
    first = create(where)
    second = rotate(where, first)
    revoked = run_command("token", "revoke", first, *where[:2])
    assert f"Revoked token {first} (CI).\n" == revoked.stdout
    assert f"Of its lineage {second} stay: --lineage {first} revokes all of it.\n" == revoked.stderr
    assert "" == run_command("token", "revoke", second, *where[:2]).stderr


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--yes",),
        ("--policy", "small"),
        ("--project", "website"),
        ("--owner", "ada"),
        ("--policy", "small", "--project", ""),
        ("--policy", "small", "--project", "website", "--owner", "ada"),
        ("--lineage", "0" * 24, "--policy", "small"),
        ("0" * 24, "--lineage", "0" * 24),
        ("0" * 24, "--policy", "small", "--project", "website"),
    ],
)
def test_exactly_one_way_is_named(where: tuple[str, ...], options: tuple[str, ...]) -> None:
    """None, half of one or two of them is refused, and nothing is revoked."""
    create(where, "--owner", "ada")
    refused = run_command("token", "revoke", *options, "--json", *where[:2])
    assert 2 == refused.exit_code
    assert "name one of: ID, --lineage ID" in refused.stderr
    assert {"active"} == set(states(where).values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--policy", "small", "--project", "websit"),
            "no token of the policy small was ever made for the project 'websit'",
        ),
        (
            ("--policy", "smal", "--owner", "ada"),
            "unknown policy 'smal': did you mean 'small'?; no token of it was ever made",
        ),
        (("--lineage", "0" * 24), "there is no token " + "0" * 24),
    ],
)
def test_a_misspelled_name_is_no_success(where: tuple[str, ...], options: tuple[str, ...], message: str) -> None:
    """Revoking what is not there fails and says so: the tokens that were meant still work."""
    create(where, "--owner", "ada")
    refused = run_command("token", "revoke", *options, "--yes", *where)
    assert 1 == refused.exit_code
    assert message == str(refused.exception)


def test_a_leak_is_ended_by_one_command(where: tuple[str, ...]) -> None:
    """The token, what was made with it and what that made; nothing else, and no --yes is asked for."""
    leaked, other = create(where), create(where)
    made = create(where)
    later = create(where)
    with redis.Redis.from_url(where[1]) as client:
        for one, maker in ((made, leaked), (later, made)):
            record = json.loads(client.get(keys.token(one)) or b"")
            client.set(keys.token(one), json.dumps([*record, "", "", "", [], "", None, 0, maker]))
            client.sadd(keys.made(maker), one)
    shown = read_lines("token", "show", made, *where[:2])
    assert [leaked, later] == [shown["made_by"], shown["made"]]
    listed = run_json("token", "list", "--made-by", leaked, *where[:2])
    assert {made, later} == {one["id"] for one in listed}
    assert {leaked: None, other: None, made: leaked, later: made} == {
        one["id"]: one["made_by"] for one in run_json("token", "list", *where[:2])
    }
    done = run_command("token", "revoke", leaked, "--with-made", *where[:2])
    assert 0 == done.exit_code
    assert "Revoked 3 token(s)." == done.stdout.splitlines()[-1]
    assert {**dict.fromkeys((leaked, made, later), "revoked"), other: "active"} == states(where)


def test_who_revokes_a_maker_alone_is_told_what_stays(where: tuple[str, ...]) -> None:
    """What was made with it goes on working: whoever revokes a leaked token should know."""
    leaked, made = create(where), create(where)
    with redis.Redis.from_url(where[1]) as client:
        client.sadd(keys.made(leaked), made)
    revoked = run_command("token", "revoke", leaked, *where[:2])
    assert "1 token(s) that were made with it stay: --with-made revokes them, too.\n" == revoked.stderr
    assert "active" == states(where)[made]


@pytest.mark.parametrize(
    "options", [("--lineage", "0" * 24), ("--policy", "small", "--project", "website"), ("--policy", "small")]
)
def test_what_was_made_ends_with_one_token_only(where: tuple[str, ...], options: tuple[str, ...]) -> None:
    """--with-made goes with an ID: of anything else it would be unclear what ends."""
    create(where)
    assert 2 == run_command("token", "revoke", *options, "--with-made", *where[:2]).exit_code
    assert {"active"} == set(states(where).values())

"""Child tokens on the command line, against a real Redis."""

from typing import Any

import pytest

from tests.support.admitting import admit
from tests.support.command_line import CREATE, read_lines, run_command, run_json

pytestmark = pytest.mark.redis
OPEN = (*CREATE, "--plan", "open")


def make_child(where: tuple[str, ...], parent: str, *options: str) -> Any:
    return run_json("token", "create", "--parent", parent, "--name", "actor", *options, *where)


def passes(where: tuple[str, ...], *texts: str) -> list[bool]:
    return [facts.is_charged for facts in admit(where[1], texts)]


def states(where: tuple[str, ...]) -> dict[str, str]:
    return {one["id"]: one["state"] for one in run_json("token", "list", *where[:2])}


def test_a_child_is_made_and_shown(where: tuple[str, ...]) -> None:
    """It names its parent, the parent its children, and it is listed with its parent's project."""
    parent = run_json(*OPEN, "--owner", "ada", "--expires", "90d", *where)
    child = make_child(where, parent["id"], "--scope", "read")
    same = ("policy", "project", "owner", "plan", "expires_at")
    assert [parent[name] for name in same] == [child[name] for name in same]
    assert parent["id"] == child["parent"]
    assert ["read"] == child["scopes"]
    assert "active" == child["state"]
    assert child["id"] == read_lines("token", "show", parent["id"], *where[:2])["children"]
    assert "-" == read_lines("token", "show", child["id"], *where[:2])["children"]
    assert {parent["id"], child["id"]} == {one["id"] for one in run_json("token", "list", *where[:2])}
    assert [True] == passes(where, child["token"])


@pytest.mark.parametrize("way", ["id", "lineage", "project"])
def test_children_die_with_their_parent(where: tuple[str, ...], way: str) -> None:
    """On the next request, for good, and every listing says so; a later change of the child brings nothing back."""
    parent = run_json(*OPEN, *where)
    child, other = make_child(where, parent["id"]), run_json(*OPEN, "--project", "other", *where)
    chosen = {"id": (parent["id"],), "lineage": ("--lineage", parent["id"])}
    revoked = run_command(
        "token", "revoke", *chosen.get(way, ("--policy", "small", "--project", "website", "--yes")), *where[:2]
    )
    assert 0 == revoked.exit_code
    assert ("Its 1 child(ren) ended with it." in revoked.stdout) == (way == "id")
    assert [False, False, True] == passes(where, parent["token"], child["token"], other["token"])
    assert {parent["id"]: "revoked", child["id"]: "revoked", other["id"]: "active"} == states(where)
    run_command("token", "update", child["id"], "--enable", "--name", "again", *where)
    refused = run_command("token", "create", "--parent", parent["id"], "--name", "late", *where)
    assert f"token {parent['id']} is revoked: its children would be refused" == str(refused.exception)
    assert "is revoked" in str(run_command("token", "rotate", child["id"], *where).exception)
    assert [False] == passes(where, child["token"])


def test_revoking_a_child_leaves_its_parent(where: tuple[str, ...]) -> None:
    """Also by lineage, which is the child's own chain of rotations."""
    parent = run_json(*OPEN, *where)
    child = make_child(where, parent["id"])
    rotated = run_json("token", "rotate", child["id"], *where)
    revoked = run_json("token", "revoke", "--lineage", child["id"], *where[:2])
    assert {child["id"], rotated["id"]} == {one["id"] for one in revoked}
    assert [True, False, False] == passes(where, parent["token"], child["token"], rotated["token"])


def test_a_child_follows_its_parent(where: tuple[str, ...]) -> None:
    """Disabled, enabled, narrowed, and rotated: then the children end with the old token."""
    parent = run_json(*OPEN, *where)
    child = make_child(where, parent["id"])
    run_json("token", "update", parent["id"], "--disable", *where)
    assert [False] == passes(where, child["token"])
    assert "disabled" == states(where)[child["id"]]
    run_json("token", "update", parent["id"], "--enable", "--scope", "write", *where)
    assert [True] == passes(where, child["token"])
    successor = run_json("token", "rotate", parent["id"], "--overlap", "0s", *where)
    assert [True, False] == passes(where, successor["token"], child["token"])
    assert "expired" == states(where)[child["id"]]
    assert "active" == states(where)[successor["id"]]


def test_a_child_is_rotated_to_a_child(where: tuple[str, ...]) -> None:
    """Its successor dies with the same parent, and is shown as its child."""
    parent = run_json(*OPEN, *where)
    child = make_child(where, parent["id"])
    rotated = run_json("token", "rotate", child["id"], *where)
    assert parent["id"] == rotated["parent"]
    assert child["id"] == rotated["predecessor"]
    shown = read_lines("token", "show", parent["id"], *where[:2])
    assert {child["id"], rotated["id"]} == set(shown["children"].split(","))
    assert [True] == passes(where, rotated["token"])
    run_json("token", "revoke", parent["id"], *where[:2])
    assert [False] == passes(where, rotated["token"])


def test_children_multiply_nobodys_quota(where: tuple[str, ...]) -> None:
    """What a child uses its parent has no more, and the plan is the parent's of the moment."""
    parent = run_json(*CREATE, "--plan", "pro", *where)
    child = make_child(where, parent["id"])
    used = [facts.windows[0].used for facts in admit(where[1], [parent["token"], child["token"], parent["token"]])]
    assert [1, 2, 3] == used
    run_json("token", "update", parent["id"], "--plan", "open", *where)
    assert () == admit(where[1], [child["token"]])[0].windows
    assert "open" == run_json("token", "show", child["id"], *where[:2])["plan"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--scope", "write"), "may not grant 'write': it has read"),
        (("--expires", "91d"), "a child ends with its parent"),
        (("--project", "other"), "a child has the project of its parent, website"),
        (("--policy", "other"), "a child has the policy of its parent, small"),
        (("--plan", "pro"), "a child has the plan of its parent, open"),
        (("--parent", "0" * 24), "there is no token"),
    ],
)
def test_what_a_parent_may_not_hand_on_is_said(where: tuple[str, ...], options: tuple[str, ...], message: str) -> None:
    """And no token is made."""
    parent = run_json(*OPEN, "--scope", "read", "--expires", "90d", *where)
    refused = run_command("token", "create", "--parent", parent["id"], "--name", "actor", *options, *where)
    assert refused.exit_code != 0
    assert message in f"{refused.output}{refused.exception}"
    assert [parent["id"]] == list(states(where))


def test_a_child_has_no_children(where: tuple[str, ...]) -> None:
    """One level, so that whom a token is bounded by can be seen at a glance."""
    child = make_child(where, run_json(*OPEN, *where)["id"])
    refused = run_command("token", "create", "--parent", child["id"], "--name", "actor", *where)
    assert f"token {child['id']} is a child of {child['parent']}: a child has no children" == str(refused.exception)


def test_a_token_without_parent_names_its_policy(where: tuple[str, ...]) -> None:
    """As before there were children."""
    refused = run_command("token", "create", "--name", "CI", *where)
    assert 2 == refused.exit_code
    assert "Missing option '--policy'" in refused.stderr

"""`gateway token rotate`, against a real Redis."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest

from tests.support.admitting import admit
from tests.support.command_line import CREATE, run_command, run_json

pytestmark = pytest.mark.redis


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_successor_shares_the_counters(where: tuple[str, ...]) -> None:
    """Both tokens work during the overlap, and what one uses the other has no more."""
    first = run_json(*CREATE, "--plan", "pro", *where)
    second = run_json("token", "rotate", first["id"], *where)
    third = run_json("token", "rotate", second["id"], *where)
    facts = admit(where[1], [first["token"], second["token"], third["token"]])
    assert [(True, 1), (True, 2), (True, 3)] == [(one.is_charged, one.windows[0].used) for one in facts]


def test_both_tokens_show_their_relation(where: tuple[str, ...]) -> None:
    """In `show` and in `list --json`; the settings are the same, and so is the successor's end."""
    first = run_json(*CREATE, "--scope", "read", "--plan", "pro", "--expires", "90d", "--owner", "ada", *where)
    second = run_json("token", "rotate", first["id"], "--overlap", "2h", *where)
    same = ("name", "policy", "plan", "scopes", "project", "owner", "not_before", "expires_at", "state")
    assert {name: first[name] for name in same} == {name: second[name] for name in same}
    listed = {one["id"]: one for one in run_json("token", "list", *where[:2])}
    assert None is listed[first["id"]]["predecessor"]
    assert second["id"] == listed[first["id"]]["successor"]
    assert first["id"] == listed[second["id"]]["predecessor"]
    assert None is listed[second["id"]]["successor"]
    assert second["predecessor_expires_at"] == listed[first["id"]]["expires_at"]
    overlap = moment(second["predecessor_expires_at"]) - moment(second["created_at"])
    assert 7199 <= overlap.total_seconds() <= 7201
    assert f"successor  {second['id']}" in run_command("token", "show", first["id"], *where[:2]).stdout


def test_the_text_is_printed_once(where: tuple[str, ...]) -> None:
    """On the last line of `rotate`, and by no other command."""
    first = run_json(*CREATE, *where)
    rotated = run_command("token", "rotate", first["id"], *where)
    text = rotated.stdout.splitlines()[-1]
    assert [True] == [facts.is_charged for facts in admit(where[1], [text])]
    assert text not in run_command("token", "list", "--json", *where[:2]).stdout


def test_without_overlap_the_old_token_ends_at_once(where: tuple[str, ...]) -> None:
    """The next request with it is refused, and the successor's passes."""
    first = run_json(*CREATE, *where)
    second = run_json("token", "rotate", first["id"], "--overlap", "0s", "--expires", "1d", *where)
    assert [False, True] == [facts.is_charged for facts in admit(where[1], [first["token"], second["token"]])]
    assert "expired" == run_json("token", "show", first["id"], *where[:2])["state"]
    assert None is not second["expires_at"]


def _refuse(where: tuple[str, ...], identity: str, *options: str) -> str:
    refused = run_command("token", "rotate", identity, *options, *where)
    assert 0 != refused.exit_code
    return f"{refused.output}{refused.exception}"


def test_what_cannot_be_rotated_is_said(where: tuple[str, ...]) -> None:
    """Unknown, rotated before, disabled, revoked, with an overlap that is none: nothing is minted."""
    first = run_json(*CREATE, *where)["id"]
    second = run_json("token", "rotate", first, *where)["id"]
    assert "there is no token of this id: an id has 24 hexadecimal digits, this text has 2 characters" in _refuse(
        where, "00"
    )
    assert "'soon' is not a duration" in _refuse(where, second, "--overlap", "soon")
    assert f"was rotated already, to {second}" in _refuse(where, first)
    run_json("token", "update", second, "--disable", *where)
    assert "is disabled: there is nothing to rotate" in _refuse(where, second)
    run_json("token", "revoke", second, *where[:2])
    assert "is revoked, for good" in _refuse(where, second)
    assert 2 == len(run_json("token", "list", *where[:2]))


def test_of_many_who_rotate_at_once_one_succeeds(where: tuple[str, ...]) -> None:
    """Exactly one successor, whatever the number of commands that run at the same moment."""
    first = run_json(*CREATE, *where)["id"]

    def rotate(_: int) -> Any:
        return run_in_process("token", "rotate", first, *where)

    with ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(rotate, range(6)))
    assert 1 == codes.count(0)
    assert 2 == len(run_json("token", "list", *where[:2]))


def run_in_process(*arguments: str) -> int:
    """The exit code of the command in a process of its own."""
    return subprocess.run([sys.executable, "-m", "gateway", *arguments], capture_output=True, check=False).returncode

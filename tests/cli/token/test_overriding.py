"""`gateway token override`, against a real Redis."""

import getpass

import pytest

from tests.support.admitting import admit
from tests.support.command_line import CREATE, run_command, run_json

pytestmark = pytest.mark.redis

OVERRIDE = ("--until", "7d", "--reason", "a launch")


def test_it_acts_on_the_next_request(where: tuple[str, ...]) -> None:
    """A limit of five becomes one of nine, what was used stays used, and without the override it is five again."""
    made = run_json(*CREATE, "--plan", "free", *where)
    run_json("token", "override", made["id"], "second", "100", *OVERRIDE, *where)
    assert [True] * 5 + [False] == [one.is_charged for one in admit(where[1], [made["token"]] * 6)]
    run_json("token", "override", made["id"], "minute", "9/minute", *OVERRIDE, *where)
    assert [True] * 4 + [False] == [one.is_charged for one in admit(where[1], [made["token"]] * 5)]
    run_json("token", "override", made["id"], "minute", "--remove", *where)
    (last,) = admit(where[1], [made["token"]])
    assert not last.is_charged
    assert 5 == next(w.quota.limit for w in last.windows if w.quota.name == "minute")


def test_it_is_shown_with_its_end_reason_and_author(where: tuple[str, ...]) -> None:
    """In `show`, in JSON, and of the successor after a rotation."""
    made = run_json(*CREATE, "--plan", "free", *where)
    run_json("token", "override", made["id"], "minute", "9", *OVERRIDE, "--by", "ada", *where)
    (shown,) = run_json("token", "show", made["id"], *where[:2])["overrides"]
    assert "minute:60" == shown["quota"]
    assert 9 == shown["limit"]
    assert 9 == shown["capacity"]
    assert "a launch" == shown["reason"]
    assert "ada" == shown["author"]
    line = f"overrides  minute:60 9 until {shown['until']} by ada (a launch)"
    assert line in run_command("token", "show", made["id"], *where[:2]).stdout
    assert [shown] == run_json("token", "rotate", made["id"], *where)["overrides"]


def test_the_author_is_who_is_logged_in(where: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless another one is named."""
    monkeypatch.setattr(getpass, "getuser", lambda: "grace")
    made = run_json(*CREATE, "--plan", "free", *where)
    done = run_command("token", "override", made["id"], "minute", "9", *OVERRIDE, *where)
    (shown,) = run_json("token", "show", made["id"], *where[:2])["overrides"]
    assert f"Token {made['id']} (CI) has 9 as its minute until {shown['until']}.\n" == done.stdout
    assert "grace" == shown["author"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("minute", "9", "--until", "7d"),
        ("minute", "9", "--reason", "why"),
        ("minute", *OVERRIDE),
        ("minute",),
        ("minute", "9", "--remove"),
    ],
)
def test_half_an_override_is_none(where: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    """A limit without end or reason, or with --remove, is refused before anything is changed."""
    done = run_command("token", "override", "0" * 24, *arguments, *where)
    assert 2 == done.exit_code
    assert "name LIMIT, --until and --reason, or --remove" in done.stderr


def test_a_quota_that_the_plan_has_not_is_told(where: tuple[str, ...]) -> None:
    """With the name that may be meant."""
    made = run_json(*CREATE, "--plan", "free", *where)
    done = run_command("token", "override", made["id"], "minut", "9", *OVERRIDE, *where)
    assert done.exit_code != 0
    assert "unknown quota 'minut': did you mean 'minute'?" in f"{done.output}{done.exception}"

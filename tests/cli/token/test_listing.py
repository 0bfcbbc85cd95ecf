"""`gateway token list`, against a real Redis."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.adapters.redis.tokens import RedisTokens
from tests.support.command_line import run_command, run_json
from tests.support.connections import open_connection
from tests.support.policies import make_record

pytestmark = pytest.mark.redis
DAY = 86400


AGES = {"old": (99, None), "new": (1, None), "used": (99, 1), "forgotten": (99, 50), "other": (99, None)}
"""How many days ago each token was created, and when it was last used."""


@pytest.fixture
async def tokens_in(where: tuple[str, ...]) -> tuple[str, ...]:
    """The options that name a Redis with the tokens of AGES."""
    now = int(time.time())
    async with open_connection(where[1]) as connection:
        for name, (created, used) in AGES.items():
            project = "other" if name == "other" else "website"
            times = {"created_at": now - created * DAY, "last_use": 0 if used is None else now - used * DAY}
            await RedisTokens(connection).create(make_record(name, name=name, project=project, **times))
    return where[:2]


def test_tokens_not_used_for_long_are_listed(tokens_in: tuple[str, ...]) -> None:
    """By last use, and by creation where there was none; with the other filters, and in both forms."""

    def listed(*options: str) -> set[str]:
        return {one["name"] for one in run_json("token", "list", *options, *tokens_in)}

    assert {"old", "forgotten", "other"} == listed("--unused", "50d")
    assert {"old", "other"} == listed("--unused", "51d")
    assert {"old"} == listed("--unused", "7w", "--policy", "small", "--project", "website") - {"forgotten"}
    assert set(AGES) == listed("--unused", "0s")
    assert set() == listed("--unused", "100d")
    assert "forgotten" in run_command("token", "list", "--unused", "50d", *tokens_in).stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--policy", "smal"), "unknown policy 'smal': did you mean 'small'?; no token of it was ever made"),
        (("--project", "websit"), "no token was ever made for the project 'websit'"),
        (("--owner", "adda"), "no token was ever made for the owner 'adda', and it has no record"),
        (
            ("--policy", "small", "--project", "web*"),
            "no token of the policy small was ever made for the project 'web*'",
        ),
    ],
)
def test_a_misspelled_name_is_no_empty_list(
    tokens_in: tuple[str, ...], where: tuple[str, ...], options: tuple[str, ...], message: str
) -> None:
    """What was never seen is an error; a policy in a file, and an owner with a record, are known without a token."""
    refused = run_command("token", "list", *options, *where)
    assert 1 == refused.exit_code
    assert message == str(refused.exception)
    run_json("owner", "set", "ada", "--policy", "small", *where)
    assert [] == run_json("token", "list", "--owner", "ada", *where)
    assert [] == run_json("token", "list", "--policy", "small", "--owner", "ada", "--project", "other", *where)


def test_a_policy_without_a_file_is_known_by_its_tokens(tokens_in: tuple[str, ...], tmp_path: Path) -> None:
    """Incident commands work also where the files are missing, or cannot be read."""
    elsewhere = ("--policies", str(tmp_path / "nowhere"))
    assert len(AGES) == len(run_json("token", "list", "--policy", "small", *tokens_in, *elsewhere))
    revoke = ("token", "revoke", "--policy", "small", "--project", "other")
    assert 1 == len(run_json(*revoke, *tokens_in, *elsewhere))
    assert [] == run_json(*revoke, *tokens_in, *elsewhere)
    assert 1 == run_command("token", "list", "--policy", "smal", *tokens_in, *elsewhere).exit_code


@pytest.mark.system
def test_a_refusal_is_exit_code_1(redis_url: str) -> None:
    """So that scripts see it; what is wrong with the command itself is 2."""
    run = [sys.executable, "-m", "gateway", "token", "list", "--redis", redis_url]
    refused = subprocess.run([*run, "--policy", "nope"], capture_output=True, text=True, check=False)
    assert 1 == refused.returncode
    assert refused.stderr.startswith("gateway: unknown policy 'nope': known are ")
    assert 2 == subprocess.run([*run, "--polcy", "nope"], capture_output=True, check=False).returncode


def test_what_is_no_duration_is_said(where: tuple[str, ...]) -> None:
    """A misspelled duration lists nothing rather than everything."""
    refused = run_command("token", "list", "--unused", "long", *where[:2])
    assert 2 == refused.exit_code
    assert "'long' is not a duration" in refused.stderr

"""`gateway token list`, against a real Redis."""

import time

import pytest

from gateway.adapters.redis_tokens import RedisTokens
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


def test_what_is_no_duration_is_said(where: tuple[str, ...]) -> None:
    """A misspelled duration lists nothing rather than everything."""
    refused = run_command("token", "list", "--unused", "long", *where[:2])
    assert 2 == refused.exit_code
    assert "'long' is not a duration" in refused.stderr

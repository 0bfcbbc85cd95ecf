"""`gateway token list`, against a real Redis."""

import time
from functools import partial

import pytest

from gateway.adapters.redis_tokens import RedisTokens
from tests.conftest import run_with_tokens
from tests.support.command_line import run_command, run_json
from tests.support.policies import make_record

pytestmark = pytest.mark.redis
DAY = 86400


def test_tokens_not_used_for_long_are_listed(where: tuple[str, ...]) -> None:
    """By last use, and by creation where there was none; with the other filters, and in both forms."""
    now = int(time.time())
    ages = {"old": (99, None), "new": (1, None), "used": (99, 1), "forgotten": (99, 50), "other": (99, None)}
    for name, (created, used) in ages.items():
        project = "other" if name == "other" else "website"
        times = {"created_at": now - created * DAY, "last_use": 0 if used is None else now - used * DAY}
        record = make_record(name, name=name, project=project, **times)
        run_with_tokens(where[1], partial(RedisTokens.create, record=record))

    def listed(*options: str) -> set[str]:
        return {one["name"] for one in run_json("token", "list", *options, *where[:2])}

    assert {"old", "forgotten", "other"} == listed("--unused", "50d")
    assert {"old", "other"} == listed("--unused", "51d")
    assert {"old"} == listed("--unused", "7w", "--policy", "small", "--project", "website") - {"forgotten"}
    assert set(ages) == listed("--unused", "0s")
    assert set() == listed("--unused", "100d")
    assert "forgotten" in run_command("token", "list", "--unused", "50d", *where[:2]).stdout


def test_what_is_no_duration_is_said(where: tuple[str, ...]) -> None:
    """A misspelled duration lists nothing rather than everything."""
    refused = run_command("token", "list", "--unused", "long", *where[:2])
    assert (2, True) == (refused.exit_code, "'long' is not a duration" in refused.stderr)

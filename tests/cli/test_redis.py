"""`gateway redis`: what an operator learns of a Redis, and how an empty one is meant."""

import json
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from gateway.cli.main import commands
from tests.support.processes import RedisServer

pytestmark = pytest.mark.redis

GOOD = ("--appendonly", "yes", "--appendfsync", "everysec")


def run(url: str, *words: str) -> tuple[int, str]:
    """The exit code of `gateway redis ...` and what it printed."""
    result = CliRunner().invoke(commands, ["redis", *words, "--redis", url])
    return result.exit_code, result.output


def test_a_stock_redis_is_told_what_it_can_lose_and_what_to_set(redis_url: str) -> None:
    """It serves, so the exit code is 0; the warning has the two lines."""
    code, said = run(redis_url, "check")
    assert 0 == code
    assert "orderly stop" in said
    assert "WARN" in said
    assert "appendonly yes; appendfsync everysec" in said


def test_a_redis_as_it_should_be_has_nothing_to_change(redis_executable: str, tmp_path: Path) -> None:
    """The promise is said for its settings."""
    server = RedisServer(redis_executable, tmp_path, options=GOOD)
    try:
        assert 1 == run(server.url, "check")[0]
        assert 0 == run(server.url, "init")[0]
        code, said = run(server.url, "check")
    finally:
        server.stop()
    assert 0 == code
    assert "survive a crash of Redis" in said
    assert "OK: nothing to change." in said


def test_an_evicting_redis_fails_by_its_exit_code(own_redis: RedisServer) -> None:
    """Scripts can ask."""
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    code, said = run(own_redis.url, "check", "--json")
    assert 1 == code
    assert "maxmemory-policy noeviction" in json.loads(said)["failures"]["eviction"]


def test_an_empty_redis_is_marked_once(own_redis: RedisServer) -> None:
    """The second time there is nothing to do."""
    with redis.Redis.from_url(own_redis.url) as client:
        client.flushall()
    assert "Marked" in run(own_redis.url, "init")[1]
    assert "Nothing to do" in run(own_redis.url, "init")[1]

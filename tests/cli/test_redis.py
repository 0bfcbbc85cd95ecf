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


@pytest.mark.parametrize(
    ("save", "promise", "kept"),
    [
        ("3600 1 300 100 60 10000", "survive until Redis ends in any other way than an orderly stop.", 1),
        ("", "are lost when Redis ends, also at an orderly stop.", 0),
    ],
)
def test_a_redis_without_a_log_is_told_what_it_can_lose_and_what_to_set(
    redis_executable: str, tmp_path: Path, save: str, promise: str, kept: int
) -> None:
    """It serves, so the exit code is 0, and the warning has the two lines. What is said of an orderly stop is true."""
    server = RedisServer(redis_executable, tmp_path, options=("--save", save))
    assert 0 == run(server.url, "init")[0]
    code, said = run(server.url, "check")
    with redis.Redis.from_url(server.url) as client:
        client.shutdown()
    server.popen.wait(30)
    again = RedisServer(redis_executable, tmp_path, port=server.port, options=("--save", save))
    with redis.Redis.from_url(again.url) as client:
        found = client.exists("gw1:marker")
    server.stop()
    again.stop()
    assert 0 == code
    assert promise in said
    assert "WARN" in said
    assert "appendonly yes; appendfsync everysec" in said
    assert kept == found


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

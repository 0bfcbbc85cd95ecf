"""The redis-server that the demo starts for itself."""

import shutil
from pathlib import Path

import pytest
import redis

from gateway.cli.demo.temporary_redis import run_redis
from gateway.core.errors import ConfigurationError


@pytest.mark.redis
async def test_it_answers_inside_the_context_and_is_gone_after_it(redis_executable: str, tmp_path: Path) -> None:
    """Its URL works at once, and at the end the process has ended and left no data behind."""
    async with run_redis(redis_executable, tmp_path) as url:
        with redis.Redis.from_url(url) as client:
            assert client.ping()
    with redis.Redis.from_url(url) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    assert [file.name for file in tmp_path.iterdir()] == ["redis.log"]


async def test_one_that_ends_at_once_is_an_error(tmp_path: Path) -> None:
    """A redis-server that does not come up is said, not waited for."""
    with pytest.raises(ConfigurationError, match="did not start"):
        async with run_redis(str(shutil.which("false")), tmp_path):
            raise AssertionError("it cannot have started")

"""The redis-server that the demo starts for itself."""

import shutil
import sys
from pathlib import Path

import pytest
import redis

from gateway.core.errors import ConfigurationError
from gateway.demo.temporary_redis import run_redis


@pytest.mark.redis
async def test_it_answers_inside_the_context_and_is_gone_after_it(redis_executable: str, tmp_path: Path) -> None:
    """Its URL works at once, and at the end the process has ended and left no data behind."""
    async with run_redis(redis_executable, tmp_path) as url:
        with redis.Redis.from_url(url) as client:
            assert client.ping()
    with redis.Redis.from_url(url) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    assert [file.name for file in tmp_path.iterdir()] == ["redis.log"]


async def test_one_that_exits_at_once_is_an_error(tmp_path: Path) -> None:
    """The demo says that redis-server did not start, and does not wait for it."""
    with pytest.raises(ConfigurationError, match="did not start"):
        async with run_redis(str(shutil.which("false")), tmp_path):
            raise AssertionError("it cannot have started")


async def test_one_that_cannot_be_run_is_an_error(tmp_path: Path) -> None:
    """A program of another machine, or one that may not be run, is told from one that exits."""
    (tmp_path / "redis-server").touch(0o644)
    with pytest.raises(ConfigurationError, match="did not start: Permission denied"):
        async with run_redis(str(tmp_path / "redis-server"), tmp_path):
            raise AssertionError("it cannot have started")


async def test_one_that_accepts_connections_and_is_silent_is_an_error(tmp_path: Path) -> None:
    """The wait for the first answer has a bound of its own, as a connection that is open has none."""
    program = tmp_path / "redis-server"
    program.write_text(
        f"#!{sys.executable}\n"
        "import signal, socket, sys\n"
        "with socket.create_server(('127.0.0.1', int(sys.argv[2]))):\n"
        "    signal.pause()\n"
    )
    program.chmod(0o755)
    with pytest.raises(ConfigurationError, match="did not start: it does not answer"):
        async with run_redis(str(program), tmp_path, start_seconds=1):
            raise AssertionError("it cannot have answered")

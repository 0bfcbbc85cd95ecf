"""What an incident asks for is on Redis' disk when it is answered, or the answer says that it may be undone."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from gateway.adapters.redis import keys
from tests.support.client import ask
from tests.support.command_line import run_command, run_json
from tests.support.processes import RedisServer
from tests.support.scripted_redis import scripted_redis
from tests.system.conftest import Serve, mint

TARGET = "/api/v1/whoami"
STOCK = ("--save", "3600 1 300 100 60 10000")
"""As Debian's redis.conf has it: snapshots, and no append-only file."""
TWO_LINES = ("--appendonly", "yes", "--appendfsync", "everysec")
LATE = "did not confirm within 3 s that it is on its disk"


@pytest.mark.parametrize(("settings", "status"), [(STOCK, 200), (TWO_LINES, 401)])
def test_a_kill_of_redis_undoes_a_revocation_only_where_that_was_warned_of(
    serve: Serve, redis_executable: str, policies: Path, tmp_path: Path, settings: tuple[str, ...], status: int
) -> None:
    """With the stock settings it passes again, and start and readiness have said so; with the two lines it does not."""
    first = RedisServer(redis_executable, tmp_path, options=settings)
    with redis.Redis.from_url(first.url) as client:
        client.set(keys.marker(), "1")
    token = mint(first.url, policies)
    gateway = serve(first.url)
    assert 200 == ask(gateway.port, "GET", TARGET, token=token["token"]).status
    with redis.Redis.from_url(first.url) as client:
        client.save()
    assert 0 == run_command("token", "revoke", token["id"], "--redis", first.url).exit_code
    assert 401 == ask(gateway.port, "GET", TARGET, token=token["token"]).status
    first.stop(signal.SIGKILL)
    second = RedisServer(redis_executable, tmp_path, first.port, options=settings)
    try:
        assert status == ask(gateway.port, "GET", TARGET, token=token["token"]).status
        warnings = ask(gateway.port, "GET", "/-/ready").json()["warnings"]
        is_warned = any("appendonly yes; appendfsync everysec" in warning for warning in warnings)
        assert (status == 200) == is_warned == ("warning: Redis writes no append-only file" in gateway.text())
    finally:
        second.stop()


def change(url: str, policies: Path, token: str) -> dict[str, Callable[[], object]]:
    """What an incident asks for, as commands."""
    where = ("--redis", url, "--policies", str(policies))
    return {
        "revoke": lambda: run_command("token", "revoke", token, "--redis", url),
        "revoke a lineage": lambda: run_command("token", "revoke", "--lineage", token, *where),
        "revoke a project": lambda: run_command(
            "token", "revoke", "--policy", "system", "--project", "website", "--yes", *where
        ),
        "disable": lambda: run_command("token", "update", token, "--disable", *where),
        "block an owner": lambda: run_command(
            "owner", "set", "anna", "--status", "blocked", "--policy", "system", *where
        ),
    }


@pytest.mark.parametrize("what", list(change("", Path(), "")))
def test_a_command_ends_when_the_disk_has_it(own_redis: RedisServer, policies: Path, what: str) -> None:
    """If the disk is late, it says what may happen, as an error: who does it again waits again, until it is well."""
    run_json("owner", "set", "anna", "--policy", "system", "--redis", own_redis.url, "--policies", str(policies))
    token = mint(own_redis.url, policies)["id"]
    with scripted_redis(own_redis.port) as told:
        command = change(told.url, policies, token)[what]
        told.answer = (0, 0)
        late = command()
        assert LATE in str(late.exception)  # type: ignore[attr-defined]  # click's
        assert 1 == len(told.waits)
        told.answer = (1, 0)
        again = command()
        assert None is again.exception, again  # type: ignore[attr-defined]
        assert 2 == len(told.waits)

"""What commands work on: a connection of the command's own, closed however the command ends."""

from pathlib import Path

import pytest
import redis

from gateway.adapters.redis.connection import EMBEDDED, RedisConnection
from gateway.cli.connecting import PolicyFolder, awaited, open_management
from gateway.core.errors import ConfigurationError, NotFound
from tests.support.command_line import CREATE, run_command, run_json
from tests.support.policies import SMALL


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[RedisConnection]:
    """The connections that were closed."""
    found: list[RedisConnection] = []
    close = RedisConnection.close

    async def note(connection: RedisConnection) -> None:
        await close(connection)
        found.append(connection)

    monkeypatch.setattr(RedisConnection, "close", note)
    return found


@pytest.mark.redis
def test_a_connection_is_closed_however_the_command_ends(redis_url: str, closed: list[RedisConnection]) -> None:
    """After an answer, after a refusal and when somebody stops the command."""

    @awaited
    async def work(error: BaseException | None) -> str:
        async with open_management(redis_url, PolicyFolder("")) as management:
            assert [] == await management.list_tokens("small")
            if error is not None:
                raise error
            return "done"

    assert "done" == work(None)
    for number, error in enumerate((NotFound("none"), KeyboardInterrupt(), SystemExit(3)), start=2):
        with pytest.raises(type(error)):
            work(error)
        assert number == len(closed)


@pytest.mark.parametrize(
    ("url", "message"),
    [(None, "no store is named"), ("", "no store is named"), (EMBEDDED, "the embedded store lives inside")],
)
def test_where_there_is_no_redis_nothing_is_opened(
    url: str | None, message: str, closed: list[RedisConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command says what to name, before it misses the policies."""
    arguments = ("token", "list", "--policies", "nowhere", *(() if url is None else ("--redis", url)))
    monkeypatch.delenv("GATEWAY_REDIS_URL", raising=False)
    refused = run_command(*arguments)
    assert 1 == refused.exit_code
    assert isinstance(refused.exception, ConfigurationError)
    assert message in str(refused.exception)
    assert [] == closed


@pytest.mark.redis
def test_one_command_has_one_connection(redis_url: str, tmp_path: Path) -> None:
    """Also where it looks for a token, its children and its requests."""
    (tmp_path / "small.toml").write_text(SMALL)
    made = run_json(*CREATE, "--redis", redis_url, "--policies", str(tmp_path))
    with redis.Redis.from_url(redis_url) as client:
        before = int(client.info("stats")["total_connections_received"])
        assert 0 == run_command("token", "show", made["id"], "--redis", redis_url).exit_code
        assert before + 1 == int(client.info("stats")["total_connections_received"])

"""Exports in a Redis of their own, which may evict them: stored, purged and answered as ever, and never missed."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.client import Answer, ask
from tests.support.command_line import run_command, run_json
from tests.support.processes import GatewayServer, RedisServer, wait_until
from tests.system.conftest import Serve, mint

EXPORT = "/api/v1/projects/website/translations/export"
EVICTING = ("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")


@pytest.fixture
def exports_redis(redis_executable: str, tmp_path: Path) -> Iterator[RedisServer]:
    """The exports' own, as caches are set up: empty, without a marker, and evicting."""
    folder = tmp_path / "exports"
    folder.mkdir()
    server = RedisServer(redis_executable, folder, options=EVICTING)
    yield server
    server.stop()


@pytest.fixture
def gateway(serve: Serve, own_redis: RedisServer, exports_redis: RedisServer) -> GatewayServer:
    environment = {"GATEWAY_EXPORTS_REDIS_URL": exports_redis.url, "GATEWAY_REDIS_TIMEOUT": "0.25"}
    return serve(own_redis.url, environment=environment, admin=True)


def kinds(url: str) -> set[str]:
    """What is in a Redis, by the first words of its keys."""
    with redis.Redis.from_url(url) as client:
        return {key.decode().split(":")[1] for key in client.keys("gw1:*")}


def status_of(answer: Answer) -> str:
    assert 200 == answer.status, answer.content
    return answer.field("cache-status") or ""


CACHE = {"export", "content", "group", "purged", "held", "ages", "ends", "fetch"}


def test_exports_are_stored_there_and_nowhere_else(
    gateway: GatewayServer, own_redis: RedisServer, exports_redis: RedisServer, policies: Path
) -> None:
    """Hit and 304 as ever; a revocation is in effect for the next request, for what is stored there too."""
    token = mint(own_redis.url, policies)
    first = ask(gateway.port, "GET", EXPORT, token=token["token"])
    assert "gateway; fwd=uri-miss; stored" == status_of(first)
    second = ask(gateway.port, "GET", EXPORT, token=token["token"])
    assert status_of(second).startswith("gateway; hit; ttl=")
    assert first.content == second.content
    tag = [("If-None-Match", first.field("etag") or "")]
    assert 304 == ask(gateway.port, "GET", EXPORT, token=token["token"], fields=tag).status
    assert set() == kinds(own_redis.url) & CACHE
    assert {"export", "content", "group"} <= kinds(exports_redis.url) <= CACHE
    assert 0 == run_command("token", "revoke", token["id"], "--redis", own_redis.url).exit_code
    assert 401 == ask(gateway.port, "GET", EXPORT, token=token["token"]).status


@pytest.mark.parametrize("way", ["command", "API"])
def test_a_purge_ends_what_is_there_and_is_in_the_history(
    gateway: GatewayServer, own_redis: RedisServer, exports_redis: RedisServer, policies: Path, way: str
) -> None:
    """By the command and by the API; the history of the tokens' Redis says who did it, and how many have ended."""
    token, where = mint(own_redis.url, policies)["token"], ("--redis", own_redis.url, "--policies", str(policies))
    ask(gateway.port, "GET", EXPORT, token=token)
    if way == "command":
        own = ("--exports-redis", exports_redis.url)
        purged = run_json("cache", "purge", "--policy", "system", "--project", "website", *where, *own)
    else:
        admin = run_json("token", "create", "--admin", "--name", "ops", *where)["token"]
        content = b'{"policy": "system", "project": "website"}'
        json_ = [("Content-Type", "application/json")]
        answer = ask(gateway.admin_port, "POST", "/api/v1/cache/purges", token=admin, fields=json_, content=content)
        purged = answer.json()
    assert {"purged": 1} == purged
    assert "gateway; fwd=uri-miss; stored" == status_of(ask(gateway.port, "GET", EXPORT, token=token))
    exported = run_command("audit", "export", "--redis", own_redis.url)
    entries = [json.loads(line) for line in exported.stdout.splitlines()]
    (purge,) = [entry for entry in entries if "purge" in entry["action"]]
    assert {"project": [None, "website"], "ended": [None, 1]} == purge["changes"]


def test_the_embedded_store_is_no_redis_of_exports(serve: Serve, own_redis: RedisServer) -> None:
    """Each process would have its own, and no purge would reach it."""
    with pytest.raises(AssertionError, match="exports redis: the embedded store is in each process alone"):
        serve(own_redis.url, "--exports-redis", "memory://")


def test_eviction_is_right_there_and_not_warned_of(gateway: GatewayServer, exports_redis: RedisServer) -> None:
    """The start has not refused it, and readiness is about the Redis of the tokens."""
    warnings = ask(gateway.port, "GET", "/-/ready").json()["warnings"]
    assert [] == [warning for warning in warnings if "evict" in warning]
    assert "may evict" not in gateway.text()


def test_a_redis_of_exports_that_is_away_or_silent_is_missed_by_nobody(
    gateway: GatewayServer, own_redis: RedisServer, exports_redis: RedisServer, policies: Path
) -> None:
    """The backend answers, readiness stays green, the log says so as it begins and ends; then it is used again."""
    token = mint(own_redis.url, policies)["token"]
    assert "gateway; fwd=uri-miss; stored" == status_of(ask(gateway.port, "GET", EXPORT, token=token))
    exports_redis.send(signal.SIGSTOP)
    for _ in range(5):
        answer = ask(gateway.port, "GET", EXPORT, token=token)
        assert "gateway; fwd=uri-miss; detail=store-refused" == status_of(answer)
        assert 200 == ask(gateway.port, "GET", "/-/ready").status
    exports_redis.send(signal.SIGCONT)
    wait_until(lambda: "; hit" in status_of(ask(gateway.port, "GET", EXPORT, token=token)), "exports are used again")
    wait_until(lambda: "answers again" in gateway.text(), "the log tells that it has ended")
    said = [line for line in gateway.text().splitlines() if "Redis of the exports" in line or "stored" in line]
    assert 2 == len(said), said
    assert "backends are asked for exports" in said[0]
    assert "answers again" in said[1]

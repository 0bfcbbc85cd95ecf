"""A tenant that pulls as much as it can, and what others see of it: a Redis with 64 MB, as small hosts have."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.support.client import ask
from tests.support.command_line import run_command, run_json
from tests.support.processes import RedisServer, wait_until
from tests.support.raw import RawBackend, read_head
from tests.support.scripted_redis import scripted_redis
from tests.system.conftest import Serve, mint
from tests.system.test_cache import reply, status_of

POLICY = """
name = "system"
upstream = "http://127.0.0.1:{backend}"
[token]
prefixes = ["sys_"]
[quotas]
minute = "100000/minute"
[[rules]]
match = "GET /sets/{{set}}/export"
cache = {{ fresh = "1h" }}
"""
PULLS = 85
PULL_BYTES = 700_000
MEMORY = 64 * 1024 * 1024
FULL = b'gateway_cache_events_total{event="store-full"} 3'


@contextmanager
def backend(policies: Path) -> Iterator[None]:
    """A backend that gives everybody as much, and something else for each query."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(reply(read_head(connection)[:64].ljust(PULL_BYTES, b"x")))

    with RawBackend(behave) as running:
        (policies / "system.toml").write_text(POLICY.format(backend=running.port))
        yield


@pytest.mark.parametrize("settings", [{}, {"GATEWAY_EXPORT_LIMIT": "0"}])
def test_a_tenant_cannot_fill_redis_for_all(
    serve: Serve, own_redis: RedisServer, policies: Path, settings: dict[str, str]
) -> None:
    """After 85 pulls with different queries others' exports are stored, tokens made and revoked, and all is ready."""
    with redis.Redis.from_url(own_redis.url) as client, backend(policies):
        client.config_set("maxmemory", MEMORY)
        gateway = serve(own_redis.url, environment=settings)
        greedy = mint(own_redis.url, policies, "--project", "greedy")
        other = mint(own_redis.url, policies)
        pulls = [
            ask(gateway.port, "GET", f"/sets/a/export?q={number}", token=greedy["token"]) for number in range(PULLS)
        ]
        assert {200} == {pull.status for pull in pulls}
        assert PULL_BYTES == len(pulls[-1].content)
        for expected in ("gateway; fwd=uri-miss; stored", "gateway; hit"):
            answer = ask(gateway.port, "GET", "/sets/b/export", token=other["token"])
            assert status_of(answer).startswith(expected)
        used = client.info("memory")["used_memory"]
        assert used < MEMORY * 0.75
        assert "ready" == ask(gateway.port, "GET", "/-/ready").json()["status"]
        assert 200 == ask(gateway.port, "GET", "/sets/b/export", token=mint(own_redis.url, policies)["token"]).status
        assert 0 == run_command("token", "revoke", other["id"], "--redis", own_redis.url).exit_code
        assert 401 == ask(gateway.port, "GET", "/sets/b/export", token=other["token"]).status


COMMANDS = [
    "token revoke {id}",
    "token revoke --lineage {id}",
    "token revoke {id} --with-made --yes",
    "token revoke --policy system --project website --yes",
    "token update {id} --disable",
    "token rotate {id}",
    "token create --policy system --project website --name CI",
    "owner set anna --status blocked --policy system",
    "owner set new --permission website=read --policy system",
    "owner remove anna --policy system",
    "cache purge --policy system --all",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_an_incident_asks_for_can_be_done_in_a_full_redis(
    own_redis: RedisServer, policies: Path, command: str
) -> None:
    """Whatever has filled it: it adds little, and waiting for the disk adds nothing that could be refused."""
    where = ("--redis", own_redis.url, "--policies", str(policies))
    token = mint(own_redis.url, policies)["id"]
    run_json("owner", "set", "anna", "--policy", "system", *where)
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory", 1)
        with scripted_redis(own_redis.port) as told:
            words = command.format(id=token).split()
            policies_option = () if words[:2] == ["token", "revoke"] and token in words[2:3] else where[2:]
            done = run_command(*words, "--redis", told.url, *policies_option)
    assert None is done.exception, done
    assert (0 if words[1] in ("create", "purge") else 1) == len(told.waits)


def test_what_finds_no_room_is_told(serve: Serve, own_redis: RedisServer, policies: Path) -> None:
    """By Cache-Status, by the metrics, and once by the log; the export itself is answered as ever."""
    with redis.Redis.from_url(own_redis.url) as client, backend(policies):
        client.config_set("maxmemory", MEMORY)
        for _ in range(48):
            client.rpush("others", b"x" * 1_048_576)
        gateway = serve(own_redis.url, admin=True)
        token = mint(own_redis.url, policies)["token"]
        answers = [ask(gateway.port, "GET", f"/sets/a/export?q={number}", token=token) for number in range(3)]
        assert {"gateway; fwd=uri-miss; detail=store-full"} == {status_of(answer) for answer in answers}
        assert {(200, PULL_BYTES)} == {(answer.status, len(answer.content)) for answer in answers}
        wait_until(lambda: FULL in ask(gateway.admin_port, "GET", "/metrics").content, "the metrics tell it")
        client.delete("others")
        assert "stored" in status_of(ask(gateway.port, "GET", "/sets/a/export", token=token))
        wait_until(lambda: "exports are stored again" in gateway.text(), "the log tells that it has ended")
    said = [line for line in gateway.text().splitlines() if "redis: exports" in line]
    assert 2 == len(said), said

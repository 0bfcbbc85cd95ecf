"""Usage, counted by running gateways."""

import signal
import socket
import time
from collections import Counter
from pathlib import Path

from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.usage import RedisUsage
from gateway.core.usage import Totals
from tests.conftest import run_with_connection
from tests.support.client import ask
from tests.support.command_line import read_lines, run_command
from tests.support.processes import RedisServer, wait_until
from tests.support.raw import RawBackend, read_head, request_bytes
from tests.system.conftest import Serve, mint
from tests.system.test_bad_backends import write_policy

EXPORT = "/api/v1/projects/website/translations/export?lang=de"


async def read_totals(connection: RedisConnection) -> Totals:
    return await RedisUsage(connection, time.time).totals()


def counted(redis_url: str) -> Counter[tuple[str, str, str]]:
    """All requests that were counted, by reason, class of status and part of the cache."""
    found: Counter[tuple[str, str, str]] = Counter()
    for one, number in run_with_connection(redis_url, read_totals).requests.items():
        found[one.reason, one.status, one.cache] += number
    return found


def count_shown(redis_url: str, identity: str) -> int:
    """The requests of a token, of all days that `gateway token show` has."""
    days = read_lines("token", "show", identity, "--redis", redis_url)["requests"].split(", ")
    assert 7 == len(days)
    return sum(int(day.split()[1]) for day in days)


def test_every_request_is_counted_once(serve: Serve, own_redis: RedisServer, policies: Path) -> None:
    """Of two gateways with two workers each: every answer, by what it was, and each token's; also after they stop."""
    tokens = [mint(own_redis.url, policies), mint(own_redis.url, policies)]
    gateways = [serve(own_redis.url, "--workers", "2") for _ in range(2)]
    expected: Counter[tuple[str, str, str]] = Counter()
    for number in range(120):
        port, token = gateways[number % 2].port, tokens[number % 3 == 0]["token"]
        answer = ask(port, "GET", EXPORT, token=token)
        expected["", "2xx", "hit" if "; hit" in (answer.field("cache-status") or "") else "miss"] += 1
        ask(port, "GET", "/api/v1/whoami", token=token)
        ask(port, "GET", EXPORT, token="sys_unknown")
    expected.update({("", "2xx", ""): 120, ("malformed_credentials", "4xx", ""): 120})
    assert [0, 0] == [gateway.stop() for gateway in gateways]
    assert expected == counted(own_redis.url)
    assert [160, 80] == [count_shown(own_redis.url, token["id"]) for token in tokens]
    line = run_command("token", "show", tokens[0]["id"], "--redis", own_redis.url).stdout
    assert "160" in next(line for line in line.splitlines() if line.strip().startswith("requests"))


def test_what_is_counted_is_written_soon(serve: Serve, own_redis: RedisServer, policies: Path) -> None:
    """Without a stop: a killed worker loses only what it has counted in its last second."""
    token, gateway = mint(own_redis.url, policies)["token"], serve(own_redis.url)
    for _ in range(5):
        ask(gateway.port, "GET", "/api/v1/whoami", token=token)
    wait_until(lambda: 5 == sum(counted(own_redis.url).values()), "five requests are counted")
    gateway.send(signal.SIGKILL)
    assert -signal.SIGKILL == gateway.popen.wait()
    assert {("", "2xx", ""): 5} == counted(own_redis.url)


def test_requests_whose_clients_left_are_counted(serve: Serve, own_redis: RedisServer, policies: Path) -> None:
    """The backend has acted on each of them, so each is the token's; so is what a stop cuts."""
    arrived = []

    def hold(connection: socket.socket) -> None:
        arrived.append(read_head(connection))
        connection.recv(1)  # until the gateway closes it

    with RawBackend(hold) as backend:
        write_policy(policies, backend.port, response_timeout="30s")
        token = mint(own_redis.url, policies)
        gateway = serve(own_redis.url, environment={"GATEWAY_STOP_TIMEOUT": "1"})
        lines = (b"Host: a", b"Authorization: Bearer " + token["token"].encode(), b"Content-Length: 0")
        request = request_bytes(*lines, request_line=b"POST /write HTTP/1.1")
        for number in range(6):
            with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
                connection.sendall(request)
                wait_until(lambda: len(arrived) == number + 1, "the backend has it")  # noqa: B023 - called at once
        wait_until(lambda: {("client_gone", "4xx", ""): 6} == counted(own_redis.url), "six requests are counted")
        with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
            connection.sendall(request)
            wait_until(lambda: len(arrived) == 7, "the backend has it")
            assert 0 == gateway.stop()
    assert {("client_gone", "4xx", ""): 6, ("stopped", "5xx", ""): 1} == counted(own_redis.url)
    assert 7 == count_shown(own_redis.url, token["id"])

"""The gateway while its Redis is away, silent, back again."""

import signal
from pathlib import Path

from gateway.core.tokens.text import build_checksum
from tests.support.client import Answer, ask
from tests.support.processes import GatewayServer, RedisServer, free_port, wait_until
from tests.system.conftest import Serve, mint

TARGET = "/api/v1/whoami"
BOUND = {"GATEWAY_REDIS_TIMEOUT": "0.25"}
"""As it is by default; tests of other things are more patient."""


def assert_unavailable(answer: Answer) -> None:
    """503 with Retry-After: never 401, never an answer of the backend."""
    assert 503 == answer.status
    assert "1" == answer.field("retry-after")
    assert "no-store" == answer.field("cache-control")
    assert "store_unavailable" == answer.json()["code"]
    assert answer.json()["type"].endswith("#temporary-reduced-capacity")


def assert_recovers(gateway: GatewayServer, text: str) -> None:
    """It serves again without being touched."""
    wait_until(lambda: ask(gateway.port, "GET", TARGET, token=text).status == 200, "requests pass again")
    assert 200 == ask(gateway.port, "GET", "/-/ready").status


def test_redis_away_at_the_start(serve: Serve, redis_executable: str, policies: Path, tmp_path: Path) -> None:
    """The gateway starts, is alive and not ready, answers 503, and serves as soon as Redis is there."""
    port = free_port()
    unknown = "sys_" + "0" * 34
    unknown += build_checksum(unknown)
    gateway = serve(f"redis://127.0.0.1:{port}/0", environment=BOUND)
    assert 200 == ask(gateway.port, "GET", "/-/health").status
    ready = ask(gateway.port, "GET", "/-/ready")
    assert 503 == ready.status
    assert "1" == ready.field("retry-after")
    assert_unavailable(ask(gateway.port, "GET", TARGET, token=unknown))
    server = RedisServer(redis_executable, tmp_path, port)
    try:
        assert_recovers(gateway, mint(server.url, policies)["token"])
    finally:
        server.stop()


def test_redis_killed_in_mid_run_and_started_again(
    serve: Serve, redis_executable: str, policies: Path, tmp_path: Path
) -> None:
    """While it is gone every request is 503; a new one, without the scripts, is used at once."""
    first = RedisServer(redis_executable, tmp_path)
    gateway = serve(first.url, environment=BOUND)
    text = mint(first.url, policies)["token"]
    assert 200 == ask(gateway.port, "GET", TARGET, token=text).status
    first.stop(signal.SIGKILL)
    for _ in range(3):
        assert_unavailable(ask(gateway.port, "GET", TARGET, token=text))
    second = RedisServer(redis_executable, tmp_path, first.port)
    try:
        assert_recovers(gateway, mint(second.url, policies)["token"])
        assert 401 == ask(gateway.port, "GET", TARGET, token=text).status
    finally:
        second.stop()


def test_redis_restarted_between_two_requests(
    serve: Serve, redis_executable: str, policies: Path, tmp_path: Path
) -> None:
    """A restart that no request saw costs none: connections and scripts are renewed on the way."""
    first = RedisServer(redis_executable, tmp_path)
    gateway = serve(first.url, environment=BOUND)
    assert 200 == ask(gateway.port, "GET", TARGET, token=mint(first.url, policies)["token"]).status
    first.stop()
    second = RedisServer(redis_executable, tmp_path, first.port)
    try:
        assert 200 == ask(gateway.port, "GET", TARGET, token=mint(second.url, policies)["token"]).status
    finally:
        second.stop()


def test_redis_silent_in_mid_run(serve: Serve, own_redis: RedisServer, policies: Path) -> None:
    """A stopped process costs one request the wait and none after it, and is found again when it goes on."""
    gateway = serve(own_redis.url, environment=BOUND)
    text = mint(own_redis.url, policies)["token"]
    assert 200 == ask(gateway.port, "GET", TARGET, token=text).status
    own_redis.send(signal.SIGSTOP)
    for _ in range(20):
        assert_unavailable(ask(gateway.port, "GET", TARGET, token=text))
    own_redis.send(signal.SIGCONT)
    assert_recovers(gateway, text)
    wait_until(lambda: "Redis does not answer" in gateway.text(), "the log says so")
    assert 1 == gateway.text().count("Redis does not answer")  # one wait opened the circuit; the others met it open


def test_a_stored_export_is_not_given_away_while_redis_is_silent(
    serve: Serve, own_redis: RedisServer, policies: Path
) -> None:
    """Content in the worker's memory does not answer a request that could not be authorised."""
    gateway = serve(own_redis.url, environment=BOUND)
    text = mint(own_redis.url, policies)["token"]
    export = "/api/v1/projects/website/translations/export?lang=de"
    assert [200, 200] == [ask(gateway.port, "GET", export, token=text).status for _ in range(2)]
    own_redis.send(signal.SIGSTOP)
    assert_unavailable(ask(gateway.port, "GET", export, token=text))

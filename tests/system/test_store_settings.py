"""`gateway serve` on a Redis whose settings can undo what was acknowledged."""

from pathlib import Path

import pytest
import redis

from tests.support.client import ask
from tests.support.processes import RedisServer, wait_until
from tests.system.conftest import Serve, mint


def test_serve_refuses_a_redis_that_may_evict_tokens(serve: Serve, own_redis: RedisServer) -> None:
    """The reason, the line to set and the setting for who means it; no worker has answered."""
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory-policy", "volatile-lru")
    with pytest.raises(AssertionError, match="maxmemory-policy noeviction") as refusal:
        serve(own_redis.url)
    assert "GATEWAY_ALLOW_EVICTION=true" in str(refusal.value)


def test_serve_takes_an_evicting_redis_that_is_meant(serve: Serve, own_redis: RedisServer) -> None:
    """It warns, and so does readiness."""
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory-policy", "allkeys-random")
    gateway = serve(own_redis.url, environment={"GATEWAY_ALLOW_EVICTION": "true"})
    ready = ask(gateway.port, "GET", "/-/ready")
    assert 200 == ready.status
    assert any("may evict" in warning for warning in ready.json()["warnings"])
    wait_until(lambda: "warning: Redis may evict" in gateway.text(), "the start says so")


def test_a_store_that_loses_its_data_is_503_and_not_ready(serve: Serve, own_redis: RedisServer, policies: Path) -> None:
    """FLUSHALL under a running gateway: a good token is 503 until the store is restored or meant to be empty."""
    gateway = serve(own_redis.url)
    token = mint(own_redis.url, policies)["token"]
    assert 200 == ask(gateway.port, "GET", "/api/v1/whoami", token=token).status
    with redis.Redis.from_url(own_redis.url) as client:
        client.flushall()
        assert 503 == ask(gateway.port, "GET", "/api/v1/whoami", token=token).status
        ready = ask(gateway.port, "GET", "/-/ready")
        assert 503 == ready.status
        assert "gateway redis init" in ready.json()["failures"]["data"]
        client.set("gw1:marker", "1")
    assert 401 == ask(gateway.port, "GET", "/api/v1/whoami", token=token).status
    assert 200 == ask(gateway.port, "GET", "/-/ready").status

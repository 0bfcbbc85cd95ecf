"""Stores under test: the embedded one and a real Redis, with the same guarantees."""

from collections.abc import AsyncIterator

import pytest

from gateway.adapters.redis.connection import EMBEDDED, RedisConnection
from tests.adapters.bench import Bench, open_bench
from tests.support.connections import open_connection


@pytest.fixture(params=["embedded", pytest.param("redis", marks=pytest.mark.redis)])
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store of each kind."""
    if request.param == "embedded":
        return EMBEDDED
    url: str = request.getfixturevalue("redis_url")
    return url


@pytest.fixture
async def connection(store_url: str) -> AsyncIterator[RedisConnection]:
    """A connection to an empty store of each kind."""
    async with open_connection(store_url) as connection:
        yield connection


@pytest.fixture
async def bench(store_url: str) -> AsyncIterator[Bench]:
    """An empty store of each kind, under a clock of the test's own."""
    async with open_bench(store_url) as bench:
        yield bench

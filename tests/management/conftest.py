"""Management over a real Redis, and what is in Redis afterwards."""

import itertools
import secrets
from collections.abc import AsyncIterator, Callable

import pytest
import redis

from gateway.adapters.redis.audit import RedisAudit
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.tokens import RedisClaims, RedisTokens
from gateway.management import Management
from tests.management.policies import FixedPolicies
from tests.support.connections import open_connection


def build(connection: RedisConnection) -> Management:
    tokens = RedisTokens(connection)
    return Management(
        policies=FixedPolicies(),
        tokens=tokens,
        owners=tokens.owners,
        audit=RedisAudit(connection),
        claims=RedisClaims(connection, tokens),
        random_bytes=secrets.token_bytes,
        pepper=b"pepper",
    )


@pytest.fixture
async def management(redis_url: str) -> AsyncIterator[Management]:
    """Management over an empty Redis."""
    async with open_connection(redis_url) as connection:
        yield build(connection)


@pytest.fixture
def dump(redis_url: str) -> Callable[[], str]:
    """All that Redis holds, as text."""

    def dump() -> str:
        readers = {b"string": "get", b"hash": "hgetall", b"set": "smembers", b"stream": "xrange"}
        with redis.Redis.from_url(redis_url) as client:
            found = [(key, getattr(client, readers[client.type(key)])(key)) for key in client.scan_iter(count=1000)]
        return "\n".join(map(repr, itertools.chain(found)))

    return dump

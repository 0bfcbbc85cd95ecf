"""Management over a real Redis, and what is in Redis afterwards."""

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable

import pytest
import redis

from gateway.adapters.redis_audit import RedisAudit
from gateway.adapters.redis_claims import RedisClaims
from gateway.adapters.redis_connection import RedisConnection, open_client
from gateway.adapters.redis_tokens import RedisTokens
from gateway.management import Management
from tests.management.policies import FixedPolicies

Work = Callable[[Management], Awaitable[None]]


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
def run(redis_url: str) -> Callable[[Work], None]:
    """Runs work on a management over an empty Redis."""

    def run(work: Work) -> None:
        async def run_all() -> None:
            connection = RedisConnection(open_client(redis_url, 5), 5)
            try:
                await work(build(connection))
            finally:
                await connection.close()

        asyncio.run(run_all())

    return run


@pytest.fixture
def dump(redis_url: str) -> Callable[[], str]:
    """All that Redis holds, as text."""

    def dump() -> str:
        readers = {b"string": "get", b"hash": "hgetall", b"set": "smembers", b"stream": "xrange"}
        with redis.Redis.from_url(redis_url) as client:
            found = [(key, getattr(client, readers[client.type(key)])(key)) for key in client.scan_iter(count=1000)]
        return "\n".join(map(repr, itertools.chain(found)))

    return dump

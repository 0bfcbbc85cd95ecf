"""Composition of Management on a Redis, which app.py, admin_app.py and the command line share."""

import secrets

from gateway.adapters.ports import PolicySource
from gateway.adapters.redis.audit import RedisAudit
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.tokens import RedisClaims, RedisTokens
from gateway.management.management import Management


def build_management(connection: RedisConnection, policies: PolicySource, pepper: str) -> Management:
    """Build Management of the tokens and owners in the Redis of the connection."""
    tokens = RedisTokens(connection)
    return Management(
        policies=policies,
        tokens=tokens,
        owners=tokens.owners,
        audit=RedisAudit(connection),
        claims=RedisClaims(connection, tokens),
        random_bytes=secrets.token_bytes,
        pepper=pepper.encode(),
    )

"""Management put together on a Redis: what app.py, admin.py and the command line share of their composition."""

import secrets

from gateway.adapters.protocols import PolicySource
from gateway.adapters.redis_audit import RedisAudit
from gateway.adapters.redis_claims import RedisClaims
from gateway.adapters.redis_connection import RedisConnection
from gateway.adapters.redis_tokens import RedisTokens
from gateway.management.changing import Management


def build_management(connection: RedisConnection, policies: PolicySource, pepper: str) -> Management:
    """Return what may be seen and changed of tokens and owners, in the Redis of the connection."""
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

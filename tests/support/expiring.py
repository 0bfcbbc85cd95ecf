"""The end of a token, without waiting for it."""

import msgspec

from gateway.adapters.redis.tokens import RedisTokens
from tests.conftest import run_with_tokens


def expire(redis_url: str, identity: str) -> None:
    """Make a token one that expired a second ago."""

    async def change(tokens: RedisTokens) -> None:
        record = await tokens.find(identity)
        assert record is not None
        assert await tokens.replace(record, msgspec.structs.replace(record, expires_at=await tokens.now() - 1))

    run_with_tokens(redis_url, change)

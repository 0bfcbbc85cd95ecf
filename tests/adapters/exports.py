"""An export to store, the stores to put it in, and what is in Redis of it then."""

from gateway.adapters.redis import keys
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.exports import RedisExports
from gateway.core.cache.fetch import Storing
from gateway.core.cache.invalidation import Purge, about_purge
from gateway.core.tokens.audit import Actor

NOW = 1_800_000_000_000
NAME = keys.export("project", "x", "abc")
PURGED = about_purge(Actor('"ended":[null,0]', "operator"), "small", Purge(group="a"))
STORING = Storing(
    policy="small",
    name=NAME,
    variant="v",
    raw_head=b"%013d head" % NOW,
    digest=b"digest",
    content=b"content",
    is_content_new=True,
    groups=("all", "group:a"),
    began_at=NOW,
    keep_milliseconds=60_000,
    leader=None,
)
LONG = STORING.content * 100
"""In pieces of ten bytes: seventy of them."""


def exports(connection: RedisConnection, memory_bytes: int = 1000) -> RedisExports:
    made = RedisExports(connection, memory_bytes)
    made.now = NOW
    return made


def in_pieces(connection: RedisConnection, memory_bytes: int = 0) -> RedisExports:
    made = RedisExports(connection, memory_bytes, piece_bytes=10)
    made.now = NOW
    return made


async def stored_heads(connection: RedisConnection, name: str = NAME) -> set[bytes]:
    heads: list[bytes] = await connection.client.hvals(name)  # type: ignore[assignment]  # the client leaves bytes as they are
    return set(heads)

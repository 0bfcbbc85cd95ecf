"""Sessions of the developer page, by the digest of their ids."""

import msgspec

from gateway.adapters.redis import keys
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.scripts import RedisWrites
from gateway.core.pages.sessions import Session

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Session)


class RedisSessions:
    """The implementation of Sessions in pages/sessions.py."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._writes = RedisWrites(connection)

    async def find(self, digest: str) -> Session | None:
        """Return the session, or None if it does not exist or has expired."""
        raw = await self._connection.run(lambda client: client.get(keys.session(digest)))
        return _decoder.decode(raw) if raw else None

    async def keep(self, digest: str, session: Session, seconds: int) -> None:
        """Write the session, which expires after so many seconds."""
        await self._writes.run(("SET", keys.session(digest), _encode(session), "EX", seconds))

    async def renew(self, digest: str, session: Session, seconds: int) -> None:
        """Write the session only if it still exists: a request under way must not undo a sign-out."""
        await self._writes.run(("SET", keys.session(digest), _encode(session), "EX", seconds, "XX"))

    async def claim(self, digest: str, key: str, seconds: int) -> bool:
        """Return whether the key is new in the session."""
        name = keys.session(digest, f"form:{key}")
        (is_new,) = await self._writes.run(("SET", name, "", "EX", seconds, "NX"))
        return bool(is_new)

    async def end(self, digest: str) -> None:
        """Delete the session."""
        await self._connection.run(lambda client: client.delete(keys.session(digest)))


def _encode(session: Session) -> str:
    return _encoder.encode(session).decode()

"""Sessions of the developer page, by the digest of their ids."""

import msgspec

from gateway.adapters import names
from gateway.adapters.redis_connection import RedisConnection
from gateway.core.pages.sessions import Session

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Session)


class RedisSessions:
    """See web/pages/visitors.py, Sessions."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    async def find(self, digest: str) -> Session | None:
        """The session; None where there is none, or no longer."""
        raw = await self._connection.run(lambda client: client.get(names.session(digest)))
        return _decoder.decode(raw) if raw else None

    async def keep(self, digest: str, session: Session, seconds: int) -> None:
        """Writes the session, to be forgotten after so many seconds."""
        raw = _encoder.encode(session)
        await self._connection.run(lambda client: client.set(names.session(digest), raw, ex=seconds))

    async def renew(self, digest: str, session: Session, seconds: int) -> None:
        """The same where it is still there: a request under way brings nobody back who has signed out meanwhile."""
        raw = _encoder.encode(session)
        await self._connection.run(lambda client: client.set(names.session(digest), raw, ex=seconds, xx=True))

    async def claim(self, digest: str, key: str, seconds: int) -> bool:
        """Whether the key is new in the session."""
        name = names.session(digest, f"form:{key}")
        return await self._connection.run(lambda client: client.set(name, "", ex=seconds, nx=True)) is not None

    async def end(self, digest: str) -> None:
        """Forgets the session."""
        await self._connection.run(lambda client: client.delete(names.session(digest)))

"""Ends the open streams of tokens that are revoked: a revocation is true for what is already flowing, too."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from gateway.core.errors import StoreUnavailable, StreamRevoked
from gateway.core.messages import ContentStream

POLL_SECONDS = 1.0
"""A revoked token's streams end within this and the time of one question to Redis: less than two seconds."""

Question = Callable[[Sequence[str]], Awaitable[list[bool]]]


class StreamWatch:
    """Asks once in a while, in one call, whether any token with an open stream has been revoked."""

    def __init__(self, are_revoked: Question, poll_seconds: float = POLL_SECONDS) -> None:
        self._are_revoked = are_revoked
        self._poll_seconds = poll_seconds
        self._streams: defaultdict[str, set[WatchedStream]] = defaultdict(set)
        self._watching: asyncio.Task[None] | None = None

    def watch(self, token_id: str, content: ContentStream) -> ContentStream:
        """The same content, which breaks off with StreamRevoked when the token is revoked."""
        stream = WatchedStream(content, lambda ended: self._forget(token_id, ended))
        self._streams[token_id].add(stream)
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        return stream

    def close(self) -> None:
        """Stops asking."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def _watch(self) -> None:
        while self._streams:
            await asyncio.sleep(self._poll_seconds)
            token_ids = list(self._streams)
            try:
                answers = await self._are_revoked(token_ids)
            except StoreUnavailable:
                continue  # nobody can revoke in a Redis that is away; asked again as soon as it may be back
            for token_id, is_revoked in zip(token_ids, answers, strict=True):
                if is_revoked:
                    for stream in list(self._streams[token_id]):
                        await stream.end()
        self._watching = None

    def _forget(self, token_id: str, stream: "WatchedStream") -> None:
        streams = self._streams[token_id]
        streams.discard(stream)
        if not streams:
            del self._streams[token_id]


class WatchedStream:
    """Content that can be ended from outside. It then never looks whole: its reader gets StreamRevoked."""

    def __init__(self, content: ContentStream, forget: "Callable[[WatchedStream], None]") -> None:
        self._content = content
        self._pieces = aiter(content)
        self._forget = forget
        self._is_revoked = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await anext(self._pieces)
        except Exception:
            self._forget(self)
            self._raise_revoked()
            raise
        self._raise_revoked()
        return piece

    async def end(self) -> None:
        """Gives the content up because the token was revoked."""
        self._is_revoked = True
        await self.aclose()

    async def aclose(self) -> None:
        """Gives the content up."""
        self._forget(self)
        await self._content.aclose()

    def _raise_revoked(self) -> None:
        if self._is_revoked:
            raise StreamRevoked("the token was revoked while its answer was under way") from None

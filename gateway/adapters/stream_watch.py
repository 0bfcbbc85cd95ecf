"""Ends the open streams of tokens that are revoked: a revocation is true for what is already flowing, too.

Nothing that fails keeps the watch from going on: neither a question, nor the end of one of the streams.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from gateway.core.errors import StoreUnavailable, StreamRevoked
from gateway.core.messages import ContentStream

POLL_SECONDS = 1.0
"""A revoked token's streams end within this and the time of one question to Redis: less than two seconds."""

Question = Callable[[Sequence[str]], Awaitable[list[bool]]]
End = Callable[[], Awaitable[None]]

logger = logging.getLogger(__name__)


class StreamWatch:
    """Asks once in a while, in one call, whether any token with an open stream has been revoked."""

    def __init__(self, are_revoked: Question, poll_seconds: float = POLL_SECONDS) -> None:
        self._are_revoked = are_revoked
        self._poll_seconds = poll_seconds
        self._ends: dict[str, set[End]] = {}
        """What ends the open streams of a token, by its id."""
        self._watching: asyncio.Task[None] | None = None

    def watch(self, token_ids: Sequence[str], content: ContentStream) -> ContentStream:
        """The same content, which breaks off with StreamRevoked when one of the tokens is revoked."""
        stream = WatchedStream(content, lambda ended: self._forget(token_ids, ended.end))
        self._remember(token_ids, stream.end)
        return stream

    @contextmanager
    def until_revoked(self, token_ids: Sequence[str], end: End) -> Iterator[None]:
        """Calls `end` when one of the tokens is revoked while the `with` block runs."""
        self._remember(token_ids, end)
        try:
            yield
        finally:
            self._forget(token_ids, end)

    def close(self) -> None:
        """Stops asking."""
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    async def _watch(self) -> None:
        while self._ends:
            await asyncio.sleep(self._poll_seconds)
            for token_id in await self._find_revoked():
                for end in self._ends.pop(token_id, ()):
                    try:
                        await end()
                    except Exception:
                        logger.exception("a stream of the revoked token %s could not be ended", token_id)
        self._watching = None

    async def _find_revoked(self) -> list[str]:
        token_ids = list(self._ends)
        try:
            answers = await self._are_revoked(token_ids)
            return [token_id for token_id, is_revoked in zip(token_ids, answers, strict=True) if is_revoked]
        except StoreUnavailable:
            return []  # nobody can revoke in a Redis that is away; asked again as soon as it may be back
        except Exception:
            logger.exception("it could not be asked which tokens of %d with open streams are revoked", len(token_ids))
            return []

    def _remember(self, token_ids: Sequence[str], end: End) -> None:
        for token_id in token_ids:
            self._ends.setdefault(token_id, set()).add(end)
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    def _forget(self, token_ids: Sequence[str], end: End) -> None:
        for token_id in token_ids:
            ends = self._ends.get(token_id, set())
            ends.discard(end)
            if not ends:
                self._ends.pop(token_id, None)


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

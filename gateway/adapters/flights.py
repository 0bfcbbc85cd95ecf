"""Requests in flight: from their admission until their content is at hand or their stream has ended."""

from collections.abc import Callable
from types import TracebackType

import msgspec

from gateway.core.messages import ContentStream, Response


class Uncounted:
    """The flight of a request that nobody counts."""

    def __enter__(self) -> "Uncounted":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None

    def until_sent(self, response: Response) -> Response:
        """The response as it is."""
        return response


UNCOUNTED = Uncounted()


class Counted:
    """The flight of one request, which ends once."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._is_handed_on = False

    def __enter__(self) -> "Counted":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._is_handed_on:
            self._release()

    def until_sent(self, response: Response) -> Response:
        """The response, whose stream ends the flight; whole content does not need the backend any more."""
        if isinstance(response.content, bytes):
            return response
        self._is_handed_on = True
        return msgspec.structs.replace(response, content=CountedStream(response.content, self._release))


class CountedStream:
    """Content whose end, or whoever gives it up, ends the flight; ending it twice does no harm."""

    def __init__(self, content: ContentStream, release: Callable[[], None]) -> None:
        self._content = content
        self._pieces = aiter(content)
        self._release = release

    def __aiter__(self) -> "CountedStream":
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._pieces)
        except BaseException:
            self._release()
            raise

    async def aclose(self) -> None:
        """Gives the content up."""
        self._release()
        await self._content.aclose()

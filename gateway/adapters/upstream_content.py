"""The content of a backend's response, for whoever passes it on."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Protocol, Self


class Source(Protocol):
    """The connection that the content comes from."""

    def read(self) -> Awaitable[tuple[bytes, bool]]:
        """More of it, and whether that is the rest."""
        ...

    def abandon(self) -> Awaitable[None]:
        """Gives up the rest and closes."""
        ...

    def close(self) -> None:
        """Closes at once."""
        ...


class ResponseContent:
    """The content of a response as it arrives. Who does not read it to its end calls `aclose`, which closes the
    connection; dropping it does the same.
    """

    def __init__(self, connection: Source) -> None:
        self._connection: Source | None = connection
        self._loop = asyncio.get_running_loop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._connection is None:
            raise StopAsyncIteration
        try:
            piece, is_last = await self._connection.read()
        except BaseException:
            self._connection = None
            raise
        if is_last:
            self._connection = None  # it may be carrying another request by now
            if not piece:
                raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Gives up what has not been read."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.abandon()

    def __del__(self) -> None:
        if self._connection is not None:
            with suppress(RuntimeError):  # the loop is gone, and the connection with it
                self._loop.call_soon_threadsafe(self._connection.close)

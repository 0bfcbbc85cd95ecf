"""Work that goes on when the client that it was begun for leaves: others wait for what comes of it."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from gateway.adapters.content import give_up
from gateway.core.errors import GatewayError
from gateway.core.messages import Response

Answer = TypeVar("Answer")


class SharedWork:
    """Answers that are being made, each in a task of its own."""

    def __init__(self) -> None:
        self._working: set[asyncio.Task[Any]] = set()

    async def do(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """What comes of the work, also where that is an error; it goes on if the caller is cancelled."""
        task = asyncio.create_task(work)
        self._keep(task)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._keep(asyncio.create_task(_drop(task)))
            raise

    async def close(self) -> None:
        """Ends what is under way."""
        for task in self._working:
            task.cancel()
        if self._working:
            await asyncio.wait(self._working)

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._working.add(task)
        task.add_done_callback(self._working.discard)


async def _drop(task: asyncio.Task[Any]) -> None:
    """Gives up the content of an answer that nobody takes."""
    with suppress(GatewayError):
        answer = await task
        if isinstance(answer, Response):
            await give_up(answer.content)

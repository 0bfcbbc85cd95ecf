"""Clients that leave while they wait: their request is cancelled, and with it the backend's work.

Most answers are there within milliseconds, so nobody is watched from the start: twice a second those who still wait
are. A request costs one entry in a dict for it, not a task.
"""

import asyncio
from typing import Any, Protocol, cast

from litestar.types import Receive

from gateway.adapters.clock import Clock

POLL_SECONDS = 0.5
"""A client that leaves before it has waited so long is noticed by then."""


class Content(Protocol):
    """What the client still sends. Nobody else may ask for messages while it is read."""

    @property
    def is_complete(self) -> bool:
        """Whether the client has sent all."""
        ...


class Departures:
    """The requests under way, by their tasks. `clock` says when to look; without it, the event loop does."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self._waiting: dict[asyncio.Task[Any], tuple[Receive, Content | None]] = {}
        self._watching: dict[asyncio.Task[Any], asyncio.Task[None]] = {}
        self._left: set[asyncio.Task[Any]] = set()
        self._is_polling = False

    def enter(self, receive: Receive, content: Content | None) -> asyncio.Task[Any]:
        """Counts the running task as waiting: it is cancelled when its client leaves. Gives it back, for `leave`."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._waiting[task] = (receive, content)
        if not self._is_polling:
            self._is_polling = True
            self._wait()
        return task

    def leave(self, task: asyncio.Task[Any]) -> bool:
        """Forgets a request; whether its client has left, and a cancellation means nothing else."""
        del self._waiting[task]
        watching = self._watching.pop(task, None)
        if watching is None:
            return False
        watching.cancel()
        if task not in self._left:
            return False
        self._left.discard(task)
        return task.uncancel() == 0

    def _wait(self) -> None:
        clock = self._clock or asyncio.get_running_loop()
        clock.call_at(clock.time() + POLL_SECONDS, self._poll)

    def _poll(self) -> None:
        for task, (receive, content) in self._waiting.items():
            # Who reads content is told of a departure, and would lose what is taken from it here.
            if task not in self._watching and (content is None or content.is_complete):
                self._watching[task] = asyncio.create_task(self._watch(task, receive))
        self._is_polling = bool(self._waiting)
        if self._is_polling:
            self._wait()

    async def _watch(self, task: asyncio.Task[Any], receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._left.add(task)
        task.cancel()

"""Clients that leave while they wait: their request is cancelled, and with it the backend's work.

Most answers are there within milliseconds, so nobody is watched from the start: twice a second those who still wait
are. A request costs one entry in a set for it, not a task.
"""

import asyncio
from types import TracebackType
from typing import Protocol

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
    """The requests under way. `clock` says when to look; without it, the event loop does."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self._requests: set[Presence] = set()
        self._is_polling = False

    def watch(self, receive: Receive, content: Content | None) -> "Presence":
        """A context that cancels the task in it when its client leaves; `has_left` says so afterwards."""
        return Presence(self, receive, content)

    def enter(self, presence: "Presence") -> None:
        """Counts a request as waiting."""
        self._requests.add(presence)
        if not self._is_polling:
            self._is_polling = True
            self._wait()

    def leave(self, presence: "Presence") -> None:
        """Forgets a request."""
        self._requests.discard(presence)

    def _wait(self) -> None:
        clock = self._clock or asyncio.get_running_loop()
        clock.call_at(clock.time() + POLL_SECONDS, self._poll)

    def _poll(self) -> None:
        for presence in self._requests:
            presence.look()
        self._is_polling = bool(self._requests)
        if self._is_polling:
            self._wait()


class Presence:
    """One request's client. Leaving the context swallows the cancellation that it caused itself, and no other."""

    __slots__ = ("_content", "_departures", "_looking", "_receive", "_task", "has_left")

    def __init__(self, departures: Departures, receive: Receive, content: Content | None) -> None:
        self.has_left = False
        self._departures = departures
        self._receive = receive
        self._content = content
        self._task = asyncio.current_task()
        self._looking: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Begins to wait for the client's departure, unless its content is still being read: that notices by itself."""
        if self._looking is None and (self._content is None or self._content.is_complete):
            self._looking = asyncio.create_task(self._look())

    def __enter__(self) -> "Presence":
        self._departures.enter(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        self._departures.leave(self)
        if self._looking is not None:
            self._looking.cancel()
        if not self.has_left or self._task is None:
            return False
        is_ours = self._task.uncancel() == 0
        return is_ours and kind is asyncio.CancelledError

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.has_left = True
        if self._task is not None:
            self._task.cancel()

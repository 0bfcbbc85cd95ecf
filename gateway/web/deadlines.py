"""When the other end of a connection has to have done something. All connections are looked through once a second:
a timer for each request would cost more than all else that the server does with it.
"""

import asyncio
from functools import partial
from math import inf
from typing import Protocol

from gateway.adapters.clock import Clock

LOOK_SECONDS = 1.0
"""How much later than its deadline a connection may be noticed."""
NEVER = inf


class Expiring(Protocol):
    """A connection with a deadline."""

    deadline: float
    """By the clock of Deadlines; NEVER while nothing is expected."""

    def expire(self, now: float) -> None:
        """The deadline has passed."""
        ...


class Deadlines:
    """The open connections. `clock` says when to look; without it, the event loop does."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self._connections: set[Expiring] = set()
        self._is_looking = False

    def add(self, connection: Expiring) -> Clock:
        """Looks at the connection's deadline from now on, which is by the clock that comes back."""
        self._connections.add(connection)
        self._clock = self._clock or asyncio.get_running_loop()
        if not self._is_looking:
            self._is_looking = True
            self._wait(self._clock)
        return self._clock

    def discard(self, connection: Expiring) -> None:
        """The connection is gone."""
        self._connections.discard(connection)

    def _wait(self, clock: Clock) -> None:
        clock.call_at(clock.time() + LOOK_SECONDS, partial(self._look, clock))

    def _look(self, clock: Clock) -> None:
        now = clock.time()
        for connection in [one for one in self._connections if one.deadline <= now]:
            connection.expire(now)
        self._is_looking = bool(self._connections)
        if self._is_looking:
            self._wait(clock)

"""SIGHUP: it asks this process to reload its policies and to reopen its logs. It never ends the process.

Rule 1: none is lost. One that comes before there is a handler is handled as soon as there is one.
Rule 2: a starting process does not die of one. It inherits that they are blocked, and takes them when it can.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial


class Hangups:
    """The hangups of one process. Before `take` is called, they are ignored here: the plugin never calls it."""

    def __init__(self) -> None:
        self._acts: list[Callable[[], object]] = []
        self._has_come = False

    def take(self) -> None:
        """Handle SIGHUP from now on; call this in the main thread."""
        signal.signal(signal.SIGHUP, self._note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    @contextmanager
    def at_each(self, act: Callable[[], object]) -> Iterator[None]:
        """Call `act` at each hangup in the `with` block. It runs in a signal handler, so it must not wait."""
        self._acts.append(act)
        if self._has_come:
            act()
        try:
            yield
        finally:
            self._acts.remove(act)

    async def follow(self, act: Callable[[], Awaitable[object]]) -> None:
        """Await `act` at each hangup, until it is cancelled; once for those that come meanwhile."""
        has_come = asyncio.Event()
        with self.at_each(partial(asyncio.get_running_loop().call_soon_threadsafe, has_come.set)):
            while await has_come.wait():
                has_come.clear()
                await act()

    def _note(self, *_: object) -> None:
        self._has_come = True
        for act in tuple(self._acts):
            act()


HANGUPS = Hangups()
"""The hangups of this process."""


@contextmanager
def held_back() -> Iterator[None]:
    """Block SIGHUP in this thread, and in processes started in the `with` block until they take it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

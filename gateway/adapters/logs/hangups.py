"""SIGHUP: what asks this process to read its policies again and to open its logs anew. It ends nothing.

Rule 1: none is lost. One that comes before anybody does something at it is made up for as soon as somebody does.
Rule 2: a process that is about to start does not die of one. It inherits that they wait, and takes them when it can.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial


class Hangups:
    """Those of one process. Until `take` is called, a process has nothing to do with them: the plugin's never has."""

    def __init__(self) -> None:
        self._acts: list[Callable[[], object]] = []
        self._has_come = False

    def take(self) -> None:
        """Survives SIGHUP from now on; for the main thread."""
        signal.signal(signal.SIGHUP, self._note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    @contextmanager
    def at_each(self, act: Callable[[], object]) -> Iterator[None]:
        """Calls `act` at each, until the end of the `with` block: within a signal handler, so that it must not wait."""
        self._acts.append(act)
        if self._has_come:
            act()
        try:
            yield
        finally:
            self._acts.remove(act)

    async def follow(self, act: Callable[[], Awaitable[object]]) -> None:
        """Awaits `act` at each, until it is cancelled; once for those that come meanwhile."""
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
"""This process's."""


@contextmanager
def held_back() -> Iterator[None]:
    """Makes SIGHUP wait in this thread, and until they take it in processes that are started in the `with` block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

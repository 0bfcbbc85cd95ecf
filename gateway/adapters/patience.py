"""How long somebody waits for an answer from outside."""

import asyncio
from collections.abc import Callable

LAST_TURNS = 8
"""Of the event loop: the first reads what has arrived, the next ones hand it on, and a long answer takes several."""


class Patience:
    """Calls `run_out` after so long, but not before what has arrived meanwhile was read; unless it is cancelled.

    A loop that was held up by this worker's own work comes back to timers that are due and answers that wait: without
    a last look it would take the other end for silent, and refuse everybody for the fault of one.
    """

    def __init__(self, seconds: float, run_out: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._run_out = run_out
        self._next_look: asyncio.Handle = self._loop.call_later(seconds, self._look, LAST_TURNS)

    def cancel(self) -> None:
        """The answer is there."""
        self._next_look.cancel()

    def _look(self, turns: int) -> None:  # turns, not a time: in that the worker might be held up again
        if turns:
            self._next_look = self._loop.call_soon(self._look, turns - 1)
        else:
            self._run_out()

"""The clock that time-outs are measured by: a parameter, so that a test can let time pass."""

from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """What time it is, in seconds, and who is called when: the event loop, or what a test has in its place."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> "Timer": ...


class Timer(Protocol):
    """A call to come."""

    def cancel(self) -> None: ...

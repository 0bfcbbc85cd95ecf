"""Put the records of logs in the order in which their requests were decided: a record is written when its answer ends.

Of requests decided in the same millisecond, those that passed come first: whatever their true order was, those that
were refused found no room after them, because nothing was given back meanwhile.
"""

from collections.abc import Iterable, Iterator
from heapq import merge

from gateway.core.http.reasons import Reason
from gateway.core.simulation.requests import LoggedRequest

AT_ONCE = 50_000
"""Records among which the order is found: what ended later than that many others comes late."""


class Ordering:
    """Yields requests in the order of their decisions, and counts those that come too late for it."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self.late = 0

    def sort(self, logs: list[Iterable[LoggedRequest]]) -> Iterator[LoggedRequest]:
        """Yield the requests of all logs. A late one is decided when the one before it was."""
        held, last = list[LoggedRequest](), 0
        for request in logs[0] if len(logs) == 1 else merge(*logs, key=_ended_at):
            held.append(request)
            if len(held) >= 2 * self._at_once:
                held.sort(key=_order)
                yield from self._release(held[: self._at_once], last)
                last = held[self._at_once - 1].decided
                del held[: self._at_once]
        held.sort(key=_order)
        yield from self._release(held, last)

    def _release(self, requests: list[LoggedRequest], last: int) -> Iterator[LoggedRequest]:
        for request in requests:
            if request.decided < last:
                self.late += 1
                request.decided = last
            yield request


def _ended_at(request: LoggedRequest) -> float:
    return request.decided + request.duration_seconds * 1000


def _order(request: LoggedRequest) -> tuple[int, bool]:
    return request.decided, request.reason == Reason.QUOTA_EXCEEDED

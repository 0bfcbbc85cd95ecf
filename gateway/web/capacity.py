"""Requests in progress: a worker takes so many, and refuses more while that is still cheap.

What waits in a queue is answered late, after its client has given up; a refusal can be sent elsewhere, or come back.
"""

import logging

RETRY_SECONDS = 1
"""Retry-After of what is refused: a worker that is full answers all it has within about a second."""

logger = logging.getLogger(__name__)


class Capacity:
    """Counts the requests in progress of one worker, streams and WebSockets included."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._taken = 0
        self._refused = 0
        """Since it was last half empty."""

    def take(self) -> bool:
        """Room for one request, to be given back; False where there is none."""
        if self._taken >= self._maximum:
            if not self._refused:
                logger.warning("overloaded: %d requests are in progress, more are refused", self._taken)
            self._refused += 1
            return False
        self._taken += 1
        return True

    def give_back(self) -> None:
        """One request is over."""
        self._taken -= 1
        if self._refused and self._taken * 2 <= self._maximum:
            logger.warning("no longer overloaded: %d requests were refused", self._refused)
            self._refused = 0

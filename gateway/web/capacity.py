"""Requests in progress: a worker takes so many, and refuses more while that is still cheap.

What waits in a queue is answered late, after its client has given up; a refusal can be sent elsewhere, or come back.
"""

import logging

RETRY_SECONDS = 1
"""Retry-After of what is refused: a worker that is full answers all it has within about a second."""

logger = logging.getLogger(__name__)


class Capacity:
    """How many requests one worker has in progress, streams and WebSockets included."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._refused = 0
        """Since it was last half empty."""

    def has_room(self, in_progress: int) -> bool:
        """Whether a request may go on that is the last of so many."""
        if in_progress > self._maximum:
            if not self._refused:
                logger.warning("overloaded: %d requests are in progress, more are refused", self._maximum)
            self._refused += 1
            return False
        if self._refused and in_progress * 2 <= self._maximum:
            logger.warning("no longer overloaded: %d requests were refused", self._refused)
            self._refused = 0
        return True

"""Requests in progress: a worker takes so many, and refuses more while that is still cheap.

What waits in a queue is answered late, after its client has given up; a refusal can be sent elsewhere, or come back.
"""

import logging

from gateway.core.messages import Response
from gateway.core.problems import build_refusal
from gateway.core.reasons import Reason

RETRY_SECONDS = 1
"""Retry-After of what is refused: a worker that is full of short requests has answered all of them by then."""

logger = logging.getLogger(__name__)


class Capacity:
    """Counts the requests in progress of one worker, from their head to the last byte of their answer."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._in_progress = 0
        self._refused = 0
        """Since it was last half empty."""

    def begin(self) -> None:
        """One more request."""
        self._in_progress += 1

    def end(self) -> None:
        """One request is over."""
        self._in_progress -= 1
        if self._refused and self._in_progress * 2 <= self._maximum:
            logger.warning("no longer overloaded: %d requests were refused", self._refused)
            self._refused = 0

    def is_exceeded(self) -> bool:
        """Whether there is no room for the request that began last: who asks refuses it."""
        if self._in_progress <= self._maximum:
            return False
        if not self._refused:
            logger.warning("overloaded: %d requests are in progress, more are refused", self._maximum)
        self._refused += 1
        return True


def refuse_overloaded(request_id: str) -> Response:
    """The answer to a request for which there is no room."""
    return build_refusal(Reason.OVERLOADED, None, request_id, retry_after=RETRY_SECONDS)

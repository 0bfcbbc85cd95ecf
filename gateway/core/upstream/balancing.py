"""Balancing: which of several targets a request goes to, when one is ejected, and what may be sent a second time.

Rule 1: a target that cannot be reached is ejected at once, one that fails in other ways after three failures in a row;
each time for twice as long.
Rule 2: if every target is ejected, try all of them. A target without others is not ejected; a circuit breaker rests it
instead while it refuses connections, and lets one request through after each rest (Breaker).
Rule 3: nothing is sent twice that a backend may have acted upon (RFC 9110 9.2.2). Instants are seconds of any one
clock.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.errors import UpstreamBusy, UpstreamDropped, UpstreamError, UpstreamUnreachable

FAILURES = 3
"""Failures in a row after which a reachable target is ejected: one slow answer is no reason."""
FIRST_EJECTION_SECONDS = 1.0
LONGEST_EJECTION_SECONDS = 60.0
BREAK_SECONDS = 1.0
"""Seconds for which the breaker of a lone target opens after FAILURES refusals: its return is noticed that late."""
FAILED_CHECKS = 2
"""Failed checks in a row after which a target is out; the first good one brings it back."""
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


class Health(Struct, frozen=True):
    """The health of a target. Counts are of events in a row."""

    failures: int = 0
    ejections: int = 0
    ejected_until: float = 0.0
    failed_checks: int = 0


WELL = Health()


class Breaker(Struct, frozen=True):
    """The circuit breaker of a lone target. Requests are refused at once while it is open."""

    refusals: int = 0
    """Refused connections in a row."""
    open_until: float = 0.0


CLOSED = Breaker()


def may_try(breaker: Breaker, now: float) -> bool:
    """Return whether a request should go to the target."""
    return now >= breaker.open_until


def while_trying(breaker: Breaker, now: float) -> Breaker:
    """Return the breaker while a request goes to a target that has refused: others wait for its result."""
    return replace(breaker, open_until=now + BREAK_SECONDS) if breaker.refusals >= FAILURES else breaker


def after_attempt(breaker: Breaker, error: UpstreamError | None, now: float) -> Breaker:
    """Return the breaker after a request. A reached target is forgiven; a request that was not sent changes nothing."""
    if isinstance(error, UpstreamBusy):
        return breaker
    if not isinstance(error, UpstreamUnreachable):
        return CLOSED
    return while_trying(replace(breaker, refusals=breaker.refusals + 1), now)


class Candidate(Protocol):
    """A target to choose from."""

    @property
    def outstanding(self) -> int:
        """Requests whose answers have not ended, including those that wait for a connection."""
        ...

    @property
    def health(self) -> Health: ...


def choose(candidates: Sequence[Candidate], now: float, turn: int) -> int:
    """Return the index of the available candidate with the fewest outstanding requests, or of any if none is available.

    Among equals it is the first from `turn` on, which the caller counts up: an idle gateway then asks all in turn.
    """
    count = len(candidates)
    places = ((turn + offset) % count for offset in range(count))
    return min(places, key=lambda place: _rank(candidates[place], now))


def _rank(candidate: Candidate, now: float) -> tuple[bool, int]:
    return not is_available(candidate.health, now), candidate.outstanding


def is_available(health: Health, now: float) -> bool:
    """Return whether requests should go to the target."""
    return now >= health.ejected_until and not fails_checks(health)


def fails_checks(health: Health) -> bool:
    """Return whether the target is out because of its health checks."""
    return health.failed_checks >= FAILED_CHECKS


def after_failure(health: Health, error: UpstreamError, now: float) -> Health:
    """Return the health of a target that failed a request. A failure during its ejection prolongs nothing."""
    if isinstance(error, UpstreamBusy) or now < health.ejected_until:
        return health
    failures = health.failures + 1
    if not (isinstance(error, UpstreamUnreachable) or health.ejections or failures >= FAILURES):
        return replace(health, failures=failures)
    seconds = min(FIRST_EJECTION_SECONDS * 2.0**health.ejections, LONGEST_EJECTION_SECONDS)
    ejections = min(health.ejections + 1, 10)
    return replace(health, failures=failures, ejections=ejections, ejected_until=now + seconds)


def after_answer(health: Health) -> Health:
    """Return the health of a target that answered: failures are forgotten, failed checks are not."""
    return replace(WELL, failed_checks=health.failed_checks) if health.failed_checks else WELL


def after_check(health: Health, *, is_good: bool) -> Health:
    """Return the health of a target whose health check has ended."""
    return WELL if is_good else replace(health, failed_checks=min(health.failed_checks + 1, FAILED_CHECKS))


def may_repeat(error: UpstreamError, method: str, *, has_content: bool) -> bool:
    """Return whether a request that failed in this way may be sent again.

    It may if it was not sent at all, or if the connection ended before any byte of an answer and the request is
    idempotent and has no content. A silent backend has the request, so it is never sent again.
    """
    if isinstance(error, UpstreamUnreachable):
        return True
    return isinstance(error, UpstreamDropped) and method in IDEMPOTENT and not has_content

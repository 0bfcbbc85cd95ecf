"""Which of several targets a request goes to, when one is left alone, and what may be sent a second time.

Rule 1: a target that cannot be reached is left alone at once, one that fails in other ways after three failures in a
row; each time for twice as long. Rule 2: where no target is left, all are: if every target is ejected, try all of them.
A target that is alone is given a moment's rest where nobody listens, with one request after each to see (Breaker).
Rule 3: nothing is sent twice that a backend may have acted upon (RFC 9110 9.2.2).

Instants are seconds of any one clock.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.errors import UpstreamBusy, UpstreamDropped, UpstreamError, UpstreamUnreachable

FAILURES = 3
"""In a row, until a target that can be reached is ejected: one slow answer is no reason."""
FIRST_EJECTION_SECONDS = 1.0
LONGEST_EJECTION_SECONDS = 60.0
BREAK_SECONDS = 1.0
"""For which a lone target is left alone that refused FAILURES times in a row: so long is it missed when it is back."""
FAILED_CHECKS = 2
"""In a row, until a target is out; the first good one brings it back."""
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


class Health(Struct, frozen=True):
    """What is known of a target. What is counted is counted in a row."""

    failures: int = 0
    ejections: int = 0
    ejected_until: float = 0.0
    failed_checks: int = 0


WELL = Health()


class Breaker(Struct, frozen=True):
    """What is known of a lone target's connections. Requests are refused at once while it is open."""

    refusals: int = 0
    """In a row."""
    open_until: float = 0.0


CLOSED = Breaker()


def may_try(breaker: Breaker, now: float) -> bool:
    """Whether a request should go to the target."""
    return now >= breaker.open_until


def while_trying(breaker: Breaker, now: float) -> Breaker:
    """The breaker while a request goes to a target that has refused: others wait to see what becomes of it."""
    return replace(breaker, open_until=now + BREAK_SECONDS) if breaker.refusals >= FAILURES else breaker


def after_attempt(breaker: Breaker, error: UpstreamError | None, now: float) -> Breaker:
    """The breaker after a request. Who was reached is forgiven, however that ended; who was not asked is not known."""
    if isinstance(error, UpstreamBusy):
        return breaker
    if not isinstance(error, UpstreamUnreachable):
        return CLOSED
    return while_trying(replace(breaker, refusals=breaker.refusals + 1), now)


class Candidate(Protocol):
    """A target to choose from."""

    @property
    def outstanding(self) -> int:
        """Requests that it has not answered to their end, those that wait for a connection included."""
        ...

    @property
    def health(self) -> Health: ...


def choose(candidates: Sequence[Candidate], now: float, turn: int) -> int:
    """The place of the available candidate with the fewest outstanding requests; of all, where none is available.

    Among equals it is the first from `turn` on, which the caller counts up: an idle gateway then asks all in turn.
    """
    count = len(candidates)
    places = ((turn + offset) % count for offset in range(count))
    return min(places, key=lambda place: _rank(candidates[place], now))


def _rank(candidate: Candidate, now: float) -> tuple[bool, int]:
    return not is_available(candidate.health, now), candidate.outstanding


def is_available(health: Health, now: float) -> bool:
    """Whether requests should go to the target."""
    return now >= health.ejected_until and not fails_checks(health)


def fails_checks(health: Health) -> bool:
    """Whether the target is out because of its health checks."""
    return health.failed_checks >= FAILED_CHECKS


def after_failure(health: Health, error: UpstreamError, now: float) -> Health:
    """The health of a target that failed a request. What failed while it was ejected already prolongs nothing."""
    if isinstance(error, UpstreamBusy) or now < health.ejected_until:
        return health
    failures = health.failures + 1
    if not (isinstance(error, UpstreamUnreachable) or health.ejections or failures >= FAILURES):
        return replace(health, failures=failures)
    seconds = min(FIRST_EJECTION_SECONDS * 2.0**health.ejections, LONGEST_EJECTION_SECONDS)
    ejections = min(health.ejections + 1, 10)
    return replace(health, failures=failures, ejections=ejections, ejected_until=now + seconds)


def after_answer(health: Health) -> Health:
    """The health of a target that answered: it is forgiven what it failed, but not what its checks found."""
    return replace(WELL, failed_checks=health.failed_checks) if health.failed_checks else WELL


def after_check(health: Health, *, is_good: bool) -> Health:
    """The health of a target whose health check has ended."""
    return WELL if is_good else replace(health, failed_checks=min(health.failed_checks + 1, FAILED_CHECKS))


def may_repeat(error: UpstreamError, method: str, *, has_content: bool) -> bool:
    """Whether a request that failed in this way may be sent again.

    Always where it was not sent at all; where the connection ended before any byte of an answer, if it is idempotent
    and has no content. A backend that is silent has the request: never.
    """
    if isinstance(error, UpstreamUnreachable):
        return True
    return isinstance(error, UpstreamDropped) and method in IDEMPOTENT and not has_content

"""The cost of a request: its units are known only when it has been answered, so the most is reserved before.

Reserving the most and giving back the rest can refuse a request that would have fitted, but never admits one too many.
"""

import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from gateway.core.http.messages import Fields, ResponseHead, field_value

_UNITS = re.compile(rb"[0-9]{1,15}")


class Outcome(StrEnum):
    """How a request was answered, as far as costs are concerned."""

    MISS = "miss"
    """The backend was asked."""
    HIT = "hit"
    """Answered from the cache: fresh, stale, or fetched for another request at this moment."""
    NOT_MODIFIED = "not_modified"
    """A 304 from anywhere: clients pay for the answer that they see."""
    ERROR = "error"
    """The backend failed."""


class Cost(msgspec.Struct, frozen=True):
    """Units of quota that a rule's requests use. `reserved` is charged at admission: the most that it can be."""

    reserved: int
    by_outcome: Mapping[Outcome, int] | None = None
    """None if the cost is the same for all outcomes."""
    reported_by: bytes | None = None
    """The field in which the backend reports the cost of a miss, in lower case."""

    def of(self, outcome: Outcome, fields: Fields) -> int:
        """Return what a request with this outcome costs; `fields` are those of its answer."""
        if self.by_outcome is None:
            return self.reserved
        if outcome is Outcome.MISS and self.reported_by is not None:
            reported = field_value(fields, self.reported_by) or b""
            if _UNITS.fullmatch(reported):
                return min(int(reported), self.reserved)
        return self.by_outcome[outcome]


def outcome_of(head: ResponseHead, *, has_cache: bool) -> Outcome:
    """Return the outcome that an answer shows; the last Cache-Status is our own only if the rule `has_cache`."""
    if head.status >= 500:
        return Outcome.ERROR
    if head.status == 304:
        return Outcome.NOT_MODIFIED
    if has_cache:
        statuses = [value for name, value in head.fields if name == b"cache-status"]
        words = [word.strip() for word in statuses[-1].split(b";")] if statuses else []
        if b"hit" in words or b"collapsed" in words:
            return Outcome.HIT
    return Outcome.MISS

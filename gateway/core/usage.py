"""Usage: what requests count as, and what is reported about them.

Rule 1: every answered request counts once as one `UsageLabels`, and once for its token if that was authenticated.
Rule 2: every value of `UsageLabels` is one of few: no token, address or path is ever among them. Hours and days are
those of Unix time, so of UTC.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import msgspec

from gateway.core.admission.decision import Authorized, Refused
from gateway.core.http.messages import Fields, ResponseHead
from gateway.core.http.reasons import Reason

HOUR_SECONDS = 3600
DAY_HOURS = 24
DAY_SECONDS = DAY_HOURS * HOUR_SECONDS
MAXIMUM_HOURS = 31 * DAY_HOURS
"""How long hourly usage is kept: the longest month, so that a month's end can be compared with its start."""

HIT, STALE, NOT_MODIFIED, MISS, BYPASS = "hit", "stale", "not_modified", "miss", "bypass"
"""How an answer was given.

The cache gave it fresh, stale, or as a 304; or the backend did, because nothing was stored, or nothing could be used.
"""
REFUSED = "redis-refused:"
"""The prefix of events that count commands refused by Redis, followed by its error code."""
LOST = "usage-lost"
"""The event that counts requests whose usage was lost."""
RECOGNITION = "recognition:"
"""The prefix of events that count what became of requests whose bytes were seen before (pipeline/recognition.py)."""
ALERTS = "alerts:"
"""The prefix of events that count what became of alerts (adapters/outside/webhook.py)."""
RECORDS_DROPPED, LINES_DROPPED = "access-records-dropped", "log-lines-dropped"
LOGS = {RECORDS_DROPPED: "access", LINES_DROPPED: "error"}
"""The events that count what a log dropped, and the name of that log."""
_MISSED = frozenset({b"fwd=uri-miss", b"fwd=vary-miss", b"fwd=stale"})
"""Words of RFC 9211 2.2 for a request that a stored response could have answered."""

UsageKey: TypeAlias = tuple[str, str, int, bytes, str]
"""Policy, reason, status code, Cache-Status, and digest of the token; each may be empty."""

UPSTREAM_FAILURES = frozenset(
    {
        Reason.UPSTREAM_UNREACHABLE,
        Reason.UPSTREAM_BUSY,
        Reason.UPSTREAM_TIMEOUT,
        Reason.UPSTREAM_BROKEN,
        Reason.BROKEN_DOCUMENT,
    }
)


class UsageLabels(msgspec.Struct, frozen=True, order=True):
    """The counter that one request belongs to."""

    policy: str
    """Empty if none was matched."""
    reason: str
    """The reason of the refusal; empty if the request passed."""
    status: str
    """The class of the answer's status code (RFC 9110 15), such as "2xx"."""
    cache: str
    """How the cache took part, one of the words above; empty without a cache, and for a refusal or forward-auth."""


class UsagePoint(msgspec.Struct, frozen=True):
    """The requests of an hour or of a day; `time` is its beginning in Unix seconds."""

    time: int
    requests: int


class BusyToken(msgspec.Struct, frozen=True):
    """A token's id, and how many requests it made."""

    token: str
    requests: int


class PolicyUsage(msgspec.Struct, frozen=True):
    """A policy's requests: by the hour, oldest first, empty hours included; and by outcome, in total."""

    policy: str
    hours: tuple[UsagePoint, ...]
    counts: Mapping[UsageLabels, int]

    @property
    def requests(self) -> int:
        """The number of all requests."""
        return sum(self.counts.values())

    @property
    def refusals(self) -> dict[str, int]:
        """The number of refused requests, by reason, the most frequent first."""
        return self._most_frequent(lambda labels: labels.reason)

    @property
    def statuses(self) -> dict[str, int]:
        """The number of answers of each class of status codes."""
        return self._most_frequent(lambda labels: labels.status)

    @property
    def caches(self) -> dict[str, int]:
        """The number of answers that the cache gave, and that it could have given: see `UsageLabels.cache`."""
        return self._most_frequent(lambda labels: labels.cache)

    @property
    def hit_ratio(self) -> float | None:
        """The share of possible cache answers that the cache gave; None if there were none."""
        caches = self.caches
        answered = caches.get(HIT, 0) + caches.get(STALE, 0) + caches.get(NOT_MODIFIED, 0)
        possible = answered + caches.get(MISS, 0)
        return answered / possible if possible else None

    @property
    def upstream_failures(self) -> int:
        """The number of times that the backend gave no answer, a broken one, or one with a status of 5xx."""
        return sum(
            number
            for labels, number in self.counts.items()
            if labels.reason in UPSTREAM_FAILURES or (not labels.reason and labels.status == "5xx")
        )

    def _most_frequent(self, word_of: Callable[[UsageLabels], str]) -> dict[str, int]:
        found: Counter[str] = Counter()
        for labels, number in self.counts.items():
            found[word_of(labels)] += number
        return {word: number for word, number in found.most_common() if word}


class Totals(msgspec.Struct, frozen=True):
    """Totals since the beginning, of all workers of all nodes: monitoring compares two readings."""

    requests: Mapping[UsageLabels, int]
    events: Mapping[str, int]
    """Events in caches, by the words of `ExportCache.counts`."""


class StoreMemory(msgspec.Struct, frozen=True):
    """Bytes that Redis uses, and its limit; 0 for no limit."""

    used: int
    maximum: int


def build_usage_key(outcome: Authorized | Refused, head: ResponseHead) -> UsageKey:
    """Return what to count for a request; `head` is its answer's, before the fields that every answer has.

    This is on the path of every request, so it only collects: `read_usage_key` interprets it, once for all equal ones.
    """
    rule, facts, reason, cache_status = outcome.rule, outcome.facts, "", b""
    if type(outcome) is Refused:  # half the cost of isinstance
        reason = outcome.reason.value
    elif rule is not None and rule.cache is not None and head.fields:
        name, cache_status = head.fields[-1]  # its usual place
        if name != b"cache-status":
            cache_status = _find_cache_status(head.fields)
    return (
        rule.policy.name if rule is not None else "",
        reason,
        head.status,
        cache_status,
        facts.record.digest if facts is not None and facts.record is not None else "",
    )


def read_usage_key(policy: str, reason: str, status: int, cache_status: bytes) -> UsageLabels:
    """Return the counter of a request, whichever token it had."""
    return UsageLabels(policy, reason, f"{status // 100}xx", _read_cache(cache_status, status) if cache_status else "")


def _find_cache_status(fields: Fields) -> bytes:
    """Return the last Cache-Status (RFC 9211), which is our own; empty if there is none."""
    return next((value for name, value in reversed(fields) if name == b"cache-status"), b"")


def _read_cache(cache_status: bytes, status: int) -> str:
    words = cache_status.split(b"; ")
    if b"hit" in words and words[-1].startswith(b"detail="):
        return STALE
    if b"hit" in words or b"collapsed" in words:
        return NOT_MODIFIED if status == 304 else HIT
    return MISS if _MISSED.intersection(words) else BYPASS


def format_usage_labels(labels: UsageLabels) -> str:
    """Encode a counter as one text: no value has a colon."""
    return f"{labels.policy}:{labels.reason}:{labels.status}:{labels.cache}"


def parse_usage_labels(text: str) -> UsageLabels:
    """Decode the text of `format_usage_labels`."""
    return UsageLabels(*text.split(":"))


def last_hours(now: float, hours: int) -> range:
    """Return the numbers of the last `hours` hours up to that of `now`, Unix seconds, but no more than are kept."""
    last = int(now) // HOUR_SECONDS
    return range(last - min(hours, MAXIMUM_HOURS) + 1, last + 1)


def last_days(now: float, days: int) -> range:
    """Return the numbers of the last `days` days up to that of `now`, Unix seconds, but no more than are kept."""
    last = int(now) // DAY_SECONDS
    return range(last - min(days, MAXIMUM_HOURS // DAY_HOURS) + 1, last + 1)


def by_hour(hours: Iterable[int], counts: Mapping[int, int]) -> tuple[UsagePoint, ...]:
    """Return a point for each of the hours, from requests by hour number."""
    return tuple(UsagePoint(hour * HOUR_SECONDS, counts.get(hour, 0)) for hour in hours)


def by_day(days: Iterable[int], counts: Mapping[int, int]) -> tuple[UsagePoint, ...]:
    """Return a point for each of the days, from requests by hour number."""
    added = dict.fromkeys(days, 0)
    for hour, number in counts.items():
        if hour // DAY_HOURS in added:
            added[hour // DAY_HOURS] += number
    return tuple(UsagePoint(day * DAY_SECONDS, number) for day, number in added.items())

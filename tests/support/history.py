"""Histories in the manner of Jepsen: what clients asked, when, and what they were answered; and the checker of them.

A call or a change took effect at some instant between its beginning and its end, or never. A change without an answer
may also take effect later. The checker reports only what no such instant explains, so what it reports is a fault. Times
are seconds of one clock; test_history.py plants every kind of violation.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import pairwise
from math import inf
from typing import TypeAlias

import msgspec

ALLOWED, UNAUTHORIZED, BUSY, UNAVAILABLE = 200, 401, 429, 503
REFUSALS = {ALLOWED: "", 401: "401", 403: "403"}


class What(StrEnum):
    """What a change does to its subject: a token, or an owner with all its tokens."""

    CREATE = "create"
    REVOKE = "revoke"
    DISABLE = "disable"
    ENABLE = "enable"


class Outcome(StrEnum):
    """How a change ended for its client."""

    DONE = "done"
    KEPT = "kept"
    """It was acknowledged, and is on the disk of the store as far as its settings promise."""
    FAILED = "failed"
    """It was surely not made."""
    UNKNOWN = "unknown"
    """It may have been made, or may be made at any later time."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request and its status; 0 if there was no answer."""

    begun: float
    ended: float
    token: str
    status: int
    owner: str = ""
    counters: tuple[str, ...] = ()
    """What the request counts against, one unit each, if it is allowed."""
    longest: float = inf
    """Seconds within which it must have been answered."""
    what: str = ""
    """What was asked where, for people."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a token or an owner."""

    begun: float
    ended: float
    subject: str
    what: What
    outcome: Outcome


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What the management has said of a token."""

    begun: float
    ended: float
    token: str
    exists: bool
    is_revoked: bool = False
    is_active: bool = True


class Loss(msgspec.Struct, frozen=True):
    """A failure of the store: what was written since `kept_until` may be undone, as its settings say."""

    at: float
    kept_until: float
    spares_kept: bool
    """Whether changes that ended as KEPT are not undone."""


class Jump(msgspec.Struct, frozen=True):
    """The clock of the store was set forward: windows end earlier than by the clock of the history."""

    at: float


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """A request in flight at a backend."""

    begun: float
    ended: float
    counter: str


class Promise(msgspec.Struct, frozen=True):
    """What a limit promises: at most `most` units in any span shorter than `seconds`; or at any moment if that is 0."""

    most: int
    seconds: float
    at_first: int = 0
    """For windows that begin with the first request: the most in the very first one. 0 if they begin otherwise."""


Event: TypeAlias = Call | Change | Reading | Loss | Jump | Work


class History:
    """The events of one run."""

    def __init__(self, promises: dict[str, Promise]) -> None:
        self.promises = promises
        """The promise of each kind of counter: the part of its name before the colon."""
        self.events: list[Event] = []

    def add(self, event: Event) -> None:
        """Take in an event."""
        self.events.append(event)

    def of(self, kind: type[Event]) -> list[Event]:
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]


def check(history: History) -> list[str]:
    """Return each violation in a sentence."""
    return [*_check_decisions(history), *_check_limits(history), *_check_work(history), *_check_waits(history)]


class _Subject:
    """The changes of one token or owner, and what they surely are at a time."""

    def __init__(self, changes: Sequence[Change], losses: Sequence[Loss]) -> None:
        self._changes = changes
        self._losses = losses

    def is_surely_undone_never(self, change: Change, until: float) -> bool:
        """Return whether no failure until then may have undone the change."""
        return not any(
            change.ended >= loss.kept_until and change.begun <= loss.at <= until
            for loss in self._losses
            if not (loss.spares_kept and change.outcome is Outcome.KEPT)
        )

    def surely(self, what: What, begun: float, ended: float) -> bool:
        """Return whether such a change was in effect for all of the time, by its acknowledgement."""
        return any(
            change.what is what
            and change.outcome in (Outcome.DONE, Outcome.KEPT)
            and change.ended < begun
            and self.is_surely_undone_never(change, ended)
            and not self._is_maybe_reversed(change, ended)
            for change in self._changes
        )

    def maybe(self, what: What, ended: float) -> bool:
        """Return whether such a change may have been in effect by then."""
        return any(
            change.what is what and change.outcome is not Outcome.FAILED and change.begun <= ended
            for change in self._changes
        )

    def is_surely_active(self, begun: float, ended: float) -> bool:
        """Return whether nothing may have disabled it, or it was enabled since."""
        disabling = [
            one
            for one in self._changes
            if one.what is What.DISABLE and one.outcome is not Outcome.FAILED and one.begun <= ended
        ]
        return all(self._is_surely_reversed(one, begun, ended) for one in disabling)

    def _is_maybe_reversed(self, change: Change, ended: float) -> bool:
        opposite = {What.DISABLE: What.ENABLE}.get(change.what)
        return any(
            one.what is opposite
            and one.outcome is not Outcome.FAILED
            and one.begun <= ended
            and (one.ended >= change.begun or one.outcome is Outcome.UNKNOWN)
            for one in self._changes
        )

    def _is_surely_reversed(self, change: Change, begun: float, ended: float) -> bool:
        return change.outcome is not Outcome.UNKNOWN and any(
            one.what is What.ENABLE
            and one.outcome in (Outcome.DONE, Outcome.KEPT)
            and change.ended < one.begun
            and one.ended < begun
            and self.is_surely_undone_never(one, ended)
            for one in self._changes
        )


def _check_decisions(history: History) -> Iterator[str]:
    """Find what was wrongly allowed, wrongly refused as unknown, or forgotten."""
    losses = [event for event in history.events if isinstance(event, Loss)]
    by_subject: defaultdict[str, list[Change]] = defaultdict(list)
    for event in history.events:
        if isinstance(event, Change):
            by_subject[event.subject].append(event)
    subjects = {name: _Subject(changes, losses) for name, changes in by_subject.items()}
    unchanged = _Subject([], losses)
    for event in history.events:
        if isinstance(event, Call):
            owner = subjects.get(event.owner, unchanged)
            yield from _judge_call(event, subjects.get(event.token, unchanged), owner)
        elif isinstance(event, Reading):
            yield from _judge_reading(event, subjects.get(event.token, unchanged))


def _judge_call(call: Call, token: _Subject, owner: _Subject) -> Iterator[str]:
    begun, ended = call.begun, call.ended
    if call.status == ALLOWED:
        for what in (What.REVOKE, What.DISABLE):
            if token.surely(what, begun, ended):
                yield f"wrongly allowed: {_tell(call)}, after an acknowledged {what} of it"
        if owner.surely(What.DISABLE, begun, ended):
            yield f"wrongly allowed: {_tell(call)}, after an acknowledged {What.DISABLE} of its owner {call.owner}"
        if not token.maybe(What.CREATE, ended):
            yield f"wrongly allowed: {_tell(call)}, which was never created"
    if call.status == UNAUTHORIZED and _is_surely_valid(token, begun, ended):
        yield f"wrong 401: {_tell(call)}, which is valid"


def _is_surely_valid(token: _Subject, begun: float, ended: float) -> bool:
    return (
        token.surely(What.CREATE, begun, ended)
        and not token.maybe(What.REVOKE, ended)
        and token.is_surely_active(begun, ended)
    )


def _judge_reading(reading: Reading, token: _Subject) -> Iterator[str]:
    begun, ended, who = reading.begun, reading.ended, f"token {reading.token} at {reading.ended:.3f}"
    if not reading.exists and token.surely(What.CREATE, begun, ended):
        yield f"acknowledged change lost: {who} does not exist, and was created"
    if reading.exists and not reading.is_revoked and token.surely(What.REVOKE, begun, ended):
        yield f"acknowledged change lost: {who} is not revoked, and was"
    if reading.exists and reading.is_active and token.surely(What.DISABLE, begun, ended):
        yield f"acknowledged change lost: {who} is active, and was disabled"
    if reading.exists and reading.is_revoked and not token.maybe(What.REVOKE, ended):
        yield f"change out of nothing: {who} is revoked, and nobody did that"


def _check_limits(history: History) -> Iterator[str]:
    """Find spans in which a counter admitted more than its promise, whenever in its time each call was charged.

    A span with a loss of the store or a jump of its clock in it proves nothing: before and after it stand for
    themselves, so a failure may admit the promise once more.
    """
    breaks = sorted(event.at for event in history.events if isinstance(event, Loss | Jump))
    by_counter: defaultdict[str, list[Call]] = defaultdict(list)
    for event in history.events:
        if isinstance(event, Call):
            for counter in event.counters:
                by_counter[counter].append(event)
    for counter, asked in by_counter.items():
        promise = history.promises[counter.partition(":")[0]]
        asked.sort(key=lambda call: call.begun)
        calls = [call for call in asked if call.status == ALLOWED]
        until = min([asked[0].begun + promise.seconds, *breaks])  # the first window lasts at least so long
        in_first = sum(call.ended < until for call in calls)
        if promise.at_first and in_first > promise.at_first:
            yield f"limit exceeded: {counter} admitted {in_first} in its first window, and promises {promise.at_first}"
        for first in calls:
            limit = min([first.begun + promise.seconds, *(at for at in breaks if at >= first.begun)])
            inside = [call for call in calls if first.begun <= call.begun and call.ended < limit]
            if len(inside) > promise.most:
                yield (
                    f"limit exceeded: {counter} admitted {len(inside)} within {promise.seconds:g} s "
                    f"from {first.begun:.3f}, and promises {promise.most}"
                )
                break


def _check_work(history: History) -> Iterator[str]:
    """Find moments with more requests in flight than a limit allows. What began before a failure does not count."""
    breaks = sorted(event.at for event in history.events if isinstance(event, Loss | Jump))
    by_counter: defaultdict[str, list[Work]] = defaultdict(list)
    for event in history.events:
        if isinstance(event, Work):
            by_counter[event.counter].append(event)
    for counter, works in by_counter.items():
        most = history.promises[counter.partition(":")[0]].most
        for work in works:
            since = max([at for at in breaks if at <= work.begun], default=-inf)
            at_once = [one for one in works if since <= one.begun <= work.begun < one.ended]
            if len(at_once) > most:
                yield f"limit exceeded: {counter} has {len(at_once)} in flight at {work.begun:.3f}, and allows {most}"
                break


def _check_waits(history: History) -> Iterator[str]:
    for event in history.events:
        if isinstance(event, Call) and event.ended - event.begun > event.longest:
            yield f"late: {_tell(event)} took {event.ended - event.begun:.3f} s, and may take {event.longest:.3f}"


def _tell(call: Call) -> str:
    return f"{call.what} with token {call.token} from {call.begun:.3f} to {call.ended:.3f}: {call.status}"


def longest_gap(calls: Iterable[Call], is_good: Callable[[Call], bool]) -> float:
    """Return the longest time without a good answer, in seconds."""
    ends = sorted(call.ended for call in calls if is_good(call))
    return max((later - earlier for earlier, later in pairwise(ends)), default=inf)

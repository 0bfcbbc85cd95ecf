"""What operators are alerted of, found beside the requests: revocations, reloads that fail, tokens that end, leaks.

Rule 1: a request only leaves a note, in memory. Redis is asked, and an alert is built, by a task of its own.
Rule 2: of many workers that see one event, the one whose claim Redis takes sends the alert.
Rule 3: revocations are read from the history, so it does not matter by which door a token was revoked.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from gateway.adapters.ports import PolicySource
from gateway.core.admission.decision import Authorized, Refused
from gateway.core.alerts import (
    Alert,
    is_expiring,
    tell_expiring,
    tell_leak,
    tell_leaked_use,
    tell_reload,
    tell_revocations,
)
from gateway.core.errors import StoreUnavailable
from gateway.core.http.reasons import Reason
from gateway.core.tokens.audit import DONE, Action, AuditQuery
from gateway.core.tokens.records import TokenRecord
from gateway.management.management import Management

LOOK_SECONDS = 5
"""Between two looks at the history and at what requests have left."""
MAXIMUM_NOTED = 10_000
"""Tokens that are remembered, so that each is looked at once an hour."""
WATCHED = frozenset({Reason.REVOKED_TOKEN})
"""The reasons of refusals that leave a note. A token may be reported as leaked long after its first refusal."""
FORGET_SECONDS = 3600
MAXIMUM_ENTRIES = 10_000
"""Revocations of one look."""
LATE_SECONDS = 2
"""What the history is read up to is this old: entries of the current second may still come."""

logger = logging.getLogger(__name__)


class Sender(Protocol):
    """Sends alerts: adapters/outside/webhook.py."""

    def send_alert(self, alert: Alert) -> None:
        """Queue an alert; never block and never raise."""
        ...


class AlertMarks(Protocol):
    """What alerts keep in Redis. Methods raise StoreUnavailable."""

    async def claim_alert(self, identity: str) -> bool:
        """Return whether nobody else sends the alert of this id, for a day."""
        ...

    async def take_window(self, now: int, least: int) -> tuple[int, int] | None:
        """Return the seconds of the history that this process reads: from, and up to but without.

        None if less than `least` seconds have passed since the last window, or if another process takes it.
        """
        ...

    async def mark_leaked(self, identity: str) -> None:
        """Remember that the token was reported as leaked."""
        ...

    async def is_leaked(self, identity: str) -> bool:
        """Return whether the token was reported as leaked."""
        ...


class _Note(msgspec.Struct, frozen=True):
    """What a request left: a token, and the address that used it after its revocation, or nothing."""

    record: TokenRecord
    client: str


class Alerting:
    """Finds what operators are alerted of. `mistakes` are those of the policy files, `clock` gives Unix seconds."""

    def __init__(
        self,
        management: Management,
        policies: PolicySource,
        marks: AlertMarks,
        sender: Sender,
        mistakes: Callable[[], tuple[str, ...]],
        clock: Callable[[], float],
    ) -> None:
        self._management = management
        self._policies = policies
        self._marks = marks
        self._sender = sender
        self._mistakes = mistakes
        self._clock = clock
        self._notes: list[_Note] = []
        self._window: tuple[int, int] | None = None
        """The seconds of the history that this process has taken and not read yet."""
        self._noted: dict[str, float] = {}
        """The tokens that were noted, until when they are not noted again."""

    def note_outcome(self, outcome: Authorized | Refused, client: str) -> None:
        """Leave a note if a revoked token was used, or one that ends soon; never block and never raise."""
        if isinstance(outcome, Refused) and outcome.presented is not None:
            if outcome.reason in WATCHED:
                self._note(_Note(outcome.presented, client))
        elif outcome.facts is not None and outcome.facts.record is not None:
            record = outcome.facts.record
            if record.expires_at is not None and is_expiring(record, outcome.facts.now // 1000):
                self._note(_Note(record, ""))

    def _note(self, note: _Note) -> None:
        now = self._clock()
        if self._noted.get(note.record.identity, 0.0) > now:
            return
        if len(self._noted) >= MAXIMUM_NOTED:
            self._noted = {identity: until for identity, until in self._noted.items() if until > now}
        if len(self._noted) < MAXIMUM_NOTED:
            self._noted[note.record.identity] = now + FORGET_SECONDS
            self._notes.append(note)

    async def report_leak(self, record: TokenRecord, url: str, source: str, revoked: list[str] | None) -> None:
        """Raise the alert of a leak report. Raise StoreUnavailable."""
        await self._send(tell_leak(record, url, source, revoked, int(self._clock()), self._mask))

    async def watch_events(self, wait: Callable[[float], Awaitable[None]]) -> None:
        """Look every LOOK_SECONDS, until cancelled. The first look of all begins the history."""
        while True:
            try:
                await self.look()
            except StoreUnavailable as error:
                logger.warning("alerts: %s; the next look is in %d s", error, LOOK_SECONDS)
            except Exception:  # the next look may be better, and nobody else would tell
                logger.exception("alerts: internal error; the next look is in %d s", LOOK_SECONDS)
            await wait(LOOK_SECONDS)

    async def look(self) -> None:
        """Send alerts of what has happened since the last look. Raise StoreUnavailable; what is left stays then."""
        now = int(self._clock())
        if mistakes := self._mistakes():
            await self._send(tell_reload(mistakes, now, self._mask))
        while self._notes:
            note = self._notes[0]  # requests append others meanwhile
            await self._look_at(note, now)
            self._notes.remove(note)
        if self._window is None:
            store_now = await self._management.now()
            self._window = await self._marks.take_window(store_now - LATE_SECONDS, LOOK_SECONDS)
        if self._window is not None:
            since, until = self._window
            query = AuditQuery(action=Action.REVOKE, since=since, until=until)
            entries = await self._management.search_audit(query, MAXIMUM_ENTRIES)
            for alert in tell_revocations([one for one in entries if one.outcome == DONE], now, self._mask):
                await self._send(alert)
            self._window = None

    async def _look_at(self, note: _Note, now: int) -> None:
        if not note.client:
            await self._send(tell_expiring(note.record, now, self._mask))
        elif await self._marks.is_leaked(note.record.identity):
            await self._send(tell_leaked_use(note.record, note.client, now, self._mask))

    async def _send(self, alert: Alert) -> None:
        if await self._marks.claim_alert(alert.id):
            self._sender.send_alert(alert)

    def _mask(self, text: str) -> str:
        return self._policies.current.masking.mask(text)

"""End open streams that a request would no longer get, for example because the token was revoked.

Rule 1: core/admission/decision.py decides, from what an admission would find. Redis is asked once a second, for all
open streams, and at the second at which one of their tokens expires.
Rule 2: while Redis does not answer, its last answer decides, at the present time: a token that expires then has ended.
Rule 3: no failure stops the watch: neither that of a question, nor that of ending one of the streams.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial

import msgspec

from gateway.adapters.ports import Clock, Timer
from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest, Refused, decide, ends_at
from gateway.core.errors import StoreUnavailable, StreamRevoked
from gateway.core.http.messages import ContentStream
from gateway.core.http.reasons import Reason

POLL_SECONDS = 1.0
"""A stream ends within this plus the time of one question to Redis: less than two seconds after its cause."""

AT_ONCE = 200
"""Streams that are decided on at once: they delay others in this process by a millisecond."""

FindFacts = Callable[[Sequence[AdmissionRequest]], Awaitable[list[AdmissionFacts]]]
Ask = Callable[[], AdmissionRequest | Reason]
End = Callable[[Reason], None]

logger = logging.getLogger(__name__)


class StreamWatch:
    """The watch over all open streams; `clock` schedules its looks, by default the event loop does."""

    def __init__(self, find_facts: FindFacts, clock: Clock | None = None) -> None:
        self._find_facts = find_facts
        self._given_clock = clock
        self._open: set[_Open] = set()
        self._timer: Timer | None = None
        self._looks_at = math.inf
        """When the timer fires; infinite if there is none."""
        self._looking: asyncio.Task[None] | None = None

    def watch(self, facts: AdmissionFacts, ask: Ask, content: ContentStream) -> ContentStream:
        """Return the content as a watched stream; see ports.Streams."""
        return WatchedStream(content, partial(self.follow, facts, ask))

    def follow(self, facts: AdmissionFacts, ask: Ask, end: End) -> Callable[[], None]:
        """Watch an open stream until the returned function is called; see ports.Streams."""
        now = self._clock.time()
        entry = _Open(facts, now, ask, end)
        self._open.add(entry)
        if self._looking is None:
            self._look_by(min(now + POLL_SECONDS, entry.ends_at))
        return partial(self._open.discard, entry)

    def stop(self) -> None:
        """Stop looking."""
        self._stop_timer()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    @property
    def _clock(self) -> Clock:
        return self._given_clock or asyncio.get_running_loop()

    def _look_by(self, when: float) -> None:
        """Look at this time, or earlier."""
        if when < self._looks_at:
            self._stop_timer()
            self._looks_at = when
            self._timer = self._clock.call_at(when, self._begin_look)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._looks_at = None, math.inf

    def _begin_look(self) -> None:
        self._stop_timer()
        if self._open:
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        began_at = self._clock.time()
        await self._look_at([(entry, asked) for entry in self._open if (asked := _ask(entry)) is not None])
        self._looking = None
        ends = [entry.ends_at for entry in self._open if entry.ends_at > began_at]  # others were looked at just now
        if self._open:
            self._look_by(min([began_at + POLL_SECONDS, *ends]))

    async def _look_at(self, streams: "list[tuple[_Open, AdmissionRequest | Reason]]") -> None:
        found = await self._find([(entry, asked) for entry, asked in streams if isinstance(asked, AdmissionRequest)])
        now = self._clock.time()
        for number, (entry, asked) in enumerate(streams, start=1):
            try:
                self._judge(entry, asked, found.get(entry), now)
            except Exception:
                logger.exception("an open stream could not be ended, or it could not be told whether to; trying again")
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _find(self, streams: "list[tuple[_Open, AdmissionRequest]]") -> "dict[_Open, AdmissionFacts]":
        """Return what Redis knows of their tokens; empty if it does not answer."""
        entries = [entry for entry, asked in streams if asked.digest]
        try:
            facts = await self._find_facts([asked for _, asked in streams if asked.digest]) if entries else []
            return dict(zip(entries, facts, strict=True))
        except StoreUnavailable:
            pass  # logged by the connection; Redis is asked again as soon as it may be back
        except Exception:
            logger.exception("the tokens of %d open streams could not be looked up; trying again", len(entries))
        return {}

    def _judge(
        self, entry: "_Open", asked: AdmissionRequest | Reason, facts: AdmissionFacts | None, now: float
    ) -> None:
        """End the stream if another request for it would be refused."""
        if entry not in self._open:
            return  # it has ended meanwhile
        if facts is not None:
            entry.learn(facts, now)
        if isinstance(asked, AdmissionRequest):
            verdict = decide(entry.facts_at(now, asked))
            if not isinstance(verdict, Refused):
                return
            asked = verdict.reason
        entry.end(asked)
        self._open.discard(entry)


def _ask(entry: "_Open") -> AdmissionRequest | Reason | None:
    """Return what an admission would ask, or None if that cannot be determined."""
    try:
        return entry.ask()
    except Exception:
        logger.exception("it could not be told which rule an open stream is under; trying again")
        return None


class _Open:
    """An open stream, and what was last known about its token."""

    def __init__(self, facts: AdmissionFacts, now: float, ask: Ask, end: End) -> None:
        self.ask = ask
        self.end = end
        self.learn(facts, now)

    def learn(self, facts: AdmissionFacts, now: float) -> None:
        """Take in what Redis has just answered."""
        self._facts, self._known_at = facts, now
        end = ends_at(facts)
        self.ends_at = math.inf if end is None else now + (end * 1000 - facts.now) / 1000

    def facts_at(self, now: float, asked: AdmissionRequest) -> AdmissionFacts:
        """Return what is known, at this time and for this request; Redis' clock goes on while it does not answer."""
        passed = math.ceil((now - self._known_at) * 1000)
        return msgspec.structs.replace(self._facts, now=self._facts.now + passed, request=asked)


class WatchedStream:
    """Content that can be ended from outside. Its reader then gets StreamRevoked, so it never looks complete.

    The reader is the task that asks for the pieces. It may be waiting for the next one, or for a client to read the
    last: it is cancelled wherever it waits, and gets StreamRevoked instead of the cancellation.
    """

    def __init__(self, content: ContentStream, remember: Callable[[End], Callable[[], None]]) -> None:
        self._content = content
        self._pieces = aiter(content)
        self._reader: asyncio.Task[object] | None = None
        self._ended: StreamRevoked | None = None
        self._is_told = False
        """Whether the reader got StreamRevoked."""
        self._forget = remember(self._end)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._ended is not None:
            self._is_told = True
            raise self._ended
        self._reader = asyncio.current_task()
        try:
            return await anext(self._pieces)
        except asyncio.CancelledError:
            self._raise_instead()
            raise
        except BaseException:
            self._forget()
            raise

    async def aclose(self) -> None:
        """Close the content. Raise StreamRevoked if its reader was cancelled for that and has not got it yet."""
        self._forget()
        await self._content.aclose()
        if self._reader is asyncio.current_task():
            self._raise_instead()

    def _end(self, reason: Reason) -> None:
        self._ended = StreamRevoked(reason)
        if self._reader is not None:
            self._reader.cancel()

    def _raise_instead(self) -> None:
        """Raise StreamRevoked in a reader that was cancelled for it, and in no other."""
        if self._ended is None or self._is_told or self._reader is None:
            return
        self._is_told = True
        if self._reader.uncancel() == 0:
            raise self._ended from None

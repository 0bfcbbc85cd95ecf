"""Answers a request whose bytes were seen before, without reading them again (docs/development/recognition.md).

Order: find what is known of the bytes; ask Redis, as for any request; if Redis says the same as when the answer was
learnt, fill the holes of the answer, and count and record it as the long way does. If anything else is said, the long
way goes on with the same reply.

Rule: nothing here decides. What is known was learnt from the long way (exchange.py), and is compared, never believed.
"""

import hashlib
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from enum import Enum, auto
from functools import partial
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import msgspec

from gateway.adapters.admin_ports import UsageCounter
from gateway.adapters.ports import AccessLog, FailedCredentials, Passages, PolicySource, Recall, Releases
from gateway.core.admission.outcomes import end_early
from gateway.core.http.fields import build_http_date
from gateway.core.http.messages import Ended, Response
from gateway.core.http.reasons import Reason
from gateway.core.http.tracing import draw_ids
from gateway.core.policies.model import PolicySet
from gateway.core.recognition.conclusion import (
    Conclusion,
    Known,
    is_alike,
    line_values,
    near_quotas,
    read_numbers,
    size_of,
    still_holds,
    write_near,
)
from gateway.core.recognition.form import Values
from gateway.core.recognition.lesson import Answered, BegunRequest, Lesson, Question, Take, TakeAnswer
from gateway.core.recognition.passage import DATE_BYTES, MAXIMUM_MISSES, REQUEST_ID, Answer, Passage, is_date
from gateway.core.tokens.records import AccessRecord
from gateway.core.usage import RECOGNITION, build_usage_key, read_usage_key
from gateway.pipeline.learning import NotLearnt, Teacher

MAXIMUM_KNOWN_BYTES = 8 * 1024 * 1024
"""For known requests, in each of two generations: a usual one takes about 3 KB."""
MAXIMUM_UNKNOWN_BYTES = 4 * 1024 * 1024
"""The same for requests that prove nothing about their sender. Their table is their own, so garbage evicts nothing."""
MAXIMUM_SEEN = 20_000
"""Requests seen once, of which nothing but the key is remembered, in each of two generations."""
MAXIMUM_BYTES = 4096
"""Of a request: longer ones are read anew each time."""
MAXIMUM_LESSONS = 4
"""Attempts to learn a request: what depends on a document, say, is never learnt."""
REST_SIGHTS = 100
"""Sights of a request that could not be learnt, until it is tried again: its backend may answer otherwise by then."""
KEY_BYTES = 16
RECOGNISED = RECOGNITION + "recognised"

logger = logging.getLogger(__name__)


class Asking(msgspec.Struct, frozen=True, gc=False):
    """One recognised request, on its way to Redis. `received_at` is in Unix seconds."""

    known: Known
    key: bytes
    policies: PolicySet
    request_id: str
    lease: str
    received_at: float


class Recognised(msgspec.Struct, frozen=True, gc=False):
    """The answer to a recognised request, and what is to be recorded of it."""

    head: bytes
    content: bytes
    answer: Answer
    conclusion: Conclusion
    asking: Asking
    decided: int
    """When Redis was asked, by its clock in Unix milliseconds."""
    ttl: int | None
    near: bytes


class Passing(msgspec.Struct):
    """A recognised request that a backend answers, and what Redis said of it at `now`."""

    passage: Passage
    conclusion: Conclusion
    asking: Asking
    now: int
    reply: Any
    numbers: Values
    near: bytes
    values: Values
    """Of what the backend is sent."""
    begun: BegunRequest | None = None
    """Once it is sent."""


class Partial(Enum):
    """Of an answer that is known, a part is there."""

    SO_FAR = auto()


PARTIAL = Partial.SO_FAR


class Admitting(Protocol):
    """See RedisAdmissions.ask."""

    def ask(self, question: Question, lease: str, take: Take) -> None: ...


T = TypeVar("T")
Pair: TypeAlias = tuple[str, object, object]
"""The name of what is compared, then what the short way and the long way have made of it."""


def is_candidate(data: bytes) -> bool:
    """Return whether what has arrived may be one whole request without content."""
    return data.startswith(b"GET ") and data.endswith(b"\r\n\r\n") and len(data) <= MAXIMUM_BYTES


class Generations(Generic[T]):
    """A table of two generations, each of at most `maximum` in size: what is unused while others fill one is forgotten.

    An entry may exceed the maximum by itself.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._size = 0
        """The size of the young entries."""
        self._young: dict[bytes, tuple[T, int]] = {}
        self._old: dict[bytes, tuple[T, int]] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: bytes) -> T | None:
        """Return the entry, and keep it longer."""
        found = self._young.get(key)
        if found is None:
            found = self._old.pop(key, None)
            if found is None:
                return None
            self.put(key, *found)
        return found[0]

    def put(self, key: bytes, entry: T, size: int = 1) -> None:
        """Add or replace an entry."""
        if self._size >= self._maximum:
            self._old, self._young, self._size = self._young, {}, 0
        replaced = self._young.get(key)
        self._size += size - (replaced[1] if replaced is not None else 0)
        self._young[key] = (entry, size)

    def discard(self, key: bytes) -> None:
        """Forget an entry."""
        self._size -= self._young.pop(key, (None, 0))[1]
        self._old.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self._young, self._old, self._size = {}, {}, 0


class Recognition:
    """The table of known requests. `counts` takes words for metrics (core/usage.py: RECOGNITION).

    Refusals for a `watched` reason take the long way each time.
    """

    def __init__(
        self,
        policies: PolicySource,
        admissions: Admitting,
        releases: Releases,
        recall: Recall,
        passages: Passages,
        offered: tuple[bytes, ...],
        access_log: AccessLog | None,
        usage_counter: UsageCounter,
        failures: FailedCredentials | None,
        counts: Counter[str],
        clock: Callable[[], float],
        new_id: Callable[[], str],
        may_take: Callable[[int], bool],
        verifies: bool = False,
        watched: frozenset[Reason] = frozenset(),
    ) -> None:
        self.may_take = may_take
        """Whether one more request may go on beside so many that are in progress."""
        self.verifies = verifies
        """Whether each recognised request also goes the long way, and both answers are compared."""
        self.in_progress = 0
        """Requests that Redis is asked about, or a backend, at the moment."""
        self._policies = policies
        self._admissions = admissions
        self._releases = releases
        self._recall = recall
        self._passages = passages
        self._teacher = Teacher(releases, recall, offered, access_log, clock, watched)
        self._access_log = access_log
        self._usage_counter = usage_counter
        self._failures = failures
        self._counts = counts
        self._clock = clock
        self._new_id = new_id
        self._secret = secrets.token_bytes(32)
        self._served: PolicySet | None = None
        self._known = Generations[Known](MAXIMUM_KNOWN_BYTES)
        self._unknown = Generations[Known](MAXIMUM_UNKNOWN_BYTES)
        self._seen = Generations[int](MAXIMUM_SEEN)
        self._date = (0, b"")
        self._backends_date = b""
        """The last Date of a backend that is one by its form."""

    def hasher(self, peer: str, scheme: str) -> "hashlib.blake2b":
        """Return the hash for the requests of a connection, to be copied for each of them."""
        return hashlib.blake2b(f"{peer} {scheme} ".encode(), digest_size=KEY_BYTES, key=self._secret)

    def look_up(self, key: bytes) -> Known | None:
        """Return what is known of a request by the policies of the moment, None if it has to be read."""
        current = self._policies.current
        if current is not self._served:
            self._served = current
            self._known.clear()
            self._unknown.clear()
            self._seen.clear()
            return None
        known = self._known.get(key) or self._unknown.get(key)
        if known is not None and self._failures is not None and self._failures.retry_after(known.client) is not None:
            return None
        return known

    def sight(self, key: bytes) -> Lesson | None:
        """Return a lesson for a request that is seen again; most are never seen again, so the first time gives none."""
        sights = self._seen.get(key) or 0
        self._seen.put(key, sights + 1 if sights < MAXIMUM_LESSONS + REST_SIGHTS else 1)
        return Lesson(key) if 0 < sights <= MAXIMUM_LESSONS else None

    def ask(self, known: Known, key: bytes, take: Callable[[Asking, int, Any], None]) -> Asking:
        """Ask Redis about a request; `take` gets what RedisAdmissions.ask gives."""
        lease = self._releases.new_lease() if known.has_lease else ""
        request_id = known.given_id or self._new_id()
        asking = Asking(known, key, self._policies.current, request_id, lease, self._clock())
        self.in_progress += 1
        self._admissions.ask(known.question, lease, partial(take, asking))
        return asking

    def conclude(self, asking: Asking, now: int, reply: Any) -> Recognised | Passing | None:
        """Return the answer if Redis says what it said when that was learnt, else None: the long way goes on.

        If a backend answers, return what it is to be sent.
        """
        known = asking.known
        if isinstance(reply, Exception):
            self._count_left("store-unavailable")
            return None
        found = known.allowed if reply[2] == 1 else known.refused
        if found is None or not still_holds(found, now, reply):
            self._count_left("changed")
            return None
        numbers = read_numbers(found.moving, now, reply)
        if numbers is None:
            self._count_left("changed")
            return None
        near = write_near(near_quotas(found.moving, reply)) if self._access_log is not None else b""
        if isinstance(found.answer, Passage):
            return self._pass_on(found.answer, found, asking, now, reply, numbers, near)
        content = b""
        if found.content is not None:
            recalled = self._recall(*found.content)
            if recalled is None or hash(recalled) != found.content_hash:  # bytes keep their hash
                self._count_left("content")
                return None
            content = recalled
        values = (asking.request_id.encode(), self._build_date(asking.received_at), None, *numbers)
        start = found.answer.response.fill(values)
        return Recognised(start, content, found.answer, found, asking, now, numbers[1], near)

    def _pass_on(
        self,
        passage: Passage,
        found: Conclusion,
        asking: Asking,
        now: int,
        reply: Any,
        numbers: Values,
        near: bytes,
    ) -> Passing | None:
        if asking.policies is not self._policies.current:
            self._count_left("changed")  # the backend may be one of no policy any more
            return None
        trace_id, span_id = draw_ids(asking.request_id, asking.received_at)
        trace = asking.known.given_trace or trace_id
        values = (asking.request_id.encode(), trace.encode(), span_id.encode())
        return Passing(passage, found, asking, now, reply, numbers, near, values)

    def begin(self, it: Passing, take: TakeAnswer) -> bool:
        """Send a request to its backend, and return whether it is sent; `take` gets what comes: see ports.Passages."""
        it.begun = self._passages.begin(it.passage, it.values, take)
        if it.begun is None:
            self._count_left("no-connection")
            return False
        self.in_progress += 1
        self._releases.hold(it.asking.lease, it.conclusion.leased)
        return True

    def conclude_answer(self, it: Passing, data: bytes) -> Recognised | Partial | None:
        """Return the answer if `data` is a whole one of the backend whose head is known, else None.

        Return PARTIAL if it is known, and its content is not all there.
        """
        passage, asking = it.passage, it.asking
        if asking.policies is not self._policies.current:
            self._count_left("changed")
            return None
        request_id = it.values[REQUEST_ID]
        for known in passage.answers:
            head = known.head
            if head.length <= len(data) <= known.length:
                date = data[head.date_at : head.date_at + DATE_BYTES] if head.date_at >= 0 else None
                if self._is_date(date) and data.startswith(head.form.fill((request_id, date))):
                    if len(data) < known.length:
                        return PARTIAL
                    passage.misses = 0
                    values = (request_id, self._build_date(asking.received_at), date, *it.numbers)
                    start, content = known.answer.response.fill(values), data[head.length :]
                    return Recognised(start, content, known.answer, it.conclusion, asking, it.now, None, it.near)
        self._miss(it, data)
        return None

    def _miss(self, it: Passing, data: bytes) -> None:
        """Take in that an answer is not known, and forget its request if that is always so."""
        it.passage.misses += 1
        if it.passage.misses > MAXIMUM_MISSES:
            self._known.discard(it.asking.key)
            self._seen.put(it.asking.key, MAXIMUM_LESSONS + 1)
        self._count_left("backend-answer" if data else "no-answer")

    def _is_date(self, value: bytes | None) -> bool:
        if value is None or value == self._backends_date:
            return True
        if not is_date(value):
            return False
        self._backends_date = value
        return True

    def answered(self, asking: Asking, now: int, reply: Any, *, is_left: bool = False) -> Answered:
        """Return what the long way has to know of a request that Redis was asked about."""
        return Answered(
            policies=asking.policies,
            question=asking.known.question,
            lease=asking.lease,
            now=now,
            reply=reply,
            request_id=asking.request_id,
            received_at=asking.received_at,
            is_left=is_left,
        )

    def account(self, it: Recognised) -> None:
        """Count a request that is answered so, and release what counts it among those in flight."""
        found, asking = it.conclusion, it.asking
        self._counts[RECOGNISED] += 1
        if found.is_hit:
            self._counts["hit"] += 1
        self._usage_counter.count_request(it.answer.counted)
        if found.is_guess and self._failures is not None:
            self._failures.record_failure(asking.known.client)
        if found.leased:
            self._releases.release(asking.lease, found.leased)

    def record(self, it: Recognised, ended: Ended, sent_bytes: int) -> None:
        """Write the line of the access log, at the end of the answer."""
        if self._access_log is None:
            return
        if ended is Ended.COMPLETE:
            self._access_log.append_unbuilt(partial(self.build_line, it, self._clock()))
        else:
            line = self.build_line(it, self._clock())
            self._access_log.append(end_early(msgspec.json.decode(line, type=AccessRecord), ended, sent_bytes))

    def build_line(self, it: Recognised, ended_at: float) -> bytes:
        """Return the line of the access log; empty if there is none."""
        line, asking = it.answer.line, it.asking
        if line is None:
            return b""
        began = asking.received_at
        values = line_values(asking.known, asking.request_id, began, ended_at, it.decided, it.ttl, it.near)
        return line.fill(values)

    def _count_left(self, reason: str) -> None:
        self._counts[f"{RECOGNITION}left:{reason}"] += 1

    def _build_date(self, received_at: float) -> bytes:
        second = int(received_at)
        if self._date[0] != second:
            self._date = (second, build_http_date(second))
        return self._date[1]

    def learn(self, lesson: Lesson, response: Response, sent: bytes) -> None:
        """Learn how a request is answered; `sent` are the bytes of its response."""
        self._compare(lesson, sent)
        if lesson.policies is not self._served:
            return
        try:
            known, found = self._teacher.conclude(lesson, response, sent)
        except NotLearnt as error:
            self._counts[f"{RECOGNITION}not-learnt:{error.reason}"] += 1
            return
        if isinstance(found.answer, Passage) and (self._seen.get(lesson.key) or 0) > MAXIMUM_LESSONS:
            self._counts[RECOGNITION + "not-learnt:always-new"] += 1
            return
        self._counts[RECOGNITION + "learnt"] += 1
        self._seen.put(lesson.key, 1)  # whatever evicts the entry, it may be learnt again
        before = self._known.get(lesson.key) or self._unknown.get(lesson.key)
        if before is not None:
            known.allowed, known.refused = before.allowed, before.refused
        if found.charged:
            _join(found, known.allowed)
            known.allowed = found
        else:
            known.refused = found
        table = self._known if known.allowed is not None or found.is_authenticated else self._unknown
        table.put(lesson.key, known, size_of(known))

    def miss(self, lesson: Lesson) -> None:
        """Take in that an answer is not whole: it cannot be learnt, and none that can was expected."""
        self._compare(lesson, b"")

    def _compare(self, lesson: Lesson, sent: bytes) -> None:
        """Compare what the short way would have sent with what the long way has, and log where they differ."""
        expected = lesson.expected
        if expected is None:
            return
        pairs: list[Pair] = []
        answer: Recognised | None = expected
        if isinstance(expected, Passing):
            pairs += self._request_pairs(lesson, expected)
            found = self.conclude_answer(expected, lesson.received) if sent and lesson.received else None
            answer = found if isinstance(found, Recognised) else None
        if answer is not None:
            pairs += self._pairs(lesson, answer, sent)
        self._counts[RECOGNITION + "compared"] += bool(pairs)
        differences = [name for name, one, other in pairs if one != other]
        if differences:
            self._counts[RECOGNITION + "different"] += 1
            logger.error("request %s: the short way differs: %s", expected.asking.request_id, ", ".join(differences))

    def _request_pairs(self, lesson: Lesson, expected: Passing) -> Iterator[Pair]:
        """Yield the requests that a backend would have been sent, and was sent."""
        form = expected.passage.requests.get(lesson.target_kind)
        if lesson.sent and form is not None:
            yield "request", form.fill(expected.values), lesson.sent

    def _pairs(self, lesson: Lesson, expected: Recognised, sent: bytes) -> Iterator[Pair]:
        """Yield what has to be equal, with its name: of the short way, then of the long way."""
        request, outcome, policies, response = lesson.request, lesson.outcome, lesson.policies, lesson.response
        if not (request and outcome and policies and response):
            yield "way", "short", "not asked"
            return
        answered = expected.answer.counted
        yield "response", expected.head + expected.content, sent
        counted = build_usage_key(outcome, response.head)
        yield "count", read_usage_key(*answered[:4]), read_usage_key(*counted[:4])
        yield "token", answered[4], counted[4]
        if self._access_log is not None:
            ended_at = self._clock()
            line = self._teacher.build_line(lesson, ended_at)
            yield "access record", self.build_line(expected, ended_at), line


def _join(found: Conclusion, before: Conclusion | None) -> None:
    """Keep what was known of a request's backend, if all else is as it was."""
    if before is None or not isinstance(found.answer, Passage) or not isinstance(before.answer, Passage):
        return
    if found.answer.route is before.answer.route and is_alike(found, before):
        found.answer.join(before.answer)

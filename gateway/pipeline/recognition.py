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
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from gateway.adapters.admin_ports import UsageCounter
from gateway.adapters.ports import AccessLog, FailedCredentials, PolicySource, Recall, Releases
from gateway.core.admission.outcomes import end_early
from gateway.core.http.fields import build_http_date
from gateway.core.http.messages import Ended, Response
from gateway.core.policies.model import PolicySet
from gateway.core.recognition.conclusion import (
    Conclusion,
    Known,
    line_values,
    near_quotas,
    read_numbers,
    size_of,
    still_holds,
    write_near,
)
from gateway.core.recognition.lesson import Answered, Lesson, Question, Take
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
"""Attempts to learn a request: what is passed on to a backend, say, is never learnt."""
KEY_BYTES = 16

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
    conclusion: Conclusion
    asking: Asking
    ttl: int | None
    near: bytes


class Admitting(Protocol):
    """See RedisAdmissions.ask."""

    def ask(self, question: Question, lease: str, take: Take) -> None: ...


T = TypeVar("T")


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

    def clear(self) -> None:
        """Forget all."""
        self._young, self._old, self._size = {}, {}, 0


class Recognition:
    """The table of known requests. `counts` takes words for metrics (core/usage.py: RECOGNITION)."""

    def __init__(
        self,
        policies: PolicySource,
        admissions: Admitting,
        releases: Releases,
        recall: Recall,
        offered: tuple[bytes, ...],
        access_log: AccessLog | None,
        usage_counter: UsageCounter,
        failures: FailedCredentials | None,
        counts: Counter[str],
        clock: Callable[[], float],
        new_id: Callable[[], str],
        may_take: Callable[[int], bool],
        verifies: bool = False,
    ) -> None:
        self.may_take = may_take
        """Whether one more request may go on beside so many that are in progress."""
        self.verifies = verifies
        """Whether each recognised request also goes the long way, and both answers are compared."""
        self.in_progress = 0
        """Requests that Redis is asked about at the moment."""
        self._policies = policies
        self._admissions = admissions
        self._releases = releases
        self._recall = recall
        self._teacher = Teacher(releases, recall, offered, access_log, clock)
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
        if sights <= MAXIMUM_LESSONS:
            self._seen.put(key, sights + 1)
        return Lesson(key) if 0 < sights <= MAXIMUM_LESSONS else None

    def ask(self, known: Known, key: bytes, take: Callable[[Asking, int, Any], None]) -> Asking:
        """Ask Redis about a request; `take` gets what RedisAdmissions.ask gives."""
        lease = self._releases.new_lease() if known.has_lease else ""
        request_id = known.given_id or self._new_id()
        asking = Asking(known, key, self._policies.current, request_id, lease, self._clock())
        self.in_progress += 1
        self._admissions.ask(known.question, lease, partial(take, asking))
        return asking

    def conclude(self, asking: Asking, now: int, reply: Any) -> Recognised | None:
        """Return the answer if Redis says what it said when that was learnt, else None: the long way goes on."""
        known = asking.known
        if isinstance(reply, Exception):
            return self._left("store-unavailable")
        found = known.allowed if reply[2] == 1 else known.refused
        if found is None or not still_holds(found, now, reply):
            return self._left("changed")
        numbers = read_numbers(found.moving, now, reply)
        if numbers is None:
            return self._left("changed")
        content = b""
        if found.content is not None:
            recalled = self._recall(*found.content)
            if recalled is None or hash(recalled) != found.content_hash:  # bytes keep their hash
                return self._left("content")
            content = recalled
        head = found.response.fill((asking.request_id.encode(), self._build_date(asking.received_at), *numbers))
        near = write_near(near_quotas(found.moving, reply)) if found.line is not None else b""
        return Recognised(head, content, found, asking, numbers[1], near)

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
        self._counts[RECOGNITION + "recognised"] += 1
        if found.is_hit:
            self._counts["hit"] += 1
        self._usage_counter.count_request(found.counted)
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
        found, asking = it.conclusion, it.asking
        if found.line is None:
            return b""
        values = line_values(asking.known, asking.request_id, asking.received_at, ended_at, it.ttl, it.near)
        return found.line.fill(values)

    def _left(self, reason: str) -> Recognised | None:
        self._counts[f"{RECOGNITION}left:{reason}"] += 1
        return None

    def _build_date(self, received_at: float) -> bytes:
        second = int(received_at)
        if self._date[0] != second:
            self._date = (second, build_http_date(second))
        return self._date[1]

    def learn(self, lesson: Lesson, response: Response, sent: bytes) -> None:
        """Learn how a request is answered; `sent` are the bytes of its response."""
        if lesson.expected is not None:
            self._compare(lesson, lesson.expected, sent)
        if lesson.policies is not self._served:
            return
        try:
            known, found = self._teacher.conclude(lesson, response, sent)
        except NotLearnt as error:
            self._counts[f"{RECOGNITION}not-learnt:{error.reason}"] += 1
            return
        self._counts[RECOGNITION + "learnt"] += 1
        self._seen.put(lesson.key, 1)  # whatever evicts the entry, it may be learnt again
        before = self._known.get(lesson.key) or self._unknown.get(lesson.key)
        if before is not None:
            known.allowed, known.refused = before.allowed, before.refused
        if found.charged:
            known.allowed = found
        else:
            known.refused = found
        table = self._known if known.allowed is not None or found.is_authenticated else self._unknown
        table.put(lesson.key, known, size_of(known))

    def miss(self, lesson: Lesson) -> None:
        """Take in that an answer is not whole: it cannot be learnt, and none that can was expected."""
        if lesson.expected is not None:
            self._compare(lesson, lesson.expected, b"")

    def _compare(self, lesson: Lesson, expected: Recognised, sent: bytes) -> None:
        """Compare the answer of the short way with that of the long way, and log where they differ."""
        self._counts[RECOGNITION + "compared"] += 1
        differences = [name for name, one, other in self._pairs(lesson, expected, sent) if one != other]
        if differences:
            self._counts[RECOGNITION + "different"] += 1
            logger.error("request %s: the short way differs: %s", expected.asking.request_id, ", ".join(differences))

    def _pairs(self, lesson: Lesson, expected: Recognised, sent: bytes) -> Iterator[tuple[str, object, object]]:
        """Yield what has to be equal, with its name: of the short way, then of the long way."""
        request, outcome, policies, response = lesson.request, lesson.outcome, lesson.policies, lesson.response
        if not (request and outcome and policies and response):
            yield "way", "short", "not asked"
            return
        found = expected.conclusion
        yield "response", expected.head + expected.content, sent
        counted = build_usage_key(outcome, response.head)
        yield "count", read_usage_key(*found.counted[:4]), read_usage_key(*counted[:4])
        yield "token", found.counted[4], counted[4]
        if self._access_log is not None:
            ended_at = self._clock()
            line = self._teacher.build_line(lesson, ended_at)
            yield "access record", self.build_line(expected, ended_at), line

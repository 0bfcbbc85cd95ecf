"""The ports of the exchange and of the command line, and the clock that timeouts are measured by.

The clock is a parameter, so that a test can let time pass.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Protocol, TypeAlias, runtime_checkable

from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest, Authorized, Refused
from gateway.core.cache.fetch import FetchResult, FetchRole, Leader, Stored, Storing
from gateway.core.http.messages import ContentStream, Field, Inform, Response, StoredStream
from gateway.core.http.reasons import Reason
from gateway.core.policies.model import PolicySet
from gateway.core.policies.model import Upstream as UpstreamAddress
from gateway.core.quotas.model import Quota
from gateway.core.recognition.form import Values
from gateway.core.recognition.lesson import Answered, BegunRequest, Lesson, TakeAnswer
from gateway.core.recognition.passage import Passage
from gateway.core.tokens.audit import AuditEntry
from gateway.core.tokens.records import AccessRecord


class Closeable(Protocol):
    """A part with connections or tasks that end with the gateway."""

    async def close(self) -> None:
        """End them; what can wait for no other process is finished first."""
        ...


class PolicySource(Protocol):
    """The source of the current policy set."""

    @property
    def current(self) -> PolicySet:
        """The last good set."""
        ...


class Admissions(Protocol):
    """The one round trip that a request costs."""

    def admit(self, asked: AdmissionRequest, answered: Answered | None = None) -> "asyncio.Future[AdmissionFacts]":
        """Return what Redis knows of the token; its quotas are charged if all else lets it pass.

        If Redis has `answered` the same question already, the facts are those of its reply, and it is not asked again.
        It raises StoreUnavailable.
        """
        ...

    def call_when_found(
        self, facts: "asyncio.Future[AdmissionFacts]", then: Callable[[AdmissionFacts | None], None]
    ) -> None:
        """Call `then` with the result of an admission that no request awaits any more: it happens nevertheless.

        `facts` are what `admit` returned for it; `then` gets None if Redis did not answer.
        """
        ...


@runtime_checkable
class Exports(Protocol):
    """Stored exports by name. A failing store loses no request: what cannot be read is fetched from the backend.

    A digest is that of the plain content, whatever the `coding`; an empty coding means plain content.
    """

    def recall(self, name: str, digest: bytes, coding: bytes = b"") -> bytes | None:
        """Return the content with this digest if it is at hand without IO, else None."""
        ...

    async def read(self, name: str, variant: str, digest: bytes, coding: bytes = b"") -> bytes | None:
        """Return the content stored under exactly this digest, or None if it is gone or has changed."""
        ...

    async def open(self, name: str, variant: str, digest: bytes, coding: bytes = b"") -> bytes | StoredStream | None:
        """Return the content, long content as a stream that is read as it is taken; None as in `read`."""
        ...

    async def keep_encoded(self, name: str, variant: str, digest: bytes, coding: bytes, encoded: bytes) -> None:
        """Store the content with this digest in a coding too, if it is still the stored one."""
        ...

    async def write(self, it: Storing) -> Stored:
        """Store head and content at one instant, unless a purge came since the fetch began; return the outcome."""
        ...

    async def document_heads(self, name: str, policy: str, groups: Sequence[str]) -> tuple[bytes, ...]:
        """Return the heads of a document for a variant in these groups, except those from before a purge of one."""
        ...

    async def remove(self, name: str, variant: str = "") -> None:
        """Remove one variant, or all if none is named: the backend has answered differently since."""
        ...

    async def is_seen(self, policy: str, group: str) -> bool:
        """Return whether anything of the group is stored, or was purged recently. Raise StoreUnavailable."""
        ...

    async def purge(self, policy: str, groups: Sequence[str], entry: AuditEntry | None = None) -> int:
        """Purge everything in any of the groups, and what is being fetched for them; return how many.

        Raise StoreUnavailable.

        An `entry` goes to the history, if a person asked for it.
        """
        ...


class Heads(Protocol):
    """The heads in the exports' own Redis, if they have one; otherwise an admission brings them."""

    async def find(self, name: str) -> tuple[int | None, tuple[bytes, ...]]:
        """Return the time of that Redis in Unix milliseconds, and the heads of an export.

        If it is away, return None and none.
        """
        ...


class Fetches(Protocol):
    """The coordination of fetches, if several requests want the same."""

    async def begin(self, name: str, selection: str, suffices: Callable[[Sequence[bytes], int], bool]) -> FetchRole:
        """Return the caller's role in the fetch of an export for requests that select the same variant.

        Wait while another request fetches it, in this worker or elsewhere, until heads are stored that suffice at their
        time. Raise the UpstreamError that another request of this worker got. `end` must be called for a Leader.
        """
        ...

    def end(self, leader: Leader, result: FetchResult) -> None:
        """Report the result of a fetch; only the first call counts."""
        ...


class InFlight(Protocol):
    """A request that counts as in flight during the `with` block."""

    def __enter__(self) -> "InFlight": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def until_sent(self, response: Response) -> Response:
        """Return the response; if its content is a stream, the request is in flight until that ends or is closed."""
        ...


class QuotaRefunds(Protocol):
    """The refunds of requests that are over, and the count of those in flight.

    Both are written soon, off the path of requests. A failure is not reported: the units then stay charged.
    """

    def new_lease(self) -> str:
        """Return a name of its own for a request whose rule counts those in flight."""
        ...

    def refund(self, outcome: Authorized | Refused) -> None:
        """Give reserved but unused units back to each of the request's quotas."""
        ...

    def in_flight(self, facts: AdmissionFacts) -> InFlight:
        """Return an admitted request, which is counted as in flight already, until the `with` block ends."""
        ...


Recall: TypeAlias = Callable[[str, bytes, bytes], bytes | None]
"""Gives the content with this name, digest and coding, if this worker has it."""


class Releases(Protocol):
    """What counts requests in flight, for recognised requests."""

    def new_lease(self) -> str:
        """Return a new name for a request."""
        ...

    def leased(self, facts: AdmissionFacts) -> tuple[tuple[str, Quota], ...]:
        """Return the keys and the limits that count an admitted request among those in flight."""
        ...

    def hold(self, lease: str, leased: Sequence[tuple[str, Quota]]) -> None:
        """Count the request of this lease until it is released, though it takes longer than a lease."""
        ...

    def release(self, lease: str, leased: Sequence[tuple[str, Quota]]) -> None:
        """End the request of this lease: no later admission of this worker counts it."""
        ...


class Upstreams(Protocol):
    """The backends."""

    async def send(
        self,
        address: UpstreamAddress,
        method: str,
        target: str,
        fields: Sequence[Field],
        content: AsyncIterator[bytes] | None,
        inform: Inform | None = None,
        lesson: Lesson | None = None,
    ) -> Response:
        """Return the backend's answer as it arrives, field names in lower case. Raise one of the UpstreamErrors.

        `inform` is called with the interim responses before it. A `lesson` takes the bytes that were exchanged, and may
        bring a request that was sent already.
        """
        ...


class Passages(Protocol):
    """The backends, for requests whose bytes are known."""

    def begin(self, passage: Passage, values: Values, take: TakeAnswer) -> BegunRequest | None:
        """Send a request at once, if a connection is idle and nothing is to be decided, else return None.

        `take` gets the answer. It is not called after it has returned True or False, nor after `leave` or `close`.
        """
        ...


class Streams(Protocol):
    """Answers that are still being sent, and open WebSockets.

    `facts` are those that the stream was admitted with. `ask` returns what an admission would ask now, or the reason
    why none would be made.
    """

    def watch(
        self, facts: AdmissionFacts, ask: Callable[[], AdmissionRequest | Reason], content: ContentStream
    ) -> ContentStream:
        """Return the same content, which raises StreamRevoked when a request for it would be refused."""
        ...

    def follow(
        self, facts: AdmissionFacts, ask: Callable[[], AdmissionRequest | Reason], end: Callable[[Reason], None]
    ) -> Callable[[], None]:
        """Call `end` when a request for the open stream would be refused, until the returned function is called."""
        ...


class FailedCredentials(Protocol):
    """The guard against clients that keep presenting invalid credentials."""

    def retry_after(self, address: str) -> int | None:
        """Return seconds until the client may present credentials again, or None if it may now."""
        ...

    def record_failure(self, address: str) -> None:
        """Count a credential that was not valid."""
        ...


class OutcomeWatch(Protocol):
    """Watches outcomes for what operators are alerted of."""

    def note_outcome(self, outcome: "Authorized | Refused", client: str) -> None:
        """Leave a note about an outcome; never block and never raise. `client` is the address."""
        ...


class AccessLog(Protocol):
    """The destination of access records."""

    def append(self, record: AccessRecord) -> None:
        """Take one record; never block and never raise."""
        ...

    def encode(self, record: AccessRecord) -> bytes:
        """Return the line of a record, without its line break."""
        ...

    def append_unbuilt(self, build: Callable[[], bytes]) -> None:
        """Take one line that is built later, in the order of all; never blocks and never raises."""
        ...

    def append_line(self, line: bytes) -> None:
        """Take one line, as `encode` makes it; never blocks and never raises."""
        ...


class Clock(Protocol):
    """The time in seconds, and timers: the event loop, or a test's clock."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> "Timer": ...


class Timer(Protocol):
    """A scheduled call."""

    def cancel(self) -> None: ...

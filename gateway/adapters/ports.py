"""What the exchange and the command line need of the outside world.

The clock that time-outs are measured by: a parameter, so that a test can let time pass.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Protocol, runtime_checkable

from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest, Authorized, Refused
from gateway.core.cache.fetch import FetchResult, FetchRole, Leader, Stored, Storing
from gateway.core.http.messages import ContentStream, Field, Inform, Response, StoredStream
from gateway.core.http.reasons import Reason
from gateway.core.policies.model import PolicySet, Rule
from gateway.core.policies.model import Upstream as UpstreamAddress
from gateway.core.tokens.audit import AuditEntry
from gateway.core.tokens.records import AccessRecord


class PolicySource(Protocol):
    """Where the policy set of the moment comes from."""

    @property
    def current(self) -> PolicySet:
        """The last good set."""
        ...


class Admissions(Protocol):
    """The one round trip that a request costs."""

    def admit(self, asked: AdmissionRequest) -> "asyncio.Future[AdmissionFacts]":
        """What Redis knows of the token, its quotas charged if all else lets it pass; raises StoreUnavailable."""
        ...

    def tell(
        self,
        asked: AdmissionRequest,
        facts: "asyncio.Future[AdmissionFacts]",
        then: Callable[[AdmissionFacts | None], None],
    ) -> None:
        """Tells what comes of an admission that nobody awaits any more: it is made all the same.

        `facts` are what `admit` gave for it; None is told if Redis did not answer.
        """
        ...


@runtime_checkable
class Exports(Protocol):
    """Stored exports by name. A failing store loses no request: what cannot be read is asked of the backend.

    A digest is that of the content as it is, whatever the `coding`; without one the content is meant as it is.
    """

    def recall(self, name: str, digest: bytes, coding: bytes = b"") -> bytes | None:
        """The content with this digest if it is at hand without IO."""
        ...

    async def read(self, name: str, variant: str, digest: bytes, coding: bytes = b"") -> bytes | None:
        """The content stored under exactly this digest, None where it is gone or another one by now."""
        ...

    async def open(self, name: str, variant: str, digest: bytes, coding: bytes = b"") -> bytes | StoredStream | None:
        """Return the content, long content as a stream that is read as it is taken; None as in `read`."""
        ...

    async def keep_encoded(self, name: str, variant: str, digest: bytes, coding: bytes, encoded: bytes) -> None:
        """Keeps the content with this digest in a coding too, where it is still the one that is stored."""
        ...

    async def write(self, it: Storing) -> Stored:
        """Store head and content at one instant, unless a purge came since the fetch began; return the outcome."""
        ...

    async def document_heads(self, name: str, policy: str, groups: Sequence[str]) -> tuple[bytes, ...]:
        """The heads of a document for a variant in these groups, none from before a purge of one."""
        ...

    async def remove(self, name: str, variant: str = "") -> None:
        """Ends one variant, or all where none is named: the backend has answered otherwise since."""
        ...

    async def is_seen(self, policy: str, group: str) -> bool:
        """Whether anything of the group is stored, or was purged lately; raises StoreUnavailable."""
        ...

    async def purge(self, policy: str, groups: Sequence[str], entry: AuditEntry | None = None) -> int:
        """Ends all that is in any of the groups, and what is fetched for them; how many. Raises StoreUnavailable.

        An `entry` goes to the history, where it is somebody's act.
        """
        ...


class Heads(Protocol):
    """What exports' own Redis has stored, where they have one: else an admission brings it."""

    async def find(self, name: str) -> tuple[int | None, tuple[bytes, ...]]:
        """The time there in Unix milliseconds, and the heads of an export; None and none if it does not answer."""
        ...


class Fetches(Protocol):
    """Who asks the backend when many want the same."""

    async def begin(self, name: str, selection: str, suffices: Callable[[Sequence[bytes], int], bool]) -> FetchRole:
        """Return the caller's role in the fetch of an export for requests that select the same variant.

        Wait while another one fetches it, in this worker or elsewhere, until heads are stored that suffice at their
        time; raises the UpstreamError that another one of this worker got. A Leader must come to an `end`.
        """
        ...

    def end(self, leader: Leader, result: FetchResult) -> None:
        """Says what became of a fetch; only the first time counts."""
        ...


class InFlight(Protocol):
    """A request that counts as in flight while the `with` block runs."""

    def __enter__(self) -> "InFlight": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def until_sent(self, response: Response) -> Response:
        """The response; where its content is a stream, the request is in flight until that ends or is given up."""
        ...


class QuotaRefunds(Protocol):
    """What requests give back when they are over. It happens soon, off their path, and fails silently and strictly."""

    def lease_for(self, rule: Rule) -> str:
        """A name of its own for a request; empty where the rule does not count those in flight."""
        ...

    def refund(self, outcome: Authorized | Refused) -> None:
        """Gives the units that were reserved, and not used in the end, back to each of the request's quotas."""
        ...

    def in_flight(self, facts: AdmissionFacts) -> InFlight:
        """Return an admitted request, which is among those in flight already, until the `with` block ends."""
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
    ) -> Response:
        """The backend's answer as it arrives, field names in lower case; raises one of the UpstreamErrors.

        `inform` is given the interim answers that come before it.
        """
        ...


class Streams(Protocol):
    """Answers that are still flowing, and WebSockets that are open.

    `facts` are those that the stream was admitted with. `ask` says what an admission would be asked by now, or for what
    reason none would be asked at all.
    """

    def watch(
        self, facts: AdmissionFacts, ask: Callable[[], AdmissionRequest | Reason], content: ContentStream
    ) -> ContentStream:
        """The same content, which breaks off with StreamRevoked when a request for it would be refused."""
        ...

    def follow(
        self, facts: AdmissionFacts, ask: Callable[[], AdmissionRequest | Reason], end: Callable[[Reason], None]
    ) -> Callable[[], None]:
        """Calls `end` when a request for what is open would be refused; until what it returns is called."""
        ...


class FailedCredentials(Protocol):
    """Clients that keep presenting credentials which are not valid."""

    def retry_after(self, address: str) -> int | None:
        """Seconds until the client may present credentials again, None where it may now."""
        ...

    def record_failure(self, address: str) -> None:
        """Count a credential that was not valid."""
        ...


class AccessLog(Protocol):
    """Where access records go."""

    def append(self, record: AccessRecord) -> None:
        """Takes one record; never blocks and never raises."""
        ...


class Clock(Protocol):
    """What time it is, in seconds, and who is called when: the event loop, or what a test has in its place."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> "Timer": ...


class Timer(Protocol):
    """A call to come."""

    def cancel(self) -> None: ...

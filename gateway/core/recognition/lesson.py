"""What travels with a request whose bytes are, or may come to be, recognised."""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import msgspec

from gateway.core.admission.decision import AdmissionFacts, Authorized, Refused
from gateway.core.http.messages import RequestHead, Response
from gateway.core.policies.model import PolicySet

Question: TypeAlias = tuple[str, str, bytes, str, str, str]
"""What the admission script is asked of a request: the key of the token's record, what the record holds of its digest,
the rule's terms, the export's key, the project that the path names, the client's network."""
Take: TypeAlias = Callable[[int, Any], None]
"""Is given the time, in Unix milliseconds, and a reply, or an exception in the place of the reply."""
TakeAnswer: TypeAlias = Callable[[bytes], bool | None]
"""Is given what has come of a backend's answer by now, or nothing if it does not come, or too slowly. It returns True
if that is all, and nothing more is to be done with it; None if it is to be called again with more; else False."""


class Answered(msgspec.Struct, frozen=True):
    """What Redis has answered for a request already: it was charged for it, and must not be asked again."""

    policies: PolicySet
    """Those by which it was asked."""
    question: Question
    lease: str
    now: int
    reply: Any
    """An exception if Redis did not answer."""
    request_id: str
    received_at: float
    is_left: bool = False
    """Whether the client has left meanwhile: the request is counted and recorded, and not answered."""


class BegunRequest(Protocol):
    """A request that the short way has sent to a backend, and whose answer has not come."""

    def complete(self) -> None:
        """Take in that the whole answer has come: the connection is free for others."""
        ...

    def leave(self) -> None:
        """Give nobody the answer, until the full path takes the request up."""
        ...

    def close(self) -> None:
        """Close the connection, unless the full path has taken the request up: nobody waits for the answer."""
        ...


class Lesson:
    """What one request shows of how requests with the same bytes are answered. The pipeline fills it in."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        """Of the request's bytes."""
        self.is_whole = False
        """Whether these were one request, alone and complete."""
        self.request: RequestHead | None = None
        self.policies: PolicySet | None = None
        self.facts: AdmissionFacts | None = None
        self.outcome: Authorized | Refused | None = None
        self.response: Response | None = None
        """As the exchange has finished it, before a proxy that asks has it translated."""
        self.expected: Any = None
        """The answer of the short way, if both are to be compared."""
        self.is_check = False
        """Whether it is the answer to a proxy that asks, which depends on nothing but the admission."""
        self.begun: BegunRequest | None = None
        """What the short way has sent to a backend already, so that it is not sent again."""
        self.route: Any = None
        """Where a backend's answer came from, as the adapter of the backends knows it."""
        self.target_kind = b""
        """Of that backend's target: see Passage.requests."""
        self.sent = b""
        """The bytes that the backend was sent."""
        self.received = b""
        """The bytes of its answer, if all of it came at once, and others may follow it on the connection."""

    def clear_out(self) -> None:
        """Drop what was filled in: the request leads back here, and only the garbage collector would end that."""
        self.request = self.facts = self.outcome = self.response = self.expected = self.route = None
        self.sent = self.received = b""
        if self.begun is not None:
            self.begun.close()
            self.begun = None

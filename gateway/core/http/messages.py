"""Request and response heads as they travel through the gateway.

Field lines are ordered pairs of bytes with names in lower case. Repeats and their order are kept: a dict loses both.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeAlias

import msgspec

from gateway.core.http.reasons import Reason

if TYPE_CHECKING:  # which is made of messages
    from gateway.core.recognition.lesson import Answered, Lesson

Field: TypeAlias = tuple[bytes, bytes]
Fields: TypeAlias = Sequence[Field]


class ResponseHead(msgspec.Struct, frozen=True):
    """Status and field lines, from a backend or from the gateway itself."""

    status: int
    fields: list[Field]


Inform: TypeAlias = Callable[[ResponseHead], None]
"""Sends an interim response (RFC 9110 15.2) to the client; one that comes too late is dropped."""


class RequestHead(msgspec.Struct, frozen=True, kw_only=True):
    """The head of a client's request. `path` and `query` are as received, still percent-encoded.

    It is built by keyword: most fields are strings, and one could be taken for its neighbour.
    """

    method: str
    path: str
    query: str
    fields: Fields
    scheme: str
    client: str
    """The address of the client, as far as trusted proxies report it (client_address.py); LOCAL on a Unix socket."""
    forwarded_for: str
    """The addresses that it came through, the connection's other end last, for the backend's X-Forwarded-For."""
    id: str
    host: str
    """From the Host field (RFC 9110 7.2), in lower case, without port."""
    authority: str
    """The host with the port, unless that is the scheme's default: what the backend is told (core/http/fields.py)."""
    received_at: float
    """Unix seconds, read once for the whole life of the request."""
    upgrade: bytes = b""
    """The protocol that the client asks for and the server can change the connection to (RFC 9110 7.8)."""
    inform: Inform | None = None
    """Sends interim responses to the client; None if it takes none, or if the request is made for others too."""
    fault: Reason | None = None
    """Why it is refused before anything else is checked: it is malformed, or of a kind that is never passed on."""
    is_gone: Callable[[], bool] | None = None
    """Returns whether the client has left; None if that is unknown."""
    answered: "Answered | None" = None
    """The answer of Redis, if it was asked about the request already."""
    lesson: "Lesson | None" = None
    """What collects how the request is answered, if that is to be learnt."""

    @property
    def target(self) -> str:
        """The request target in origin form (RFC 9112 3.2.1)."""
        return f"{self.path}?{self.query}" if self.query else self.path


class ContentStream(Protocol):
    """Content as it arrives.

    Iteration raises `UpstreamError` if it ends early; a caller that stops sooner calls `aclose`.
    """

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def aclose(self) -> Awaitable[None]:
        """Close the stream before its end, which also ends the backend's work on it."""
        ...


class StoredStream(ContentStream, Protocol):
    """Content that is read from storage as it is taken; a slice of it is a stream, too."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice) -> "StoredStream": ...


class Ended(StrEnum):
    """How an answer ended."""

    COMPLETE = "complete"
    CLIENT_GONE = "client_gone"
    UPSTREAM_BROKEN = "upstream_broken"
    REVOKED = "revoked"
    """A request for it would be refused now: the token was revoked, or lost its permission."""
    EXPIRED = "expired"
    STOPPED = "stopped"
    """The gateway stopped, and the grace period was over."""
    INTERNAL_ERROR = "internal_error"


def end_of_refused(reason: Reason) -> Ended:
    """Return how a stream ends if a request for it would now be refused."""
    return Ended.EXPIRED if reason is Reason.EXPIRED_TOKEN else Ended.REVOKED


NoteEnd: TypeAlias = Callable[[Ended, int, str], None]
"""Is called with how an answer ended, the bytes of content that were sent, and why it did not end otherwise."""


class Response(msgspec.Struct, frozen=True):
    """A head with its content, whole or as a stream."""

    head: ResponseHead
    content: bytes | ContentStream
    note_end: NoteEnd | None = None
    """The sender calls this once, at the end; None if that is not needed."""
    upstream_error: str = ""
    """Why the backend failed, if this replaces its answer."""
    refused: Reason | None = None
    """Why the gateway itself refuses the request, if this is a refusal."""


def field_values(fields: Fields, name: bytes) -> list[bytes]:
    """Return all values of the field `name` (lower case), in order; empty if it is absent."""
    return [value for field_name, value in fields if field_name == name]


def field_value(fields: Fields, name: bytes) -> bytes | None:
    """Return the first value of the field `name` (lower case), or None."""
    for field_name, value in fields:
        if field_name == name:
            return value
    return None


def single_values(fields: Fields) -> dict[bytes, bytes]:
    """Return the values of the fields that occur once, by name. This is faster than three look-ups of one field."""
    values = dict(fields)
    if len(values) < len(fields):
        counts = Counter(name for name, _ in fields)
        return {name: value for name, value in values.items() if counts[name] == 1}
    return values


def without_fields(fields: Fields, names: frozenset[bytes]) -> list[Field]:
    """Return the field lines whose names are not among `names`."""
    return [field for field in fields if field[0] not in names]

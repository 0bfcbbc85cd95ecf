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
"""Takes an interim answer (RFC 9110 15.2) on its way to the client; one that cannot be sent any more is dropped."""


class RequestHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked for. `path` and `query` are as received, still percent-encoded.

    It is built by keyword: most fields are texts, and one would be taken for its neighbour.
    """

    method: str
    path: str
    query: str
    fields: Fields
    scheme: str
    client: str
    """The address of the client, as far as trusted proxies tell (client_address.py); empty on a Unix socket."""
    forwarded_for: str
    """The addresses it came through, the connection's other end last, for the backend's X-Forwarded-For."""
    id: str
    host: str
    """From the Host field (RFC 9110 7.2), in lower case, without port."""
    authority: str
    """The same with the port, unless that is the scheme's own: what the backend is told (core/http/fields.py)."""
    received_at: float
    """Unix seconds, read once for the whole life of the request."""
    upgrade: bytes = b""
    """The protocol that the client asks for and our server can change the connection to (RFC 9110 7.8)."""
    inform: Inform | None = None
    """The client's ear for interim answers; None where it has none, or where the request is made for others too."""
    fault: Reason | None = None
    """Why it is refused before anything else is looked at: it is no request, or none that is ever passed on."""
    is_gone: Callable[[], bool] | None = None
    """Whether the client has left; None where nobody can tell."""
    answered: "Answered | None" = None
    """What Redis has said of the request already; None: nobody has asked."""
    lesson: "Lesson | None" = None
    """What is learnt of the request's bytes; None: nothing."""

    @property
    def target(self) -> str:
        """The request target in origin form (RFC 9112 3.2.1)."""
        return f"{self.path}?{self.query}" if self.query else self.path


class ContentStream(Protocol):
    """Content as it arrives. Iteration raises `UpstreamError` when it ends early; who stops sooner calls `aclose`."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def aclose(self) -> Awaitable[None]:
        """Gives up the rest: the backend's work on it is ended."""
        ...


class StoredStream(ContentStream, Protocol):
    """Content that is read from where it is stored as it is taken; a part of it is one, too."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice) -> "StoredStream": ...


class Ended(StrEnum):
    """How an answer ended."""

    COMPLETE = "complete"
    CLIENT_GONE = "client_gone"
    UPSTREAM_BROKEN = "upstream_broken"
    REVOKED = "revoked"
    """A request for it would be refused by now: the token was revoked, or may no longer have it."""
    EXPIRED = "expired"
    STOPPED = "stopped"
    """The gateway stopped, and had no more time for it."""
    INTERNAL_ERROR = "internal_error"


def end_of_refused(reason: Reason) -> Ended:
    """Return how a stream ends that a request would no longer get."""
    return Ended.EXPIRED if reason is Reason.EXPIRED_TOKEN else Ended.REVOKED


NoteEnd: TypeAlias = Callable[[Ended, int, str], None]
"""Is told how an answer ended, how many bytes of its content were sent, and why it did not end otherwise."""


class Response(msgspec.Struct, frozen=True):
    """A head with its content, whole or as a stream."""

    head: ResponseHead
    content: bytes | ContentStream
    note_end: NoteEnd | None = None
    """Whoever sends it calls this once, at the end; None if nobody wants to know."""
    upstream_error: str = ""
    """Why the backend failed, if this stands in for its answer."""
    refused: Reason | None = None
    """Why the gateway itself refuses the request, if this says so."""


def field_values(fields: Fields, name: bytes) -> list[bytes]:
    """All values of the field `name` (lower case), in order; empty when it is absent."""
    return [value for field_name, value in fields if field_name == name]


def field_value(fields: Fields, name: bytes) -> bytes | None:
    """The first value of the field `name` (lower case), or None."""
    for field_name, value in fields:
        if field_name == name:
            return value
    return None


def single_values(fields: Fields) -> dict[bytes, bytes]:
    """The values of the fields that are there once, by name. Faster than three looks for one field."""
    values = dict(fields)
    if len(values) < len(fields):
        counts = Counter(name for name, _ in fields)
        return {name: value for name, value in values.items() if counts[name] == 1}
    return values


def without_fields(fields: Fields, names: frozenset[bytes]) -> list[Field]:
    """The field lines whose names are not among `names`."""
    return [field for field in fields if field[0] not in names]

"""A request on its way to a backend: its bytes, its content, and the times that it is given."""

from collections.abc import AsyncIterator, Sequence
from enum import Enum, auto
from math import inf

import msgspec

from gateway.core.messages import Field, field_value, without_fields
from gateway.core.policies.upstream import Upstream

_LENGTH = frozenset({b"content-length"})


class Framing(Enum):
    """How a backend finds the end of a request's content."""

    LENGTH = auto()
    """By Content-Length, or there is none."""
    CHUNKED = auto()
    TUNNEL = auto()
    """The request asks for another protocol: what follows the answer 101 has no end but the connection's."""


class OutgoingRequest(msgspec.Struct, frozen=True, gc=False):
    """A request for one target, ready to be written."""

    method: str
    head: bytes
    content: AsyncIterator[bytes] | None
    framing: Framing


class Limits(msgspec.Struct, frozen=True):
    """How long a backend may take; seconds."""

    response_seconds: float
    idle_seconds: float
    total_seconds: float
    shortest_seconds: float
    """How often it has to be looked at."""


def limits_of(upstream: Upstream) -> Limits:
    """The times that a policy gives its backend."""
    total_seconds = inf if upstream.total_timeout_seconds is None else upstream.total_timeout_seconds
    response_seconds, idle_seconds = upstream.response_timeout_seconds, upstream.idle_timeout_seconds
    return Limits(response_seconds, idle_seconds, total_seconds, min(response_seconds, idle_seconds, total_seconds))


def frame(
    fields: Sequence[Field], content: AsyncIterator[bytes] | None
) -> tuple[Sequence[Field], AsyncIterator[bytes] | None, Framing]:
    """The field lines and content of a request, in accord, and how the content is framed.

    A length that is announced and not sent would make the next request on the connection begin inside of this one. So
    what announces content goes where there is none, as for a GET whose answer is fetched for the cache.
    """
    length = field_value(fields, b"content-length")
    if content is None:
        is_plain = length is None or length == b"0"
        return fields if is_plain else without_fields(fields, _LENGTH), None, Framing.LENGTH
    if length is not None:
        return fields, _exactly(int(length), content), Framing.LENGTH
    return fields, content, Framing.CHUNKED if field_value(fields, b"upgrade") is None else Framing.TUNNEL


async def begin(content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Waits for the first of the content, and gives all of it; raises what the content raises.

    Content in chunks can turn out to be malformed with its first byte, and then no backend must have heard of it.
    """
    return _resume(await anext(content, b""), content)


async def _resume(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _exactly(length: int, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The content; raises ValueError where it is longer or shorter, which closes the connection."""
    async for piece in content:
        length -= len(piece)
        if length < 0:
            break
        yield piece
    if length:
        raise ValueError("the content of a request is not as long as it was announced")

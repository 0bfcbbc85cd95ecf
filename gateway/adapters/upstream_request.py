"""A request on its way to a backend: its bytes, its content, and the times that it is given."""

import base64
import hashlib
from collections.abc import AsyncIterator, Sequence
from enum import Enum, auto
from math import inf

import msgspec

from gateway.core.messages import Field, Inform, field_value, field_values, without_fields
from gateway.core.policies.upstream import Upstream

_LENGTH = frozenset({b"content-length"})
_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 1.3."""


class Framing(Enum):
    """How a backend finds the end of a request's content."""

    LENGTH = auto()
    """By Content-Length, or there is none."""
    CHUNKED = auto()
    TUNNEL = auto()
    """The request asks for another protocol: what follows the answer 101 has no end but the connection's."""


class Expected(msgspec.Struct, frozen=True):
    """Which answers a request allows for that others do not (RFC 9110 15)."""

    part: bool = False
    """206 (Partial Content): it has a Range."""
    accept: bytes = b""
    """101 (Switching Protocols) with this Sec-WebSocket-Accept; empty: it asks for no other protocol."""
    subprotocols: tuple[bytes, ...] = ()
    """One of these, or none, is the WebSocket's."""


ANY = Expected()
"""What nearly all requests allow for."""
PART = Expected(part=True)
NO_KEY = b"-"
"""In the place of what no answer can have: the request had no key, or two."""


class Limits(msgspec.Struct, frozen=True):
    """How long a backend may take; seconds."""

    response_seconds: float
    idle_seconds: float
    total_seconds: float
    shortest_seconds: float
    """How often it has to be looked at."""


NO_LIMITS = Limits(inf, inf, inf, inf)
"""Of a connection that has carried no request yet."""


class OutgoingRequest(msgspec.Struct, frozen=True, gc=False):
    """A request for one target, ready to be written."""

    method: str
    head: bytes
    content: AsyncIterator[bytes] | None
    framing: Framing
    limits: Limits
    expected: Expected = ANY
    inform: Inform | None = None
    """Who is told of interim answers."""


def limits_of(upstream: Upstream) -> Limits:
    """The times that a rule gives the backend."""
    total_seconds = inf if upstream.total_timeout_seconds is None else upstream.total_timeout_seconds
    response_seconds, idle_seconds = upstream.response_timeout_seconds, upstream.idle_timeout_seconds
    return Limits(response_seconds, idle_seconds, total_seconds, min(response_seconds, idle_seconds, total_seconds))


def without_times(upstream: Upstream) -> Upstream:
    """Return what is the same of a backend, however long its answers may take."""
    return msgspec.structs.replace(
        upstream, response_timeout_seconds=inf, idle_timeout_seconds=inf, total_timeout_seconds=None
    )


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


def expect(fields: Sequence[Field], framing: Framing) -> Expected:
    """The answers that a request with these fields allows for."""
    if framing is Framing.TUNNEL:
        keys = field_values(fields, b"sec-websocket-key")
        # RFC 6455 4.2.2. SHA-1 proves nothing here but that the other end has read the key.
        digest = hashlib.sha1(keys[0] + _WEBSOCKET_GUID, usedforsecurity=False).digest() if len(keys) == 1 else b""
        offered = b",".join(field_values(fields, b"sec-websocket-protocol")).split(b",")
        subprotocols = tuple(name.strip(b" \t") for name in offered)
        return Expected(accept=base64.b64encode(digest) or NO_KEY, subprotocols=subprotocols)
    return PART if field_value(fields, b"range") is not None else ANY


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

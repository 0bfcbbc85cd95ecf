"""A request on its way to a backend: its bytes, its content, and the times that it is given."""

from collections.abc import AsyncIterator, Sequence
from enum import Enum, auto
from math import inf

import msgspec

from gateway.core.messages import Field, field_value
from gateway.core.policies.upstream import Upstream


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


def framing_of(fields: Sequence[Field], content: AsyncIterator[bytes] | None) -> Framing:
    """How the content of a request is framed, as its field lines say or leave open."""
    if content is None or field_value(fields, b"content-length") is not None:
        return Framing.LENGTH
    return Framing.CHUNKED if field_value(fields, b"upgrade") is None else Framing.TUNNEL

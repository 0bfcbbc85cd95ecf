"""The trace that a request is part of (W3C Trace Context): the backend sees the gateway's span as its parent.

The access record names that span. New ids are derived from the request's id, which is random, and its time, so a
request has the same ids wherever they are computed.
"""

import functools
import hashlib
import re
import struct
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import msgspec

from gateway.core.http.messages import Field, RequestHead, field_values

NewTrace: TypeAlias = Literal["sampled", "unsampled", "none"]
"""The kind of trace that begins with a request without one. Most backends record nothing of `unsampled`."""

PARENT_FIELD = b"traceparent"
STATE_FIELD = b"tracestate"

_TIME = struct.Struct("d")
_SAMPLED = 0x01
_KNOWN_FLAGS = 0x03
"""Sampled, and random (Level 2); all others have to be zero."""
_MAXIMUM_MEMBERS = 32
_ZEROS = re.compile(rb"0+")
# version "-" trace-id "-" parent-id "-" trace-flags; later versions may go on, 3.2.2
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
# key "=" value, 3.3.2.2; a key may be tenant@system
_MEMBER = re.compile(
    rb"((?:[a-z0-9][a-z0-9_*/-]{0,240}@)?[a-z0-9][a-z0-9_*/-]{0,255})=([\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])"
)


class Parent(msgspec.Struct, frozen=True):
    """The trace that a client's request belongs to, in lower-case hexadecimals."""

    trace_id: str
    flags: int


class Trace(msgspec.Struct, frozen=True):
    """The trace of a request, and the gateway's own span in it."""

    trace_id: str
    span_id: str
    flags: int = 0
    state: bytes = b""
    """The tracestate that tracing systems keep; empty if there is none."""
    is_new: bool = False
    """Whether the client sent no trace."""


def parse_traceparent(values: Sequence[bytes]) -> Parent | None:
    """Return the parent that the lines of traceparent name, or None if it is not valid."""
    match = _PARENT.fullmatch(values[0]) if len(values) == 1 else None
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == b"ff" or (version == b"00" and rest) or _ZEROS.fullmatch(trace_id) or _ZEROS.fullmatch(span_id):
        return None
    return Parent(trace_id.decode(), int(flags, 16) & _KNOWN_FLAGS)


def parse_tracestate(values: Sequence[bytes]) -> bytes:
    """Return the members of all lines, in order; empty if one is malformed or occurs twice."""
    members = [member for value in values for member in _members(value)]
    keys = {match[1] for member in members if (match := _MEMBER.fullmatch(member))}
    return b",".join(members) if len(keys) == len(members) <= _MAXIMUM_MEMBERS else b""


def trace_of(request: RequestHead) -> Trace:
    """Return the trace that the client's request is part of, or a new one."""
    trace_id, span_id = draw_ids(request.id, request.received_at)
    values = field_values(request.fields, PARENT_FIELD)
    parent = parse_traceparent(values) if values else None
    if parent is None:
        return Trace(trace_id, span_id, is_new=True)
    state = parse_tracestate(field_values(request.fields, STATE_FIELD))
    return Trace(parent.trace_id, span_id, parent.flags, state)


def build_trace_fields(request: RequestHead, new_trace: NewTrace) -> list[Field]:
    """Build the trace fields for the backend, with the gateway's span as its parent."""
    trace = trace_of(request)
    if trace.is_new and new_trace == "none":
        return []
    flags = _SAMPLED if trace.is_new and new_trace == "sampled" else trace.flags
    parent = (PARENT_FIELD, f"00-{trace.trace_id}-{trace.span_id}-{flags:02x}".encode())
    return [parent, (STATE_FIELD, trace.state)] if trace.state else [parent]


def _members(value: bytes) -> Iterator[bytes]:
    return filter(None, (member.strip(b" \t") for member in value.split(b",")))


@functools.lru_cache(maxsize=256)
def draw_ids(request_id: str, received_at: float) -> tuple[str, str]:
    """Return the trace id and the span id of a request: always the same ones for the same id and instant."""
    drawn = hashlib.blake2b(request_id.encode() + _TIME.pack(received_at), digest_size=24).hexdigest()
    return drawn[:32], drawn[32:]

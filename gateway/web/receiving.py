"""What comes in on a connection: the head of a request as our server read it, and the content as it arrives.

This is the one place where identity fields that a client sent are dropped, in every spelling, before anything else
sees the request.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Protocol, Self

import httptools
import msgspec

from gateway.core.addresses import TrustedProxies, find_origin
from gateway.core.client_fields import IS_IDENTITY
from gateway.core.errors import ClientGone
from gateway.core.fields import parse_authority
from gateway.core.masking import Masking
from gateway.core.messages import Field, Inform, RequestHead, single_values
from gateway.core.reasons import Reason
from gateway.core.targets import MAXIMUM_TARGET_BYTES
from gateway.core.tracing import STATE_FIELD

HIGH_WATER_BYTES = 64 * 1024
"""Content held for a slow backend before the client is made to wait: what a socket buffer holds."""
MAXIMUM_DISCARDED_BYTES = 1024 * 1024
"""Of content that nobody asks for any more: a client that sends on after its answer is cut off then (RFC 9112 9.6)."""
REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})
"""No rule passes them on: the one asks for a tunnel through the backend (RFC 9110 9.3.6), the other for what the
backend was sent, the gateway's own fields among it (9.3.8)."""
NO_HOST = b"?"
"""In the place of a Host that is missing or repeated, which makes a request malformed (RFC 9112 3.2): it is no host."""
_SCHEMES = frozenset({b"http", b"https"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class Received(msgspec.Struct, frozen=True, gc=False):
    """A request's head as it came in: nothing is removed or believed yet."""

    method: str
    path: bytes
    query: bytes
    fields: list[Field]
    peer: str
    """The address of the connection's other end; empty on a Unix socket."""
    scheme: str
    upgrade: bytes = b""
    """See RequestHead."""
    inform: Inform | None = None
    """See RequestHead."""
    is_gone: Callable[[], bool] | None = None
    """See RequestHead."""
    fault: Reason | None = None
    """Why it is no request; then it is what was read of one, and what could not be read is empty."""


def split_target(target: bytes, fields: list[Field], method: str = "GET") -> tuple[bytes, bytes, list[Field]]:
    """Path, query and fields of a request for `target`; an empty path where that is not one.

    A target in absolute form has the host that counts, whatever the Host field says (RFC 9112 3.2.2), and a scheme in
    whatever case (RFC 3986 3.1). Neither form has a fragment; the asterisk, and for OPTIONS a URI without path and
    query (RFC 9112 3.2.4), is for us and no rule's, and a mere authority is not for us.
    """
    if target == b"*":
        return target, b"", fields
    if target.startswith(b"/") and b"#" not in target:
        path, _, query = target.partition(b"?")
        return path, query, fields
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        return b"", b"", fields
    if url.host is None or url.fragment is not None or url.userinfo is not None:
        return b"", b"", fields
    if (url.schema or b"").lower() not in _SCHEMES:
        return b"", b"", fields
    host = url.host if url.port is None else b"%b:%d" % (url.host, url.port)
    named = [(name, host if name == b"host" else value) for name, value in fields]  # none, or two, stay malformed
    asks_server = method == "OPTIONS" and url.query is None
    return url.path or (b"*" if asks_server else b"/"), url.query or b"", named


def accept(received: Received, now: float, new_id: str, trusted: TrustedProxies, masking: Masking) -> RequestHead:
    """The head of the request, without what only the gateway may say of it; at `fault`, if it is to be refused.

    What a `trusted` proxy says of where the request comes from is believed. What becomes a part of logs and traces
    holds nothing that looks like a token.
    """
    fields = [field for field in received.fields if not IS_IDENTITY[field[0]]]
    single = single_values(fields)
    if STATE_FIELD in single or len(single) < len(fields):
        fields = [(name, value) for name, value in fields if name != STATE_FIELD or not _holds_token(value, masking)]
    origin = find_origin(fields, received.peer, received.scheme, trusted)
    named = parse_authority(single.get(b"host", NO_HOST), origin.scheme)
    host, authority = named or ("", "")
    return RequestHead(
        method=received.method,
        path=received.path.decode("latin-1"),
        query=received.query.decode("latin-1"),
        fields=fields,
        scheme=origin.scheme,
        client=origin.client,
        forwarded_for=origin.forwarded_for,
        id=_read_id(single.get(b"x-request-id", b""), masking) or new_id,
        host=host,
        authority=authority,
        received_at=now,
        upgrade=received.upgrade,
        inform=received.inform,
        fault=received.fault or _find_fault(received, named is not None),
        is_gone=received.is_gone,
    )


def _find_fault(received: Received, has_host: bool) -> Reason | None:
    if received.method in REFUSED_METHODS:
        return Reason.UNSUPPORTED
    if not has_host or not received.path:
        return Reason.MALFORMED_TARGET
    return Reason.TARGET_TOO_LONG if len(received.path) + len(received.query) > MAXIMUM_TARGET_BYTES else None


def _read_id(value: bytes, masking: Masking) -> str | None:
    """The client's X-Request-Id where it is one that is safe to log."""
    is_safe = value and _REQUEST_ID.fullmatch(value) and not _holds_token(value, masking)
    return value.decode("ascii") if is_safe else None


def _holds_token(value: bytes, masking: Masking) -> bool:
    return masking.holds_token(value.decode("latin-1"))


class Flow(Protocol):
    """The connection that content comes from."""

    def invite(self) -> None:
        """The client waits to be asked for its content."""
        ...

    def await_content(self, is_awaited: bool) -> None:
        """Somebody waits for the client, or no longer does."""
        ...

    def hold_content(self, is_held: bool) -> None:
        """The client is to wait, or no longer."""
        ...

    def cut_off(self) -> None:
        """It sends too much of what nobody wants."""
        ...

    def end(self) -> None:
        """What it sends is malformed, and its request is answered: there is nothing left to read or to say."""
        ...


class RequestContent:
    """What a client sends, for the one who asks for it; ClientGone where the client leaves before the end."""

    def __init__(self, flow: Flow, must_invite: bool) -> None:
        self.is_complete = False
        self.has_begun = False
        """The first of it has come, or its first chunk line: until then it may still turn out to be malformed."""
        self.fault: Reason | None = None
        """Why it has no end, where it is malformed."""
        self.awaits_invitation = must_invite
        self._flow = flow
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._is_held = self._is_broken = False
        self._is_wanted = True
        self._arrival: asyncio.Future[None] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._is_broken:
                raise ClientGone(self.fault)
            if self.is_complete:
                raise StopAsyncIteration
            await self._next_arrival()
        data = b"".join(self._pieces)
        self._empty()
        return data

    def feed(self, data: bytes) -> None:
        """More of it."""
        self.awaits_invitation = False
        self.has_begun = True
        self._held_bytes += len(data)
        if not self._is_wanted:
            if self._held_bytes > MAXIMUM_DISCARDED_BYTES:
                self._flow.cut_off()
            return
        self._pieces.append(data)
        if self._held_bytes > HIGH_WATER_BYTES and not self._is_held:
            self._is_held = True
            self._flow.hold_content(True)
        self._announce()

    def end(self) -> None:
        """That was all."""
        self.is_complete = True
        self._announce()

    def break_off(self, fault: Reason | None = None) -> None:
        """No more comes, and that was not all; the `fault` is the client's, where there is one."""
        self._is_broken = True
        self.fault = fault
        if not self._is_wanted:
            self._flow.end()
        self._announce()

    def discard(self) -> None:
        """Nobody asks for the rest."""
        self._is_wanted = False
        self._empty()

    def _empty(self) -> None:
        self._pieces.clear()
        self._held_bytes = 0
        if self._is_held:
            self._is_held = False
            self._flow.hold_content(False)

    async def _next_arrival(self) -> None:
        if self.awaits_invitation:
            self.awaits_invitation = False
            self._flow.invite()
        self._arrival = asyncio.get_running_loop().create_future()
        self._flow.await_content(True)
        try:
            await self._arrival
        finally:
            self._arrival = None
            self._flow.await_content(False)

    def _announce(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

"""Read requests from the bytes of a connection (RFC 9112) with httptools; a malformed request becomes a reason.

httptools refuses what could be read in two ways: lengths that disagree, misplaced white space, incomplete line breaks.
What it leaves to its caller is here: the maximum size of a head, the forms of a target, upgrades.

This module has the head of a request as the server read it, and the content as it arrives. It is the one place that
drops identity fields of a client, in every spelling, before anything else sees the request.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any, Protocol, Self, TypeAlias

import httptools
import msgspec

from gateway.adapters.ports import PolicySource
from gateway.core.errors import ClientGone
from gateway.core.http.client_address import TrustedProxies, direct_origin, find_origin
from gateway.core.http.fields import parse_authority
from gateway.core.http.messages import Field, Fields, Inform, RequestHead, field_values, single_values
from gateway.core.http.reasons import Reason
from gateway.core.http.targets import MAXIMUM_TARGET_BYTES
from gateway.core.http.tracing import STATE_FIELD
from gateway.core.masking import Masking
from gateway.core.recognition.lesson import Answered, Lesson
from gateway.core.upstream.client_fields import IS_IDENTITY
from gateway.server.responses import LAST, PLAIN, ResponseOptions

HIGH_WATER_BYTES = 64 * 1024
"""Content held for a slow backend before the client is paused: what a socket buffer holds."""
MAXIMUM_DISCARDED_BYTES = 1024 * 1024
"""Discarded bytes after which a client that keeps sending after its answer is disconnected (RFC 9112 9.6)."""
REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})
"""Methods that no rule passes on.

CONNECT asks for a tunnel through the backend (RFC 9110 9.3.6), TRACE for what the backend was sent, the gateway's own
fields included (9.3.8).
"""
NO_HOST = b"?"
"""Stands for a missing or repeated Host, which makes a request malformed (RFC 9112 3.2); it is no valid host."""
_SCHEMES = frozenset({b"http", b"https"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class RawRequest(msgspec.Struct, frozen=True, gc=False):
    """A request's head as it was received: nothing is removed or trusted yet."""

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
    answered: Answered | None = None
    """See RequestHead."""
    lesson: Lesson | None = None
    """See RequestHead."""
    fault: Reason | None = None
    """Why the request is malformed. The other fields then have what could be read, and are empty otherwise."""


def split_target(target: bytes, fields: list[Field], method: str = "GET") -> tuple[bytes, bytes, list[Field]]:
    """Return path, query and fields of a request for `target`; the path is empty if the target is malformed.

    A target in absolute form has the host that counts, whatever the Host field says (RFC 9112 3.2.2), and a scheme in
    any case (RFC 3986 3.1). Neither form has a fragment. The asterisk, and for OPTIONS a URI without path and query
    (RFC 9112 3.2.4), is about the gateway and matches no rule. The authority form is refused.
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


class RequestAcceptor:
    """The acceptor of requests: what any listener has read becomes the head that the rest of the gateway trusts.

    `clock` gives Unix seconds, `new_id` an id for each request without one. `policies` determine what looks like a
    token: nothing that does goes to logs and traces. What a `trusted` proxy says about a request's origin is believed.
    """

    def __init__(
        self,
        policies: PolicySource,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        trusted: TrustedProxies,
    ) -> None:
        self.clock = clock
        self.trusted = trusted
        self.policies = policies
        self._new_id = new_id

    def accept(self, raw: RawRequest) -> RequestHead:
        """Return the head without the fields that only the gateway may set; `fault` is set if it must be refused."""
        fields = [field for field in raw.fields if not IS_IDENTITY[field[0]]]
        single = single_values(fields)
        masking, answered = self.policies.current.masking, raw.answered
        if STATE_FIELD in single or len(single) < len(fields):
            fields = [one for one in fields if one[0] != STATE_FIELD or not _holds_token(one[1], masking)]
        if self.trusted.networks:
            origin = find_origin(fields, raw.peer, raw.scheme, self.trusted)
        else:
            origin = direct_origin(raw.peer, raw.scheme)
        named = parse_authority(single.get(b"host", NO_HOST), origin.scheme)
        host, authority = named or ("", "")
        presented_id = single.get(b"x-request-id")
        return RequestHead(
            method=raw.method,
            path=raw.path.decode("latin-1"),
            query=raw.query.decode("latin-1"),
            fields=fields,
            scheme=origin.scheme,
            client=origin.client,
            forwarded_for=origin.forwarded_for,
            id=answered.request_id
            if answered is not None
            else (presented_id and _read_id(presented_id, masking)) or self._new_id(),
            host=host,
            authority=authority,
            received_at=self.clock() if answered is None else answered.received_at,
            upgrade=raw.upgrade,
            inform=raw.inform,
            answered=answered,
            lesson=raw.lesson,
            fault=raw.fault or _find_fault(raw, named is not None),
            is_gone=raw.is_gone,
        )

    def accept_again(self, head: RequestHead, fields: list[Field]) -> RequestHead:
        """Return the head of a request that was accepted before, with its fields, an id and the time of this one."""
        return msgspec.structs.replace(head, fields=fields, id=head.id or self._new_id(), received_at=self.clock())


def _find_fault(raw: RawRequest, has_host: bool) -> Reason | None:
    if raw.method in REFUSED_METHODS:
        return Reason.UNSUPPORTED
    if not has_host or not raw.path:
        return Reason.MALFORMED_TARGET
    return Reason.TARGET_TOO_LONG if len(raw.path) + len(raw.query) > MAXIMUM_TARGET_BYTES else None


def _read_id(value: bytes, masking: Masking) -> str | None:
    """Return the client's X-Request-Id if it is safe to log, else None."""
    is_safe = _REQUEST_ID.fullmatch(value) and not _holds_token(value, masking)
    return value.decode("ascii") if is_safe else None


def _holds_token(value: bytes, masking: Masking) -> bool:
    return masking.holds_token(value.decode("latin-1"))


class ContentSource(Protocol):
    """The connection that content comes from, as the content's reader uses it."""

    def send_continue(self) -> None:
        """Send 100 (Continue): the client waits for it with its content (RFC 9110 10.1.1)."""
        ...

    def await_content(self, is_awaited: bool) -> None:
        """Start the deadline for the next piece of content, or stop it."""
        ...

    def pause_content(self) -> None:
        """Pause reading from the client: its content comes faster than it is read."""
        ...

    def resume_content(self) -> None:
        """Resume reading from the client."""
        ...

    def abort(self) -> None:
        """Close the connection: the client sends too much content that is discarded."""
        ...

    def close_lingering(self) -> None:
        """Close the connection once the client had time to read its answer: it sent malformed content after that."""
        ...


class RequestContent:
    """The content of a request, as an async iterator. It raises ClientGone if the client leaves before the end."""

    def __init__(self, source: ContentSource, awaits_continue: bool) -> None:
        self.is_complete = False
        self.has_begun = False
        """Whether its first bytes or chunk line have come: until then it may still turn out to be malformed."""
        self.fault: Reason | None = None
        """Why it has no end, if it is malformed."""
        self.awaits_continue = awaits_continue
        self._source = source
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._is_paused = self._is_broken = False
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

    def append(self, data: bytes) -> None:
        """Append a piece of content."""
        self.awaits_continue = False
        self.has_begun = True
        self._held_bytes += len(data)
        if not self._is_wanted:
            if self._held_bytes > MAXIMUM_DISCARDED_BYTES:
                self._source.abort()
            return
        self._pieces.append(data)
        if self._held_bytes > HIGH_WATER_BYTES and not self._is_paused:
            self._is_paused = True
            self._source.pause_content()
        self._announce()

    def complete(self) -> None:
        """Mark the content complete."""
        self.is_complete = True
        self._announce()

    def truncate(self, fault: Reason | None = None) -> None:
        """Mark the content truncated; readers raise ClientGone. `fault` is the reason if the client made a mistake."""
        self._is_broken = True
        self.fault = fault
        if not self._is_wanted:
            self._source.close_lingering()
        self._announce()

    def discard(self) -> None:
        """Discard the rest of the content."""
        self._is_wanted = False
        self._empty()

    def _empty(self) -> None:
        self._pieces.clear()
        self._held_bytes = 0
        if self._is_paused:
            self._is_paused = False
            self._source.resume_content()

    async def _next_arrival(self) -> None:
        if self.awaits_continue:
            self.awaits_continue = False
            self._source.send_continue()
        self._arrival = asyncio.get_running_loop().create_future()
        self._source.await_content(True)
        try:
            await self._arrival
        finally:
            self._arrival = None
            self._source.await_content(False)

    def _announce(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


MAXIMUM_HEAD_BYTES = 64 * 1024
"""The most bytes of names, values and target. Apache and nginx stop at 8 KiB a line; API clients stay far below."""
MAXIMUM_FIELDS = 100
"""The most fields of a request, as Apache: each costs a look-up or two."""
WEBSOCKET = b"websocket"
"""The one protocol that a connection can change to (RFC 6455)."""
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})

PendingRequest: TypeAlias = tuple[RawRequest, RequestContent | None, ResponseOptions]
"""A request, which may be malformed: its head, its content, and the options of its response."""


class RequestReader:
    """The reader of the requests of one connection. It calls `take` when a head is complete; the last may be malformed.

    `make_content` makes the content of a request; its argument says if the client waits for 100 Continue (RFC 9110
    10.1.1). `inform` sends interim responses to the current request; `is_gone` says if the client has left.
    """

    def __init__(
        self,
        peer: str,
        scheme: str,
        take: Callable[[PendingRequest], None],
        make_content: Callable[[bool], RequestContent],
        inform: Inform | None = None,
        is_gone: Callable[[], bool] | None = None,
    ) -> None:
        self.is_in_head = False
        self.is_over = False
        """Whether reading is over: the connection ends with the last request."""
        self.content: RequestContent | None = None
        """The content of the last request."""
        self.begun_requests = 0
        self.answered: Answered | None = None
        """For the next request: see RequestHead."""
        self.lesson: Lesson | None = None
        """For the next request: see RequestHead."""
        self._peer = peer
        self._scheme = scheme
        self._take = take
        self._make_content = make_content
        self._inform = inform
        self._is_gone = is_gone
        self._parser: Any = httptools.HttpRequestParser(self)
        self._target = b""
        self._fields: list[Field] = []
        self._options = PLAIN
        self._head_bytes = 0
        """Bytes of pieces that only had a part of one head, of trailers, or of one chunk's extensions."""
        self._piece_bytes = 0
        self._has_advanced = False
        """Whether a part of a message began or ended in the current piece."""
        self._begun: PendingRequest | None = None
        """The last request that began in the current piece: it is passed on when the whole piece is read."""
        self._is_stopped_at_content = False

    @property
    def is_between(self) -> bool:
        """Whether the last request is complete, nothing of the next one is here, and a next one may come."""
        return not (self.is_in_head or self.is_over) and (self.content is None or self.content.is_complete)

    def feed(self, data: bytes) -> None:
        """Parse the bytes that have arrived."""
        if self.is_over:
            if self._options.is_tunnel and self.content is not None:
                self.content.append(data)
            return
        self._piece_bytes, self._has_advanced = len(data), False
        try:
            while data:
                try:
                    self._parser.feed_data(data)
                    break
                except httptools.HttpParserUpgrade as upgrade:
                    data = self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self.is_over:
                cause = error.__context__
                self._refuse(cause.reason if isinstance(cause, _Refused) else Reason.MALFORMED_REQUEST)
        else:
            if not self._has_advanced:
                self._head_bytes += self._piece_bytes
                if self._head_bytes > MAXIMUM_HEAD_BYTES:
                    self._refuse(Reason.HEAD_TOO_LARGE)
        begun, self._begun = self._begun, None
        if begun is not None:
            self._take(begun)

    def refuse(self, reason: Reason) -> None:
        """Refuse the request that has arrived in part, and stop reading."""
        self._refuse(reason)
        begun, self._begun = self._begun, None
        if begun is not None:
            self._take(begun)

    def forget(self) -> None:
        """Release the parser of a closed connection: parser and reader would keep each other in memory."""
        self._parser = None
        self.is_over = True

    def _upgrade(self, rest: bytes) -> bytes:
        """Take the bytes after a head that asks for an upgrade; return those that are still to be parsed."""
        if not self.is_over:
            self._ignore_upgrade()
            return rest
        if rest and self.content is not None:
            self.content.append(rest)
        return b""

    def _ignore_upgrade(self) -> None:
        """Continue as if no upgrade had been asked for (RFC 9110 7.8), with a new parser.

        The old parser has stopped at the head. The new one would take content that is still to come for a request, so
        it is fed the framing fields first.
        """
        self._parser = httptools.HttpRequestParser(self)
        if self._is_stopped_at_content:
            framing = b"\r\n".join(b"%b: %b" % field for field in self._fields if field[0] in _FRAMING)
            self._parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n\r\n")
            self._is_stopped_at_content = False

    def _refuse(self, reason: Reason) -> None:
        """Refuse what is being read, and stop reading.

        If the content is malformed, its own request is refused, which gets one answer. If that request was not passed
        on yet, it never is.
        """
        self.is_over = True
        self._options = LAST
        if self.content is None or self.content.is_complete:
            self._begin((self._build_refused(reason), None, LAST))
        elif self._begun is not None:
            self._begun = (msgspec.structs.replace(self._begun[0], fault=reason), None, LAST)
        else:
            self.content.truncate(reason)
        self.is_in_head = False

    def _build_refused(self, fault: Reason) -> RawRequest:
        """Return what was read of a malformed request; its method is known once its target is."""
        target = self._target if self.is_in_head else b""
        method = self._parser.get_method().decode("ascii") if target else ""
        path, _, query = target.partition(b"?")
        fields = self._fields if self.is_in_head else []
        return RawRequest(method, path, query, fields, self._peer, self._scheme, fault=fault)

    def _begin(self, pending: PendingRequest) -> None:
        """Hold back the newest request and pass on the one before, which later bytes cannot make malformed."""
        if self._begun is not None:
            self._take(self._begun)
        self._begun = pending

    # -- callbacks of httptools

    def on_message_begin(self) -> None:
        if self._is_stopped_at_content:
            return
        self._target = b""
        self._fields = []
        self._head_bytes = 0
        self._has_advanced = self.is_in_head = True
        self.begun_requests += 1

    def on_url(self, target: bytes) -> None:
        if self.is_in_head:
            self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_in_head:  # else it is a trailer, which is dropped: the admission did not see it
            # White space after a value is no part of it (RFC 9110 5.5); the parser passes only SP and HTAB.
            self._fields.append((name.lower(), value.rstrip()))

    def on_headers_complete(self) -> None:
        if self._is_stopped_at_content:
            return
        self._has_advanced = True
        parser, fields = self._parser, self._fields
        may_be_too_large = self._head_bytes + self._piece_bytes > MAXIMUM_HEAD_BYTES
        if len(fields) > MAXIMUM_FIELDS or (may_be_too_large and self._is_too_large()):
            raise _Refused(Reason.HEAD_TOO_LARGE)
        self._head_bytes = 0
        method = parser.get_method().decode("ascii")
        by_name = dict(fields)
        if b"transfer-encoding" in by_name:
            self._check_coding()
        has_content = not _FRAMING.isdisjoint(by_name)
        self._options = options = self._read_options(method, has_content)
        self.content = content = None
        if options.is_tunnel or (has_content and by_name.get(b"content-length") != b"0"):
            expects_continue = by_name.get(b"expect", b"").lower() == b"100-continue" and not options.is_http_1_0
            self.content = content = self._make_content(expects_continue)
        self._is_stopped_at_content = content is not None and not options.is_tunnel and parser.should_upgrade()
        path, query, fields = split_target(self._target, fields, method)
        upgrade = WEBSOCKET if options.is_tunnel else b""
        inform = None if options.is_http_1_0 else self._inform  # RFC 9110 15.2: HTTP/1.0 knows no interim answers
        answered, lesson, self.answered, self.lesson = self.answered, self.lesson, None, None
        raw = RawRequest(
            method, path, query, fields, self._peer, self._scheme, upgrade, inform, self._is_gone, answered, lesson
        )
        self.is_in_head = False
        self._begin((raw, content, options))

    def on_chunk_header(self) -> None:
        if self.content is not None and not self.content.has_begun:
            self.content.append(b"")  # none of it has arrived yet, but its framing is valid

    def on_body(self, data: bytes) -> None:
        self._has_advanced = True
        self._head_bytes = 0
        if self.content is not None:
            self.content.append(data)

    def on_message_complete(self) -> None:
        self._has_advanced = True
        if self._is_stopped_at_content:
            return
        if self._options.is_tunnel:
            self.is_over = True
        elif self.content is not None:
            self.content.complete()
        if not self._options.stays_open:
            self.is_over = True

    # -- checks of a head

    def _is_too_large(self) -> bool:
        return len(self._target) + sum(len(name) + len(value) for name, value in self._fields) > MAXIMUM_HEAD_BYTES

    def _check_coding(self) -> None:
        """Raise _Refused unless the transfer coding is `chunked`, once and alone, in HTTP/1.1 (RFC 9112 6.1, 7).

        A list that ends with `chunked` is unsupported: its framing is known, but the gateway can neither decode the
        other coding nor name it to the backend. Anything else is malformed, because the end of the content is unknown
        (6.3).
        """
        coding = b",".join(field_values(self._fields, b"transfer-encoding")).lower()
        if coding == b"chunked" and self._parser.get_http_version() != "1.0":
            return
        is_chunked = coding.rpartition(b",")[2].strip(b" \t") == b"chunked"
        raise _Refused(Reason.UNSUPPORTED if is_chunked else Reason.MALFORMED_REQUEST)

    def _read_options(self, method: str, has_content: bool) -> ResponseOptions:
        parser = self._parser
        version, stays_open, upgrades = parser.get_http_version(), parser.should_keep_alive(), parser.should_upgrade()
        if version == "1.1" and stays_open and not upgrades and method != "HEAD":
            return PLAIN
        if version not in ("1.0", "1.1"):
            raise _Refused(Reason.UNKNOWN_VERSION)
        is_tunnel = upgrades and _asks_for_websocket(self._fields)
        if is_tunnel and (method != "GET" or has_content):  # what follows could be read as a second request
            raise _Refused(Reason.MALFORMED_REQUEST)
        return ResponseOptions(
            is_head=method == "HEAD",
            is_http_1_0=version == "1.0",
            is_tunnel=is_tunnel,
            stays_open=version == "1.1" and stays_open and not is_tunnel,
        )


class _Refused(Exception):
    """A refusal inside a callback of the parser, which wraps it in its own error as the context."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def _asks_for_websocket(fields: Fields) -> bool:
    return [value.lower() for value in field_values(fields, b"upgrade")] == [WEBSOCKET]

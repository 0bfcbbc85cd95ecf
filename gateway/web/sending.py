"""What goes out on a connection: heads with the framing of their content (RFC 9112 6).

A line break in a field would let its value become another field, or another answer. Nothing of the kind gets out.
"""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from gateway.core.errors import ClientGone, GatewayError, StreamRevoked, UpstreamError
from gateway.core.messages import Ended, Field, Response, ResponseHead, end_of_refused, field_value
from gateway.core.upstream_causes import Cause

STATUS_LINES: Mapping[int, bytes] = {
    **{status: b"HTTP/1.1 %d " % status for status in range(100, 600)},
    **{status: f"HTTP/1.1 {status:d} {status.phrase}".encode() for status in HTTPStatus},
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE: Field = (b"connection", b"close")
TO_WEBSOCKET: tuple[Field, Field] = ((b"connection", b"Upgrade"), (b"upgrade", b"websocket"))
CHUNKED: Field = (b"transfer-encoding", b"chunked")
LAST_CHUNK = b"0\r\n\r\n"
WITHOUT_CONTENT = frozenset({204, 304})


class UnsendableResponse(GatewayError):
    """A response that is no HTTP: a line break in a field, or content that is not as long as the head says."""


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What the request means for its answer."""

    is_head: bool = False
    is_http_1_0: bool = False
    is_tunnel: bool = False
    """Whether it asks for a WebSocket: the connection becomes one, or ends with the answer."""
    stays_open: bool = True


PLAIN = Terms()
"""What nearly all requests mean."""
LAST = Terms(stays_open=False)


class Framing(msgspec.Struct, frozen=True):
    """How the client finds the end of a stream."""

    has_content: bool = True
    is_chunked: bool = False
    length: int | None = None
    """None: it ends with its last chunk, or with the connection."""


def build_whole(head: ResponseHead, content: bytes, terms: Terms) -> bytes:
    """The bytes of an answer that is all there; UnsendableResponse where its length is not what its head says."""
    fields, status = head.fields, head.status
    start = build_start(status, fields if terms.stays_open else [*fields, CLOSE])
    length = b"\r\ncontent-length: %d\r\n" % len(content)
    if terms.is_head or status in WITHOUT_CONTENT:  # a refusal has content, and its length, whatever the method is
        return start
    if length in start:
        return start + content
    if field_value(fields, b"content-length") is not None:
        raise UnsendableResponse("the content is not as long as the head says")
    return b"".join((start[:-4], length, b"\r\n", content))


def build_start(status: int, fields: list[Field]) -> bytes:
    """Status line and field lines; UnsendableResponse where one of them would break out of its line."""
    start = b"\r\n".join((STATUS_LINES[status], *map(b": ".join, fields), b"\r\n"))
    lines = len(fields) + 2
    if start.count(b"\n") != lines or start.count(b"\r") != lines:
        raise UnsendableResponse("a field of the response has a line break in it")
    return start


def build_stream(head: ResponseHead, terms: Terms) -> tuple[bytes, Framing]:
    """The start of an answer whose content is still to come, and what that is framed by."""
    fields, status = list(head.fields), head.status
    if terms.is_tunnel and status == HTTPStatus.SWITCHING_PROTOCOLS:
        return build_start(status, [*fields, *TO_WEBSOCKET]), Framing()
    framing = _find_framing(head, terms)
    if framing.is_chunked:
        fields.append(CHUNKED)
    if not terms.stays_open:
        fields.append(CLOSE)
    return build_start(status, fields), framing


def _find_framing(head: ResponseHead, terms: Terms) -> Framing:
    if terms.is_head or head.status in WITHOUT_CONTENT:
        return Framing(has_content=False)
    length = field_value(head.fields, b"content-length")
    if length is not None:
        return Framing(length=int(length))
    return Framing(is_chunked=not terms.is_http_1_0)  # RFC 9112 6.1: HTTP/1.0 knows no chunks


def frame(piece: bytes) -> tuple[bytes, bytes, bytes]:
    """A chunk (RFC 9112 7.1) in parts that need not be copied; `piece` is not empty, as that would be the last one."""
    return b"%x\r\n" % len(piece), piece, b"\r\n"


def ending_of(error: Exception) -> tuple[Ended, str]:
    """How an answer ended that broke off with this error, and why."""
    match error:
        case StreamRevoked():
            return end_of_refused(error.reason), error.reason
        case UpstreamError():
            return Ended.UPSTREAM_BROKEN, error.cause
        case UnsendableResponse():
            return Ended.UPSTREAM_BROKEN, Cause.BROKEN_ANSWER
        case ClientGone():
            return Ended.CLIENT_GONE, ""
    return Ended.INTERNAL_ERROR, ""


def id_of(response: Response | None) -> str:
    """The id of the request that is answered, for the log; a hyphen where it is not known."""
    value = field_value(response.head.fields, b"x-request-id") if response else None
    return value.decode("latin-1") if value else "-"

"""A short cut through uvicorn for answers that are there in one piece.

ASGI sends head and content as two messages, and uvicorn looks at each field with two regular expressions. Here the
whole answer is checked as one text and written at once: a tenth off a cached export. Under another server, or another
protocol of uvicorn's, the two messages are sent as ever.
"""

from litestar.types import Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from gateway.core.messages import Fields

_WITHOUT_CONTENT = frozenset({204, 304})


def send_whole(send: Send, status: int, fields: Fields, content: bytes) -> bool:
    """Writes a response, its length added where it is not told; field names are in lower case.

    False, and nothing written, where it has to be sent in messages: the server is another, or the client does not read
    fast enough and must be waited for. RuntimeError where a field holds a line break.
    """
    cycle = getattr(send, "__self__", None)
    if not isinstance(cycle, RequestResponseCycle) or cycle.flow.write_paused or cycle.disconnected:
        return False
    head = b"\r\n".join((STATUS_LINE[status][:-2], *map(b": ".join, fields)))
    if head.count(b"\n") != len(fields) or head.count(b"\r") != len(fields) or b"\0" in head:
        raise RuntimeError("a field of the response holds a line break or NUL")
    if b"\ncontent-length: " not in head and status not in _WITHOUT_CONTENT and cycle.scope["method"] != "HEAD":
        head += b"\r\ncontent-length: %d" % len(content)
    if not cycle.keep_alive:
        head += b"\r\nconnection: close"
    cycle.transport.write(b"%b\r\n\r\n%b" % (head, content))
    cycle.response_started = cycle.response_complete = True
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True

"""uvicorn's HTTP protocol with one more message: an answer that is whole, which leaves in one write.

uvicorn sends head and content apart, each with a call into the kernel, and looks through every field line with two
regular expressions: a tenth of what a request costs. An answer that is all there needs neither. Whatever is not plain
about it goes uvicorn's own way, and so do all other messages.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.core.messages import Fields, field_value

WHOLE_ANSWER = "gateway.response.whole"
"""The type of the message, and the name under which the scope's extensions have it: status, headers, body."""
_EXTENSIONS: dict[str, dict[object, object]] = {WHOLE_ANSWER: {}}
_WITHOUT_CONTENT = frozenset({204, 304})


class WholeAnswers(HttpToolsProtocol):
    """uvicorn's `http`."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = Cycle
        cycle.scope["extensions"] = _EXTENSIONS
        super()._start_asgi_task(cycle, app)


class Cycle(RequestResponseCycle):
    """One request and its answer."""

    async def send(self, message: Any) -> None:
        """See ASGI, and WHOLE_ANSWER."""
        if message["type"] != WHOLE_ANSWER:
            await super().send(message)
            return
        status, fields, content = message["status"], message["headers"], message["body"]
        head = self._build_plain_head(status, fields, len(content))
        if head is None:
            await super().send({"type": "http.response.start", "status": status, "headers": fields})
            await super().send({"type": "http.response.body", "body": content, "more_body": False})
            return
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.transport.write(head + content)
        self.message_event.set()
        self.on_response()

    def _build_plain_head(self, status: int, fields: Fields, length: int) -> bytes | None:
        """The head, where nothing but writing it and `length` bytes of content is to be done for the answer."""
        if self.disconnected or not self.keep_alive or self.flow.write_paused or self.access_log:
            return None
        announced = field_value(fields, b"content-length")
        if self.scope["method"] == "HEAD" or (
            announced != b"%d" % length if announced is not None else length or status not in _WITHOUT_CONTENT
        ):
            return None
        head = b"".join([STATUS_LINE[status], *(b"%b: %b\r\n" % field for field in fields), b"\r\n"])
        is_clean = head.count(b"\n") == head.count(b"\r") == len(fields) + 2 and not self.default_headers
        return head if is_clean else None

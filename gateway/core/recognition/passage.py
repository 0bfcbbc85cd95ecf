"""What is remembered of requests that a backend answers: the bytes that it is sent, and the heads of its answers.

Rule: a head of a backend is known if it is, byte for byte, one that was learnt with the request, but for Date and
echoes of the request's id. Content is never compared: behind an equal head it has the same length, and passes
unchanged.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.core.recognition.form import DATE, ID, Draft, Form, Values
from gateway.core.usage import UsageKey

REQUEST_ID, TRACE, SPAN = range(3)
"""Positions in the values of a request for a backend."""
MAXIMUM_ANSWERS = 4
"""Heads of a backend that are known for one request, such as those of a new and of an old version of it."""
MAXIMUM_MISSES = 4
"""Unknown heads in a row after which a request is given up: its backend answers with another head each time."""
DATE_BYTES = 29
# IMF-fixdate, RFC 9110 5.6.7
_DATE = re.compile(rb"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")
_DATE_LINE = re.compile(rb"\r\ndate:[ \t]*(%b)(?=\r\n)" % _DATE.pattern, re.IGNORECASE)


class Answer(msgspec.Struct, frozen=True, gc=False):
    """How a response looks, and what is recorded of it."""

    response: Form
    line: Form | None
    """Of its line in the access log; None if there is no log."""
    counted: UsageKey
    """What the request counts as."""


class BackendHead(msgspec.Struct, frozen=True, gc=False):
    """A head that a backend has answered with. Its values are the request's id and Date."""

    form: Form
    length: int
    """Bytes of the head."""
    date_at: int
    """Where the value of Date is; -1 if there is none."""


class BackendAnswer(msgspec.Struct, frozen=True, gc=False):
    """A known answer of a backend."""

    head: BackendHead
    length: int
    """Bytes of head and content."""
    answer: Answer
    """What the client gets."""


class Passage(msgspec.Struct, gc=False):
    """What a backend is sent for a request, and how its answers are passed on."""

    route: Any
    """Where requests go, as the adapter of the backends knows it (adapters/upstream/pool.py)."""
    requests: dict[bytes, Form]
    """By the kind of target: targets may differ in Host and in the beginning of their paths."""
    answers: tuple[BackendAnswer, ...]
    """The latest first."""
    misses: int = 0
    """Unknown heads since the last known one."""

    def join(self, before: "Passage") -> None:
        """Take over what was known before, as far as it is not known anew."""
        self.requests = {**before.requests, **self.requests}
        (latest,) = self.answers
        others = [one for one in before.answers if one.head.form.template != latest.head.form.template]
        self.answers = (latest, *others[: MAXIMUM_ANSWERS - 1])
        self.misses = before.misses


def cut_request(sent: bytes, values: Values, given: Sequence[str]) -> Form | None:
    """Return the form of a request for a backend, None if it cannot be cut.

    `values` are the request's id, its trace and its span. Those that are `given` by the client's bytes do not move.
    """
    request_id, trace, span = values
    draft = Draft()
    parent = b"traceparent: 00-%b-%b-" % (trace, span)
    for number, line in enumerate(sent.split(b"\r\n")):
        draft.add(b"\r\n" if number else b"")
        if line == b"x-request-id: " + request_id:
            draft.add(b"x-request-id: ")
            draft.add_hole(REQUEST_ID, b"%b")
        elif line.startswith(parent):
            draft.add(b"traceparent: 00-")
            draft.add_hole(TRACE, b"%b")
            draft.add(b"-")
            draft.add_hole(SPAN, b"%b")
            draft.add(line[len(parent) - 1 :])
        else:
            draft.add(line)
    form = draft.build()
    moves = [value for value in values if value.decode() not in given]
    if any(value in form.template for value in moves):  # elsewhere, where nothing is expected to move
        return None
    return form if form.fill(values) == sent else None


def cut_backend_head(received: bytes, request_id: bytes) -> tuple[BackendHead, bytes | None] | None:
    """Return the form of the head that an answer begins with, and its Date, if any; None if it cannot be cut.

    `request_id` is empty if it does not move. Wherever else it stands, it may be an echo, which moves, or be repeated
    from the answer to that request, which does not: the form has a hole there, so only an echo is known again.
    """
    length = received.find(b"\r\n\r\n") + 4
    head = received[:length]
    dates = [match.span(1) for match in _DATE_LINE.finditer(head)]
    if length < 4 or len(dates) > 1:
        return None
    holes = [(start, end, DATE) for start, end in dates]
    if request_id:
        holes += [(*match.span(), ID) for match in re.finditer(re.escape(request_id), head)]
    draft, at = Draft(), 0
    for start, end, position in sorted(holes):
        draft.add(head[at:start])
        draft.add_hole(position, b"%b")
        at = end
    draft.add(head[at:])
    form, date = draft.build(), head[slice(*dates[0])] if dates else None
    if form.fill((request_id, date)) != head:
        return None
    return BackendHead(form, length, dates[0][0] if dates else -1), date


def is_date(value: bytes) -> bool:
    """Return whether a value is a Date as nearly all backends write it: of DATE_BYTES, and nothing in it to be read."""
    return _DATE.fullmatch(value) is not None

"""Responses with holes: bytes that the gateway has built once, cut where the next response of its kind differs.

Nothing here knows how a response is written. Each cut takes the bytes of one that the pipeline has built, and looks in
them for the values that move. So field order, unknown fields and texts are the pipeline's by construction. A cut that
does not give back, byte for byte, what it was made of is no form.

The values that move, in the order of `Values`: see there.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeAlias

import msgspec

Values: TypeAlias = tuple[Any, ...]
"""Of a response: the request's id, our Date, the Date of a backend that answers, Age, the ttl of Cache-Status,
Retry-After, then r and t of each quota that is announced, t only where it has one. Of a line of the access log: see
LINE_HOLES. Of a request for a backend: see passage.py."""

ID, DATE, BACKEND_DATE, AGE, TTL, RETRY_AFTER, FIRST_QUOTA = range(7)
"""Positions in the values of a response."""
TIME, LINE_ID, DURATION, DECIDED, LINE_TTL, NEAR, TRACE, SPAN = range(8)
"""Positions in the values of a line of the access log."""


class Form(msgspec.Struct, frozen=True, gc=False):
    """Bytes with holes. `template` is one of bytes' % operator, `pick` takes its values out of all there are."""

    template: bytes
    pick: Callable[[Values], Any]

    def fill(self, values: Values) -> bytes:
        """Return the bytes with these values in the holes."""
        filled: bytes = self.template % self.pick(values)
        return filled


class Draft:
    """A form that is being cut: constant bytes, and holes between them."""

    def __init__(self) -> None:
        self._template = bytearray()
        self._holes: list[int] = []

    def add(self, constant: bytes) -> None:
        """Append bytes that are always the same."""
        self._template += constant.replace(b"%", b"%%")

    def add_hole(self, position: int, kind: bytes = b"%d") -> None:
        """Append a hole for the value at this position; `kind` is %b for bytes, %d for a number."""
        self._template += kind
        self._holes.append(position)

    def build(self) -> Form:
        """Return the form."""
        return Form(bytes(self._template), _picker(tuple(self._holes)))


def cut_response(sent: bytes, values: Values, quotas: Sequence[str], *, has_content: bool) -> Form | None:
    """Return the form of a response, None if it cannot be cut.

    `sent` are its bytes, `values` those that it has in its holes, `quotas` how each announced quota is written, a
    template of its own. The content is a part of the form only if `has_content`.
    """
    start, end, content = sent.partition(b"\r\n\r\n")
    lines = start.split(b"\r\n")
    holes = _find_holes(lines, values, quotas)
    draft = Draft()
    for number, line in enumerate(lines):
        draft.add(b"\r\n" if number else b"")
        if number in holes:
            name, kinds = holes[number]
            draft.add(name)
            _add_parts(draft, kinds)
        else:
            _add_around_id(draft, line, values[ID])  # a proxy that asks may get the content of a refusal as a field
    draft.add(end)
    if has_content:
        _add_around_id(draft, content, values[ID])
    form = draft.build()
    is_same = bool(holes) and form.fill(values) == (sent if has_content else start + end)
    return form if is_same else None


Parts: TypeAlias = list[bytes | tuple[int, bytes]]
"""Constant bytes, and holes by position and kind."""


def _find_holes(lines: list[bytes], values: Values, quotas: Sequence[str]) -> dict[int, tuple[bytes, Parts]]:
    """Return the lines that have holes, by number: the name in front, and the parts of the value.

    Our own fields come behind those of a backend, so the last line of a name is ours. Date is ours only directly behind
    X-Request-Id: a stored answer's own stands before that.
    """
    found: dict[int, tuple[bytes, Parts]] = {}
    last = {line.partition(b": ")[0]: number for number, line in enumerate(lines)}
    number = last.get(b"x-request-id", -1)
    if number < 0 or lines[number] != b"x-request-id: " + values[ID]:
        return {}
    found[number] = (b"x-request-id: ", [(ID, b"%b")])
    if number + 1 < len(lines) and lines[number + 1].startswith(b"date: "):
        found[number + 1] = (b"date: ", [(DATE, b"%b")])
    for name, position, prefix in (
        (b"age", AGE, b""),
        (b"cache-status", TTL, b"gateway; hit; ttl="),
        (b"retry-after", RETRY_AFTER, b""),
    ):
        if values[position] is not None:
            found[last.get(name, -1)] = (name + b": ", [prefix, (position, b"%d")])
    date = values[BACKEND_DATE]
    if date is not None:
        found |= {number: (b"date: ", [(BACKEND_DATE, b"%b")]) for number in _find_date(lines[:number], date)}
    if quotas:
        found[last.get(b"ratelimit", -1)] = (b"ratelimit: ", _quota_parts(quotas))
    return {} if -1 in found else found


def _find_date(lines: list[bytes], date: bytes) -> list[int]:
    """Return the number of the line that has a backend's Date; none if that was removed, -1 if it is unclear."""
    found = [number for number, line in enumerate(lines) if line == b"date: " + date]
    is_elsewhere = not found and any(date in line for line in lines)
    return [-1] if is_elsewhere or len(found) > 1 else found


def _quota_parts(quotas: Sequence[str]) -> Parts:
    """Return the parts of RateLimit; a quota is written as its template says, `%d` for r and for t."""
    parts: Parts = []
    position = FIRST_QUOTA
    for number, template in enumerate(quotas):
        first, *others = template.encode().split(b"%d")
        parts.append((b", " if number else b"") + first)
        for other in others:
            parts += [(position, b"%d"), other]
            position += 1
    return parts


def _add_around_id(draft: Draft, constant: bytes, request_id: bytes) -> None:
    """Add bytes in which the request's id moves."""
    for number, piece in enumerate(constant.split(request_id) if request_id else [constant]):
        if number:
            draft.add_hole(ID, b"%b")
        draft.add(piece)


def _add_parts(draft: Draft, parts: Parts) -> None:
    for part in parts:
        if isinstance(part, bytes):
            draft.add(part)
        else:
            draft.add_hole(*part)


LINE_HOLES: tuple[Parts, ...] = (
    [b'"time":"', (TIME, b"%b"), b'"'],
    [b'"request_id":"', (LINE_ID, b"%b"), b'"'],
    [b'"duration_seconds":', (DURATION, b"%b")],
    [b'"decided":', (DECIDED, b"%d")],
    [b'"cache":"gateway; hit; ttl=', (LINE_TTL, b"%d"), b'"'],
    [(NEAR, b"%b"), b',"trace":"', (TRACE, b"%b"), b'"'],
    [b'"span":"', (SPAN, b"%b"), b'"'],
)
"""What moves in a line of the access log, in its order. NEAR is the whole member with its comma, or nothing.

A quote inside of a JSON string is escaped, so no value can be taken for a member.
"""


def cut_line(line: bytes, values: Values) -> Form | None:
    """Return the form of a line of the access log (JSON), None if it cannot be cut. A value of None has no hole."""
    draft, rest = Draft(), line
    for parts in LINE_HOLES:
        if any(values[part[0]] is None for part in parts if isinstance(part, tuple)):
            continue
        filled = b"".join([part if isinstance(part, bytes) else part[1] % values[part[0]] for part in parts])
        constant, found, rest = rest.partition(filled)
        if not found:
            return None
        draft.add(constant)
        _add_parts(draft, parts)
    draft.add(rest)
    form = draft.build()
    return form if form.fill(values) == line else None


@lru_cache(maxsize=256)
def _picker(holes: tuple[int, ...]) -> Callable[[Values], Any]:
    return itemgetter(*holes) if holes else lambda _: ()

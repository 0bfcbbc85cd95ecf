"""JSON by value: one spelling for all that reads the same, whatever its key order, blanks, escapes or numbers.

Rule: nothing is merged that a reader could tell apart. Numbers keep every digit. What has no single value (a key given
twice, malformed text) or is nested too deeply has no canonical form: it is compared byte for byte.
"""

from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Any

import msgspec

from gateway.core.texts import BYTE_ORDER_MARK

MAXIMUM_DEPTH = 256
"""Levels of nesting. Far below the interpreter's own limit, which depends on who is calling."""
EVERY_ITEM = "*"
"""In a pointer, all items of an array. RFC 6901 gives it no meaning there; in an object it is a name like any other."""

_FLOAT_DIGITS = 15
"""Decimal digits that a double keeps apart, whatever they are."""
_FLOAT_EXPONENT = 300
_INTEGER_DIGITS = 64
"""Up to here 1e3 is the same as 1000. Beyond, writing it out would let a few bytes become gigabytes."""
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)


def _exact_number(text: str) -> int | float | Decimal:
    """The number that a literal with fraction or exponent stands for, in the one type that its value has here."""
    if len(text) <= _FLOAT_DIGITS + 1 and "e" not in text and "E" not in text:
        short = float(text)
        return int(short) if short.is_integer() else short
    number = Decimal(text).normalize(_EXACT)
    digits, magnitude = len(number.as_tuple().digits), number.adjusted()
    if magnitude < _INTEGER_DIGITS and number == number.to_integral_value():
        return int(number)
    return float(number) if digits <= _FLOAT_DIGITS and abs(magnitude) <= _FLOAT_EXPONENT else number


_decoder = msgspec.json.Decoder(float_hook=_exact_number)
_encoder = msgspec.json.Encoder(order="deterministic", decimal_format="number")


def canonical_json(content: bytes, pointers: tuple[tuple[str, ...], ...]) -> bytes | None:
    """The canonical form without what the pointers lead to; None where there is none.

    A byte order mark stays: not every reader passes over it (RFC 8259 8.1).
    """
    mark = BYTE_ORDER_MARK if content.startswith(BYTE_ORDER_MARK) else b""
    content = content[len(mark) :]
    try:
        value = _decoder.decode(content)
        whole = _encoder.encode(value)
    except (msgspec.MsgspecError, ArithmeticError, ValueError, RecursionError):
        return None
    if _count_quotes(content) != whole.count(b'"') or _is_deep(value, content):
        return None
    if not pointers:
        return mark + whole
    for pointer in pointers:
        _remove(value, pointer)
    return mark + _encoder.encode(value)


def _count_quotes(content: bytes) -> int:
    """Quotation marks in a JSON text, however escaped. A key given twice is read once: marks are then missing."""
    if rb"\u0022" not in content:
        return content.count(b'"')
    plain = content.replace(rb"\\", b"")  # what is left after a backslash is escaped by it
    return plain.count(b'"') + plain.count(rb"\u0022")


def _is_deep(value: Any, content: bytes) -> bool:
    """Whether the value is nested deeper than MAXIMUM_DEPTH."""
    if content.count(b"[") + content.count(b"{") <= MAXIMUM_DEPTH:
        return False
    level = [value]
    for _ in range(MAXIMUM_DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True


def _remove(value: Any, pointer: tuple[str, ...]) -> None:
    """Takes out what the pointer leads to: a member is gone, an item of an array becomes null and keeps its place."""
    *way, last = pointer
    reached = [value]
    for segment in way:
        reached = [child[key] for child in reached for key in _keys(child, segment)]
    for container in reached:
        for key in _keys(container, last):
            if type(container) is dict:
                del container[key]
            else:
                container[key] = None


def _keys(container: Any, segment: str) -> list[Any]:
    """The keys or indexes of the container that a segment names: none where it has no such thing."""
    if type(container) is dict:
        return [segment] if segment in container else []
    if type(container) is not list:
        return []
    if segment == EVERY_ITEM:
        return list(range(len(container)))
    # array-index = "0" / ( %x31-39 *DIGIT ), RFC 6901 4
    is_index = segment.isascii() and segment.isdigit() and (segment == "0" or segment[0] != "0")
    return [int(segment)] if is_index and len(segment) < 10 and int(segment) < len(container) else []

"""Entity tags made from content, and which tag an answer carries.

They are weak: one tag stands for the same content in any encoding. They depend on the content alone, so every token,
worker and node makes the same one, also after a restart.

JSON by value: one spelling for all that reads the same, whatever its key order, blanks, escapes or numbers.

Rule: nothing is merged that a reader could tell apart. Numbers keep every digit. What has no single value (a key given
twice, malformed text) or is nested too deeply has no canonical form: it is compared byte for byte.

CSV (RFC 4180) without some columns, and texts without some lines.

With columns to ignore, a CSV file is compared by value: quotes that need not be there and the kind of line break do not
matter then. Without, what is left of it is compared byte for byte.

XML without some elements and attributes, as its parser reads it.

As in Canonical XML, the order of attributes, character references, CDATA sections and comments do not matter; blanks
between elements and namespace prefixes do. A document with a DOCTYPE is never parsed: its entities grow without end.

What a tag does not depend on, in the notation of policy files: one text for each thing to ignore.

/generatedAt, /items/*/seen    what a JSON pointer (RFC 6901) leads to
column:Exported at             the column of a CSV file by its name in the header row
line:#                         lines of a CSV file or another text that begin so
element:generated              XML elements of that name, with all that is in them
attribute:date                 XML attributes of that name, wherever they stand

Entity tags (RFC 9110 8.8.3): made from what content means, chosen between the backend's and ours, compared.
"""

import base64
import csv
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Any
from xml.parsers import expat

import msgspec

from gateway.core.http.fields import is_entity_tag, parse_entity_tags, parse_media_type
from gateway.core.tokens.text import BYTE_ORDER_MARK

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


SEPARATORS = ",;\t"
"""The first one with which the header row has an ignored column is the file's."""


def without_lines(content: bytes, beginnings: tuple[bytes, ...], *, is_csv: bool) -> list[bytes]:
    """The lines that begin with none of `beginnings`; in CSV a line inside of a quoted value is no line of its own."""
    kept = []
    is_quoted = False
    for line in content.removeprefix(BYTE_ORDER_MARK).splitlines(keepends=True):
        if is_quoted or not line.startswith(beginnings):
            kept.append(line)
            is_quoted ^= is_csv and line.count(b'"') % 2 == 1  # quotes in a value are doubled
    return kept


def canonical_rows(lines: Iterable[bytes], columns: frozenset[str]) -> bytes | None:
    """The values of all rows without `columns`; None where the header row has none of them, or it is not CSV."""
    # Latin-1 keeps every byte apart in whatever encoding; only names have to be looked for in UTF-8.
    text = [line.decode("latin-1") for line in lines]
    names = {name.encode().decode("latin-1") for name in columns}
    for separator in SEPARATORS:
        try:
            rows = list(_rows_without(text, names, separator))
        except csv.Error:
            continue
        if rows:
            return msgspec.json.encode(rows)
    return None


def _rows_without(text: list[str], names: set[str], separator: str) -> Iterator[list[str]]:
    """The rows without the named columns; none at all where the header row has none of them."""
    reader = csv.reader(text, delimiter=separator, strict=True)
    header = next(reader, [])
    ignored = [index for index, name in enumerate(header) if name.strip() in names]
    if not ignored:
        return
    for row in (header, *reader):
        for index in reversed(ignored):
            del row[index : index + 1]
        yield row


Event = tuple[str, ...] | str | None
"""A start tag with its attributes, or a processing instruction; text; None for an end tag."""


def canonical_xml(content: bytes, elements: frozenset[str], attributes: frozenset[str]) -> bytes | None:
    """What the parser meets but for the ignored; None where the document is malformed or has a DOCTYPE."""
    if b"<!DOCTYPE" in content or b"\0" in content:  # expat takes no encoding in which this is spelt otherwise
        return None
    reading = _Reading(elements, attributes)
    try:
        reading.parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError):  # LookupError: an encoding that Python does not know
        return None
    return msgspec.json.encode(reading.events)


class _Reading:
    """One document on its way through the parser."""

    def __init__(self, elements: frozenset[str], attributes: frozenset[str]) -> None:
        self.events: list[Event] = []
        self._is_ignored = _name_test(elements)
        self._is_ignored_attribute = _name_test(attributes)
        self._ignored_depth = 0
        self._text: list[str] = []
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.ordered_attributes = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.ProcessingInstructionHandler = self._instruction

    def _start(self, name: str, attributes: list[str]) -> None:
        if self._ignored_depth or self._is_ignored(name):
            self._ignored_depth += 1
            return
        self._end_text()
        pairs = sorted(zip(attributes[::2], attributes[1::2], strict=True))
        kept = [part for pair in pairs if not self._is_ignored_attribute(pair[0]) for part in pair]
        self.events.append((name, *kept))

    def _end(self, _: str) -> None:
        if self._ignored_depth:
            self._ignored_depth -= 1
            return
        self._end_text()
        self.events.append(None)

    def _characters(self, text: str) -> None:
        if not self._ignored_depth:
            self._text.append(text)

    def _instruction(self, target: str, text: str) -> None:
        if not self._ignored_depth:
            self._end_text()
            self.events.append(("?", target, text))

    def _end_text(self) -> None:
        """Pieces of text are one, wherever the parser happened to cut them."""
        if self._text:
            self.events.append("".join(self._text))
            self._text.clear()


def _name_test(names: frozenset[str]) -> Callable[[str], bool]:
    """Whether a name is among `names`, with its prefix or, under a name without one, with any."""
    return lambda name: name in names or name.rpartition(":")[2] in names


KINDS = ("column", "line", "element", "attribute")
"""What stands before the colon. A JSON pointer has none: it begins with a slash."""

# reference-token = *( unescaped / escaped ), escaped = "~" ( "0" / "1" ), RFC 6901 3
_BAD_ESCAPE = re.compile(r"~(?![01])")
# NCName or a prefixed one, roughly: XML names have neither blanks nor markup
_XML_NAME = re.compile(r"[^\s<>&\"'/=:]+(?::[^\s<>&\"'/=:]+)?")


class TagRule(msgspec.Struct, frozen=True):
    """How a rule's tags are made."""

    replaces: bool = False
    """Whether the content's tag takes the place of one that the backend sent."""
    pointers: tuple[tuple[str, ...], ...] = ()
    """The segments of each JSON pointer, unescaped."""
    columns: frozenset[str] = frozenset()
    lines: tuple[bytes, ...] = ()
    elements: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()


BY_VALUE = TagRule()
"""Nothing is ignored: JSON is compared by value, all else byte for byte."""


def parse_ignored(text: str) -> tuple[str, str]:
    """The kind (`pointer` or one of KINDS) and what follows; ValueError says what is expected."""
    kind, colon, name = text.partition(":")
    if text.startswith("/"):
        if _BAD_ESCAPE.search(text):
            raise ValueError(f"{text!r} is not a JSON pointer: a ~ in it is written ~0, a / in a name ~1")
        return "pointer", text
    if not colon or kind not in KINDS:
        raise ValueError(
            f"{text!r} names nothing to ignore: write a JSON pointer, such as /generatedAt, "
            f"or {', '.join(f'{known}:...' for known in KINDS)}"
        )
    if not name.strip() or "\n" in name or "\r" in name:
        raise ValueError(f"{text!r} does not say which {kind}")
    if kind in ("element", "attribute") and not _XML_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of an XML {kind}: write it as in the file, with or without prefix")
    return kind, name


def split_pointer(pointer: str) -> tuple[str, ...]:
    """The names and indexes on the way, unescaped (RFC 6901 4)."""
    return tuple(segment.replace("~1", "/").replace("~0", "~") for segment in pointer[1:].split("/"))


TAG_BYTES = 16
"""128 bits: no two exports of a project will ever share a tag by chance."""
CSV_TYPES = frozenset({b"text/csv", b"application/csv", b"text/tab-separated-values"})


def build_weak_tag(content: bytes, content_type: bytes | None = None, rule: TagRule = BY_VALUE) -> bytes:
    """The weak entity tag of `content`: JSON by value, all else by its bytes, without what the rule ignores.

    Any content has a tag; what is not what its type says is taken by its bytes.
    """
    form, canonical = _canonical(content, parse_media_type(content_type), rule)
    digest = hashlib.blake2b(
        content if canonical is None else canonical,
        digest_size=TAG_BYTES,
        person=b"" if canonical is None else form,  # a canonical form is not mistaken for a content that is spelt so
    ).digest()
    return b'W/"' + base64.urlsafe_b64encode(digest).rstrip(b"=") + b'"'


def choose_tag(
    backend_tag: bytes | None,
    content: bytes,
    content_type: bytes | None,
    rule: TagRule,
    *,
    is_encoded: bool,
    made: bytes | None = None,
) -> bytes:
    """The tag under which an answer is stored and sent.

    A backend's own passes unchanged, but for the strength it loses where the gateway encodes the content: a strong tag
    promises the same bytes to all (RFC 9110 8.8.1). One is made where the backend sent none, none that is well-formed
    (no client could ask with it), or one that the rule replaces; unless it has been `made` already, for this content.
    """
    if backend_tag is None or rule.replaces or not is_entity_tag(backend_tag):
        return made or build_weak_tag(content, content_type, rule)
    return weaken(backend_tag) if is_encoded else backend_tag


def weaken(tag: bytes) -> bytes:
    """The weak tag with the same opaque part."""
    return tag if tag.startswith(b"W/") else b"W/" + tag


def matches_weakly(if_none_match: Sequence[bytes], tag: bytes) -> bool:
    """Whether If-None-Match names the representation with `tag`, by weak comparison (RFC 9110 8.8.3.2, 13.1.2).

    A malformed list matches nothing: the client gets the whole answer, which is always right.
    """
    opaque = tag.removeprefix(b"W/")
    if len(if_none_match) == 1:  # nearly always, and then it needs no parser: it is our tag, or does not have it in it
        value = if_none_match[0]
        if value and value in (tag, opaque):
            return True
        if opaque not in value and b"*" not in value:
            return False
    tags = parse_entity_tags(if_none_match)
    if tags is None:
        return False
    return tags == [b"*"] or any(listed.removeprefix(b"W/") == opaque for listed in tags)


def _canonical(content: bytes, media_type: bytes, rule: TagRule) -> tuple[bytes, bytes | None]:
    """The name of the form in which the content is compared, and the form; None: the bytes as they are."""
    subtype = media_type.rpartition(b"/")[2]
    if subtype == b"json" or subtype.endswith(b"+json"):
        return b"json", canonical_json(content, rule.pointers)
    if subtype == b"xml" or subtype.endswith(b"+xml"):
        if rule.elements or rule.attributes:
            return b"xml", canonical_xml(content, rule.elements, rule.attributes)
        return b"", None
    is_csv = media_type in CSV_TYPES
    if rule.lines or (is_csv and rule.columns):
        lines = without_lines(content, rule.lines, is_csv=is_csv)
        rows = canonical_rows(lines, rule.columns) if is_csv and rule.columns else None
        return (b"lines", b"".join(lines)) if rows is None else (b"rows", rows)
    return b"", None


__all__ = ["BY_VALUE", "TagRule", "build_weak_tag", "choose_tag", "matches_weakly", "weaken"]

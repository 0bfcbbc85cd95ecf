"""Entity tags (RFC 9110 8.8.3): made from what content means, chosen between the backend's and ours, compared.

Tags made here are weak: one tag stands for the same content in any encoding. They depend on the content alone, so every
token, worker and node makes the same one, also after a restart.

JSON is compared by value: one canonical form for all texts that read the same, whatever their key order, white space,
escapes or numbers. Rule: nothing is merged that a reader could tell apart. Numbers keep every digit. Content without a
single value (a key given twice, malformed text), or nested too deeply, has no canonical form and is compared by bytes.

CSV (RFC 4180) can ignore columns, and text can ignore lines. With ignored columns, a CSV file is compared by value:
optional quotes and the kind of line break do not matter then. Without, the rest is compared by bytes.

XML can ignore elements and attributes, and is then compared as its parser reads it. As in Canonical XML, the order of
attributes, character references, CDATA sections and comments do not matter; white space between elements and namespace
prefixes do. A document with a DOCTYPE is never parsed, because its entities could grow without end.

What a tag ignores is written as in policy files, one text for each:

    /generatedAt, /items/*/seen    what a JSON pointer (RFC 6901) leads to
    column:Exported at             the column of a CSV file by its name in the header row
    line:#                         lines of a CSV file or another text that begin so
    element:generated              XML elements of that name, with all that is in them
    attribute:date                 XML attributes of that name, wherever they stand
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
"""Levels of nesting. This is far below the interpreter's own limit, which depends on the caller."""
EVERY_ITEM = "*"
"""In a pointer, all items of an array. RFC 6901 gives it no meaning there; in an object it is a name like any other."""

_FLOAT_DIGITS = 15
"""Decimal digits that a double always keeps apart."""
_FLOAT_EXPONENT = 300
_INTEGER_DIGITS = 64
"""Up to this many digits, 1e3 equals 1000. Beyond, writing it out would let a few bytes become gigabytes."""
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)


def _exact_number(text: str) -> int | float | Decimal:
    """Return the number for a literal with fraction or exponent, in the one type that its value has here."""
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
    """Return the canonical form without what the pointers lead to, or None if there is none.

    A byte order mark stays: not every reader ignores it (RFC 8259 8.1).
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
    """Count the quotation marks in a JSON text, however escaped.

    A key given twice is read once, so marks are missing then.
    """
    if rb"\u0022" not in content:
        return content.count(b'"')
    plain = content.replace(rb"\\", b"")  # a backslash that is left escapes the character after it
    return plain.count(b'"') + plain.count(rb"\u0022")


def _is_deep(value: Any, content: bytes) -> bool:
    """Return whether the value is nested deeper than MAXIMUM_DEPTH."""
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
    """Remove what the pointer leads to: a member is deleted, an item of an array becomes null and keeps its place."""
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
    """Return the keys or indexes of the container that a segment names; empty if it has none."""
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
"""The file's separator is the first of these with which the header row has an ignored column."""


_SAID_SEPARATOR = re.compile(r'"?sep=([^"\r\n])"?[\r\n]*')
"""A first line that tells Excel the separator, before the header row."""


def without_lines(content: bytes, beginnings: tuple[bytes, ...], *, is_csv: bool) -> list[bytes]:
    """Return the lines that begin with none of `beginnings`; a CSV line break inside quotes starts no new line."""
    kept = []
    is_quoted = False
    for line in content.removeprefix(BYTE_ORDER_MARK).splitlines(keepends=True):
        if is_quoted or not line.startswith(beginnings):
            kept.append(line)
            is_quoted ^= is_csv and line.count(b'"') % 2 == 1  # quotes in a value are doubled
    return kept


def canonical_rows(lines: Iterable[bytes], columns: frozenset[str]) -> bytes | None:
    """Return the values of all rows without `columns`; None if the header row has none of them, or it is not CSV."""
    # Latin-1 preserves every byte, whatever the encoding; only names have to be looked for in UTF-8.
    text = [line.decode("latin-1") for line in lines]
    names = {name.encode().decode("latin-1") for name in columns}
    said = _SAID_SEPARATOR.fullmatch(text[0]) if text else None
    if said is not None:
        text = text[1:]
    for separator in said[1] if said is not None else SEPARATORS:
        try:
            rows = list(_rows_without(text, names, separator))
        except csv.Error:
            continue
        if rows:
            return msgspec.json.encode([[separator], *rows] if said is not None else rows)
    return None


def _rows_without(text: list[str], names: set[str], separator: str) -> Iterator[list[str]]:
    """Yield the rows without the named columns; none at all if the header row has none of them."""
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
    """Return what the parser reads except what is ignored; None if the document is malformed or has a DOCTYPE."""
    if b"<!DOCTYPE" in content or b"\0" in content:  # expat takes no encoding in which this is spelt otherwise
        return None
    reading = _Reading(elements, attributes)
    try:
        reading.parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError):  # LookupError: an encoding that Python does not know
        return None
    return msgspec.json.encode(reading.events)


class _Reading:
    """The state of parsing one document."""

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
        """Join pieces of text into one event, wherever the parser happened to cut them."""
        if self._text:
            self.events.append("".join(self._text))
            self._text.clear()


def _name_test(names: frozenset[str]) -> Callable[[str], bool]:
    """Return a test for names that are among `names`; a name there without a prefix matches any prefix."""
    return lambda name: name in names or name.rpartition(":")[2] in names


KINDS = ("column", "line", "element", "attribute")
"""The words before the colon. A JSON pointer has none: it begins with a slash."""

# reference-token = *( unescaped / escaped ), escaped = "~" ( "0" / "1" ), RFC 6901 3
_BAD_ESCAPE = re.compile(r"~(?![01])")
# NCName or a prefixed one, roughly: XML names have neither blanks nor markup
_XML_NAME = re.compile(r"[^\s<>&\"'/=:]+(?::[^\s<>&\"'/=:]+)?")


class TagRule(msgspec.Struct, frozen=True):
    """The rule by which tags are made."""

    replaces: bool = False
    """Whether the content's tag replaces one that the backend sent."""
    pointers: tuple[tuple[str, ...], ...] = ()
    """The segments of each JSON pointer, unescaped."""
    columns: frozenset[str] = frozenset()
    lines: tuple[bytes, ...] = ()
    elements: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()


BY_VALUE = TagRule()
"""The rule that ignores nothing: JSON is compared by value, all else by bytes."""


def parse_ignored(text: str) -> tuple[str, str]:
    """Return the kind (`pointer` or one of KINDS) and what follows. Raise ValueError that says what is expected."""
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
    """Return the names and indexes of a JSON pointer, unescaped (RFC 6901 4)."""
    return tuple(segment.replace("~1", "/").replace("~0", "~") for segment in pointer[1:].split("/"))


TAG_BYTES = 16
"""Bytes of a tag: 128 bits, so that no two exports of a project ever share a tag by chance."""
CSV_TYPES = frozenset({b"text/csv", b"application/csv", b"text/tab-separated-values"})


def build_weak_tag(content: bytes, content_type: bytes | None = None, rule: TagRule = BY_VALUE) -> bytes:
    """Build the weak entity tag of `content`: JSON by value, all else by its bytes, without what the rule ignores.

    Any content has a tag; content that does not match its type is taken by its bytes.
    """
    form, canonical = _canonical(content, parse_media_type(content_type), rule)
    tag = WeakTag() if canonical is None else WeakTag(form)
    tag.update(content if canonical is None else canonical)
    return tag.build()


class WeakTag:
    """The weak entity tag of content that comes in pieces, by its bytes.

    A canonical form names itself in `form`, so that its tag differs from that of content with the same bytes.
    """

    def __init__(self, form: bytes = b"") -> None:
        self._digest = hashlib.blake2b(digest_size=TAG_BYTES, person=form)

    def update(self, piece: bytes) -> None:
        """Add the next piece."""
        self._digest.update(piece)

    def build(self) -> bytes:
        """Build the tag of all pieces."""
        return b'W/"' + base64.urlsafe_b64encode(self._digest.digest()).rstrip(b"=") + b'"'


def choose_tag(
    backend_tag: bytes | None,
    content: bytes,
    content_type: bytes | None,
    rule: TagRule,
    *,
    is_encoded: bool,
    made: bytes | None = None,
) -> bytes:
    """Return the tag under which an answer is stored and sent.

    A backend's own tag passes unchanged, but becomes weak if the gateway encodes the content: a strong tag promises the
    same bytes to all (RFC 9110 8.8.1). A tag is made if the backend sent none, or a malformed one (no client could ask
    with it), or one that the rule replaces; `made` is such a tag if this content has one already.
    """
    if backend_tag is None or rule.replaces or not is_entity_tag(backend_tag):
        return made or build_weak_tag(content, content_type, rule)
    return weaken(backend_tag) if is_encoded else backend_tag


def weaken(tag: bytes) -> bytes:
    """Return the weak tag with the same opaque part."""
    return tag if tag.startswith(b"W/") else b"W/" + tag


def matches_weakly(if_none_match: Sequence[bytes], tag: bytes) -> bool:
    """Return whether If-None-Match names the representation with `tag`, by weak comparison (RFC 9110 8.8.3.2, 13.1.2).

    A malformed list matches nothing: the client gets the whole answer, which is always right.
    """
    opaque = tag.removeprefix(b"W/")
    if len(if_none_match) == 1:  # nearly always; no parser is needed then: it is our tag, or does not contain it
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
    """Return the name of the form in which the content is compared, and the form; None means the plain bytes."""
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

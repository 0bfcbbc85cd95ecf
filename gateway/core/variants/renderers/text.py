"""Write translations as CSV, JSON and XML.

CSV (RFC 4180) has a line for each key, a column for each language, and texts in quotes.

    record  = key *( "," [ value ] ) CRLF       ; the first one: key, then the languages
    value   = text in quotes / a number without ; empty if the value is missing

A text that a spreadsheet would take for a formula gets an apostrophe before it (OWASP, CSV injection). A text that
begins with such apostrophes gets one more, so that removing one restores the text.

JSON is a map from key to value, in groups or flat. A variant of exactly one language is that map. Any other is an
object of them by language: it has the same form however many languages the document has at the moment.

XML 1.0 has fixed element names, so keys and languages may be any text; they are attributes.

    <export>
    <group name="home">                                            ; shape=nested
      <entry name="title"><value lang="de">Start</value></entry>
    </group>
    <entry key="home.title"><value lang="de">Start</value></entry> ; shape=flat
    </export>

A value that is no text says so: type="number" or type="boolean". XML cannot have NUL and some other characters, not
even escaped: a text or name with one is written as a JSON string and marked: escaped="json".
"""

import csv
import io
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

import msgspec

from gateway.core.tokens.text import BYTE_ORDER_MARK
from gateway.core.variants.model import Group, Variant, build_tree, collide
from gateway.core.variants.translations import Leaf, Texts

LINES_AT_ONCE = 500

FORMULA = re.compile(
    "'*[=+\\-@\t\r\n\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}"
    "\N{FULLWIDTH COMMERCIAL AT}\0]"
)
"""What a spreadsheet may take for the beginning of a formula, even after it has trimmed the cell."""
_STARTS = frozenset("'=+-@\t\r\n\0＝＋－＠")  # noqa: RUF001  # full-width forms are read as the ASCII ones


class _Missing(float):
    """A missing value, written as a number without digits: no quotes, so that it differs from an empty text."""

    def __str__(self) -> str:
        return ""


_MISSING = _Missing()
_WORDS = {True: "true", False: "false"}


def render_csv(texts: Texts, variant: Variant) -> Iterator[bytes]:
    """Write a header, then the keys in order."""
    buffer = io.StringIO(newline="")
    if variant.bom:
        yield BYTE_ORDER_MARK
    writer = csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(["key", *map(_write_cell, texts.languages)])
    lines = zip(texts.keys, texts.rows, strict=True)
    while batch := list(itertools.islice(lines, LINES_AT_ONCE)):
        writer.writerows(map(_write_cell, (key, *row)) for key, row in batch)
        yield buffer.getvalue().encode()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue().encode()


def _write_cell(value: Leaf) -> object:
    if isinstance(value, str):
        return f"'{value}" if value[:1] in _STARTS and FORMULA.match(value) else value
    if value is None:
        return _MISSING
    return _WORDS[value] if isinstance(value, bool) else value


INDENT = 2

_encoder = msgspec.json.Encoder()


def render_json(texts: Texts, variant: Variant) -> Iterator[bytes]:
    """Write one object, and a line break at the end."""
    tree = build_tree(texts.keys) if variant.shape == "nested" else None
    if variant.lang is not None and len(variant.lang) == 1:
        yield _encode(build_map(texts.keys, next(texts.rows.read_columns()), tree), variant) + b"\n"
        return
    separator, columns = b"{", texts.rows.read_columns()
    for language in texts.languages:  # at each step nothing is left of the language before
        yield separator
        yield _encode_member(language, build_map(texts.keys, next(columns), tree), variant)
        separator = b","
    end = b"\n}\n" if variant.pretty and texts.languages else b"}\n"
    yield end if texts.languages else b"{" + end


def _encode_member(name: str, value: object, variant: Variant) -> bytes:
    """Encode a member of an object, without the object around it."""
    return _encode({name: value}, variant)[1 : -2 if variant.pretty else -1]


def _encode(content: Mapping[str, object], variant: Variant) -> bytes:
    encoded = _encoder.encode(content)
    return msgspec.json.format(encoded, indent=INDENT) if variant.pretty else encoded


def build_map(keys: Sequence[str], column: Sequence[Leaf], tree: Group | None) -> dict[str, object]:
    """Return the values of one language, in the groups of the tree, or flat if there is no tree."""
    if tree is None:
        return {key: value for key, value in zip(keys, column, strict=True) if value is not None}
    return _build_group(tree, keys, column)


def _build_group(group: Group, keys: Sequence[str], column: Sequence[Leaf]) -> dict[str, object]:
    """Return the group as an object, without entries that have no value, and groups that have none.

    Raise BrokenDocument if an entry and a group have the same name.
    """
    built: dict[str, object] = {
        name: column[position] for name, position in group.entries.items() if column[position] is not None
    }
    for name, inner in group.groups.items():
        members = _build_group(inner, keys, column)
        if members:
            if name in built:
                raise collide(keys, group, name)
            built[name] = members
    return built


# Characters that are no Char of XML 1.0 (2.2).
_NO_CHARACTER = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPECIAL = re.compile("[^\t\n -%'-;=?-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINE_END = {"\r": "&#13;"}  # a parser would turn it into a line feed (2.11)
_BLANKS = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}  # in an attribute it would turn them into spaces (3.3.3)
_INDENT = "  "
_BATCH = 500


def render_xml(texts: Texts, variant: Variant) -> Iterator[bytes]:
    """Write a document with one root, `export`."""
    writer = _Writer(texts, is_pretty=variant.pretty)
    yield b'<?xml version="1.0" encoding="UTF-8"?>\n<export>' + writer.line_end
    if variant.shape == "nested":
        lines = writer.write_group(build_tree(texts.keys), 1)
    else:
        lines = (writer.write_entry("key", key, position, 1) for position, key in enumerate(texts.keys))
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == _BATCH:
            yield "".join(batch).encode()
            batch.clear()
    yield "".join(batch).encode() + b"</export>\n"


class _Writer:
    """The writer of element lines; without `is_pretty` there is nothing between elements."""

    def __init__(self, texts: Texts, *, is_pretty: bool) -> None:
        self._heads = [f"<value{_write_attribute('lang', language)}" for language in texts.languages]
        self._rows = texts.rows
        self._indent, self._end = (_INDENT, "\n") if is_pretty else ("", "")
        self.line_end = self._end.encode()

    def write_entry(self, attribute: str, name: str, position: int, depth: int) -> str:
        outer, inner = self._indent * depth, self._indent * (depth + 1)
        values = [
            f"{inner}{head}{_write_value(value)}{self._end}"
            for head, value in zip(self._heads, self._rows[position], strict=True)
            if value is not None
        ]
        start = f"{outer}<entry{_write_attribute(attribute, name)}>{self._end}"
        return f"{start}{''.join(values)}{outer}</entry>{self._end}"

    def write_group(self, group: Group, depth: int) -> Iterator[str]:
        for name, position in group.entries.items():
            yield self.write_entry("name", name, position, depth)
        outer = self._indent * depth
        for name, inner in group.groups.items():
            yield f"{outer}<group{_write_attribute('name', name)}>{self._end}"
            yield from self.write_group(inner, depth + 1)
            yield f"{outer}</group>{self._end}"


def _write_value(value: Leaf) -> str:
    """Return the rest of a start tag, the content, and the end tag."""
    if not isinstance(value, str):
        kind = "boolean" if isinstance(value, bool) else "number"
        return f' type="{kind}">{msgspec.json.encode(value).decode()}</value>'
    if _SPECIAL.search(value) is None:
        return f">{value}</value>"
    if _NO_CHARACTER.search(value):
        return f' escaped="json">{escape(_write_json(value), _LINE_END)}</value>'
    return f">{escape(value, _LINE_END)}</value>"


def _write_attribute(name: str, value: str) -> str:
    if _NO_CHARACTER.search(value):
        return f' {name}={quoteattr(_write_json(value), _BLANKS)} escaped="json"'
    return f" {name}={quoteattr(value, _BLANKS)}"


def _write_json(text: str) -> str:
    """Return a JSON string in which every character is allowed in XML."""
    encoded = msgspec.json.encode(text).decode()
    return _NO_CHARACTER.sub(lambda match: f"\\u{ord(match[0]):04x}", encoded)

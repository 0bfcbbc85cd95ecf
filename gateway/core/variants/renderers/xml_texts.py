"""Translations as XML 1.0: element names are ours, so keys and languages may be any text; they are attributes.

    <export>
      <group name="home">                                            ; shape=nested
        <entry name="title"><value lang="de">Start</value></entry>
      </group>
      <entry key="home.title"><value lang="de">Start</value></entry> ; shape=flat
    </export>

A value that is no text says so: type="number" or type="boolean". XML cannot have NUL and some other characters, not
even escaped: a text or name with one is written as a JSON string and marked: escaped="json".
"""

import re
from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

import msgspec

from gateway.core.variants.translations import Leaf, Texts
from gateway.core.variants.trees import Group, build_tree
from gateway.core.variants.variant import Variant

# What is not a Char of XML 1.0 (2.2).
_NO_CHARACTER = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPECIAL = re.compile("[^\t\n -%'-;=?-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINE_END = {"\r": "&#13;"}  # a parser would make a line feed of it (2.11)
_BLANKS = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}  # in an attribute it would make spaces of them (3.3.3)
_INDENT = "  "
_BATCH = 500


def render_xml(texts: Texts, variant: Variant) -> Iterator[bytes]:
    """A document with one root, `export`."""
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
    """Lines of elements; without `is_pretty` there is nothing between them."""

    def __init__(self, texts: Texts, *, is_pretty: bool) -> None:
        self._heads = [f"<value{_write_attribute('lang', language)}" for language in texts.languages]
        self._columns = texts.columns
        self._indent, self._end = (_INDENT, "\n") if is_pretty else ("", "")
        self.line_end = self._end.encode()

    def write_entry(self, attribute: str, name: str, position: int, depth: int) -> str:
        outer, inner = self._indent * depth, self._indent * (depth + 1)
        values = [
            f"{inner}{head}{_write_value(value)}{self._end}"
            for head, column in zip(self._heads, self._columns, strict=True)
            if (value := column[position]) is not None
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
    """The rest of a start tag, the content, and the end tag."""
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
    """A JSON string in which every character is one of XML."""
    encoded = msgspec.json.encode(text).decode()
    return _NO_CHARACTER.sub(lambda match: f"\\u{ord(match[0]):04x}", encoded)

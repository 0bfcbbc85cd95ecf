"""XML without some elements and attributes, as its parser reads it.

As in Canonical XML, the order of attributes, character references, CDATA sections and comments do not matter; blanks
between elements and namespace prefixes do. A document with a DOCTYPE is never parsed: its entities grow without end.
"""

from collections.abc import Callable
from xml.parsers import expat

import msgspec

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

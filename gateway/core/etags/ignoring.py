"""What a tag does not depend on, in the notation of policy files: one text for each thing to ignore.

/generatedAt, /items/*/seen    what a JSON pointer (RFC 6901) leads to
column:Exported at             the column of a CSV file by its name in the header row
line:#                         lines of a CSV file or another text that begin so
element:generated              XML elements of that name, with all that is in them
attribute:date                 XML attributes of that name, wherever they stand
"""

import re

import msgspec

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

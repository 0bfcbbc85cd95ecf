"""Translations as CSV (RFC 4180): a line a key, a column a language, texts in quotes.

    record  = key *( "," [ value ] ) CRLF       ; the first one: key, then the languages
    value   = text in quotes / a number without ; nothing at all where the value is missing

A text that a spreadsheet would take for a formula gets an apostrophe before it (OWASP, CSV injection). One that has
such apostrophes of its own gets one more, so that taking one away gives the text back.
"""

import csv
import io
import re
from collections.abc import Iterator

from gateway.core.variants.translations import Leaf, Texts
from gateway.core.variants.variant import Variant

LINES_AT_ONCE = 500

FORMULA = re.compile(
    "'*[=+\\-@\t\r\n\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}"
    "\N{FULLWIDTH COMMERCIAL AT}\0]"
)
"""What a spreadsheet may take for the beginning of a formula, also once it has trimmed the cell."""
_STARTS = frozenset("'=+-@\t\r\n\0＝＋－＠")  # noqa: RUF001  # full-width forms are read as the ASCII ones


class _Missing(float):
    """Written without quotes, as numbers are, and with no digits: not the same as an empty text."""

    def __str__(self) -> str:
        return ""


_MISSING = _Missing()
_WORDS = {True: "true", False: "false"}


def render_csv(texts: Texts, _: Variant) -> Iterator[bytes]:
    """A header, then the keys in order."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(["key", *map(_write_cell, texts.languages)])
    for start in range(0, len(texts.keys), LINES_AT_ONCE):
        lines = slice(start, start + LINES_AT_ONCE)
        cells = (map(_write_cell, column[lines]) for column in (texts.keys, *texts.columns))
        writer.writerows(zip(*cells, strict=True))
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

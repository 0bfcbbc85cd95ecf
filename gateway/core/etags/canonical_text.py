"""CSV (RFC 4180) without some columns, and texts without some lines.

With columns to ignore, a CSV file is compared by value: quotes that need not be there and the kind of line break do not
matter then. Without, what is left of it is compared byte for byte.
"""

import csv
from collections.abc import Iterable, Iterator

import msgspec

from gateway.core.texts import BYTE_ORDER_MARK

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

"""CSV without columns, and texts without lines."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http.etags import TagRule, build_weak_tag

CSV = b"text/csv; header=present"
cells = st.text("ab,;\"#\n\t é'", max_size=4)  # the writer does not quote a lone carriage return
tables = st.lists(st.tuples(cells, cells, cells), max_size=4)


def tag(content: str, *, columns: Iterable[str] = (), lines: tuple[bytes, ...] = ()) -> bytes:
    return build_weak_tag(content.encode(), CSV, TagRule(columns=frozenset(columns), lines=lines))


Writing: TypeAlias = tuple[Literal[0, 1], str, str]
"""How a table is written down: csv.QUOTE_MINIMAL or QUOTE_ALL, the line break, the separator."""
writings: st.SearchStrategy[Writing] = st.tuples(
    st.sampled_from([0, 1]), st.sampled_from(["\r\n", "\n"]), st.sampled_from(",;\t")
)


def write(rows: Sequence[tuple[str, ...]], writing: Writing) -> str:
    text, (quoting, line_break, separator) = io.StringIO(newline=""), writing
    csv.writer(text, quoting=quoting, lineterminator=line_break, delimiter=separator).writerows(rows)
    return text.getvalue()


@given(tables, st.data(), writings, writings)
def test_with_an_ignored_column_a_file_is_compared_by_value(
    rows: list[tuple[str, str, str]], data: st.DataObject, one: Writing, other: Writing
) -> None:
    """Quotes that need not be there, line breaks, the separator and the ignored column do not matter."""
    changed = [(first, data.draw(cells), last) for first, _, last in rows]
    header = ("key", "seen", "text")
    before, after = write([header, *rows], one), write([header, *changed], other)
    assert tag(before, columns={"seen"}) == tag(after, columns={"seen"})


@given(tables, tables, writings)
def test_other_values_have_other_tags(
    one: list[tuple[str, str, str]], other: list[tuple[str, str, str]], writing: Writing
) -> None:
    """Tags are equal where all other columns are."""
    header = ("key", "seen", "text")
    tags = {tag(write([header, *rows], writing), columns={"seen"}) for rows in (one, other)}
    assert ([row[::2] for row in one] == [row[::2] for row in other]) == (len(tags) == 1)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("key,Größe\na,1\n", "key,Größe\na,2\n"),
        ("\ufeffGröße,key\n1,a", "\ufeffGröße,key\n2,a"),
        ("key, Größe \na,1\n", "key, Größe \na,2\n"),
        ("Größe,Größe\n1,2\n", "Größe,Größe\n3,4\n"),
    ],
)
def test_a_column_is_found_by_its_name(one: str, other: str) -> None:
    """In UTF-8, behind a byte order mark, with blanks around it, more than once."""
    assert tag(one, columns={"Größe"}) == tag(other, columns={"Größe"})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("key,text\na,1\n", "key,text\na,2\n"),
        ("key,text\r\na,1\r\n", "key,text\na,1\n"),
        ('seen,text\n"a"b,1', 'seen,text\n"a"b,2'),
        ("seen,text\n" + "a" * 200_000 + ",1", "seen,text\n" + "a" * 200_000 + ",2"),
        ('seen,text\n1,"a', 'seen,text\n2,"a'),
    ],
)
def test_without_the_column_or_not_csv_every_byte_counts(one: str, other: str) -> None:
    """A header row without the name, quotes that do not fit, values beyond all measure: no byte is ignored."""
    assert tag(one, columns={"seen"}) != tag(other, columns={"seen"})


def test_comment_lines_are_ignored() -> None:
    """Lines that begin so do not count, wherever they stand, whatever is in them; the other bytes do."""
    one = '# made at 10:00, "by hand\nkey;text\na;"1"\n'
    other = '# made at 11:00\nkey;text\n# half way\na;"1"\n'
    assert tag(one, lines=(b"#",)) == tag(other, lines=(b"#",))
    assert tag(one, lines=(b"#",)) != tag(other.replace('"', ""), lines=(b"#",))


def test_comment_lines_and_columns() -> None:
    """Comments before the header row do not hide it."""
    lines = (b"#", b"//")
    one, other = "# 1\n// 2\nkey,seen\na,1\n", "# 3\nkey,seen\na,2\n"
    assert tag(one, columns={"seen"}, lines=lines) == tag(other, columns={"seen"}, lines=lines)


def test_a_line_inside_of_a_value_is_no_comment() -> None:
    """In CSV a quoted value may have lines of its own, and they count."""
    one, other = 'key,text\na,"1\n# 2\n"\n# 3\n', 'key,text\na,"1\n# 4\n"\n'
    assert tag(one, lines=(b"#",)) != tag(other, lines=(b"#",))
    assert tag(one, lines=(b"#",)) == tag(one.replace("# 3\n", ""), lines=(b"#",))


def test_lines_of_other_texts() -> None:
    """A text that is not CSV has lines, and its quotes mean nothing."""
    rule = TagRule(lines=(b"# Generated",), columns=frozenset({"a"}))
    one, other = b'# Generated 1\nit"s = 1\n# Generated 2\na,b\n', b'it"s = 1\na,b\n'
    assert build_weak_tag(one, b"text/plain", rule) == build_weak_tag(other, b"text/plain", rule)
    assert build_weak_tag(one, b"text/plain") != build_weak_tag(other, b"text/plain")
    assert build_weak_tag(one, None, rule) != build_weak_tag(one + b"c\n", None, rule)


def test_without_a_rule_every_byte_counts() -> None:
    """CSV is compared by value only where a rule has columns to ignore."""
    assert tag("a,b\n") != tag("a,b\r\n")
    assert build_weak_tag(b"a,b\n") == tag("a,b\n")

"""Files that others publish, through every format into what builds read: not one difference."""

from typing import Any

import pytest

from tests.support.consumers import Read
from tests.support.documents import page
from tests.support.real_files import is_same, list_differences, list_rows


def test_consumers_read_what_real_files_say(consumers: Read) -> None:
    """Each token and each text, and the page of the reference says how many these are."""
    rows = list(list_rows(consumers))
    assert [] == [difference for row in rows for difference in row.differences]
    table = [line for line in page("reference/real-files.md").splitlines() if line.startswith("| `")]
    assert table == [row.line for row in rows]


def test_a_difference_is_found() -> None:
    """A text that is missing, one more, and another one."""
    wanted = {"de": {"a": "x", "b": "y", "c": "z"}}
    assert 3 == len(list_differences(wanted, {"de": {"a": "x", "b": "Y", "d": ""}}))


@pytest.mark.parametrize(
    ("kind", "wanted", "same", "other"),
    [
        ("color", "#1f5fd6", "rgb(31 95 214)", "rgb(32 95 214)"),
        ("color", {"colorSpace": "hsl", "components": [0, 100, 50]}, "#ff0000", "#ff000080"),
        ("dimension", "1.5rem", "1.5rem", "1.5px"),
        ("cubicBezier", [0.4, 0, 1, 1], "cubic-bezier(0.4, 0, 1, 1)", "cubic-bezier(0.4, 0, 1, 0.9)"),
        ("fontFamily", ["Inter", "serif"], '"Inter", serif', '"Inter"'),
        ("number", 1.5, "1.5", "1.4"),
    ],
)
def test_values_are_compared_as_what_they_are(kind: str, wanted: Any, same: Any, other: Any) -> None:
    """However they are spelled."""
    assert (True, False) == (is_same(kind, wanted, same), is_same(kind, wanted, other))

"""Heads: field lines in order, repeats kept."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http.messages import Field, field_value, field_values, without_fields
from tests.core.samples import make_request

NAMES = [b"a", b"b", b"c"]
field_lists = st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=3)))


@given(field_lists, st.sampled_from(NAMES))
def test_all_values_come_in_order(fields: list[Field], name: bytes) -> None:
    """A repeated field keeps all its values, in the order in which they came."""
    assert [value for other, value in fields if other == name] == field_values(fields, name)


@given(field_lists, st.sampled_from(NAMES))
def test_the_first_value_is_the_value(fields: list[Field], name: bytes) -> None:
    """One value of a field is the first of all of them, or None without any."""
    assert next(iter(field_values(fields, name)), None) == field_value(fields, name)


@given(field_lists, st.frozensets(st.sampled_from(NAMES)))
def test_removed_and_kept_lines_are_all_lines(fields: list[Field], names: frozenset[bytes]) -> None:
    """Removing fields removes every line of theirs and leaves all others as they were."""
    assert [field for field in fields if field[0] not in names] == without_fields(fields, names)


def test_the_target_is_path_and_query_as_received() -> None:
    """The target that a backend gets is the one the client sent, undecoded."""
    assert "/a%20b" == make_request(path="/a%20b").target
    assert "/a%20b?x=%2F&y" == make_request(path="/a%20b", query="x=%2F&y").target

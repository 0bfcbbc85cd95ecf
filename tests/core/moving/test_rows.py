"""Rows that are imported."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ChangeRefused
from gateway.core.moving.rows import COLUMNS, ImportRow, build_row, find_differences, parse_row
from gateway.core.tokens.changes import TokenRequest
from gateway.core.tokens.lifecycle import ByDigest, ByText, import_token
from tests.support.policies import small_policies

DIGEST = "ab" * 32
SMALL = small_policies().policies["small"]
FULL = {
    "digest": DIGEST,
    "shown": "sml_abc",
    "name": "CI",
    "project": "website",
    "owner": "ada",
    "scopes": "read, write;read",
    "plan": "pro",
    "not_before": "2026-12-01T00:00:00Z",
    "expires_at": "1830297600",
    "description": "Old",
    "is_active": "no",
}


def test_a_row_is_read_from_texts_and_from_values() -> None:
    """As CSV has them, and as JSON does."""
    request = TokenRequest(
        name="CI",
        project="website",
        owner="ada",
        scopes=("read", "write", "read"),
        plan="pro",
        not_before=1796083200,
        expires_at=1830297600,
        description="Old",
    )
    expected = ImportRow(7, request, ByDigest(DIGEST, "sml_abc"), is_active=False)
    assert expected == parse_row(7, FULL, {})
    values = {**FULL, "scopes": ["read", "write", "read"], "expires_at": 1830297600, "is_active": False}
    assert expected == parse_row(7, values, {})


def test_defaults_stand_in_for_what_is_empty() -> None:
    """And for nothing else."""
    row = parse_row(1, {"text": "sml_1", "name": "", "owner": "ada"}, {"name": "Old", "owner": "bob", "plan": None})
    assert ("Old", "ada", None) == (row.request.name, row.request.owner, row.request.plan)
    assert ByText("sml_1") == row.imported


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "one of `text` and `digest`"),
        ({"text": "sml_1", "digest": DIGEST}, "one of `text` and `digest`"),
        ({"text": "sml_1", "scops": "read"}, "did you mean 'scopes'?"),
        ({"text": "sml_1", "expires_at": "soon"}, "expires_at: neither Unix seconds nor a time"),
        ({"text": "sml_1", "expires_at": "2027-01-31"}, "expires_at: neither Unix seconds nor a time"),
        ({"text": "sml_1", "expires_at": True}, "expires_at: neither Unix seconds nor a time"),
        ({"text": "sml_1", "scopes": [1]}, "scopes: neither a list"),
        ({"text": "sml_1", "is_active": "perhaps"}, "is_active: neither true nor false"),
        ({"text": ["sml_1"]}, "text: not a text"),
        ({"text": "sml_1", "sml_0123456789abcdef": "x"}, "a column has no name of ours"),
    ],
)
def test_a_mistake_of_a_row_is_named(values: dict[str, Any], message: str) -> None:
    """Without what may be a token."""
    with pytest.raises(ChangeRefused) as raised:
        parse_row(1, values, {})
    assert message in str(raised.value)
    assert "sml_0" not in str(raised.value)


@given(
    st.dictionaries(st.sampled_from(COLUMNS), st.text() | st.integers() | st.none() | st.lists(st.text()), max_size=6)
)
def test_any_row_is_read_or_refused(values: dict[str, Any]) -> None:
    """And nothing else happens."""
    try:
        parse_row(1, values, {})
    except ChangeRefused as refused:
        assert str(refused)


def test_what_is_exported_is_imported_as_it_was() -> None:
    """All settings of a token, also that it is disabled."""
    row = parse_row(1, FULL | {"scopes": "read"}, {})
    record = import_token(SMALL, row.request, row.imported, b"", 1796000000)
    again = parse_row(1, build_row(record), {})
    assert [] == find_differences(record, import_token(SMALL, again.request, again.imported, b"", 1796000001))
    assert again.is_active

"""Who asks, from the fields that say so."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.upstream.forwarding import Principal, build_identity_fields, parse_principal
from tests.core.samples import RECORD


@given(*[st.text(st.characters(codec="utf-8"), max_size=20)] * 3)
def test_what_is_told_can_be_read(name: str, project: str, owner: str) -> None:
    """Any name, project and owner come back as they were."""
    record = replace(RECORD, name=name, project=project, owner=owner)
    expected = Principal("ab" * 12, name, project, owner, frozenset({"read", "write"}))
    assert expected == parse_principal(build_identity_fields(record, "read write"))


def test_nobody_is_nobody() -> None:
    """Under a public rule there are no such fields."""
    assert parse_principal([(b"accept", b"*/*")]) is None

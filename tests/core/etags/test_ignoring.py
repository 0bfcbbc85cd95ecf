"""The notation of what a tag does not depend on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http.etags import parse_ignored, split_pointer


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("/generatedAt", ("pointer", "/generatedAt")),
        ("/items/*/a~1b", ("pointer", "/items/*/a~1b")),
        ("/a:b", ("pointer", "/a:b")),
        ("column:Exported at", ("column", "Exported at")),
        ("column:a:b", ("column", "a:b")),
        ("line:#", ("line", "#")),
        ("line:// made by: ", ("line", "// made by: ")),
        ("element:generated", ("element", "generated")),
        ("element:dc:date", ("element", "dc:date")),
        ("attribute:größe", ("attribute", "größe")),
    ],
)
def test_a_text_says_its_kind(text: str, parsed: tuple[str, str]) -> None:
    """A slash begins a JSON pointer; everything else says its kind before the first colon."""
    assert parsed == parse_ignored(text)


@given(st.lists(st.text()))
def test_a_pointer_is_split_as_it_was_joined(segments: list[str]) -> None:
    """Any names can be in a pointer: `~0` and `~1` stand for what would end them (RFC 6901 3, 4)."""
    pointer = "".join("/" + segment.replace("~", "~0").replace("/", "~1") for segment in segments)
    if segments:
        assert tuple(segments) == split_pointer(pointer)


@given(st.text() | st.sampled_from(["column", "line", "element", "attribute"]).flatmap(lambda k: st.just(k + ":")))
def test_any_text_is_understood_or_refused(text: str) -> None:
    """What is no notation is refused with a message that has it in it, and with no other error."""
    try:
        parse_ignored(text)
    except ValueError as error:
        assert repr(text) in str(error) or repr(text.partition(":")[2]) in str(error)

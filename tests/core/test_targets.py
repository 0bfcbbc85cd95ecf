"""Request targets: what is matched is what the backend gets, or it is refused."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http.targets import parse_path

plain_segments = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="/\\"), min_size=1)
safe_segments = plain_segments.filter(lambda segment: segment not in (".", ".."))


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("/", ("",)),
        ("/a", ("a",)),
        ("/a/", ("a", "")),
        ("/a/%62/", ("a", "b", "")),
        ("/a%20b/caf%C3%A9", ("a b", "café")),
        ("/a+b", ("a+b",)),
        ("/...", ("...",)),
        ("/%252e%252e", ("%2e%2e",)),
        ("/a%23b%3Fc", ("a#b?c",)),
        ("/a%3Bb=c/d", ("a;b=c", "d")),
        ("/%252f", ("%2f",)),
        ("/ADMIN", ("ADMIN",)),
    ],
)
def test_a_path_has_decoded_segments(path: str, segments: tuple[str, ...]) -> None:
    """A path reads as its segments, each decoded once; a last empty one stands for a slash at the end."""
    assert segments == parse_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        "*",
        "http://app.example/a",
        "//",
        "//a",
        "/a//b",
        "/a//",
        "/.",
        "/..",
        "/a/../b",
        "/a/./b",
        "/a/%2e%2E/b",
        "/a/.%2e",
        "/a%2Fb",
        "/a%2fb",
        "/a\\b",
        "/a%5Cb",
        "/a%00",
        "/a%0d%0a",
        "/a%7F",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%ff",
        "/a%C3",
        "/a%ED%A0%80",
        "/a b",
        "/a\tb",
        "/a\nb",
        "/café",
        "/admin#/export",
        "/admin;/export",
        "/a/..;/admin",
        "/;/admin",
        "/admin?/export",
    ],
)
def test_an_ambiguous_path_is_refused(path: str) -> None:
    """What two readers could take for two different paths, or for none, is not repaired."""
    assert parse_path(path) is None


@given(st.lists(safe_segments, min_size=1), st.booleans())
def test_encoded_segments_are_read_back(segments: list[str], ends_with_slash: bool) -> None:
    """Parsing a path built from segments gives those segments."""
    path = "".join("/" + quote(segment, safe="") for segment in segments) + "/" * ends_with_slash
    assert (*segments, *[""] * ends_with_slash) == parse_path(path)


@given(st.text(st.sampled_from("/.%25eEfFcC\\ab#?;") | st.characters()))
def test_no_segment_can_climb_or_divide(path: str) -> None:
    """Any text is refused or has segments without dots alone, slashes, backslashes, controls or holes in the middle."""
    for text in (path, "/" + path):
        segments = parse_path(text)
        if segments is not None:
            assert {".", ".."}.isdisjoint(segments)
            assert set("/\\\0\r\n").isdisjoint("".join(segments))
            assert "" not in segments[:-1]
            assert text.count("/") == len(segments)

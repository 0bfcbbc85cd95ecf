"""A policy file's text: every mistake of its shape is found, and nothing else is raised."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.policies.reading import Mistake, path_to, read_document, unknown_name

SMALLEST = """
name = "shop"
upstream = "http://127.0.0.1:9001"
token = { prefixes = ["shp_"] }
rules = [{ match = "GET /**" }]
"""

keys = st.sampled_from(
    [
        "name",
        "hosts",
        "upstream",
        "token",
        "scopes",
        "plans",
        "quotas",
        "rules",
        "errors",
        "tests",
        "match",
        "url",
        "cache",
    ]
)
values = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.text(max_size=8)
    | st.sampled_from(["GET /a", "10m", "10m\n", "read", "http://a", "bearer", "1/day"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def write_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = "".join(f"\\U{ord(character):08x}" for character in value)
        return f'"{escaped}"'
    if isinstance(value, list):
        return f"[{', '.join(map(write_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{write_value(key)} = {write_value(item)}' for key, item in value.items())}}}"
    return str(value)


def mistakes_in(text: str) -> list[str]:
    return [str(mistake) for mistake in read_document(text)[1]]


def test_the_smallest_policy_is_read() -> None:
    """A name, a backend, a prefix and a rule are enough; the rest has defaults."""
    document, mistakes = read_document(SMALLEST)
    assert document is not None
    assert [] == mistakes
    assert 40 == document.token.length
    assert "bearer" == document.token.credential


def test_a_byte_order_mark_is_no_part_of_a_policy() -> None:
    """Some editors write one, and show none."""
    document, mistakes = read_document("\ufeff" + SMALLEST)
    assert [] == mistakes
    assert read_document(SMALLEST)[0] == document


def test_every_mistake_is_found_at_once() -> None:
    """Mistakes in different tables, of different kinds, are all reported, each at its place."""
    text = """
nmae = "shop"
upstream = { url = "http://127.0.0.1:9001", conect_timeout = "2s" }
token = { prefixes = [], length = "long" }
rules = [{ match = 1, cost = -1 }, { scopes = [1, 2] }]
[plans.Free]
"""
    assert [
        "$.nmae: unknown key 'nmae': did you mean 'name'?",
        "$.upstream.conect_timeout: unknown key 'conect_timeout': did you mean 'connect_timeout'?",
        "$.token.prefixes: Expected `array` of length >= 1",
        "$.token.length: Expected `int`, got `str`",
        "$.rules[0].match: Expected `str`, got `int`",
        "$.rules[0].cost: Expected `int` >= 0",
        "$.rules[1].scopes[0]: Expected `str`, got `int`",
        "$.rules[1].scopes[1]: Expected `str`, got `int`",
        "$.rules[1]: the key 'match' is missing",
        "$.plans.Free: 'Free' is not a lower-case name, such as tokencraft",
        "$: the key 'name' is missing",
    ] == mistakes_in(text)


def test_what_can_be_read_without_the_mistakes_is_read() -> None:
    """A wrong key does not hide what the rest of the file means, so that its mistakes are told in the same run."""
    document, mistakes = read_document(SMALLEST + 'quotsa = 1\nerrors = { 401 = "x" }\n')
    assert document is not None
    assert ["$.quotsa", "$.errors.401"] == [mistake.path for mistake in mistakes]
    assert {} == document.errors


@pytest.mark.parametrize(
    "rules",
    ['[{}, { match = "GET /a", scopes = ["gone"] }]', '[{ match = "GET /a", scopes = [1, "gone"] }]'],
)
def test_nothing_is_read_where_places_would_shift(rules: str) -> None:
    """Without a wrong item of a list, those behind it would be told of under wrong indexes: so nothing is read."""
    document, mistakes = read_document(SMALLEST.replace('[{ match = "GET /**" }]', rules))
    assert None is document
    assert 1 == len(mistakes)


@pytest.mark.parametrize("text", ["=", "a = ", 'a = "', "[a", "a = 1\na = 2", "a = 1979-99-99", "\0"])
def test_what_is_not_toml_is_told_with_its_place(text: str) -> None:
    """A file that is not TOML has one mistake, which names the place in the file."""
    document, mistakes = read_document(text)
    assert None is document
    assert 1 == len(mistakes)
    assert str(mistakes[0]).startswith("$: not TOML: ")


@pytest.mark.parametrize("text", ["a = " + "[" * 20_000, "a = " + "1" * 20_000])
def test_toml_that_cannot_be_read_is_told(text: str) -> None:
    """More brackets or digits than Python reads are a mistake of the file, not the end of the gateway."""
    document, mistakes = read_document(text)
    assert None is document
    assert 1 == len(mistakes)


@given(st.text())
def test_any_text_is_read_or_has_mistakes(text: str) -> None:
    """Any text is a document or has at least one mistake, and raises nothing."""
    document, mistakes = read_document(text)
    assert document is not None or mistakes


@given(st.dictionaries(keys, values, max_size=4))
def test_any_tables_are_read_or_have_mistakes(tables: dict[str, object]) -> None:
    """Any tables under the known keys are a document or have mistakes, and raise nothing."""
    known = tomllib.loads(SMALLEST) | tables
    text = "\n".join(f"{write_value(key)} = {write_value(value)}" for key, value in known.items())
    assert tomllib.loads(text).keys() == known.keys()
    document, mistakes = read_document(text)
    assert document is not None or mistakes


@pytest.mark.parametrize(
    ("path", "key", "expected"),
    [
        ("$", "rules", "$.rules"),
        ("$.rules", 0, "$.rules[0]"),
        ("$.plans", "free-2_a", "$.plans.free-2_a"),
        ("$.scopes", "projects:read", "$.scopes['projects:read']"),
        ("$.plans", "", "$.plans['']"),
    ],
)
def test_places_are_json_paths(path: str, key: str | int, expected: str) -> None:
    """A place is written as a JSON path, names that are no bare keys in brackets."""
    assert expected == path_to(path, key)


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("raed", ["read", "write"], "unknown scope 'raed': did you mean 'read'?"),
        ("x", ["write", "read"], "unknown scope 'x': known are read, write"),
        ("x", [], "unknown scope 'x': known are none"),
    ],
)
def test_an_unknown_name_comes_with_what_is_known(name: str, known: list[str], expected: str) -> None:
    """Who mistypes a name is told the nearest one, or all there are."""
    assert expected == unknown_name("scope", name, known)


def test_a_mistake_reads_as_place_and_message() -> None:
    """A mistake is shown as one line."""
    assert "$.name: wrong" == str(Mistake("$.name", "wrong"))

"""Parsing what was rendered gives the entries back, whatever is in them.

The readers are not ours: json, csv, lxml's libxml2, tinycss2, esprima.
"""

import csv
import io
import json
from typing import Any

import tinycss2
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lxml import etree

from tests.core.variants.samples import DESIGN_TOKENS, read_cell, rendered, rendered_json, token, tokens, write
from tests.core.variants.test_renderers import declarations, read_module

LANGUAGES = ("ar", "de", "en")
keys = st.text(min_size=1, max_size=8) | st.text(alphabet="ab.'=", min_size=1, max_size=6)
texts = st.text(max_size=12) | st.text(alphabet="'=+-@\"\r\n\t,\0 a", max_size=6)
values = texts | st.integers(-(2**53), 2**53) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
entries = st.dictionaries(keys, st.dictionaries(st.sampled_from(LANGUAGES), values, min_size=1), max_size=8)
Entries = dict[str, dict[str, Any]]


def document(content: Entries) -> bytes:
    members = [{"id": index, "key": key, "values": values} for index, (key, values) in enumerate(content.items())]
    return write({"entries": members, "languages": LANGUAGES})


def spelled(value: object) -> str:
    """A value as a cell has it."""
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def unflatten(content: dict[str, Any]) -> dict[str, Any] | None:
    """Keys with dots as groups; None where a key is an entry and a group."""
    root: dict[str, Any] = {}
    for key, value in content.items():
        *way, last = key.split(".")
        node = root
        for name in way:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                return None
        if last in node:
            return None
        node[last] = value
    return root


@given(entries)
def test_json_gives_the_entries_back(content: Entries) -> None:
    """Flat JSON is the entries by language, with every value of its own type."""
    expected = {tag: {key: row[tag] for key, row in content.items() if tag in row} for tag in LANGUAGES}
    for pretty in (False, True):
        assert expected == json.loads(rendered(document(content), shape="flat", pretty=pretty))


@given(entries)
def test_nested_json_is_the_same_in_groups(content: Entries) -> None:
    """Dots make groups, and nothing else is different."""
    for tag in LANGUAGES:
        own = {key: row[tag] for key, row in content.items() if tag in row}
        expected = unflatten(own)
        if expected is not None:
            assert expected == json.loads(rendered(document(content), lang=(tag,)))


@given(entries)
def test_csv_gives_the_entries_back(content: Entries) -> None:
    """Every cell is the text that it was, once its apostrophe is taken away; numbers are spelled."""
    rows = list(csv.reader(io.StringIO(rendered(document(content), format="csv").decode(), newline="")))
    assert ["key", *LANGUAGES] == rows[0]
    found = {read_cell(row[0]): row[1:] for row in rows[1:]}
    assert content.keys() == found.keys()
    for key, row in content.items():
        for tag, cell in zip(LANGUAGES, found[key], strict=True):
            value = row.get(tag, "")
            assert spelled(value) == (read_cell(cell) if isinstance(value, str) else cell)


def read_entry(element: Any, name: str) -> tuple[str, dict[str, Any]]:
    """Name and values of an entry, as the renderer's grammar has them."""
    found = {}
    for value in element:
        text = value.text or ""
        found[value.get("lang")] = json.loads(text) if value.get("escaped") or value.get("type") else text
    key = element.get(name)
    return json.loads(key) if element.get("escaped") else key, found


@given(entries)
def test_xml_gives_the_entries_back(content: Entries) -> None:
    """Every value is what it was, also with characters that XML cannot have."""
    root = etree.fromstring(rendered(document(content), format="xml", shape="flat"))
    assert content == dict(read_entry(element, "key") for element in root)


@given(entries)
def test_nested_xml_is_the_same_in_groups(content: Entries) -> None:
    """The names on the way to an entry, with dots between them, are its key."""

    def walk(element: Any, way: tuple[str, ...]) -> Any:
        for inner in element:
            if inner.tag == "entry":
                name, found = read_entry(inner, "name")
                yield ".".join((*way, name)), found
            else:
                name = inner.get("name")
                yield from walk(inner, (*way, json.loads(name) if inner.get("escaped") else name))

    for pretty in (False, True):
        root = etree.fromstring(rendered(document(content), format="xml", pretty=pretty))
        assert content == dict(walk(root, ()))


segments = st.text(min_size=1, max_size=6).filter(lambda text: text[0] != "$" and not {".", "{", "}"} & set(text))
names = st.lists(segments, min_size=1, max_size=3).map(".".join)
measures = st.integers(-9999, 9999)
fonts = st.lists(st.text(min_size=1, max_size=12).filter(lambda text: "{" not in text), min_size=1, max_size=3)
decisions = st.dictionaries(names, measures | fonts, min_size=1, max_size=6)


def design(content: dict[str, Any]) -> bytes:
    """A document of numbers and fonts."""
    kinds = {name: "number" if isinstance(value, int) else "fontFamily" for name, value in content.items()}
    return tokens(*(token(name, kinds[name], value) for name, value in content.items()))


def is_group(name: str, content: dict[str, Any]) -> bool:
    """Whether the name of a token is that of a group too."""
    return any(other.startswith(f"{name}.") for other in content)


def readable(text: str) -> str:
    """The text as CSS can have it: without NUL."""
    return text.replace("\0", "\ufffd")


def read_fonts(value: str) -> list[str]:
    """The names in a list of fonts."""
    parsed = tinycss2.parse_component_value_list(value)
    return [one.value for one in parsed if one.type in ("string", "ident")]


@given(decisions)
def test_css_gives_the_tokens_back(content: dict[str, Any]) -> None:
    """A property for each, under the token's own name, with the value that it has; nothing else."""
    expected = {f"--{readable(name.replace('.', '-'))}": value for name, value in content.items()}
    assume(len(expected) == len(content))  # else the answer is a mistake that names both
    found = dict(declarations(rendered(design(content), DESIGN_TOKENS, format="css")))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        if isinstance(value, int):
            assert str(value) == found[name]
        else:
            assert [readable(font) for font in value] == read_fonts(found[name])


@settings(max_examples=50, deadline=None)
@given(decisions)
def test_a_module_says_what_json_says(content: dict[str, Any]) -> None:
    """Every name is a key and every value a literal, read by a parser of ECMAScript."""
    document = design(content)
    expected = rendered_json(document, DESIGN_TOKENS, format="json", shape="flat")
    assert content.keys() == expected.keys()
    assert expected == read_module(rendered(document, DESIGN_TOKENS, format="js", shape="flat").decode())


@given(decisions)
def test_the_community_groups_format_gives_the_tokens_back(content: dict[str, Any]) -> None:
    """Groups by the dots in names, and in each token its type and its value."""
    assume(not any(is_group(name, content) for name in content))  # else the answer is a mistake that names both

    def walk(group: dict[str, Any], way: tuple[str, ...]) -> Any:
        for name, inner in group.items():
            if "$value" in inner:
                yield ".".join((*way, name)), inner["$value"]
            else:
                yield from walk(inner, (*way, name))

    assert content == dict(walk(rendered_json(design(content), DESIGN_TOKENS, format="dtcg"), ()))

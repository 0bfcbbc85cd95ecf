"""Translations as the catalogs that programs load: i18next JSON, gettext PO, Java properties, XLIFF, Rails YAML.

Texts are what the document has, to the character: a placeholder stays as it is written there. Of plural forms each
format has what its consumer looks for; where it has no plurals, each form is an entry of its own, `cart.items.one`.
"""

import itertools
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from xml.sax.saxutils import escape, quoteattr

import msgspec

from gateway.core.errors import BrokenDocument
from gateway.core.variants.model import Group, Variant, build_tree, collide
from gateway.core.variants.renderers.names import refuse_same
from gateway.core.variants.renderers.plural_rules import Rule, find_rule, write_header
from gateway.core.variants.renderers.text import render_json
from gateway.core.variants.translations import Leaf, Texts, list_entries, write_leaf

_BATCH = 500
_encoder = msgspec.json.Encoder()


def batches(lines: Iterable[str]) -> Iterator[bytes]:
    """Yield the lines joined to pieces of some size."""
    rest = iter(lines)
    while batch := list(itertools.islice(rest, _BATCH)):
        yield "".join(batch).encode()


NO_CELL = "null"
"""What `encode_cells` makes of a missing value; a text that says so is in quotes."""


def encode_cells(values: Iterable[Any], change: Callable[[str], str] | None = None) -> list[str]:
    """Encode all values as JSON in one go; `change` may escape characters in the joined result."""
    text = _encoder.encode_lines(values).decode()
    return (change(text) if change else text).split("\n")[:-1]


def has_texts_only(column: Sequence[Leaf]) -> bool:
    """Return whether no value is a number or a boolean."""
    return set(map(type, column)) <= {str, type(None)}


def render_i18next(texts: Texts, variant: Variant) -> Iterator[bytes]:
    """Render i18next JSON v4: like `json`, but plural forms are `items_one` and `items_other`."""
    keys = list(texts.keys)
    for name, forms in texts.plurals.items():
        for form, position in forms.items():
            keys[position] = f"{name}_{form}"
    refuse_same(zip(keys, texts.keys, strict=True), "i18next")
    return render_json(msgspec.structs.replace(texts, keys=tuple(keys)), variant)


_PO_ESCAPES = {
    "\\": "\\\\",
    '"': '\\"',
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\f": "\\f",
    "\v": "\\v",
    "\b": "\\b",
    "\a": "\\a",
}
_PO_ESCAPED = re.compile(r'[\\"\n\r\t\f\v\x08\a]')


def render_po(texts: Texts, _: Variant) -> Iterator[bytes]:
    """Render a gettext catalog: the key is the `msgid`, and also the `msgid_plural` if there are plural forms."""
    language = texts.languages[0]
    rule = find_rule(language)
    head = {
        "Language": language.replace("-", "_"),
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=UTF-8",
        "Content-Transfer-Encoding": "8bit",
    }
    if texts.plurals:
        if rule is None:
            problem = f"how {language!r} forms plurals is not known, so no PO file can have them"
            raise BrokenDocument("$", problem)
        head["Plural-Forms"] = write_header(rule)
    written = "".join(_quote_po(f"{name}: {value}\n") + "\n" for name, value in head.items())
    yield f'msgid ""\nmsgstr ""\n{written}'.encode()
    entries = list_entries(texts, next(texts.rows.read_columns()))
    yield from batches(line for key, value in entries for line in _write_po_entries(key, value, rule))


def _write_po_entries(key: str, value: Leaf | dict[str, Leaf], rule: Rule | None) -> Iterator[str]:
    if not key:
        raise BrokenDocument("$", "PO keeps the empty key for its head")
    if not isinstance(value, dict) or rule is None:
        yield f"\nmsgid {_quote_po(key)}\nmsgstr {_quote_po(write_leaf(value))}\n"  # type: ignore[arg-type]  # without a rule it is no dict
        return
    used = [category for category, _ in rule]
    forms = (write_leaf(value.get(name, value.get("other", ""))) for name in used)
    lines = "".join(f"msgstr[{index}] {_quote_po(text)}\n" for index, text in enumerate(forms))
    yield f"\nmsgid {_quote_po(key)}\nmsgid_plural {_quote_po(key)}\n{lines}"
    for form, text in value.items():  # what no number of the language comes to, such as a `zero` in English
        if form not in used and form != "other":
            yield from _write_po_entries(f"{key}.{form}", text, rule)


def _quote_po(text: str) -> str:
    if "\0" in text:
        raise BrokenDocument("$", f"the text {text[:100]!r} has a NUL, which PO cannot have")
    return f'"{_PO_ESCAPED.sub(lambda match: _PO_ESCAPES[match[0]], text)}"'


_NO_PROPERTY = re.compile(r"[^\x21-\x7e]|[\\:=#!]")
_NO_VALUE = re.compile(r"[^\x20-\x7e]|\\|^ ")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f", "\\": "\\\\"}


def render_properties(texts: Texts, _: Variant) -> Iterator[bytes]:
    """Render Java properties in ASCII, which every Java reads alike; each plural form has its own line."""
    values = zip(texts.keys, next(texts.rows.read_columns()), strict=True)
    return batches(
        f"{_NO_PROPERTY.sub(_escape_java, key)}={_NO_VALUE.sub(_escape_java, write_leaf(value))}\n"
        for key, value in values
        if value is not None
    )


def _escape_java(match: re.Match[str]) -> str:
    character = match[0]
    if character in _SHORT:
        return _SHORT[character]
    if " " <= character <= "~":
        return f"\\{character}"
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


NO_CHARACTER = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What is no Char of XML 1.0 (2.2)."""
_NO_TOKEN = re.compile(r"[^A-Za-z0-9._-]")
_BLANKS = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}


def render_xliff(texts: Texts, _: Variant) -> Iterator[bytes]:
    """Render XLIFF 2.0: a unit for each key, with source and target; only source, if that language is requested.

    A unit's id is its key, as far as an NMTOKEN can be; its name is the key.
    """
    target, source = texts.languages[0], texts.languages[-1]
    attributes = f"srcLang={quoteattr(source)}" + (f" trgLang={quoteattr(target)}" if source != target else "")
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<xliff xmlns="urn:oasis:names:tc:xliff:document:2.0" version="2.0" {attributes}>\n'
        '  <file id="texts" xml:space="preserve">\n'
    ).encode()
    yield from batches(
        _write_unit(key, row[-1], row[0] if source != target else None)
        for key, row in zip(texts.keys, texts.rows, strict=True)
    )
    yield b"  </file>\n</xliff>\n"


def _write_unit(key: str, source: Leaf, target: Leaf) -> str:
    if NO_CHARACTER.search(key):
        raise BrokenDocument("$", f"the key {key!r} has a character that XML cannot have")
    id_ = _NO_TOKEN.sub(lambda match: f":{ord(match[0]):x}:", key)
    translated = "" if target is None else f"<target>{_write_segment(target)}</target>"
    return (
        f'    <unit id="{id_}" name={quoteattr(key, _BLANKS)}><segment>'
        f"<source>{'' if source is None else _write_segment(source)}</source>{translated}</segment></unit>\n"
    )


def _write_segment(value: Leaf) -> str:
    text = escape(write_leaf(value), {"\r": "&#13;"})
    return NO_CHARACTER.sub(lambda match: f'<cp hex="{ord(match[0]):04x}"/>', text)


_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What YAML has escaped only (1.2.2, 5.1), and what YAML 1.1 takes for line ends."""
_EXPONENT = re.compile(r"(-?\d+)(\.\d+)?e([+-]?)(\d+)")


def render_yaml(texts: Texts, _: Variant) -> Iterator[bytes]:
    """Render Rails' YAML: the language on top, groups below. Plural forms are a group; all texts are quoted."""
    sections = list(_list_sections(texts.keys, build_tree(texts.keys), ()))
    columns = texts.rows.read_columns()
    for language in texts.languages:
        written = batches(_fill_sections(sections, _write_cells(list(next(columns)))))
        first = next(written, b"")
        yield f"{_quote_yaml(language)}:{'' if first else ' {}'}\n".encode() + first
        yield from written
    if not texts.languages:
        yield b"{}\n"


class _Head(NamedTuple):
    """The line that a group begins with."""

    line: str
    clash: tuple[int, BrokenDocument] | None = None
    """If its name is that of an entry too: where that is, and the mistake of having both."""


class _Section(NamedTuple):
    """The entries right below a group, and the groups that it is in."""

    heads: tuple[_Head, ...]
    starts: tuple[str, ...]
    """The line of each entry up to its value."""
    places: "array[int]"
    """Where the values of the entries are: as numbers of a machine, for they are as many as the keys."""


def _list_sections(keys: Sequence[str], group: Group, heads: tuple[_Head, ...]) -> Iterator[_Section]:
    """Yield all sections of a tree, the entries of a group before the groups in it."""
    indent = "  " * (len(heads) + 1)
    starts = tuple(f"{indent}{_quote_yaml(name)}: " for name in group.entries)
    yield _Section(heads, starts, array("L", group.entries.values()))
    for name, inner in group.groups.items():
        clash = (group.entries[name], collide(keys, group, name)) if name in group.entries else None
        yield from _list_sections(keys, inner, (*heads, _Head(f"{indent}{_quote_yaml(name)}:\n", clash)))


def _fill_sections(sections: Sequence[_Section], cells: Sequence[str]) -> Iterator[str]:
    """Yield the lines of entries that have a value, and of their groups."""
    written: tuple[_Head, ...] = ()
    for section in sections:
        entries = zip(section.starts, section.places, strict=True)
        lines = [f"{start}{cells[place]}\n" for start, place in entries if cells[place] != NO_CELL]
        if not lines:
            continue
        for depth, head in enumerate(section.heads):
            if depth < len(written) and head is written[depth]:
                continue
            if head.clash is not None and cells[head.clash[0]] != NO_CELL:
                raise head.clash[1]
            written = (*section.heads[:depth], head)
            yield head.line
        written = section.heads
        yield from lines


def _quote_yaml(text: str) -> str:
    """Write a JSON string, which is also a YAML string once a few more characters are escaped."""
    return _UNPRINTABLE.sub(_escape_yaml, _encoder.encode(text).decode())


def _write_cells(column: list[Any]) -> list[str]:
    """Write the values of a column, in their places: there are as many as keys, so they are not held twice."""
    for at in range(0, len(column), _BATCH):
        values = column[at : at + _BATCH]
        if not has_texts_only(values):
            values = [one if one is None or isinstance(one, str) else msgspec.Raw(_write_number(one)) for one in values]
        column[at : at + _BATCH] = encode_cells(values, _escape_unprintable)
    return column


def _escape_unprintable(text: str) -> str:
    return _UNPRINTABLE.sub(_escape_yaml, text)


def _write_number(value: float) -> bytes:
    """Write a number as YAML 1.1 also has it: its exponent needs a decimal point before it, and a sign."""
    text = _encoder.encode(value).decode()
    match = _EXPONENT.fullmatch(text)
    return (f"{match[1]}{match[2] or '.0'}e{match[3] or '+'}{match[4]}" if match else text).encode()


def _escape_yaml(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"

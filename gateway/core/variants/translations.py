"""Translations: entries with their texts by language, as the backend gives them and as a variant takes them.

An entry's value is a text, a number, true or false, or an object of these (plural forms, at most two levels). Null, an
empty object and a missing language are the same: the value is missing. An entry without a value in any of the requested
languages is not in the variant. Keys and languages are sorted, whatever the order in the document.
"""

import functools
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, TypeAlias

import msgspec

from gateway.core.errors import BrokenDocument
from gateway.core.variants.documents import read_document
from gateway.core.variants.formats import FORMATS
from gateway.core.variants.model import (
    LISTED,
    DocumentForm,
    InvalidOptions,
    Report,
    Variant,
    raise_broken,
    refuse_unknown,
)

Leaf: TypeAlias = str | int | float | bool | None
Value: TypeAlias = Leaf | dict[str, Leaf | dict[str, Leaf]]

MAXIMUM_CELLS = 4_000_000
"""Keys times languages: a table takes as long as this however few of its cells are filled."""
MAXIMUM_LANGUAGES = 1000
"""The CLDR has some 700."""
MAXIMUM_KEY_LENGTH = 1000
"""Keys are repeated for each language."""


class Entry(msgspec.Struct, frozen=True):
    """One text of a product in all languages that have it."""

    id: str | int
    """A stable id, under which the entry is exported while it has no key."""
    values: dict[str, Value]
    """Language to value. An object holds plural forms or the like: each becomes an entry of its own, `key.form`."""
    key: str | None = None
    """Its assigned name, such as `home.hero.headline`; dots make groups."""
    status: str | None = None
    """Its state, in the product's own words."""


class TranslationsDocument(msgspec.Struct, frozen=True):
    """The canonical document of a product's texts. Fields that are not named here are ignored."""

    entries: list[Entry]
    languages: list[str] = []
    """Languages that the product has even if no entry does yet."""
    source_language: str | None = None
    """The language that texts are written in first: `xliff` and `xcstrings` name it. Absent: en if the document has
    it, else the first of `languages`, else the first by name."""


class _RawEntry(msgspec.Struct, frozen=True):
    """An entry whose values are read when they are needed: read all at once they take five times their bytes."""

    id: str | int
    values: msgspec.Raw
    key: str | None = None
    status: str | None = None


class _RawDocument(msgspec.Struct, frozen=True):
    """A document of such entries; its fields are those of TranslationsDocument."""

    entries: list[_RawEntry]
    languages: list[str] = []
    source_language: str | None = None


_Document: TypeAlias = TranslationsDocument | _RawDocument
_read_values = msgspec.json.Decoder(dict[str, Value]).decode


ROWS_AT_ONCE = 100
PASSES = 10
"""Formats that have a language after the other read them in up to this many groups: decoded, all texts of a document
take five times its bytes. Reading a group skips the texts of the others, which costs less than decoding them."""
GROUP_CELLS = 50_000
"""A group has at least this many values, if there are as many: they take some megabytes."""


class Rows(Sequence[tuple[Leaf, ...]]):
    """The values of each key in `languages`, None for a missing one. A row is read from the document when it is needed.

    `sources` has the values of the entry that each key comes from. `owners` has the entry's own key for keys that an
    entry with plural forms or the like has become.
    """

    def __init__(
        self,
        languages: tuple[str, ...],
        keys: Sequence[str],
        sources: Sequence[msgspec.Raw],
        owners: Mapping[str, str],
    ) -> None:
        self._languages = languages
        self._keys = keys
        self._sources = sources
        self._owners = owners
        self._read = _make_reader(languages if keys else ())  # in an empty document, languages may be any text
        self._last: tuple[msgspec.Raw | None, Mapping[str, Mapping[str, Leaf]]] = None, {}

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, position: Any) -> Any:
        key, source = self._keys[position], self._sources[position]
        owner = self._owners.get(key)
        if owner is None:
            return _as_tuple(self._read(source))
        if source is not self._last[0]:  # the keys of an entry are next to each other
            read = zip(self._languages, _as_tuple(self._read(source)), strict=True)
            values = {language: value for language, value in read if value is not None}
            self._last = source, dict(_spread(owner, values, {}))
        found = self._last[1].get(key, {})
        return tuple(map(found.get, self._languages))

    def __iter__(self) -> Iterator[tuple[Leaf, ...]]:
        if self._owners:
            return map(self.__getitem__, range(len(self)))
        return map(_as_tuple, map(self._read, self._sources))

    def read_columns(self) -> Iterator[Sequence[Leaf]]:
        """Yield the values of all keys for each language. Whoever keeps them all has decoded the whole document."""
        size = max(-(-len(self._languages) // PASSES), GROUP_CELLS // max(len(self), 1), 1)
        for start in range(0, len(self._languages), size):
            languages = self._languages[start : start + size]
            rows = iter(Rows(languages, self._keys, self._sources, self._owners))
            columns = [io.BytesIO() for _ in languages]
            while batch := list(itertools.islice(rows, ROWS_AT_ONCE)):
                for column, values in zip(columns, zip(*batch, strict=True), strict=True):
                    column.write(_encode_leaves(values))
            while columns:
                yield _decode_leaves(columns.pop(0).getvalue())


@functools.lru_cache(maxsize=32)
def _make_reader(languages: tuple[str, ...]) -> Callable[[msgspec.Raw], msgspec.Struct]:
    """Return a reader of an entry's values that skips other languages. Making it takes as long as reading 100 entries.

    A language is the name of a field: what LISTED allows needs no escapes in JSON.
    """
    fields = [(f"f{index}", Value, None) for index in range(len(languages))]
    rename = {f"f{index}": language for index, language in enumerate(languages)}
    return msgspec.json.Decoder(msgspec.defstruct("Values", fields, rename=rename)).decode


_encode_leaves = msgspec.json.Encoder().encode_lines
_decode_leaves = msgspec.json.Decoder(Leaf).decode_lines
_as_tuple = msgspec.structs.astuple


class Texts(msgspec.Struct, frozen=True):
    """The part of a document that a variant uses: a table of keys and languages."""

    languages: tuple[str, ...]
    keys: tuple[str, ...]
    rows: Rows
    plurals: Mapping[str, Mapping[str, int]] = {}
    """Of each entry that has plural forms, and no other: the form to the position of its key."""
    source_language: str = ""
    """What texts are written in first."""


PLURAL_CATEGORIES = ("zero", "one", "two", "few", "many", "other")
"""Of the CLDR (Unicode TR 35, part 3, 5.1). An object of these, with `other` among them, is an entry's plural forms."""


def list_places(texts: Texts) -> dict[str, dict[str, int]]:
    """Return for each entry the positions of its keys by plural form, or under an empty name if it has none."""
    forms = {position: (name, form) for name, found in texts.plurals.items() for form, position in found.items()}
    places: dict[str, dict[str, int]] = {}
    for position, key in enumerate(texts.keys):
        name, form = forms.get(position, (key, ""))
        places.setdefault(name, {})[form] = position
    for name in texts.plurals:
        places[name] = {form: places[name][form] for form in ("", *PLURAL_CATEGORIES) if form in places[name]}
    return places


def list_entries(texts: Texts, column: Sequence[Leaf]) -> Iterator[tuple[str, Leaf | dict[str, Leaf]]]:
    """Yield each entry that a language has, with its value, or with its plural forms in order."""
    for name, places in list_places(texts).items():
        found = {form: column[place] for form, place in places.items() if column[place] is not None}
        if "" in found:
            yield name, found[""]
        elif found:
            yield name, found


def write_leaf(value: Leaf) -> str:
    """Write the value as a text, for formats that have nothing else."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def select_texts(content: bytes, form: DocumentForm, variant: Variant) -> Texts | InvalidOptions:
    """Return the part of the document in `content` that the variant uses. Raise BrokenDocument."""
    document = read_document(content, _RawDocument, form.names)
    try:
        return _select(document, form, variant)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        read_document(content, TranslationsDocument, form.names)  # which says where
        raise


def _select(document: _RawDocument, form: DocumentForm, variant: Variant) -> Texts | InvalidOptions:
    known, listed = _survey(document, raise_broken)
    # An empty document does not tell which languages exist: no build fails because of it.
    refused = refuse_unknown(form, "lang", variant.lang or (), sorted(known)) if known else None
    if refused is not None:
        return refused
    languages = tuple(sorted(known if variant.lang is None else variant.lang))
    source = _find_source(document, known)
    if FORMATS[form.kind][variant.format].adds_source and source not in languages:
        languages = (*languages, source)
    found = _list_keys(document, listed, form, variant, languages, raise_broken)
    keys = tuple(sorted(found.positions))
    sources = [document.entries[found.positions[key]].values for key in keys]
    return Texts(
        languages, keys, Rows(languages, keys, sources, found.owners), _find_plurals(keys, found.forms), source
    )


def _find_source(document: _RawDocument, known: set[str]) -> str:
    """Return the source language, or an empty text if there is no language at all."""
    if document.source_language is not None:
        return document.source_language
    return "en" if "en" in known else next(iter((*document.languages, *sorted(known))), "")


def _find_plurals(keys: Sequence[str], forms: Mapping[str, set[str]]) -> dict[str, dict[str, int]]:
    """Return the entries of `forms` whose names are plural forms, with the positions of their keys."""
    plurals = {name for name, found in forms.items() if "other" in found and found.issubset(PLURAL_CATEGORIES)}
    found: dict[str, dict[str, int]] = {}
    for position, key in enumerate(keys) if plurals else ():
        name, _, form = key.rpartition(".")
        if name in plurals and form in forms[name]:
            found.setdefault(name, {})[form] = position
    return found


def find_text_mistakes(document: TranslationsDocument, form: DocumentForm, report: Report) -> None:
    """Report all that is wrong with the entries of a document, whichever keys they are exported under."""
    known, listed = _survey(document, report)
    for key in ("named", "id"):
        _list_keys(document, listed, form, Variant(key=key), tuple(sorted(known)), report)


def _values_of(entry: Entry | _RawEntry) -> dict[str, Value]:
    return entry.values if isinstance(entry, Entry) else _read_values(entry.values)


def _survey(document: _Document, report: Report) -> tuple[set[str], list[tuple[str, ...] | None]]:
    """Return all languages, and those that each entry has a value in; None for an entry with objects for values."""
    known = set(document.languages)
    seen: dict[tuple[str, ...], tuple[str, ...]] = {}
    listed: list[tuple[str, ...] | None] = []
    for entry in document.entries:
        values = _values_of(entry)
        kinds = set(map(type, values.values()))
        filled = tuple(values)
        if dict in kinds or NoneType in kinds:
            known.update(values)
            filled = tuple(language for language, value in values.items() if value is not None)
        listed.append(None if dict in kinds else seen.setdefault(filled, filled))
    known.update(*seen)
    if len(known) > MAXIMUM_LANGUAGES:
        report(BrokenDocument("$", f"a document may have {MAXIMUM_LANGUAGES} languages, this has {len(known)}"))
    for language in sorted(known | {document.source_language or "en"}):
        if LISTED.fullmatch(language) is None:
            report(BrokenDocument("$", f"{language[:100]!r} is no name of a language, such as pt-BR"))
    return known, listed


class _Keys(msgspec.Struct, frozen=True):
    """The keys of a variant."""

    positions: dict[str, int]
    """Each key to the position of its entry in the document."""
    owners: dict[str, str]
    """Each key of an entry with objects for values to the entry's own key."""
    forms: dict[str, set[str]]
    """The names inside values that are objects, under the key whose value that is."""


def _list_keys(
    document: _Document,
    listed: Sequence[tuple[str, ...] | None],
    form: DocumentForm,
    variant: Variant,
    languages: tuple[str, ...],
    report: Report,
) -> _Keys:
    """Return the keys that have a value in one of the languages; `listed` has those of each entry."""
    root = f"$.{dict(form.names).get('entries', 'entries')}"
    statuses, chosen = variant.status, frozenset(languages)
    found = _Keys({}, {}, {})
    entries: Sequence[Entry | _RawEntry] = document.entries
    for position, (entry, those) in enumerate(zip(entries, listed, strict=True)):
        if statuses is not None and entry.status not in statuses:
            continue
        key = (variant.key == "named" and entry.key) or str(entry.id)
        names: Iterable[tuple[str, Iterable[str]]] = (
            ((key, those),) if those is not None else _spread(key, _values_of(entry), found.forms)
        )
        for name, filled in names:
            if chosen.isdisjoint(filled):
                continue
            if len(name) > MAXIMUM_KEY_LENGTH:
                problem = f"a key may have {MAXIMUM_KEY_LENGTH} characters, this has {len(name)}"
                report(BrokenDocument(f"{root}[{position}]", problem))
            elif name in found.positions:
                problem = f"the key {name!r} is also that of {root}[{found.positions[name]}]"
                report(BrokenDocument(f"{root}[{position}]", problem))
            else:
                found.positions[name] = position
                if those is None:
                    found.owners[name] = key
    if len(found.positions) * len(languages) > MAXIMUM_CELLS:
        message = f"{len(found.positions)} keys in {len(languages)} languages are more than {MAXIMUM_CELLS} values"
        report(BrokenDocument("$", message))
    return found


def _spread(key: str, values: dict[str, Value], inside: dict[str, set[str]]) -> Iterator[tuple[str, dict[str, Leaf]]]:
    """Yield the entry itself with the values that are leaves, and an entry for each form of those that are objects.

    Add the names in each object to `inside`, under the key whose value the object is.
    """
    leaves: dict[str, Leaf] = {}
    forms: dict[str, dict[str, Leaf]] = {}
    own: set[str] = set()
    for language, value in values.items():
        if not isinstance(value, dict):
            if value is not None:
                leaves[language] = value
            continue
        for form, inner in value.items():
            if isinstance(inner, dict):
                inside.setdefault(f"{key}.{form}", set()).update(inner)
                parts: Iterable[tuple[str, Leaf]] = [(f"{form}.{part}", leaf) for part, leaf in inner.items()]
            else:
                own.add(form)
                parts = ((form, inner),)
            for part, leaf in parts:
                if leaf is None:
                    continue
                texts = forms.get(part)
                if texts is None:
                    texts = forms[part] = {}
                elif language in texts:  # "a.b" beside "b" in "a": reported like any other repetition
                    yield f"{key}.{part}", {language: leaf}
                texts[language] = leaf
    if own:
        inside.setdefault(key, set()).update(own)
    yield key, leaves
    for part, texts in forms.items():
        yield f"{key}.{part}", texts

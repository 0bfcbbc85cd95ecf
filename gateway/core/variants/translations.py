"""Translations: entries with their texts by language, as the backend gives them and as a variant takes them.

An entry's value is a text, a number, true or false, or an object of these (plural forms, at most two levels). Null, an
empty object and a missing language are the same: the value is missing. An entry without a value in any of the requested
languages is not in the variant. Keys and languages are sorted, whatever the order in the document.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec

from gateway.core.errors import BrokenDocument
from gateway.core.variants.documents import read_document
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
"""Keys times languages: a table is this large however few of its cells are filled."""
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


class Texts(msgspec.Struct, frozen=True):
    """The part of a document that a variant uses: a table of keys and languages."""

    languages: tuple[str, ...]
    keys: tuple[str, ...]
    columns: Sequence[Sequence[Leaf]]
    """The values of all keys for each language; None for a missing one."""


def select_texts(content: bytes, form: DocumentForm, variant: Variant) -> Texts | InvalidOptions:
    """Return the part of the document in `content` that the variant uses. Raise BrokenDocument."""
    document = read_document(content, TranslationsDocument, form.names)
    known = _list_languages(document, raise_broken)
    # An empty document does not tell which languages exist: no build fails because of it.
    refused = refuse_unknown(form, "lang", variant.lang or (), sorted(known)) if known else None
    if refused is not None:
        return refused
    languages = tuple(sorted(known if variant.lang is None else variant.lang))
    rows = _list_rows(document, form, variant, languages, raise_broken)
    keys = tuple(sorted(rows))
    ordered = [rows[key] for key in keys]
    return Texts(languages, keys, [[row.get(language) for row in ordered] for language in languages])


def find_text_mistakes(document: TranslationsDocument, form: DocumentForm, report: Report) -> None:
    """Report all that is wrong with the entries of a document, whichever keys they are exported under."""
    languages = tuple(sorted(_list_languages(document, report)))
    for key in ("named", "id"):
        _list_rows(document, form, Variant(key=key), languages, report)


def _list_languages(document: TranslationsDocument, report: Report) -> set[str]:
    known = set(document.languages).union(*(entry.values for entry in document.entries))
    if len(known) > MAXIMUM_LANGUAGES:
        report(BrokenDocument("$", f"a document may have {MAXIMUM_LANGUAGES} languages, this has {len(known)}"))
    for language in sorted(known):
        if LISTED.fullmatch(language) is None:
            report(BrokenDocument("$", f"{language[:100]!r} is no name of a language, such as pt-BR"))
    return known


def _list_rows(
    document: TranslationsDocument, form: DocumentForm, variant: Variant, languages: tuple[str, ...], report: Report
) -> dict[str, dict[str, Leaf]]:
    """Return each key with its values in some of the languages."""
    entries = dict(form.names).get("entries", "entries")
    statuses, chosen = variant.status, frozenset(languages)
    owners: dict[str, str] = {}
    rows: dict[str, dict[str, Leaf]] = {}
    for position, entry in enumerate(document.entries):
        if statuses is not None and entry.status not in statuses:
            continue
        key = (variant.key == "named" and entry.key) or str(entry.id)
        for name, values in _spread(key, entry.values):
            if chosen.isdisjoint(values):
                continue
            place = f"$.{entries}[{position}]"
            if len(name) > MAXIMUM_KEY_LENGTH:
                report(BrokenDocument(place, f"a key may have {MAXIMUM_KEY_LENGTH} characters, this has {len(name)}"))
            elif name in owners:
                report(BrokenDocument(place, f"the key {name!r} is also that of {owners[name]}"))
            else:
                owners[name], rows[name] = place, values
    if len(rows) * len(languages) > MAXIMUM_CELLS:
        message = f"{len(rows)} keys in {len(languages)} languages are more than {MAXIMUM_CELLS} values"
        report(BrokenDocument("$", message))
    return rows


def _spread(key: str, values: dict[str, Value]) -> Iterator[tuple[str, dict[str, Leaf]]]:
    """Yield the entry itself if its values are leaves, and an entry for each form if they are objects."""
    leaves: dict[str, Leaf] = {}
    forms: dict[str, dict[str, Leaf]] = {}
    for language, value in values.items():
        if isinstance(value, dict):
            for form, inner in value.items():
                parts = inner.items() if isinstance(inner, dict) else ((None, inner),)
                for part, leaf in parts:
                    name = f"{key}.{form}" if part is None else f"{key}.{form}.{part}"
                    if leaf is None:
                        continue
                    if language in forms.get(name, ()):  # "a.b" beside "b" in "a": reported like any other repetition
                        yield name, {language: leaf}
                    forms.setdefault(name, {})[language] = leaf
        elif value is not None:
            leaves[language] = value
    yield key, leaves
    yield from forms.items()

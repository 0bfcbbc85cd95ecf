"""All mistakes in a document, each with its place, which a check reports before a build meets them.

An export ends with the first mistake. A check continues: entry by entry, alias by alias, in every mode. A document
without mistakes is then written in every format, because some mistakes are those of one format only.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.core.errors import BrokenDocument
from gateway.core.tokens.text import BYTE_ORDER_MARK
from gateway.core.variants.design_tokens import DesignTokensDocument, find_token_mistakes
from gateway.core.variants.documents import read_document
from gateway.core.variants.formats import FORMATS
from gateway.core.variants.model import DocumentForm, DocumentKind, InvalidOptions, Variant
from gateway.core.variants.rendering import render
from gateway.core.variants.translations import TranslationsDocument, find_text_mistakes, select_texts

ENTRIES: dict[DocumentKind, str] = {"translations": "entries", "design-tokens": "tokens"}
"""The field with the content of a document."""
DOCUMENTS: dict[DocumentKind, type[TranslationsDocument] | type[DesignTokensDocument]] = {
    "translations": TranslationsDocument,
    "design-tokens": DesignTokensDocument,
}


def find_mistakes(content: bytes, form: DocumentForm, formats: tuple[str, ...] = ()) -> list[str]:
    """Return every mistake in the document, `place: problem`; empty if every export of it can be made.

    Without `formats`, all formats are checked except those that limit names.
    """
    found: dict[str, None] = {}

    def report(broken: BrokenDocument) -> None:
        found[str(broken)] = None

    try:
        msgspec.json.decode(content.removeprefix(BYTE_ORDER_MARK))  # msgspec is stricter: no NaN, no lone surrogates
        parsed = _Parsed(content)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return [f"$: this is not JSON that can be read: {error}"]
    for place, name in parsed.repeated:
        found[f"{place}.{name}: this name is there twice: the last one would count, and the others be lost"] = None
    for broken in _find_misshapen(parsed.value, form):
        report(broken)
    if not found:
        try:
            _find_inside(content, form, report)
        except BrokenDocument as broken:
            report(broken)
    return list(found) or list(_find_unwritable(content, form, formats))


def _find_inside(content: bytes, form: DocumentForm, report: Any) -> None:
    document: Any = read_document(content, DOCUMENTS[form.kind], form.names)
    if isinstance(document, TranslationsDocument):
        find_text_mistakes(document, form, report)
    else:
        find_token_mistakes(document, form, report)


def _find_misshapen(document: Any, form: DocumentForm) -> Iterator[BrokenDocument]:
    """Yield what does not match its schema: each entry by itself, then the document without them."""
    *way, last = dict(form.names).get(ENTRIES[form.kind], ENTRIES[form.kind]).split(".")
    holder = document
    for step in way:
        holder = holder.get(step) if isinstance(holder, dict) else None
    entries = holder.get(last) if isinstance(holder, dict) else None
    if not isinstance(entries, list):
        entries = []
    place = ".".join(("$", *way, last))
    for index, entry in enumerate(entries):
        nested: Any = {last: [entry]}
        for step in reversed(way):
            nested = {step: nested}
        broken = _try_shape(nested, form)
        if broken is not None:
            here = broken.place.replace(f"{place}[0]", f"{place}[{index}]", 1)
            yield BrokenDocument(here, broken.problem)
    if entries and isinstance(holder, dict):
        holder[last] = []
    broken = _try_shape(document, form)
    if entries and isinstance(holder, dict):
        holder[last] = entries
    if broken is not None:
        yield broken


def _try_shape(document: Any, form: DocumentForm) -> BrokenDocument | None:
    try:
        read_document(json.dumps(document).encode(), DOCUMENTS[form.kind], form.names)
    except BrokenDocument as broken:
        return broken
    return None


def _find_unwritable(content: bytes, form: DocumentForm, formats: tuple[str, ...]) -> Iterator[str]:
    """Yield the mistakes of single formats: two names that become one, a key that is a group too."""
    told: dict[str, list[str]] = {}
    for name, written in FORMATS[form.kind].items():
        if name not in formats if formats else written.limits_names:
            continue
        shapes = ("nested", "flat") if "shape" in written.heeds else ("nested",)
        languages = [(one,) for one in _list_languages(content, form)] if written.has_one_language else [None]
        for shape, lang in itertools.product(shapes, languages):
            try:
                render(content, form, Variant(format=name, shape=shape, lang=lang))
            except BrokenDocument as broken:
                as_what = f"{name} (shape={shape})" if "shape" in written.heeds else name
                told.setdefault(str(broken), []).append(as_what)
    for mistake, those in told.items():
        yield f"{mistake} [as {', '.join(dict.fromkeys(those))}]"


def _list_languages(content: bytes, form: DocumentForm) -> tuple[str, ...]:
    selected = select_texts(content, form, Variant())
    return () if isinstance(selected, InvalidOptions) else selected.languages


class _Object(dict[str, Any]):
    """An object of a JSON text that knows which of its names are repeated."""

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        counts = Counter(name for name, _ in members) if len(self) < len(members) else {}
        self.repeated = [name for name, count in counts.items() if count > 1]


class _Parsed:
    """A JSON text, and the places of objects with a repeated name."""

    def __init__(self, content: bytes) -> None:
        text = content.removeprefix(BYTE_ORDER_MARK).decode()
        self.value = json.loads(text, object_pairs_hook=_Object)
        self.repeated = list(_find_repeated(self.value, "$"))


def _find_repeated(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, _Object):
        for name in value.repeated:
            yield place, name
        for name, inner in value.items():
            yield from _find_repeated(inner, f"{place}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _find_repeated(inner, f"{place}[{index}]")

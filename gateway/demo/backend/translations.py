"""Translations of the example projects: the territory, language and script names of CLDR, from Babel.

Rule: a document is canonical. The same project and languages give the same bytes on every run, so the
validator that the gateway makes of them changes only when a translation does.
"""

from collections.abc import Iterable
from functools import cache, lru_cache
from hashlib import sha256
from typing import Literal, TypeAlias, assert_never

import msgspec
from babel import Locale
from babel.localedata import locale_identifiers

Kind: TypeAlias = Literal["territory", "language", "script"]
Status: TypeAlias = Literal["draft", "review", "approved", "shipped"]

PROJECT_KINDS: dict[str, tuple[Kind, ...]] = {
    "website": ("territory", "language"),
    "app": ("language", "script"),
}

DEFAULT_LANGUAGES = ("ar", "de", "en", "es", "fr", "it", "ja", "nl", "pl", "pt-BR", "sv", "zh-Hans")

# Clients choose the languages: an unbounded cache would be theirs to fill.
# 280 kB each in the default languages, 15 MB in all.
MAX_KEPT_DOCUMENTS = 16

# In 256ths, by one byte of the entry's digest: most text is finished, as in a product that ships.
_STATUS_BOUNDS: tuple[tuple[int, Status], ...] = (
    (128, "shipped"),
    (208, "approved"),
    (232, "review"),
    (256, "draft"),
)
_WITHOUT_KEY_BOUND = 10

_encoder = msgspec.json.Encoder(order="sorted")


class TranslationEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One text in all languages that have it; `key` is absent if no name is assigned yet."""

    id: str
    status: Status
    values: dict[str, str]
    key: str | None = None


class TranslationDocument(msgspec.Struct, frozen=True):
    """All entries of a project, ordered by id."""

    project: str
    languages: tuple[str, ...]
    entries: tuple[TranslationEntry, ...]


def export_translations(project: str, languages: Iterable[str] = DEFAULT_LANGUAGES) -> bytes:
    """Return the canonical JSON of a project in `languages`; their order and repetition do not matter.

    Raise KeyError if there is no such project, and ValueError that names a language which CLDR does not have.
    """
    return _encode_document(project, tuple(sorted(set(languages))))


def build_document(project: str, languages: tuple[str, ...]) -> TranslationDocument:
    """Build the document of a project; raise as `export_translations`."""
    unknown = [language for language in languages if language not in known_languages()]
    if unknown:
        raise ValueError(f"unknown language: {', '.join(unknown)}")
    entries = [
        _build_entry(project, kind, code, languages) for kind in PROJECT_KINDS[project] for code in _names(kind, "en")
    ]
    return TranslationDocument(project, languages, tuple(sorted(entries, key=lambda entry: entry.id)))


@cache
def known_languages() -> dict[str, str]:
    """Return every available language tag (BCP 47, `pt-BR`), with Babel's name of it (`pt_BR`)."""
    return {identifier.replace("_", "-"): identifier for identifier in sorted(locale_identifiers())}


@lru_cache(maxsize=MAX_KEPT_DOCUMENTS)
def _encode_document(project: str, languages: tuple[str, ...]) -> bytes:
    return _encoder.encode(build_document(project, languages))


def _build_entry(project: str, kind: Kind, code: str, languages: tuple[str, ...]) -> TranslationEntry:
    key = f"{kind}.{code}"
    # The project is part of the digest: two projects share no id, so one read by mistake for the other shows.
    digest = sha256(f"{project}/{key}".encode()).digest()
    return TranslationEntry(
        id=f"n_{digest[:4].hex()}",
        status=next(status for bound, status in _STATUS_BOUNDS if digest[4] < bound),
        values={tag: name for tag in languages if (name := _names(kind, tag).get(code)) is not None},
        key=None if digest[5] < _WITHOUT_KEY_BOUND else key,
    )


@cache
def _names(kind: Kind, language: str) -> dict[str, str]:
    """Return names by code, in one language; what CLDR has not translated is absent.

    They are copied out of Babel's lazy mapping, which is untyped and resolves aliases at each access.
    """
    locale = Locale.parse(known_languages()[language])
    match kind:
        case "territory":
            names = locale.territories
        case "language":
            names = locale.languages
        case "script":
            names = locale.scripts
        case _:
            assert_never(kind)
    return {str(code).replace("_", "-"): str(names[code]) for code in names}

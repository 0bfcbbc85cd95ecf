"""Translations as apps have them: resources of Android and Apple, messages of Flutter."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

import msgspec

from gateway.core.errors import BrokenDocument
from gateway.core.variants.model import Variant
from gateway.core.variants.renderers.catalogs import batches
from gateway.core.variants.renderers.names import DART_WORDS, JAVA_WORDS, camel_case, refuse_same, snake_case
from gateway.core.variants.renderers.text import INDENT
from gateway.core.variants.translations import Leaf, Texts, list_entries, write_leaf

_ANDROID_ESCAPES = re.compile("[\\\\'\"\n\t]|^[@?]|[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")
_ANDROID_BLANKS = re.compile(
    "^[\\s\ufeff]|[\\s\ufeff]$|\\s\\s|[\u1680\u2000-\u2006\u2008-\u200a\u2028\u2029\u205f\u3000]"
)
"""Which aapt2 takes away outside of quotes, or makes one space of (`iswspace`); other tools do so with more at the ends."""
_ANDROID_SHORT = {"\n": "\\n", "\t": "\\t"}
_PLAIN_CONVERSION = re.compile(r"%(?!%|n|\d+\$)")


def render_android(texts: Texts, _: Variant) -> Iterator[bytes]:
    """`res/values/strings.xml`: a key is a name of Java, `home.title` is `R.string.home_title`; forms are `<plurals>`.

    Escapes are those of the resource compiler aapt2 ("String resources", formatting and styling). A text with several
    conversions without numbers, which it refuses otherwise, says that it is not to be formatted.
    """
    entries = [(snake_case(key, JAVA_WORDS), key, value) for key, value in list_entries(texts, texts.columns[0])]
    refuse_same(((name, key) for name, key, value in entries if not isinstance(value, dict)), "Android")
    refuse_same(((name, key) for name, key, value in entries if isinstance(value, dict)), "Android")
    yield b'<?xml version="1.0" encoding="utf-8"?>\n<resources>\n'
    yield from batches(_write_resource(name, value) for name, _, value in entries)
    yield b"</resources>\n"


def _write_resource(name: str, value: Leaf | dict[str, Leaf]) -> str:
    if not isinstance(value, dict):
        text = write_leaf(value)
        unformatted = ' formatted="false"' if len(_PLAIN_CONVERSION.findall(text)) > 1 else ""
        return f'    <string name="{name}"{unformatted}>{_escape_android(text)}</string>\n'
    items = "".join(
        f'        <item quantity="{form}">{_escape_android(write_leaf(text))}</item>\n' for form, text in value.items()
    )
    return f'    <plurals name="{name}">\n{items}    </plurals>\n'


def _escape_android(text: str) -> str:
    escaped = escape(_ANDROID_ESCAPES.sub(_escape_android_character, text))
    return f'"{escaped}"' if _ANDROID_BLANKS.search(text) else escaped


def _escape_android_character(match: re.Match[str]) -> str:
    character = match[0]
    if character in _ANDROID_SHORT:
        return _ANDROID_SHORT[character]
    return f"\\{character}" if character in "\\'\"@?" else f"\\u{ord(character):04x}"


_APPLE_ESCAPES = re.compile('[\x00-\x1f"\\\\\x7f]')
_APPLE_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def render_strings(texts: Texts, _: Variant) -> Iterator[bytes]:
    """`Localizable.strings` of Apple's systems, in UTF-8. It has no plurals: `cart.items.one` is a key of its own."""
    values = zip(texts.keys, texts.columns[0], strict=True)
    return batches(
        f'"{_escape_apple(key)}" = "{_escape_apple(write_leaf(value))}";\n'
        for key, value in values
        if value is not None
    )


def _escape_apple(text: str) -> str:
    return _APPLE_ESCAPES.sub(lambda match: _APPLE_SHORT.get(match[0]) or f"\\U{ord(match[0]):04x}", text)


def render_xcstrings(texts: Texts, variant: Variant) -> Iterator[bytes]:
    """`Localizable.xcstrings`, the string catalog of Xcode 15: all languages in one file, forms as variations."""
    strings: dict[str, dict[str, dict[str, Any]]] = {}
    for language, column in zip(texts.languages, texts.columns, strict=True):
        for key, value in list_entries(texts, column):
            strings.setdefault(key, {"localizations": {}})["localizations"][language] = _build_localization(value)
    ordered = {key: strings[key] for key in sorted(strings)}
    catalog = {"sourceLanguage": texts.source_language or "en", "strings": ordered, "version": "1.0"}
    yield _encode(catalog, variant)


def _build_localization(value: Leaf | dict[str, Leaf]) -> dict[str, Any]:
    if isinstance(value, dict):
        return {"variations": {"plural": {form: _build_unit(text) for form, text in value.items()}}}
    return _build_unit(value)


def _build_unit(value: Leaf) -> dict[str, Any]:
    return {"stringUnit": {"state": "translated", "value": write_leaf(value)}}


_PLACEHOLDER = re.compile(r"\{([A-Za-z][A-Za-z0-9_]*)\}")


def render_arb(texts: Texts, variant: Variant) -> Iterator[bytes]:
    """An Application Resource Bundle for Flutter: a key is a name of Dart, `home.title` is `homeTitle`.

    Plural forms are one message of ICU, by the placeholder that they have, or else `count`.
    """
    found: dict[str, str] = {"@@locale": texts.languages[0].replace("-", "_")}
    names: list[tuple[str, str]] = []
    for key, value in list_entries(texts, texts.columns[0]):
        name = camel_case(key, DART_WORDS, is_ascii=True)
        names.append((name, key))
        found[name] = _build_message(key, value) if isinstance(value, dict) else write_leaf(value)
    refuse_same(names, "arb")
    yield _encode(found, variant)


def _build_message(key: str, forms: Mapping[str, Leaf]) -> str:
    written = {form: write_leaf(text) for form, text in forms.items()}
    for form, text in written.items():
        if not _is_balanced(text):
            raise BrokenDocument("$", f"the form {form} of {key!r} has a brace alone, which no message of ICU can have")
    placeholder = _PLACEHOLDER.search(written.get("other", "")) or _PLACEHOLDER.search("".join(written.values()))
    cases = " ".join(f"{form}{{{text}}}" for form, text in written.items())
    return f"{{{placeholder[1] if placeholder else 'count'}, plural, {cases}}}"


def _is_balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth < 0:
            return False
    return depth == 0


def _encode(content: Any, variant: Variant) -> bytes:
    encoded = msgspec.json.encode(content)
    return (msgspec.json.format(encoded, indent=INDENT) if variant.pretty else encoded) + b"\n"

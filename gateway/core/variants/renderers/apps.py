"""Translations as apps have them: resources of Android and Apple, messages of Flutter."""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

import msgspec

from gateway.core.errors import BrokenDocument
from gateway.core.variants.model import Variant
from gateway.core.variants.renderers.catalogs import NO_CELL, NO_CHARACTER, batches, encode_cells
from gateway.core.variants.renderers.names import DART_WORDS, JAVA_WORDS, camel_case, refuse_same, snake_case
from gateway.core.variants.renderers.text import INDENT
from gateway.core.variants.translations import Leaf, Texts, list_entries, list_places, write_leaf

_ANDROID_ESCAPES = re.compile("[\\\\'\"\n\t]|^[@?]|[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")
_ANDROID_BLANKS = re.compile(r"^ | $|  |[^\S ]|\ufeff")
"""Which tools take away outside of quotes, or make one space of: aapt2 does so with what `iswspace` knows, others with
more, such as the space that does not break before a French question mark."""
_ANDROID_SHORT = {"\n": "\\n", "\t": "\\t"}
_PLAIN_CONVERSION = re.compile(r"%(?!%|n|\d+\$)")


def render_android(texts: Texts, _: Variant) -> Iterator[bytes]:
    """Render `res/values/strings.xml`: `home.title` is `R.string.home_title`; plural forms are `<plurals>`.

    Escapes are those of the resource compiler aapt2 ("String resources", formatting and styling). A text with several
    conversions without numbers, which it refuses otherwise, says that it is not to be formatted.
    """
    entries = [
        (snake_case(key, JAVA_WORDS), key, value) for key, value in list_entries(texts, next(texts.rows.read_columns()))
    ]
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
    """Render Apple's `Localizable.strings` in UTF-8. It has no plurals: `cart.items.one` is a key of its own."""
    values = zip(texts.keys, next(texts.rows.read_columns()), strict=True)
    return batches(
        f'"{_escape_apple(key)}" = "{_escape_apple(write_leaf(value))}";\n'
        for key, value in values
        if value is not None
    )


def _escape_apple(text: str) -> str:
    return _APPLE_ESCAPES.sub(lambda match: _APPLE_SHORT.get(match[0]) or f"\\U{ord(match[0]):04x}", text)


_PLIST = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
"""
_CONVERSION = re.compile(r"%(?:\d+\$)?[-+ #0]*\d*(?:\.\d+)?((?:hh?|ll?|[qLztj])?[dDuUxXoOfFeEgGaAi])")


def render_stringsdict(texts: Texts, _: Variant) -> Iterator[bytes]:
    """Render Apple's `Localizable.stringsdict`: the entries with plural forms, beside the rest in `.strings`.

    The number is of the type that the first conversion of the texts has, `%lld` for example, or else `%d`. The standard
    library's plistlib is not used: it writes a carriage return as a line feed.
    """
    yield _PLIST.encode()
    entries = list_entries(texts, next(texts.rows.read_columns()))
    yield from batches(_write_plural(key, value) for key, value in entries if isinstance(value, dict))
    yield b"</dict>\n</plist>\n"


def _write_plural(key: str, forms: Mapping[str, Leaf]) -> str:
    written = {form: write_leaf(text) for form, text in forms.items()}
    found = next(filter(None, map(_CONVERSION.search, (written.get("other", ""), *written.values()))), None)
    variable = {
        "NSStringFormatSpecTypeKey": "NSStringPluralRuleType",
        "NSStringFormatValueTypeKey": found[1] if found else "d",
        **written,
    }
    return (
        f"\t<key>{_escape_plist(key)}</key>\n\t<dict>\n"
        "\t\t<key>NSStringLocalizedFormatKey</key>\n\t\t<string>%#@count@</string>\n"
        "\t\t<key>count</key>\n\t\t<dict>\n"
        + "".join(
            f"\t\t\t<key>{name}</key>\n\t\t\t<string>{_escape_plist(text)}</string>\n"
            for name, text in variable.items()
        )
        + "\t\t</dict>\n\t</dict>\n"
    )


def _escape_plist(text: str) -> str:
    if NO_CHARACTER.search(text):
        raise BrokenDocument("$", f"{text[:100]!r} has a character that XML, and so a stringsdict, cannot have")
    return escape(text, {"\r": "&#13;"})


def render_xcstrings(texts: Texts, variant: Variant) -> Iterator[bytes]:
    """Render `Localizable.xcstrings`, Xcode's string catalog: all languages in one file, forms as variations."""
    frame = _encode({"sourceLanguage": texts.source_language or "en", "strings": {}, "version": "1.0"}, variant)
    start, end = frame.split(b"{}")
    yield start + b"{"
    heads, first = encode_cells(texts.languages), True
    entries = iter(list_places(texts).items())
    while batch := list(itertools.islice(entries, _BATCH)):
        members = ",".join(_write_strings(texts, heads, batch))
        yield (b"" if first else b",") + _lay_out(members, variant)
        first = False
    yield (b"}" if first or not variant.pretty else b"\n  }") + end


def _lay_out(members: str, variant: Variant) -> bytes:
    """Return members of `strings` as they stand there: indented in the object that they are in, if at all."""
    if not variant.pretty:
        return members.encode()
    return msgspec.json.format(f'{{"strings":{{{members}}}}}'.encode(), indent=INDENT)[len(_OPENED) : -len(_CLOSED)]


_OPENED, _CLOSED = b'{\n  "strings": {', b"\n  }\n}"


def _write_strings(texts: Texts, heads: list[str], batch: list[tuple[str, dict[str, int]]]) -> Iterator[str]:
    """Yield some entries, encoding the cells of a language all at once."""
    positions = [place for _, places in batch for place in places.values()]
    columns = zip(*(texts.rows[place] for place in positions), strict=True)
    rows = zip(*(encode_cells(map(_write_cell, column)) for column in columns), strict=True)
    names = encode_cells([name for name, _ in batch])
    units = [f"{head}:{_UNIT}" for head in heads]
    for name, (_, places) in zip(names, batch, strict=True):
        if places.keys() == {""}:  # without plural forms, which most are
            written = [f"{unit}{cell}}}}}" for unit, cell in zip(units, next(rows), strict=True) if cell != NO_CELL]
        else:
            forms = {form: next(rows) for form in places}
            written = list(_list_localizations(heads, forms))
        yield f'{name}:{{"localizations":{{{",".join(written)}}}}}'


def _write_cell(value: Leaf) -> str | None:
    return value if value is None or isinstance(value, str) else write_leaf(value)


def _list_localizations(heads: list[str], rows: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """Yield the text of an entry, or its plural forms, for each language that has one."""
    for index, head in enumerate(heads):
        forms = {form: row[index] for form, row in rows.items() if row[index] != NO_CELL}
        if "" in forms:
            yield f"{head}:{_UNIT}{forms['']}}}}}"
        elif forms:
            variations = ",".join(f'"{form}":{_UNIT}{cell}}}}}' for form, cell in forms.items())
            yield f'{head}:{{"variations":{{"plural":{{{variations}}}}}}}'


_BATCH = 100
_UNIT = '{"stringUnit":{"state":"translated","value":'


_PLACEHOLDER = re.compile(r"\{([A-Za-z][A-Za-z0-9_]*)\}")


def render_arb(texts: Texts, variant: Variant) -> Iterator[bytes]:
    """Render an Application Resource Bundle for Flutter: the key `home.title` is the Dart name `homeTitle`.

    Plural forms are one message of ICU, by the placeholder that they have, or else `count`.
    """
    found: dict[str, str] = {"@@locale": texts.languages[0].replace("-", "_")}
    names: list[tuple[str, str]] = []
    for key, value in list_entries(texts, next(texts.rows.read_columns())):
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

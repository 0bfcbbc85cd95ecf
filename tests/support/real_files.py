"""`python -m tests.support.real_files`: what builds read of exports that are made of files which others publish.

tests/data/consumers/real.mjs makes a document of each, as a backend would. Every consumer's answer is compared with
what the document says, and not with what the gateway made of it: aliases are followed here once more, and colors
compared as colors.
"""

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import javaproperties
import openstep_plist
import pytest
import tree_sitter_kotlin
import tree_sitter_swift
import yaml  # type: ignore[import-untyped]  # of schemathesis
from babel.messages.pofile import read_po
from coloraide import Color
from lxml import etree
from translate.storage.aresource import AndroidResourceFile
from translate.storage.xliff2 import Xliff2File
from tree_sitter import Language, Parser

from gateway.core.variants.formats import FORMATS
from gateway.core.variants.model import DocumentForm, Rendered, Variant
from gateway.core.variants.rendering import render
from tests.support.consumers import Read, build_reader, install_packages

CACHE = Path(__file__).parents[2] / ".pytest_cache" / "d" / "consumers"
COLOR_TOLERANCE = 0.0005
"""Of a channel from 0 to 1: a quarter of a step of 8 bits for what has decimals."""

Texts = dict[str, Any]


class Row(NamedTuple):
    """What one consumer reads of one file in one format."""

    file: str
    format: str
    consumer: str
    compared: int
    """Tokens, or texts of all languages."""
    differences: list[str]

    @property
    def line(self) -> str:
        """The line of the table."""
        cells = (f"`{self.file}`", f"`{self.format}`", self.consumer, f"{self.compared:,}", str(len(self.differences)))
        return f"| {' | '.join(cells)} |"


def list_rows(read: Read) -> Iterator[Row]:
    """Each file in each format, with what its consumer reads."""
    for file, found in read("real.mjs").items():
        document = found["document"]
        if "entries" in document:
            yield from _compare_texts(file, document, read)
        else:
            yield from _compare_tokens(file, document, read)


def export(kind: Literal["translations", "design-tokens"], document: bytes, **chosen: Any) -> bytes:
    found = render(document, DocumentForm(kind), Variant(**chosen))
    assert isinstance(found, Rendered)
    return found.content


def _compare_texts(file: str, document: dict[str, Any], read: Read) -> Iterator[Row]:
    languages = document["languages"]
    given_bytes = json.dumps(document).encode()
    expected = {one: {} for one in languages}  # type: dict[str, Texts]
    for entry in document["entries"]:
        for language, text in entry["values"].items():
            expected[language][entry["key"]] = text
    for format_, (consumer, reader) in TEXT_READERS.items():
        shape = "flat" if "shape" in FORMATS["translations"][format_].heeds else "nested"
        if format_ == "yaml" and _has_entry_and_group(expected):
            continue  # Rails has no flat file: this document cannot be one, and the gateway says so
        contents = {
            one: export("translations", given_bytes, format=format_, shape=shape, lang=(one,)) for one in languages
        }
        if reader is None:
            given = [
                {"content": contents[one].decode(), "language": one, "keys": [*expected[one]], "isFlat": True}
                for one in languages
            ]
            answers = dict(zip(languages, read("texts.mjs", **{format_: given})[format_], strict=True))
        else:
            answers = {one: reader(contents[one], one) for one in languages}
        name = NAMES.get(format_, str)
        wanted = {one: {name(key): text for key, text in expected[one].items()} for one in languages}
        yield Row(file, format_, consumer, sum(map(len, expected.values())), list_differences(wanted, answers))


def list_differences(wanted: dict[str, Texts], found: dict[str, Texts]) -> list[str]:
    """Each text of each language that is missing, more, or another."""
    return [
        f"{language} {key}: {wanted[language].get(key)!r} is read as {found[language].get(key)!r}"
        for language in wanted
        for key in sorted({*wanted[language], *found[language]})
        if wanted[language].get(key) != found[language].get(key)
    ]


def _has_entry_and_group(texts: dict[str, Texts]) -> bool:
    keys = {key for one in texts.values() for key in one}
    return any(key.rpartition(".")[0] in keys for key in keys)


def _snake(key: str) -> str:
    """A name of Android, by rules of this file's own."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", key)
    return f"{name}_" if name in ("do", "if", "for", "new", "int", "try", "_") else name


def _camel(key: str) -> str:
    """A name of Dart, by rules of this file's own."""
    first, *others = re.split(r"[^A-Za-z0-9]+", key)
    name = first[:1].lower() + first[1:] + "".join(one[:1].upper() + one[1:] for one in others)
    return f"{name}_" if name in ("do", "if", "in", "is", "for", "new", "try", "var") else name


NAMES: dict[str, Callable[[str], str]] = {"android": _snake, "arb": _camel}


def _read_csv(content: bytes, _: str) -> Texts:
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))[1:]
    return {key: text[1:] if re.match(r"'+[=+\-@\t\r]", text) else text for key, text in rows}


def _read_xml(content: bytes, _: str) -> Texts:
    return {str(one.get("key")): one[0].text or "" for one in etree.fromstring(content)}


def _read_android(content: bytes, _: str) -> Texts:
    store = AndroidResourceFile()
    store.parse(content)
    return {one.getid(): str(one.target) for one in store.units}


def _read_xliff(content: bytes, language: str) -> Texts:
    store = Xliff2File()
    store.parse(content)
    is_source = f'srcLang="{language}"'.encode() in content
    return {
        re.sub(r":([0-9a-f]+):", lambda match: chr(int(match[1], 16)), unit.getid()): str(
            unit.source if is_source else unit.target
        )
        for unit in store.units
        if is_source or unit.target is not None
    }


def _read_po(content: bytes, _: str) -> Texts:
    return {str(one.id): one.string for one in read_po(io.BytesIO(content)) if one.id}


def _read_yaml(content: bytes, language: str) -> Texts:
    return dict(_flatten(yaml.load(content, yaml.CSafeLoader)[language]))


def _flatten(value: Any, way: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield ".".join(way), value
        return
    for name, inner in value.items():
        yield from _flatten(inner, (*way, name))


def _read_catalog(content: bytes, language: str) -> Texts:
    strings = json.loads(content)["strings"]
    return {key: one["localizations"][language]["stringUnit"]["value"] for key, one in strings.items()}


def _read_strings(content: bytes, _: str) -> Texts:
    return dict(openstep_plist.loads("{" + content.decode() + "}", use_numbers=False))


def _read_arb(content: bytes, _: str) -> Texts:
    return {key: text for key, text in json.loads(content).items() if key != "@@locale"}


TEXT_READERS: dict[str, tuple[str, Callable[[bytes, str], Texts] | None]] = {
    "json": ("Python's json", lambda content, _: dict(json.loads(content))),
    "csv": ("Python's csv", _read_csv),
    "xml": ("libxml2", _read_xml),
    "i18next": ("i18next", None),
    "android": ("translate-toolkit", _read_android),
    "strings": ("openstep-plist", _read_strings),
    "xcstrings": ("Python's json", _read_catalog),
    "arb": ("Python's json", _read_arb),
    "po": ("Babel", _read_po),
    "properties": ("javaproperties", lambda content, _: dict(javaproperties.loads(content.decode()))),
    "xliff": ("translate-toolkit", _read_xliff),
    "yaml": ("PyYAML", _read_yaml),
}
"""None: the reader is in texts.mjs."""


def _list_tokens(document: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Each token with its type and value, aliases followed, without a mode."""
    if isinstance(document["tokens"], list):
        raw = {one["name"]: (one["type"], one["value"]) for one in document["tokens"]}
    else:
        raw = dict(_walk(document["tokens"], (), None))

    def follow(value: Any) -> Any:
        alias = re.fullmatch(r"\{(.*)\}", value) if isinstance(value, str) else None
        return follow(raw[alias[1]][1]) if alias else value

    return {name: (kind, follow(value)) for name, (kind, value) in raw.items()}


def _walk(group: dict[str, Any], way: tuple[str, ...], kind: str | None) -> Iterator[tuple[str, tuple[str, Any]]]:
    kind = group.get("$type", kind)
    if "$value" in group:
        yield ".".join(way), (str(kind), group["$value"])
        return
    for name, inner in group.items():
        if not name.startswith("$"):
            yield from _walk(inner, (*way, name), kind)


def is_same(kind: str, wanted: Any, found: Any) -> bool:
    """Whether a consumer's value, as CSS has it or as the Format Module has, is the document's."""
    if kind == "color":
        pairs = zip(_channels(wanted), _channels(found), strict=True)
        return all(abs(one - other) <= COLOR_TOLERANCE for one, other in pairs)
    if kind in ("dimension", "duration"):
        return _measure(wanted) == _measure(found)
    if kind == "cubicBezier":
        points = re.findall(r"-?[\d.]+", found) if isinstance(found, str) else found
        return [float(one) for one in wanted] == [float(one) for one in points]
    if kind == "fontFamily":
        fonts = wanted if isinstance(wanted, list) else [wanted]
        read = [one.strip(" \"'") for one in found.split(",")] if isinstance(found, str) else found
        return fonts == (read if isinstance(read, list) else [read])
    return float(wanted) == float(found)


def _channels(value: Any) -> list[float]:
    """Red, green, blue and alpha."""
    if isinstance(value, dict):
        components = [0.0 if one == "none" else one for one in value["components"]]
        if value["colorSpace"] in ("hsl", "hwb"):
            components[1:] = [one / 100 for one in components[1:]]
        return [*Color(value["colorSpace"], components).convert("srgb").coords(), value.get("alpha", 1)]
    color = Color(value).convert("srgb")
    return [*(0.0 if one != one else one for one in color.coords()), color.alpha()]  # noqa: PLR0124  # not a number: `none`


def _measure(value: Any) -> tuple[float, str]:
    if isinstance(value, dict):
        return float(value["value"]), value["unit"]
    match = re.fullmatch(r"(-?[\d.]+)([a-z]*)", str(value))
    assert match is not None, value
    return float(match[1]), match[2] or "px"


def _compare_tokens(file: str, document: dict[str, Any], read: Read) -> Iterator[Row]:
    tokens = _list_tokens(document)
    names = {name: name.replace(".", "-") for name in tokens}
    given = json.dumps(document).encode()
    css = {
        format_: export("design-tokens", given, format=format_).decode()
        for format_ in ("css", "scss", "less", "tailwind")
    }
    uses = [f"p{index}" for index, _ in enumerate(tokens)]
    sass = [(use, f"#{{${_escape(names[name])}}}") for use, name in zip(uses, tokens, strict=True)]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    answer = read(css=css["css"], scss=css["scss"], uses=[(f"--{use}", text) for use, text in sass])
    found["css", "postcss"] = {name: answer["postcss"].get(f"--{names[name]}") for name in tokens}
    found["css", "css-tree"] = {name: answer["css-tree"].get(f"--{names[name]}") for name in tokens}
    found["scss", "sass"] = {name: answer["sass"].get(f"--{use}") for use, name in zip(uses, tokens, strict=True)}
    less = [(use, f"@{names[name]}") for use, name in zip(uses, tokens, strict=True)]
    answer = read(less=css["less"], uses=less)["less"]
    found["less", "less"] = {name: answer.get(use) for use, name in zip(uses, tokens, strict=True)}
    dtcg = read(dtcg=json.loads(export("design-tokens", given, format="dtcg")))["style-dictionary"]
    found["dtcg", "Style Dictionary"] = {name: dtcg.get(name) for name in tokens}
    for (format_, consumer), values in found.items():
        wrong = [
            f"{name}: {wanted!r} is read as {values[name]!r}"
            for name, (kind, wanted) in tokens.items()
            if values[name] is None or not is_same(kind, wanted, values[name])
        ]
        yield Row(file, format_, consumer, len(tokens), wrong)
    for format_, language in PARSERS.items():
        yield Row(
            file,
            format_,
            "tree-sitter",
            len(tokens),
            _check_code(export("design-tokens", given, format=format_), language, tokens),
        )


PARSERS = {"swift": Language(tree_sitter_swift.language()), "kotlin": Language(tree_sitter_kotlin.language())}


def _check_code(source: bytes, language: Language, tokens: dict[str, tuple[str, Any]]) -> list[str]:
    """The constants that are not there, and what cannot be parsed."""
    wrong = ["the source cannot be parsed"] if Parser(language).parse(source).root_node.has_error else []
    constants = re.findall(r"^    (?:public static let|val) `?(\w+)`?", source.decode(), re.MULTILINE)
    return wrong if len(constants) == len(tokens) else [*wrong, f"{len(tokens)} tokens are {len(constants)} constants"]


def _escape(name: str) -> str:
    """A name of Sass, which cannot begin with a digit."""
    return f"\\{ord(name[0]):x} {name[1:]}" if name[0].isdigit() else name


def main() -> None:
    """Print the table, as docs/reference/real-files.md has it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        read = build_reader(install_packages(CACHE))
    except pytest.skip.Exception as missing:
        sys.exit(str(missing))
    for row in list_rows(read):
        sys.stdout.write(f"{row.line}\n")
        for difference in row.differences[:5]:
            sys.stderr.write(f"    {difference}\n")


if __name__ == "__main__":
    main()

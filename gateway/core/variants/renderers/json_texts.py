"""Translations as JSON: key to value, in groups or flat.

A variant of exactly one language is that map. Any other is an object of them by language: it looks the same however
many languages the document has at the moment.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from gateway.core.variants.translations import Leaf, Texts
from gateway.core.variants.trees import Group, build_tree, collide
from gateway.core.variants.variant import Variant

INDENT = 2

_encoder = msgspec.json.Encoder()


def render_json(texts: Texts, variant: Variant) -> Iterator[bytes]:
    """One object, and a line break at the end."""
    tree = build_tree(texts.keys) if variant.shape == "nested" else None
    if variant.lang is not None and len(variant.lang) == 1:
        yield _encode(_build_map(texts.keys, texts.columns[0], tree), variant) + b"\n"
        return
    separator = b"{"
    for language, column in zip(texts.languages, texts.columns, strict=True):
        content = _encode({language: _build_map(texts.keys, column, tree)}, variant)
        yield separator + content[1:-1].rstrip()
        separator = b","
    end = b"\n}\n" if variant.pretty and texts.languages else b"}\n"
    yield end if texts.languages else b"{" + end


def _encode(content: Mapping[str, object], variant: Variant) -> bytes:
    encoded = _encoder.encode(content)
    return msgspec.json.format(encoded, indent=INDENT) if variant.pretty else encoded


def _build_map(keys: Sequence[str], column: Sequence[Leaf], tree: Group | None) -> dict[str, object]:
    if tree is None:
        return {key: value for key, value in zip(keys, column, strict=True) if value is not None}
    return _build_group(tree, keys, column)


def _build_group(group: Group, keys: Sequence[str], column: Sequence[Leaf]) -> dict[str, object]:
    """Without entries that have no value, and groups that have none."""
    built: dict[str, object] = {
        name: column[position] for name, position in group.entries.items() if column[position] is not None
    }
    for name, inner in group.groups.items():
        members = _build_group(inner, keys, column)
        if members:
            if name in built:
                raise collide(keys, group, name)
            built[name] = members
    return built

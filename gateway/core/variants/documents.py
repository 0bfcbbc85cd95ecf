"""Read a canonical document, even if the backend has other names for its fields.

The structs of translations.py and design_tokens.py are the schema. What does not fit is a BrokenDocument that names the
place in the backend's own words.
"""

import functools
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from gateway.core.errors import BrokenDocument
from gateway.core.tokens.text import BYTE_ORDER_MARK

MAXIMUM_DOCUMENT_BYTES = 64 * 1024 * 1024
"""For a document whose fields all have types.

A process that renders it takes twice its bytes if its entries have many languages, and up to thirty times if it is
hostile: the shortest entries that can be, all with plural forms.
"""
MAXIMUM_LOOSE_BYTES = 8 * 1024 * 1024
"""For a document with parts of any type, where a hostile one takes thirty times its bytes."""

_PLACE = re.compile(r"(.*) - at `(?:key in )?`?(\$.*)`", re.DOTALL)
_STEP = re.compile(r"\[\.\.\.\]|\[(\d+)\]|\.([^.\[]+)")

Document = TypeVar("Document", bound=msgspec.Struct)
Reader = Callable[[bytes | memoryview], Document]


def read_document(
    content: bytes, document: type[Document], names: tuple[tuple[str, str], ...], most: int = MAXIMUM_DOCUMENT_BYTES
) -> Document:
    """Read the document in `content`, which has at most `most` bytes. Raise BrokenDocument."""
    text: bytes | memoryview = content
    if content.startswith(BYTE_ORDER_MARK):
        text = memoryview(content)[len(BYTE_ORDER_MARK) :]  # a document is long, and not copied
    if len(text) > most:
        raise BrokenDocument("$", f"a document of this kind may have {most} bytes, this has {len(text)}")
    try:
        read: Reader[Document] = make_reader(document, names)
        return read(text)
    except msgspec.ValidationError as error:
        raise _locate(text, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenDocument("$", f"this is not JSON that can be read: {error}") from None


@functools.lru_cache(maxsize=256)
def make_reader(document: type[Document], names: tuple[tuple[str, str], ...]) -> Reader[Document]:
    """Return the decoder of a document with these names of its fields. Raise ValueError if two names conflict."""
    if not names:
        return msgspec.json.Decoder(document).decode
    foreign, translate = _rename(document, dict(names))
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(foreign)
    return lambda content: translate(decoder.decode(content))


def field_names(document: type[msgspec.Struct]) -> list[str]:
    """Return our names of all fields of a document and of its entries; a name of both is `tokens.modes` in an entry."""
    fields = msgspec.structs.fields(document)
    return [field.name for field in fields] + [
        name for field in fields for name in _names_inside(fields, field.name, _item(field.type)).values()
    ]


def _names_inside(
    outer: tuple[msgspec.structs.FieldInfo, ...], field: str, item: type[msgspec.Struct] | None
) -> dict[str, str]:
    """Return the fields of an entry, with the name by which a policy refers to each."""
    taken = {other.name for other in outer}
    inner = msgspec.structs.fields(item) if item is not None else ()
    return {one.name: f"{field}.{one.name}" if one.name in taken else one.name for one in inner}


def _rename(table: type[Document], names: Mapping[str, str]) -> tuple[type[Any], Callable[[Any], Document]]:
    """Return a struct with the backend's names, and the function that turns it into our own."""
    fields = msgspec.structs.fields(table)
    tree: dict[str, Any] = {}
    for field in fields:
        *way, last = names.get(field.name, field.name).split(".")
        node = tree
        for part in way:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise ValueError(f"{part!r} cannot be a field and an object with fields")  # noqa: TRY004  # of a policy
        if last in node:
            raise ValueError(f"{last!r} is the name of two fields")
        node[last] = field
    kinds: dict[str, Any] = {}
    changes: list[Callable[[Any], Any]] = []
    for field in fields:
        kinds[field.name], change = _rename_items(fields, field, names)
        changes.append(change)
    foreign, ways = _build_struct(table.__name__, tree, kinds)
    getters = [operator.attrgetter(ways[field.name]) for field in fields]

    def translate(found: Any) -> Document:
        return table(*(change(get(found)) for get, change in zip(getters, changes, strict=True)))

    return foreign, translate


def _rename_items(
    outer: tuple[msgspec.structs.FieldInfo, ...], field: msgspec.structs.FieldInfo, names: Mapping[str, str]
) -> tuple[Any, Callable[[Any], Any]]:
    """Return the type of a field, and the function that turns its value into ours: lists of entries are renamed too."""
    item = _item(field.type)
    if item is None:
        return field.type, lambda value: value
    inside = {ours: names[named] for ours, named in _names_inside(outer, field.name, item).items() if named in names}
    foreign, change = _rename(item, inside)
    kind: Any = list[foreign]  # type: ignore[valid-type]  # made while running
    if get_origin(field.type) is not list:
        kind |= dict[str, Any]
    return kind, lambda value: [change(one) for one in value] if isinstance(value, list) else value


def _build_struct(title: str, tree: Mapping[str, Any], kinds: Mapping[str, Any]) -> tuple[type[Any], dict[str, str]]:
    """Return a struct with the tree's fields, and the place of each of our fields in it."""
    made: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    renames: dict[str, str] = {}
    ways: dict[str, str] = {}
    for position, (key, node) in enumerate(tree.items()):
        name = f"f{position}"
        renames[name] = key
        if isinstance(node, dict):
            inner, inner_ways = _build_struct(key, node, kinds)
            ways |= {ours: f"{name}.{way}" for ours, way in inner_ways.items()}
            is_needed = any(field.required for field in msgspec.structs.fields(inner))
            made.append((name, inner) if is_needed else (name, inner, msgspec.field(default_factory=inner)))
        else:
            ways[node.name] = name
            if node.required:
                made.append((name, kinds[node.name]))
            elif node.default_factory is not msgspec.NODEFAULT:
                made.append((name, kinds[node.name], msgspec.field(default_factory=node.default_factory)))
            else:
                made.append((name, kinds[node.name], node.default))
    return msgspec.defstruct(title, made, rename=renames, frozen=True, kw_only=True), ways


def _item(kind: Any) -> type[msgspec.Struct] | None:
    """Return the struct that a field is a list of, or None; the field may also be an object instead."""
    for alternative in (kind, *get_args(kind)):
        if get_origin(alternative) is list and isinstance(item := get_args(alternative)[0], type):
            return item if issubclass(item, msgspec.Struct) else None
    return None


def _locate(content: bytes | memoryview, message: str) -> BrokenDocument:
    """Return the mistake with its exact place: msgspec leaves out the keys of objects whose keys are data."""
    found = _PLACE.fullmatch(message)
    if found is None:
        return BrokenDocument("$", message)
    if "[...]" not in found[2] or len(content) > MAXIMUM_LOOSE_BYTES:
        return BrokenDocument(found[2], found[1])
    try:
        value, place = msgspec.json.decode(content), "$"
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):  # malformed in text after the mistake
        return BrokenDocument(found[2], found[1])
    steps = list(_STEP.finditer(found[2]))
    for index, step in enumerate(steps):
        if step[0] == "[...]":
            depth = sum(later[0] == "[...]" for later in steps[index:])
            key = next((key for key, inner in value.items() if not _fits(inner, depth)), "...")
            value, place = value.get(key, {}), f"{place}.{key}"
        else:
            value = value[int(step[1])] if step[1] else value.get(step[2], {})
            place += step[0]
    return BrokenDocument(place, found[1])


def _fits(value: object, depth: int) -> bool:
    """Return whether a value has at most `depth` levels of objects, and no list in it."""
    if isinstance(value, dict):
        return depth > 1 and all(_fits(inner, depth - 1) for inner in value.values())
    return not isinstance(value, list)

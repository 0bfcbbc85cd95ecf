"""What a shaped rule says of itself: its options as data, where its document is, and the fields of its answers."""

import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote

import msgspec

from gateway.core.messages import Field
from gateway.core.variants.formats import FORMATS
from gateway.core.variants.options import LISTS, VariantRule
from gateway.core.variants.variant import DocumentKind, Setting, Variant

DESCRIPTIONS: Mapping[Setting, str] = {
    "format": "How the export is written.",
    "shape": "Whether the dots in keys make groups.",
    "pretty": "Whether it is indented, to be read by people.",
    "key": "Whether entries go by their named keys, where they have one, or by their ids.",
    "lang": "The languages that are exported.",
    "status": "The statuses of the entries that are exported.",
    "mode": "The mode whose values are exported.",
}
"""Of options for which the policy has no words of its own."""

_PARAMETER = re.compile(r"\{[a-z][a-z0-9_]*\}")
_PLAIN_NAME = re.compile(r"[^A-Za-z0-9._ -]")


class OfferedOption(msgspec.Struct, frozen=True, rename={"place": "in"}):
    """One option, for a page that builds addresses and a client's help."""

    name: str
    place: Literal["query", "path"]
    values: tuple[str, ...] | None
    """None: what the document has."""
    default: tuple[str, ...] | None
    """None: all of a list; of modes the document's first. An option in the path has none."""
    several: bool
    """Whether several values, with commas between them, may be asked for at once."""
    all: str | None
    """What stands for all values, None where that cannot be asked for."""
    description: str


class Offer(msgspec.Struct, frozen=True):
    """All that can be asked of a shaped rule."""

    document: DocumentKind
    path: str
    options: tuple[OfferedOption, ...]
    media_types: dict[str, str]
    """Of each format."""


def build_offer(rule: VariantRule, path: str) -> Offer:
    """The options of the rule with this `path`, parameters in braces; the formats are those that it offers."""
    formats = FORMATS[rule.form.kind]
    offered = next((option.values for option in rule.options if option.sets == "format"), None)
    return Offer(
        document=rule.form.kind,
        path=path,
        options=tuple(
            OfferedOption(
                name=option.name,
                place="query" if option.segment is None else "path",
                values=option.values,
                default=option.default,
                several=option.several,
                all="*" if option.sets in LISTS else None,
                description=option.description or DESCRIPTIONS[option.sets],
            )
            for option in rule.options
        ),
        media_types={name: formats[name].media_type for name in offered or tuple(formats)[:1]},
    )


def build_source(rule: VariantRule, path: str, segments: tuple[str, ...]) -> str:
    """The target at which the backend has the document; `path` is the request's own, as received."""
    if rule.source is None:
        return path
    return _PARAMETER.sub(lambda match: quote(segments[rule.parameters[match[0]]], safe=""), rule.source)


def build_variant_fields(
    rule: VariantRule, variant: Variant, segments: tuple[str, ...], content_length: int
) -> list[Field]:
    """What the head of a variant says of its content, the same in answer to GET and to HEAD (RFC 9110 8, RFC 6266)."""
    written = FORMATS[rule.form.kind][variant.format]
    stem = _PARAMETER.sub(lambda match: segments[rule.parameters[match[0]]], rule.filename)
    language = f".{variant.lang[0]}" if variant.lang is not None and len(variant.lang) == 1 else ""
    return [
        (b"content-type", written.media_type.encode()),
        (b"content-disposition", _build_disposition(f"{stem}{language}.{written.extension}")),
        (b"content-length", b"%d" % content_length),
        (b"x-content-type-options", b"nosniff"),
    ]


def _build_disposition(filename: str) -> bytes:
    """`filename*` beside a name that everybody can read, where the name has more than that (RFC 6266 4.3, RFC 8187)."""
    name = filename.lstrip(". ") or "export"
    plain = _PLAIN_NAME.sub("_", name)
    extended = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{extended}'.encode()

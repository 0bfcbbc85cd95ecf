"""What a shaped rule offers, as data: a page builds its form from it, a client its help."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from gateway.core.variants.formats import FORMATS
from gateway.core.variants.options import LISTS, VariantRule
from gateway.core.variants.variant import DocumentKind, Setting

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

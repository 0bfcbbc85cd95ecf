"""The variant that a request asks for, of those that its rule offers.

Rule 1: equivalent requests get equal variants, however they are spelled: order, explicit defaults, repeated elements of
a list, and options that make no difference to the format, change nothing.
Rule 2: an option that is unknown, repeated or malformed is refused, all of them at once, with what is allowed.
Rule 3: a value that a client sent is never repeated to it: it might be a secret in the wrong place.

    query   = *( "&" ) option *( "&" *option )
    option  = name [ "=" value ]          ; percent-encoded UTF-8, "+" for a space
    list    = "" / "*" / element *( "," element )    ; "" as if it were absent, "*" all

The offer of a rule is data: a page builds its form from it, a client its help.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Literal
from urllib.parse import unquote_plus

import msgspec

from gateway.core.variants.formats import FORMATS
from gateway.core.variants.model import (
    SPELLINGS,
    DocumentForm,
    DocumentKind,
    InvalidOptions,
    OptionMistake,
    Setting,
    Variant,
)

LISTS: frozenset[Setting] = frozenset({"lang", "status"})
"""Settings that can have several values at once."""
OPEN: frozenset[Setting] = frozenset({"lang", "mode"})
"""Settings that have the values of the document, if the policy names none."""
CHOICES: Mapping[Setting, tuple[str, ...]] = {
    "shape": ("nested", "flat"),
    "pretty": ("false", "true"),
    "bom": ("false", "true"),
    "key": ("named", "id"),
}
"""Settings with these values only; the first is the default. Those of `format` are in formats.py."""
SWITCHES: frozenset[Setting] = frozenset({"pretty", "bom"})
SWITCH = {"": "true", "true": "true", "1": "true", "false": "false", "0": "false"}
"""The spellings of a switch: `?pretty` is on."""
ALL = "*"

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Long enough for any option, too short for a token: only then is an unknown name repeated.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,23}")


class Option(msgspec.Struct, frozen=True, cache_hash=True):
    """An option that a rule offers."""

    name: str
    sets: Setting
    values: tuple[str, ...] | None
    """The allowed values; None for those of the document."""
    default: tuple[str, ...] | None
    """None for all of a list, and for the document's first mode."""
    several: bool = False
    ignores_case: bool = False
    segment: int | None = None
    """The index of its path segment; None if it is in the query."""
    description: str = ""


class VariantRule(msgspec.Struct, frozen=True):
    """How a rule's exports are made."""

    form: DocumentForm
    options: tuple[Option, ...]
    source: str | None
    """The target of the document at the backend, with {parameters}; None for the path of the request."""
    filename: str
    """The name without extension, with {parameters}."""
    parameters: Mapping[str, int]
    """Parameter to its segment of the path."""


def parse_variant(rule: VariantRule, query: str, segments: tuple[str, ...]) -> Variant | InvalidOptions:
    """Return the variant that a request asks for by its query and the decoded segments of its path, or its mistakes."""
    return _parse_variant(rule.form, rule.options, query, segments)


@functools.lru_cache(maxsize=1024)
def _parse_variant(
    form: DocumentForm, options: tuple[Option, ...], query: str, segments: tuple[str, ...]
) -> Variant | InvalidOptions:
    """Parse a variant. The result is cached: a stored variant then costs as little as any stored export."""
    asked, mistakes = _read_query(options, query)
    chosen: dict[Setting, tuple[str, ...] | None] = {}
    for option in options:
        raw = asked.get(option.name) if option.segment is None else segments[option.segment]
        value = option.default if raw is None else _choose(option, raw)
        if isinstance(value, OptionMistake):
            if option.segment is not None:
                return InvalidOptions((value,), in_path=True)
            mistakes.append(value)
        else:
            chosen[option.sets] = value
    if mistakes:
        return InvalidOptions(tuple(mistakes))
    variant = _build_variant(form, chosen)
    return refuse_languages(form, variant, next((one for one in options if one.sets == "lang"), None)) or variant


def refuse_languages(form: DocumentForm, variant: Variant, option: Option | None) -> InvalidOptions | None:
    """Return the mistake of naming no language for a format of one; `option` is what names it."""
    if not FORMATS[form.kind][variant.format].has_one_language or len(variant.lang or ()) == 1:
        return None
    name, known = ("lang", None) if option is None else (option.name, option.values)
    of_what = f" of {', '.join(known)}" if known else ", such as de"
    message = f"The format {variant.format} is in one language: the option {name} must say one{of_what}."
    return InvalidOptions((OptionMistake(name, message, known or ()),))


def _build_variant(form: DocumentForm, chosen: Mapping[Setting, tuple[str, ...] | None]) -> Variant:
    single = {setting: value[0] for setting, value in chosen.items() if value and setting not in LISTS}
    name = single.get("format", next(iter(FORMATS[form.kind])))
    heeded = FORMATS[form.kind][name].heeds
    plain = Variant()
    return Variant(
        format=name,
        shape=single.get("shape", plain.shape) if "shape" in heeded else plain.shape,
        pretty=single.get("pretty") == "true" and "pretty" in heeded,
        key=single.get("key", plain.key),
        bom=single.get("bom") == "true" and "bom" in heeded,
        lang=chosen.get("lang"),
        status=chosen.get("status"),
        mode=single.get("mode"),
    )


def _read_query(options: tuple[Option, ...], query: str) -> tuple[dict[str, str], list[OptionMistake]]:
    """Return the text of each option, and the mistakes of the query itself."""
    offered = {option.name: option for option in options if option.segment is None}
    asked: dict[str, str] = {}
    mistakes: list[OptionMistake] = []
    for piece in filter(None, query.split("&")):
        if _BROKEN_ESCAPE.search(piece):
            mistakes.append(OptionMistake(None, "The query has a % without two hexadecimal digits.", tuple(offered)))
            continue
        name, _, value = piece.partition("=")
        try:
            name, value = unquote_plus(name, errors="strict"), unquote_plus(value, errors="strict")
        except UnicodeDecodeError:
            mistakes.append(OptionMistake(None, "The query has a percent-encoding that is not UTF-8.", tuple(offered)))
            continue
        if name not in offered:
            known = f"the options are {', '.join(offered)}" if offered else "there are none"
            shown = name if _NAME.fullmatch(name) else None
            mistakes.append(
                OptionMistake(shown, f"There is no option {shown or 'of that name'}: {known}.", tuple(offered))
            )
        elif name in asked:
            mistakes.append(OptionMistake(name, f"The option {name} is given twice.", offered[name].values or ()))
        else:
            asked[name] = value
    return asked, mistakes


def _choose(option: Option, raw: str) -> tuple[str, ...] | OptionMistake | None:
    if option.sets not in LISTS:
        found = next(_match(option, [SWITCH.get(raw, raw) if option.sets in SWITCHES else raw]))
        return _refuse(option) if found is None else (found,)
    if raw == "" and option.segment is None:
        return option.default
    if raw in ("", ALL):  # an entry may have a status that the policy does not name, or none
        return None if option.values is None or option.sets == "status" else tuple(sorted(option.values))
    elements = [element.strip(" ") for element in raw.split(",")]
    found_all = set(_match(option, elements))
    if None in found_all or (len(found_all) > 1 and not option.several):
        return _refuse(option)
    return tuple(sorted(element for element in found_all if element is not None))


def _match(option: Option, elements: list[str]) -> Iterator[str | None]:
    """Yield each element as the policy spells it, or None if it is not allowed."""
    if option.values is None:
        yield from (element if SPELLINGS[option.sets].fullmatch(element) else None for element in elements)
    elif option.ignores_case:
        spellings = {value.casefold(): value for value in option.values}
        yield from (spellings.get(element.casefold()) for element in elements)
    else:
        yield from (element if element in option.values else None for element in elements)


def _refuse(option: Option) -> OptionMistake:
    values = option.values or ()
    known = f"one of {', '.join(values)}" if values else "one that the document has"
    if option.sets in LISTS:
        known = f"{known}, {'several with commas, ' if option.several else ''}or * for all"
    return OptionMistake(option.name, f"The option {option.name} must be {known}.", values)


DESCRIPTIONS: Mapping[Setting, str] = {
    "format": "How the export is written.",
    "shape": "Whether the dots in keys make groups.",
    "pretty": "Whether it is indented, to be read by people.",
    "bom": "Whether CSV begins with a byte order mark, for Excel.",
    "key": "Whether entries go by their named keys, where they have one, or by their ids.",
    "lang": "The languages that are exported.",
    "status": "The statuses of the entries that are exported.",
    "mode": "The mode whose values are exported.",
}
"""Descriptions of options for which the policy has none."""


class OfferedOption(msgspec.Struct, frozen=True, rename={"place": "in"}):
    """One option, for a page that builds addresses and a client's help."""

    name: str
    place: Literal["query", "path"]
    values: tuple[str, ...] | None
    """None for the values of the document."""
    default: tuple[str, ...] | None
    """None for all of a list, and for the document's first mode. An option in the path has none."""
    several: bool
    """Whether several values, separated by commas, may be requested at once."""
    all: str | None
    """The value that stands for all, or None if that cannot be requested."""
    description: str


class Offer(msgspec.Struct, frozen=True):
    """Everything that can be requested of a rule with variants."""

    document: DocumentKind
    path: str
    options: tuple[OfferedOption, ...]
    media_types: dict[str, str]
    """The media type of each format."""


def build_offer(rule: VariantRule, path: str) -> Offer:
    """Build the offer of the rule with this `path`, parameters in braces; it has the formats that the rule offers."""
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
                all=ALL if option.sets in LISTS else None,
                description=_describe(option),
            )
            for option in rule.options
        ),
        media_types={name: formats[name].media_type for name in offered or tuple(formats)[:1]},
    )


def _describe(option: Option) -> str:
    """Return what the option does; for statuses, also which entries are left out."""
    text = option.description or DESCRIPTIONS[option.sets]
    if option.sets != "status" or option.segment is not None:
        return text
    if option.default is None:
        return f"{text} {ALL} has all entries, also those of other statuses and of none."
    left_out = [value for value in option.values or () if value not in option.default]
    others = f"{', '.join(left_out)}, other statuses and entries" if left_out else "other statuses and entries"
    return f"{text} If nothing is asked for, {others} without a status are left out; {ALL} has all."

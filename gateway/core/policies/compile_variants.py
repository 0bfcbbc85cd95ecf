"""Compile the variants of a rule's exports, and find every mistake in them."""

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from gateway.core.policies.matching import Pattern
from gateway.core.policies.reading import Mistake, path_to, unknown_name
from gateway.core.policies.schema import OptionTable, VariantsTable
from gateway.core.variants.design_tokens import DesignTokensDocument
from gateway.core.variants.documents import field_names, make_reader
from gateway.core.variants.formats import FORMATS, OFFERED
from gateway.core.variants.model import SETTINGS, SPELLINGS, CodeNames, DocumentForm, DocumentKind, Setting
from gateway.core.variants.options import CHOICES, LISTS, OPEN, Option, VariantRule
from gateway.core.variants.token_values import TYPES
from gateway.core.variants.translations import TranslationsDocument

SCHEMAS: Mapping[DocumentKind, type[msgspec.Struct]] = {
    "translations": TranslationsDocument,
    "design-tokens": DesignTokensDocument,
}

_PARAMETER = re.compile(r"\{[^}]*\}?")
_LISTED = "letters, digits and _ . @ -"
_WAY = re.compile(r"[^.]+(\.[^.]+)*")


def compile_variants(
    table: VariantsTable | None, pattern: Pattern, path: str, mistakes: list[Mistake]
) -> VariantRule | None:
    """Return what a rule with this `pattern` offers, or None if its answers are passed on; add its `mistakes`."""
    if table is None:
        return None
    parameters = {segment: index for index, segment in enumerate(pattern.segments) if segment.startswith("{")}
    if set(pattern.methods) - {"GET", "HEAD"}:
        mistakes.append(Mistake(path, f"variants are for GET, and this rule is for {', '.join(pattern.methods)}"))
    for key, text in (("source", table.source or ""), ("filename", table.filename)):
        for found in _PARAMETER.findall(text):
            if found not in parameters:
                mistakes.append(Mistake(f"{path}.{key}", f"the path of {pattern.text!r} has no parameter {found}"))
    names = _compile_names(table, f"{path}.names", mistakes)
    types = _compile_types(table, f"{path}.types", mistakes)
    options = _compile_options(table, parameters, f"{path}.options", mistakes)
    if not any(option.sets == "lang" for option in options):
        options = tuple(_without_languages(table, option, f"{path}.options", mistakes) for option in options)
    asked = tuple(
        (option.sets, option.name, option.segment is not None)
        for option in options
        if option.sets in OPEN and option.values is None
    )
    form = DocumentForm(table.document, names, types, asked, _compile_code(table, f"{path}.code", mistakes))
    return VariantRule(form, options, table.source, table.filename, parameters)


def _without_languages(table: VariantsTable, option: Option, path: str, mistakes: list[Mistake]) -> Option:
    """Return the option without formats of one language, because no request can say which language it wants.

    They are a mistake if the policy names them, and left out if it names none.
    """
    if option.sets != "format" or option.values is None:
        return option
    single = [name for name in option.values if FORMATS[table.document][name].has_one_language]
    entry = table.options[option.name]
    if single and (isinstance(entry, list) or entry.values is not None):
        message = f"{', '.join(single)}: a file of {'these' if len(single) > 1 else 'this'} is in one language, and no "
        mistakes.append(Mistake(path_to(path, option.name), f"{message}option says which: offer lang"))
    return msgspec.structs.replace(option, values=tuple(name for name in option.values if name not in single))


def _compile_names(table: VariantsTable, path: str, mistakes: list[Mistake]) -> tuple[tuple[str, str], ...]:
    schema = SCHEMAS[table.document]
    known = field_names(schema)
    for ours, theirs in table.names.items():
        if ours not in known:
            mistakes.append(Mistake(path_to(path, ours), unknown_name("field", ours, known)))
        if _WAY.fullmatch(theirs) is None:
            message = f"{theirs!r} is no name of a field, nor names with dots between them"
            mistakes.append(Mistake(path_to(path, ours), message))
            return ()
    names = tuple((ours, theirs) for ours, theirs in table.names.items() if ours in known)
    try:
        make_reader(schema, names)
    except ValueError as error:
        mistakes.append(Mistake(path, str(error)))
    return names


def _compile_types(table: VariantsTable, path: str, mistakes: list[Mistake]) -> tuple[tuple[str, str], ...]:
    if table.types and table.document != "design-tokens":
        mistakes.append(Mistake(path, f"a document of {table.document} has no types"))
    for theirs, ours in table.types.items():
        if ours not in TYPES:
            mistakes.append(Mistake(path_to(path, theirs), unknown_name("type", ours, TYPES)))
    return tuple(table.types.items())


def _compile_code(table: VariantsTable, path: str, mistakes: list[Mistake]) -> CodeNames:
    if table.code is None:
        return CodeNames()
    if table.document != "design-tokens":
        mistakes.append(Mistake(path, f"no format of {table.document} is source code"))
    return CodeNames(table.code.constants, table.code.type, table.code.package)


def _compile_options(
    table: VariantsTable, parameters: Mapping[str, int], path: str, mistakes: list[Mistake]
) -> tuple[Option, ...]:
    compiled: dict[Setting, Option] = {}
    for name, entry in table.options.items():
        here = path_to(path, name)
        one = OptionTable(values=entry) if isinstance(entry, list) else entry
        sets = one.sets or next((setting for setting in SETTINGS if setting == name), None)
        if sets is None:
            known = ", ".join(OFFERED[table.document])
            message = f'{name!r} is no setting: say which one it sets, such as sets = "format"; known are {known}'
            mistakes.append(Mistake(here, message))
        elif sets not in OFFERED[table.document]:
            mistakes.append(Mistake(here, f"a document of {table.document} has no {sets} to choose"))
        elif sets in compiled:
            mistakes.append(Mistake(here, f"the option {compiled[sets].name!r} sets {sets} already"))
        else:
            found = [Mistake(here, message) for message in _find_mistakes(table.document, sets, one, parameters)]
            mistakes += found
            if not found:
                compiled[sets] = _compile_option(table.document, name, sets, one, parameters)
    return tuple(compiled.values())


def _find_mistakes(kind: DocumentKind, sets: Setting, table: OptionTable, parameters: Mapping[str, int]) -> list[str]:
    """Return the mistakes of an option, in words."""
    values = table.values if table.values is not None else _possible(kind, sets)
    found = [*_find_value_mistakes(sets, table, _possible(kind, sets)), *_find_default_mistakes(sets, table, values)]
    if sets == "status" and values is None:
        found.append("name the values: a status that no entry has at the moment is no mistake of a request")
    if table.ignore_case and values is None:
        found.append("ignore_case needs the values, as they say how each is spelled")
    elif table.ignore_case and len({value.casefold() for value in values or ()}) < len(values or ()):
        found.append("with ignore_case two of the values are the same")
    if not table.several and sets not in LISTS:
        found.append(f"several is for {' and '.join(sorted(LISTS))}: {sets} is always one value")
    if table.parameter is not None and table.parameter not in parameters:
        found.append(f"the rule's path has no parameter {table.parameter}")
    return found


def _find_value_mistakes(sets: Setting, table: OptionTable, possible: tuple[str, ...] | None) -> Iterator[str]:
    for value in table.values or ():
        if possible is not None and value not in possible:
            yield unknown_name(f"value of {sets}", value, list(possible))
        elif possible is None and SPELLINGS[sets].fullmatch(value) is None:
            allowed = "1 to 128 characters, none of them a control character" if sets == "mode" else _LISTED
            yield f"{value!r} cannot be a value: {allowed} can"
        elif table.parameter is not None and "/" in value:
            yield f"{value!r} cannot stand in a path, where an encoded slash is refused: leave out `parameter`"
    if table.values is not None and not table.values:
        yield "a list of no values allows none"
    if len(set(table.values or ())) < len(table.values or ()):
        yield "a value is listed twice"


def _find_default_mistakes(sets: Setting, table: OptionTable, values: Sequence[str] | None) -> Iterator[str]:
    for value in _listed(table.default):
        if (values is not None and value not in values) or not _may_be_value(sets, value):
            yield f"the default {value!r} is not one of the values"
    if isinstance(table.default, list) and (sets not in LISTS or not (table.several or len(table.default) == 1)):
        yield "the default is one value"
    if table.parameter is not None and table.default is not None:
        yield "an option in the path is always there: it has no default"


def _compile_option(
    kind: DocumentKind, name: str, sets: Setting, table: OptionTable, parameters: Mapping[str, int]
) -> Option:
    possible = _possible(kind, sets)
    values = tuple(table.values) if table.values is not None else possible
    default: tuple[str, ...] | None = tuple(sorted(set(_listed(table.default)))) or None
    if default is None and values is not None and table.parameter is None:
        # Entries may have a status that no policy names, or none: only an explicit default leaves them out.
        default = values[:1] if sets not in LISTS else None if sets == "status" else tuple(sorted(values))
    return Option(
        name=name,
        sets=sets,
        values=values,
        default=default,
        several=table.several and sets in LISTS,
        ignores_case=table.ignore_case,
        segment=None if table.parameter is None else parameters[table.parameter],
        description=table.description,
    )


def _may_be_value(sets: Setting, value: str) -> bool:
    return sets not in SPELLINGS or SPELLINGS[sets].fullmatch(value) is not None


def _possible(kind: DocumentKind, sets: Setting) -> tuple[str, ...] | None:
    """Return all possible values, or None if documents and policies choose them."""
    return tuple(FORMATS[kind]) if sets == "format" else CHOICES.get(sets)


def _listed(default: str | bool | list[str] | None) -> list[str]:
    if default is None:
        return []
    if isinstance(default, list):
        return default
    return [default if isinstance(default, str) else str(default).lower()]

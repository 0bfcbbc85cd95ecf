"""What a policy file says of a rule's variants; part of document.py."""

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.core.policies.grammar import END, OptionName, Parameter
from gateway.core.variants.variant import DocumentKind, Setting


class OptionTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One option of a rule's exports, under the name that it has in the query."""

    sets: Setting | None = None
    """What it chooses; absent: the setting of the option's own name."""
    values: Annotated[list[str], Meta(min_length=1)] | None = None
    """What is allowed; absent: all that there is, of `lang` and `mode` what the document has."""
    default: str | bool | list[str] | None = None
    """Absent: the first of the values; all of `lang` and `status`; the first mode of the document."""
    several: bool = True
    """Of `lang` and `status`: whether a list with commas is allowed. `*` or nothing always stands for all."""
    ignore_case: bool = False
    """Whether the values may be spelled in any case."""
    parameter: Parameter | None = None
    """The parameter of the path that it is, such as "{mode}"; absent: it is in the query."""
    description: str = ""
    """For pages and clients that show the options."""


class VariantsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The backend gives one canonical document of JSON, the gateway every variant of it that is asked for."""

    document: DocumentKind
    """What it is about; `gateway policy schema --document` prints what each may have."""
    source: Annotated[str, Meta(pattern=r"^/[!-~]*" + END, description="A path and query in ASCII")] | None = None
    """Where the backend has it, with parameters of the rule's path: "/internal/{project}"; absent: the rule's path."""
    filename: str = "export"
    """Under which browsers save an export, without extension; it may have parameters of the rule's path."""
    names: dict[str, str] = {}
    """Our name of a field of the document, or of the entries in it, to the backend's: `entries = "data.nodes"`."""
    types: dict[str, str] = {}
    """The backend's name of a type of design tokens to the Community Group's: `spacing = "dimension"`."""
    options: dict[OptionName, list[str] | OptionTable] = {}
    """What can be chosen; a list is short for the values. Absent ones are as if not said."""

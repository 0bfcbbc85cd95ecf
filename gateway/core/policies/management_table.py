"""What a policy file says of the product's own interface for tokens; part of document.py."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.core.policies.grammar import END

MemberName = Annotated[
    str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}" + END, description="Up to 64 letters, digits and underscores")
]


class RefusalTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a change is refused, in the product's own words."""

    status: Annotated[int, Meta(ge=400, le=499)]
    content: dict[str, Any]
    """JSON; a text that is "{detail}" says what is wrong."""


class ManagementTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How rules with `manage` speak of tokens."""

    fields: dict[str, MemberName] = {}
    """Our name of a field to the product's, in the order of its answers; absent: all, under our names."""
    integers: list[str] = []
    """Fields that are told as numbers where they are some."""
    errors: dict[str, RefusalTable] = {}
    """The code of a refusal to its answer; absent: as in `[errors]`, by its status."""

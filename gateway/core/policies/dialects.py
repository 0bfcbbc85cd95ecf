"""How a product's own interface for tokens speaks: the names of fields, which are integers, how it refuses."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

Operation: TypeAlias = Literal["list", "create", "show", "update", "delete", "child"]
"""What a rule does with tokens: of the project (or the owner) that the presented one is bound to; `child` makes one of
the presented token."""
NAMED: frozenset[Operation] = frozenset({"show", "update", "delete"})
"""Those that are about one token, which the path names."""

FIELDS = (
    "id",
    "name",
    "description",
    "shown",
    "state",
    "is_active",
    "project",
    "owner",
    "plan",
    "scopes",
    "created_at",
    "updated_at",
    "last_used_at",
    "not_before",
    "expires_at",
    "token",
)
"""What can be told of a token. `token` is its text, in the answer that makes it."""
ASKED = frozenset({"name", "description", "is_active", "scopes", "not_before", "expires_at"})
"""What a client can ask for; the rest it gets from the token that it presents."""

STATUSES: Mapping[str, int] = {
    "invalid": 400,
    "not_grantable": 403,
    "not_found": 404,
    "name_taken": 409,
    "ended": 409,
    "changed_meanwhile": 409,
}
"""The codes of refused changes (core/errors.py)."""


class Refusal(msgspec.Struct, frozen=True):
    """How a product says that a change is refused."""

    status: int
    content: bytes


class Dialect(msgspec.Struct, frozen=True):
    """See the module."""

    fields: Mapping[str, str]
    """Of FIELDS those that are told, in their order, to the product's names."""
    integers: frozenset[str]
    refusals: Mapping[str, Refusal]
    """By code."""


OWN = Dialect({name: name for name in FIELDS}, frozenset(), {})
"""Of a policy that says nothing of it."""

"""What a policy file says of scopes; part of document.py."""

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.core.policies.grammar import ScopeName


class ScopeTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scope with the scopes it implies, its place on pages, and its other names."""

    description: str
    implies: list[ScopeName] = []
    category: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    """Under which pages group it; absent: what its name has before the first colon."""
    aliases: list[ScopeName] = []
    """Names that are taken for it wherever scopes are named. What is stored and shown is its own name."""


class BundleTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Scopes that are often needed together: pages offer them at one click."""

    description: Annotated[str, Meta(min_length=1, max_length=255)]
    scopes: Annotated[list[ScopeName], Meta(min_length=1)]

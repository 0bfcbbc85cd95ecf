"""What a policy file says of its tokens; part of document.py."""

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.core.policies.grammar import Binding, Duration, Prefix, ScopeName


class TokenTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the policy's tokens look like and how a client presents them."""

    prefixes: Annotated[list[Prefix], Meta(min_length=1)]
    length: Annotated[int, Meta(ge=27, le=256, description="Characters after the prefix, checksum included")] = 40
    checksum: bool = True
    shown: Annotated[int, Meta(ge=0, le=24, description="Characters of the text kept for display")] | None = None
    """Absent: 12, where shown_random does not say it."""
    shown_random: Annotated[int, Meta(ge=0, le=12)] | None = None
    """In the place of `shown`: the whole prefix and so many characters after it are kept for display."""
    credential: str | Annotated[list[str], Meta(min_length=1)] = "bearer"
    """`bearer`, or `header:NAME`; a list where several are accepted."""
    bound_to: Binding = "project"
    """What each token is for: a project, an owner, or `none` where the product has neither."""
    parent_scope: ScopeName | None = None
    """The scope that a token must hold for child tokens to be made of it; absent: none."""
    sign_in_scope: ScopeName | None = None
    """The scope that a token must hold to sign in to the developer page; absent: only admin tokens sign in. A token
    holds it only if it is named: one that is made without scopes gets all others."""
    known_owners: bool = False
    """Whether each token needs an owner that the gateway was told of; else one without a record bounds nothing."""
    own_plans: bool = False
    """Whether a token's own plan overrides its owner's; else the owner's, if it has one, is that of all its tokens."""
    last_used_resolution: Duration = "1m"
    """The last use of a token is written at most once in this time."""
    unique_names: bool = False
    """Whether a name is given once only among the tokens of a project (or an owner) that are not revoked."""
    numbers: bool = False
    """Whether tokens are counted, for a product whose ids are integers."""

"""Child tokens: made with a token, for the same owner, to do a part of what it may do.

Rule 1: a child never holds a scope that its parent lacks, nor works a second that its parent does not. That is true at
every request, not only when the child is made: what the parent loses, its children lose with it.
Rule 2: a child has its parent's policy, project, owner and plan, and is in its lineage: they share one set of counters,
so children multiply nobody's quota.
Rule 3: a child is made by an operator, or by the parent itself: never by another token, whoever owns it. Where the
policy names a scope for it, the parent needs that scope at the moment, also when it is an operator who asks.
Rule 4: a child has no children. Rotated, its successor is a child of the same parent; when the parent is rotated, the
children end with the old token.
"""

from collections.abc import Iterable

import msgspec

from gateway.core.administration import Bounds, TokenRequest, TokenState, check_bounds, check_record, grantable_to
from gateway.core.errors import ChangeRefused, NotGrantable, TokenEnded
from gateway.core.owners import OwnerRecord
from gateway.core.policies.rules import Policy
from gateway.core.records import TokenRecord
from gateway.core.rotation import REFUSING_STATES, mint_beside

_ASKED = ("name", "description", "scopes", "not_before", "expires_at")


def bound_by(parent: TokenRecord, child: TokenRecord) -> TokenRecord:
    """The child with what is its parent's to say at the moment, whatever it was when the child was made."""
    return msgspec.structs.replace(child, plan=parent.plan, overrides=parent.overrides)


def make_child(
    policy: Policy,
    parent: TokenRecord,
    state: TokenState,
    owner: OwnerRecord | None,
    request: TokenRequest,
    draws: Iterable[bytes],
    pepper: bytes,
    now: int,
    maker: str = "",
) -> tuple[str, TokenRecord]:
    """A child's text and record; ChangeRefused for what its parent may not hand on.

    `state` is the parent's, `owner` the record of its owner, `maker` the id of the token that asks, empty for an
    operator; `draws` and `now` are those of `rotate_record`. Without scopes it holds all that the parent effectively
    has, but for the scopes to make children and to sign in with; without an end it ends with the parent.
    """
    identity, bounds = parent.identity, Bounds(owner, parent)
    granted = check_parent(policy, parent, state, bounds, maker)
    _check_shared(parent, request)
    text, new = mint_beside(policy, parent, draws, pepper, now)
    child = msgspec.structs.replace(
        new,
        name=request.name,
        scopes=policy.own_scopes(request.scopes or policy.unasked_scopes(granted - {policy.parent_scope})),
        not_before=request.not_before,
        expires_at=parent.expires_at if request.expires_at is None else request.expires_at,
        parent=identity,
        description=request.description,
    )
    check_record(policy, child, _ASKED, now)
    check_bounds(policy, child, _ASKED, bounds)
    return text, child


def _check_shared(parent: TokenRecord, request: TokenRequest) -> None:
    for what in ("project", "owner", "plan"):
        if getattr(request, what) not in ("", None, getattr(parent, what)):
            raise ChangeRefused(f"a child has the {what} of its parent, {getattr(parent, what) or 'none'}")


def check_parent(policy: Policy, parent: TokenRecord, state: TokenState, bounds: Bounds, maker: str) -> set[str]:
    """The scopes that a child of the token can have; ChangeRefused where it can have no children, or not by `maker`."""
    identity = parent.identity
    if maker not in ("", identity):
        raise NotGrantable(f"token {maker} may make children of itself only, not of {identity}")
    if parent.parent:
        raise ChangeRefused(f"token {identity} is a child of {parent.parent}: a child has no children")
    if state in REFUSING_STATES:
        raise TokenEnded(f"token {identity} is {state}: its children would be refused")
    granted = grantable_to(policy, parent, bounds)
    if policy.parent_scope and policy.parent_scope not in granted:
        raise NotGrantable(f"token {identity} may have no children: it lacks {policy.parent_scope!r} at the moment")
    return granted

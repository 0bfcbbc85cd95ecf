"""The permissions of a visitor who has signed in.

Rule 1: an operator (an admin token) reaches everything. Any other token reaches what it is bound to: a project's token
the tokens of that project, an owner's token those of that owner, only in its own policy.
Rule 2: nobody grants more than they have. The token that was signed in with bounds what it creates: no scope that it
lacks, no later expiry than its own, its own plan, and only its own owner. A child changes nothing: what it created
would outlive its parent. If a policy names the scope that creating children needs, creating tokens here needs it too.
Rule 3: what is outside of the access looks as if it did not exist.
"""

from collections.abc import Mapping

import msgspec

from gateway.core.http.fields import build_timestamp
from gateway.core.policies.model import Policy
from gateway.core.tokens.changes import TokenChange, TokenRequest
from gateway.core.tokens.owners import OwnerRecord
from gateway.core.tokens.records import TokenRecord


class AccessScope(msgspec.Struct, frozen=True):
    """The tokens that somebody has access to; None means any."""

    policy: str | None = None
    project: str | None = None
    owner: str | None = None

    def covers(self, record: TokenRecord) -> bool:
        """Return whether the access includes a token."""
        return (
            self.policy in (None, record.policy)
            and self.project in (None, record.project)
            and self.owner in (None, record.owner)
        )

    def narrowed(self, policy: str | None, project: str | None, owner: str | None) -> "AccessScope | None":
        """Return the requested part of it, or None if that is outside."""
        pairs = ((self.policy, policy), (self.project, project), (self.owner, owner))
        if any(mine is not None and theirs not in (None, mine) for mine, theirs in pairs):
            return None
        return AccessScope(*(theirs if mine is None else mine for mine, theirs in pairs))


EVERYTHING = AccessScope()


def find_access(record: TokenRecord, policies: Mapping[str, Policy]) -> AccessScope | None:
    """Return what a token that is no admin token may see; None if its policy is gone or it is bound to nothing."""
    policy = policies.get(record.policy)
    if policy is None or not policy.binding(record.project, record.owner):
        return None
    owner = record.owner if policy.bound_to == "owner" else None
    return AccessScope(policy.name, record.project or None, owner)


def grantable(policy: Policy, giver: TokenRecord | None, owner: OwnerRecord | None = None) -> frozenset[str]:
    """Return the scopes that may be granted; `giver` is the token signed in with, None for an operator.

    `owner` is the record of the new token's owner, if there is one; a scope that the owner lacks cannot be granted.
    """
    grantors = [" ".join(policy.scopes) if giver is None else giver.scopes]
    if owner is not None:
        grantors.append(" ".join(owner.permissions.values()))
    held = [set(grantor.split()) for grantor in grantors]
    return frozenset(
        scope
        for scope in policy.usable_scopes()
        if not any(policy.scope_grants[scope].isdisjoint(grantor) for grantor in held)
    )


def why_none(policy: Policy, giver: TokenRecord | None) -> str:
    """Return why the giver can create no tokens at all, in words; empty if it can."""
    if giver is None or not policy.parent_scope or policy.parent_scope in grantable(policy, giver):
        return ""
    return f"The token you signed in with does not hold {policy.parent_scope}, so it can make no others."


def as_given(giver: TokenRecord | None, request: TokenRequest) -> TokenRequest:
    """Return the request with the giver's plan and owner, in whose name and bounds the token will act."""
    if giver is None:
        return request
    return msgspec.structs.replace(request, plan=giver.plan, owner=giver.owner)


def excess_grants(
    policy: Policy, giver: TokenRecord | None, request: TokenRequest | TokenChange, old: TokenRecord | None = None
) -> str:
    """Return why the giver cannot grant the request, in words; empty if it can.

    What `old` has already is not granted.
    """
    if giver is None:
        return ""
    scopes = set(request.scopes) if isinstance(request.scopes, tuple) else set[str]()
    ends = request.expires_at
    if old is not None:
        scopes -= set(old.scopes.split())
        ends = msgspec.UNSET if ends == old.expires_at else ends
    return _excess(policy, giver, scopes, ends)


def excess_grants_of_rotation(policy: Policy, giver: TokenRecord | None, record: TokenRecord) -> str:
    """Return why the giver cannot get the text of a token's successor; empty if it can."""
    if giver is None or giver.digest == record.digest:
        return ""
    if (record.owner, record.plan) != (giver.owner, giver.plan):
        return (
            "This token acts for somebody else, or under another plan: only an operator or its own owner can rotate it."
        )
    return _excess(policy, giver, set(record.scopes.split()), record.expires_at)


def _excess(policy: Policy, giver: TokenRecord, scopes: set[str], ends: int | msgspec.UnsetType | None) -> str:
    beyond = sorted(scopes - grantable(policy, giver))
    if beyond:
        return f"The token you signed in with does not hold {', '.join(beyond)}, so it cannot give that away."
    if giver.expires_at is not None and ends is not msgspec.UNSET and (ends is None or ends > giver.expires_at):
        latest = build_timestamp(giver.expires_at).decode()
        return f"No token made here ends later than the one you signed in with: {latest}."
    return ""

"""What somebody who has signed in may see and change.

Rule 1: an operator (an admin token) reaches everything. Any other token reaches what it is bound to: a project's token
the tokens of that project, an owner's token those of that owner, in its own policy and nowhere else.
Rule 2: nobody gives more than he has. A token that was signed in with is the bound of what it makes: no scope that it
lacks, no later end than its own, its own plan, and nobody's name but his. A child changes nothing: what it made would
outlive its parent. Where a policy names the scope that making children needs, making tokens here needs it too.
Rule 3: what is outside the access reads as if it did not exist.
"""

from collections.abc import Mapping

import msgspec

from gateway.core.http.fields import build_timestamp
from gateway.core.policies.model import Policy
from gateway.core.tokens.changes import TokenChange, TokenRequest
from gateway.core.tokens.owners import OwnerRecord
from gateway.core.tokens.records import TokenRecord


class AccessScope(msgspec.Struct, frozen=True):
    """Whose tokens these are; None where it does not matter."""

    policy: str | None = None
    project: str | None = None
    owner: str | None = None

    def covers(self, record: TokenRecord) -> bool:
        """Whether the access includes a token."""
        return (
            self.policy in (None, record.policy)
            and self.project in (None, record.project)
            and self.owner in (None, record.owner)
        )

    def narrowed(self, policy: str | None, project: str | None, owner: str | None) -> "AccessScope | None":
        """The part of it that is asked for; None where that lies outside."""
        pairs = ((self.policy, policy), (self.project, project), (self.owner, owner))
        if any(mine is not None and theirs not in (None, mine) for mine, theirs in pairs):
            return None
        return AccessScope(*(theirs if mine is None else mine for mine, theirs in pairs))


EVERYTHING = AccessScope()


def find_access(record: TokenRecord, policies: Mapping[str, Policy]) -> AccessScope | None:
    """What a token that is not an admin's reaches; None where its policy is gone or it is bound to nothing."""
    policy = policies.get(record.policy)
    if policy is None or not policy.binding(record.project, record.owner):
        return None
    owner = record.owner if policy.bound_to == "owner" else None
    return AccessScope(policy.name, record.project or None, owner)


def grantable(policy: Policy, giver: TokenRecord | None, owner: OwnerRecord | None = None) -> frozenset[str]:
    """The scopes that may be given; `giver` is the token signed in with, None for an operator.

    `owner` is the record of whom a new token is for, where he has one; what he may not do it cannot be given.
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
    """Why the giver can make no tokens at all, in words; empty where he can."""
    if giver is None or not policy.parent_scope or policy.parent_scope in grantable(policy, giver):
        return ""
    return f"The token you signed in with does not hold {policy.parent_scope}, so it can make no others."


def as_given(giver: TokenRecord | None, request: TokenRequest) -> TokenRequest:
    """The same with what follows from who gives: his plan, and his owner, in whose name and bounds it will act."""
    if giver is None:
        return request
    return msgspec.structs.replace(request, plan=giver.plan, owner=giver.owner)


def excess_grants(
    policy: Policy, giver: TokenRecord | None, request: TokenRequest | TokenChange, old: TokenRecord | None = None
) -> str:
    """Why the giver cannot give what the request asks for, in words; empty where he can.

    What `old` has already is not given.
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
    """Why the giver cannot have the text of a token's successor; empty where he can."""
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

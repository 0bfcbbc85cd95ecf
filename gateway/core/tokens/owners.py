"""Owners: whether the holder of tokens is active, and what it may do in which project.

Rule 1: effective scopes are those that both the token and its owner have. An owner without a record restricts nothing,
so that a policy can use owners as plain names; a policy with `known_owners` has tokens only of owners with a record,
which is never deleted.
Rule 2: what counts is the project that a request is about: the one its path names, else the token's own. For it the
owner has what `permissions` say under its name, else under "*", else nothing: not even a request without scopes passes.
A request about no project has the name "": an owner with neither that nor "*" holds no scope outside of projects.
Rule 3: an owner's plan is that of all its tokens. A token's own plan overrides it only if the policy says so. A token
of an owner without a plan has its own (Policy.plan_of).
Rule 4: a removed owner leaves a record behind, so the tokens stay refused. Setting the owner again brings back those
that are not revoked.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from gateway.core.errors import ChangeRefused, NotGrantable
from gateway.core.policies.model import Policy
from gateway.core.policies.reading import unknown_name
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.scopes import implied_by
from gateway.core.tokens.text import MAXIMUM_BINDING_LENGTH, check_text

EVERY_PROJECT = "*"
"""Stands for each project without permissions under its own name, and for requests outside of projects."""
_IN = "in:"
"""The prefix of a project in a field's name: a project may be called `status`."""


class OwnerStatus(StrEnum):
    """Whether the owner's tokens may do anything."""

    ACTIVE = "active"
    BLOCKED = "blocked"
    REMOVED = "removed"


class OwnerRecord(msgspec.Struct, frozen=True):
    """The record of an owner."""

    status: OwnerStatus
    permissions: Mapping[str, str]
    """Project, "*" or "" to scope tokens separated by one space, in the order in which they were given."""
    version: int
    """It grows with each change: a copy never overwrites a newer one."""
    plan: str = ""
    """The plan of the account; if empty, each of its tokens has its own."""


class OwnerStanding(msgspec.Struct, frozen=True):
    """The part of an owner's record that matters for one request."""

    status: str
    scopes: str | None
    """The scopes of the owner in the project of the request; None if it has no part in the project."""
    plan: str = ""
    """The owner's plan, empty if it has none."""


class OwnerChange(msgspec.Struct, frozen=True, kw_only=True):
    """The changes of an owner that a caller requests; what is not named stays."""

    status: OwnerStatus | None = None
    permissions: Mapping[str, tuple[str, ...]] = {}
    """What the owner holds from now on in each of these projects."""
    without: tuple[str, ...] = ()
    """Projects to remove from the permissions."""
    plan: str | None = None
    """The plan of the account from now on; empty for none."""


def encode_owner(record: OwnerRecord) -> dict[str, str]:
    """Encode a record as the fields of a hash in Redis: an admission reads only the field of its project."""
    fields = {"status": str(record.status), "version": str(record.version)}
    if record.plan:
        fields["plan"] = record.plan
    return fields | {_IN + project: scopes for project, scopes in record.permissions.items()}


def decode_owner(fields: Mapping[str, str]) -> OwnerRecord:
    """Decode a record from the fields of a hash."""
    permissions = {name.removeprefix(_IN): scopes for name, scopes in fields.items() if name.startswith(_IN)}
    return OwnerRecord(OwnerStatus(fields["status"]), permissions, int(fields["version"]), fields.get("plan", ""))


def standing_in(record: OwnerRecord, project: str) -> OwnerStanding:
    """Return the owner's standing for a request about `project`; scripts/tokens.lua reads the same."""
    scopes = record.permissions.get(project, record.permissions.get(EVERY_PROJECT))
    return OwnerStanding(record.status, scopes, record.plan)


def bind_plan(record: TokenRecord, policy: Policy | None, owners: str) -> TokenRecord:
    """Return the record with the plan that counts now; `owners` is its owner's plan, or empty.

    If the policy is unknown, the owner's plan counts first.
    """
    plan = policy.plan_of(record.plan, owners) if policy else owners or record.plan
    return record if plan == record.plan else msgspec.structs.replace(record, plan=plan)


def change_owner(policy: Policy, owner: str, old: OwnerRecord | None, change: OwnerChange) -> OwnerRecord:
    """Return the record after the change. Raise ChangeRefused for what the policy does not know.

    An owner that is new to the gateway may do everything if the change names no permissions.
    """
    if not owner:
        raise ChangeRefused("an owner needs an id")
    for free_id in (owner, *change.permissions):
        check_text("a project's or owner's id", free_id, MAXIMUM_BINDING_LENGTH)
    for scope in (scope for scopes in change.permissions.values() for scope in scopes):
        if scope not in policy.scope_names:
            raise ChangeRefused(unknown_name("scope", scope, policy.scope_names))
    if change.plan and change.plan not in policy.plans:
        raise ChangeRefused(unknown_name("plan", change.plan, [name for name in policy.plans if name]))
    permissions = dict(old.permissions) if old else {}
    for project in change.without:
        if project not in permissions:
            raise ChangeRefused(f"the owner {owner} has no permissions under {project!r}: {_list(permissions)}")
        del permissions[project]
    permissions |= {project: policy.own_scopes(scopes) for project, scopes in change.permissions.items()}
    if old is None and not change.permissions:
        permissions = {EVERY_PROJECT: " ".join(sorted(policy.scopes))}
    kept = OwnerStatus.BLOCKED if old and old.status is OwnerStatus.BLOCKED else OwnerStatus.ACTIVE
    plan = (old.plan if old else "") if change.plan is None else change.plan
    return OwnerRecord(change.status or kept, permissions, old.version + 1 if old else 1, plan)


def grantable_scopes(policy: Policy, owner: str, record: OwnerRecord | None, project: str) -> set[str]:
    """Return the scopes that a new token may hold, except those that no plan could ever let it use.

    A token without a project is for all projects of the owner: each request bounds it to what the owner has in its
    project. Raise ChangeRefused if its owner is not active, or must be known and is not.
    """
    if record is None and policy.has_known_owners:
        known = f"the policy {policy.name} has tokens of known owners only"
        raise ChangeRefused(f"{known}: tell of {owner or 'one'} with `gateway owner set`")
    if record is None:
        return policy.usable_scopes()
    if record.status is not OwnerStatus.ACTIVE:
        raise NotGrantable(f"the owner {owner} is {record.status}: its tokens would be refused")
    if project:
        scopes = standing_in(record, project).scopes
        if scopes is None:
            raise NotGrantable(f"the owner {owner} has no part in {project}: its tokens would be refused")
        held = scopes.split()
    else:
        held = " ".join(record.permissions.values()).split()
    granted = set[str]().union(*(implied_by(scope, policy.scopes) for scope in policy.own_scopes(held).split()))
    return granted & policy.usable_scopes()


def _list(permissions: Mapping[str, str]) -> str:
    return f"there are {', '.join(map(repr, sorted(permissions)))}" if permissions else "there are none"

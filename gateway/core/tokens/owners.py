"""Owners: whether the holder of tokens may do anything at the moment, and what in which project.

Rule 1: effective scopes are the token's and its owner's, both. An owner without a record restricts nothing, so that a
policy can use owners as plain names; one with `known_owners` has no tokens but of owners with a record, which stays.
Rule 2: what counts is the project that a request is about: the one its path names, else the token's own. For it the
owner has what `permissions` say under its name, else under "*", else nothing: not even a request without scopes passes.
A request about no project goes by the name "": whoever has neither that nor "*" holds no scope outside of projects.
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
"""Stands for each project, and for what is outside of projects, that has no permissions under its own name."""
_IN = "in:"
"""Before a project in a field's name: a project may be called `status`."""


class OwnerStatus(StrEnum):
    """Whether the owner's tokens may do anything."""

    ACTIVE = "active"
    BLOCKED = "blocked"
    REMOVED = "removed"


class OwnerRecord(msgspec.Struct, frozen=True):
    """What is kept of an owner."""

    status: OwnerStatus
    permissions: Mapping[str, str]
    """Project, "*" or "" to scope tokens separated by one space, in the order in which they were given."""
    version: int
    """Counts up with each change: a copy is never written over a newer one."""
    plan: str = ""
    """Of the account; empty: none, each of its tokens has its own."""


class OwnerStanding(msgspec.Struct, frozen=True):
    """What one request needs to know of its token's owner."""

    status: str
    scopes: str | None
    """What the owner holds in the project that the request is about; None: nothing, and no part in the project."""
    plan: str = ""
    """The owner's, empty where it has none."""


class OwnerChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be changed of an owner; what is not named stays."""

    status: OwnerStatus | None = None
    permissions: Mapping[str, tuple[str, ...]] = {}
    """What the owner holds from now on in each of these projects."""
    without: tuple[str, ...] = ()
    """Projects to be taken out of the permissions."""
    plan: str | None = None
    """The plan of the account from now on; empty: none any more."""


def encode_owner(record: OwnerRecord) -> dict[str, str]:
    """The fields of a hash in Redis: an admission reads the one of its project, however many there are."""
    fields = {"status": str(record.status), "version": str(record.version)}
    if record.plan:
        fields["plan"] = record.plan
    return fields | {_IN + project: scopes for project, scopes in record.permissions.items()}


def decode_owner(fields: Mapping[str, str]) -> OwnerRecord:
    """The record that the fields of a hash hold."""
    permissions = {name.removeprefix(_IN): scopes for name, scopes in fields.items() if name.startswith(_IN)}
    return OwnerRecord(OwnerStatus(fields["status"]), permissions, int(fields["version"]), fields.get("plan", ""))


def standing_in(record: OwnerRecord, project: str) -> OwnerStanding:
    """What the owner is for a request about `project`; scripts/tokens.lua reads the same."""
    scopes = record.permissions.get(project, record.permissions.get(EVERY_PROJECT))
    return OwnerStanding(record.status, scopes, record.plan)


def bind_plan(record: TokenRecord, policy: Policy | None, owners: str) -> TokenRecord:
    """The record with the plan that counts at the moment; `owners` is its owner's, or empty.

    Where nothing is known of the policy it is taken for one that says nothing of plans.
    """
    plan = policy.plan_of(record.plan, owners) if policy else owners or record.plan
    return record if plan == record.plan else msgspec.structs.replace(record, plan=plan)


def change_owner(policy: Policy, owner: str, old: OwnerRecord | None, change: OwnerChange) -> OwnerRecord:
    """The record after the change; ChangeRefused for what the policy does not know.

    An owner that is new to the gateway may do everything where the change names no permissions, as before.
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
    """The scopes that a new token may hold; ChangeRefused where its owner is not active, or not known and must be.

    None that no plan could ever let it use.

    A token without a project is for all of the owner's: each request bounds it to what the owner has in its project.
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

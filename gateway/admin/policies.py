"""Policies with their choices, their projects and their owners, in `/api/v1`."""

from litestar import get, patch
from litestar.params import FromPath, JSONBody
from msgspec import UnsetType

from gateway.admin.access import READING, WRITING, Caller, Managing
from gateway.admin.problems import documented
from gateway.admin.schemas import (
    OwnerPatch,
    ShownOffers,
    ShownOwner,
    ShownOwners,
    ShownPolicies,
    ShownProject,
    ShownProjects,
    show_owner,
    show_policy,
)
from gateway.core.errors import NotFound
from gateway.core.tokens.owners import OwnerChange
from gateway.core.variants.options import build_offer

OWNER = "/policies/{policy:str}/owners/{owner:path}"


@get(
    "/policies",
    opt=READING,
    tags=("policies",),
    responses=documented(401, 403),
    summary="List policies",
    sync_to_thread=False,
)
def list_policies(management: Managing) -> ShownPolicies:
    """List the policies, with the scopes and plans to choose from."""
    return ShownPolicies([show_policy(policy) for policy in management.policies()])


@get(
    "/policies/{policy:str}/exports",
    opt=READING,
    tags=("policies",),
    responses=documented(401, 403, 404),
    summary="Say what can be asked of a policy's shaped exports",
    sync_to_thread=False,
)
def list_exports(management: Managing, policy: FromPath[str]) -> ShownOffers:
    """List the options of each rule with variants, as the policy declares them."""
    rules = management.rules(policy)
    return ShownOffers([build_offer(rule.variants, rule.pattern.path) for rule in rules if rule.variants])


@get(
    "/policies/{policy:str}/projects",
    opt=READING,
    tags=("policies",),
    responses=documented(401, 403, 404),
    summary="List the projects that have tokens",
)
async def list_projects(management: Managing, policy: FromPath[str]) -> ShownProjects:
    """List the projects, sorted by name."""
    projects = await management.list_projects(policy)
    return ShownProjects([ShownProject(name, count) for name, count in sorted(projects.items())])


@get(
    "/policies/{policy:str}/owners",
    opt=READING,
    tags=("owners",),
    responses=documented(401, 403, 404),
    summary="List the owners that have a record",
)
async def list_owners(management: Managing, policy: FromPath[str]) -> ShownOwners:
    """List the owners with a record. Those without one are only names, and restrict nothing."""
    owners = await management.list_owners(policy)
    return ShownOwners([show_owner(policy, owner, record) for owner, record in owners.items()])


@get(OWNER, opt=READING, tags=("owners",), responses=documented(401, 403, 404), summary="Show an owner")
async def get_owner(management: Managing, policy: FromPath[str], owner: FromPath[str]) -> ShownOwner:
    """Return the owner's status, and its scopes by project."""
    management.policy(policy)
    owner = owner.removeprefix("/")
    record = await management.show_owner(policy, owner)
    if record is None and not await management.list_tokens(policy, owner=owner):
        raise NotFound(f"the policy {policy} has no such owner")
    return show_owner(policy, owner, record)


@patch(
    OWNER, opt=WRITING, tags=("owners",), responses=documented(401, 403, 404, 409), summary="Say what an owner may do"
)
async def change_owner(
    management: Managing, actor: Caller, policy: FromPath[str], owner: FromPath[str], data: JSONBody[OwnerPatch]
) -> ShownOwner:
    """Change what an owner may do, from the next request of each of its tokens on; a new owner is created."""
    owner = owner.removeprefix("/")
    change = OwnerChange(
        status=None if isinstance(data.status, UnsetType) else data.status,
        permissions={project: tuple(held) for project, held in data.permissions.items() if held is not None},
        plan=None if isinstance(data.plan, UnsetType) else data.plan or "",
        without=tuple(project for project, held in data.permissions.items() if held is None),
    )
    return show_owner(policy, owner, await management.change_owner(actor, policy, owner, change))

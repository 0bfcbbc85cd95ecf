"""Owners, projects, policies, the history, the cache and usage in `/api/v1`.

Usage is what all workers have counted for tokens and policies until a second ago.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import UnsetType

from gateway.admin.access import READING, WRITING, Caller, Counting, Exporting, Managing
from gateway.admin.problems import CallRefused, documented
from gateway.admin.schemas import (
    History,
    Instant,
    NewPurge,
    OwnerPatch,
    Purged,
    ShownOffers,
    ShownOwner,
    ShownOwners,
    ShownPolicies,
    ShownProject,
    ShownProjects,
    said,
    show_entry,
    show_owner,
    show_policy,
    to_seconds,
)
from gateway.admin.tokens import MAXIMUM_PAGE
from gateway.core.cache.invalidation import Purge
from gateway.core.errors import NotFound
from gateway.core.tokens.audit import Action, AuditQuery
from gateway.core.tokens.owners import OwnerChange
from gateway.core.tokens.views import to_time
from gateway.core.usage import DAY_HOURS, MAXIMUM_HOURS, UsagePoint
from gateway.core.variants.options import build_offer
from gateway.management.purging import purge as end_exports

Binding = Annotated[str | None, QueryParameter(max_length=128)]
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


@get(
    "/audit",
    opt=READING,
    tags=("history",),
    responses=documented(401, 403, 404),
    summary="Search the history of changes and purges",
)
async def search_history(
    management: Managing,
    policy: Annotated[str | None, QueryParameter(max_length=63)] = None,
    project: Binding = None,
    owner: Binding = None,
    token: Annotated[str | None, QueryParameter(max_length=64)] = None,
    actor_name: Annotated[str | None, QueryParameter(name="actor", max_length=255)] = None,
    action: FromQuery[Action | None] = None,
    refused: FromQuery[bool] = False,
    since: FromQuery[Instant | None] = None,
    until: FromQuery[Instant | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=MAXIMUM_PAGE)] = 50,
    cursor: Annotated[str | None, QueryParameter(pattern=r"^[0-9]{1,15}-[0-9]{1,15}-[a-z0-9]{2,8}$")] = None,
) -> History:
    """Return the changes, newest first: who changed or purged what, from what to what; and what was refused."""
    query = AuditQuery(
        policy=policy,
        project=project,
        owner=owner,
        target=token,
        actor=actor_name,
        action=action,
        is_refused=refused,
        since=to_seconds(since),
        until=to_seconds(until),
    )
    entries = await management.ask_audit(query, limit, cursor or "")
    return History([show_entry(entry) for entry in entries], entries[-1].id if len(entries) == limit else None)


@post(
    "/cache/purges",
    opt=WRITING,
    status_code=200,
    tags=("cache",),
    responses=documented(401, 403, 404),
    summary="End stored exports",
)
async def purge(management: Managing, exports: Exporting, actor: Caller, data: JSONBody[NewPurge]) -> Purged:
    """Purge exports: the next request for one asks the backend, on every worker and node. The history records it."""
    named = said(data)
    policy = named.pop("policy")
    if len(named) != 1 or named.get("everything") is False:
        raise CallRefused("invalid", "name exactly one of url, group, project, owner, token, everything")
    return Purged(await end_exports(management, exports, actor, policy, Purge(**named)))


HANDLERS = [
    list_policies,
    list_exports,
    list_projects,
    list_owners,
    get_owner,
    change_owner,
    search_history,
    purge,
]


class ShownPoint(msgspec.Struct, frozen=True):
    """The requests of an hour or a day (UTC), which begins at `time`."""

    time: datetime
    requests: int


class TokenUsage(msgspec.Struct, frozen=True):
    """The requests of a token by the day, oldest first, including days without any."""

    days: list[ShownPoint]


class ShownUsage(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of a policy: by the hour, oldest first, and in total by outcome."""

    hours: list[ShownPoint]
    requests: int
    refusals: dict[str, int]
    """Refused requests by reason."""
    statuses: dict[str, int]
    """Answers by class of status codes."""
    caches: dict[str, int]
    """Answers by how the cache took part."""
    hit_ratio: float | None
    upstream_failures: int


@get(
    "/tokens/{identity:str}/usage",
    opt=READING,
    tags=("usage",),
    responses=documented(401, 403, 404),
    summary="Count a token's requests",
)
async def show_token_usage(
    management: Managing,
    usage: Counting,
    identity: FromPath[str],
    days: Annotated[int, QueryParameter(ge=1, le=MAXIMUM_HOURS // DAY_HOURS)] = 7,
) -> TokenUsage:
    """Return the requests by the day, including the current one."""
    token = (await management.get_token(identity)).identity
    return TokenUsage(_show((await usage.tokens_usage([token], days))[token]))


@get(
    "/policies/{policy:str}/usage",
    opt=READING,
    tags=("usage",),
    responses=documented(401, 403, 404),
    summary="Count a policy's requests",
)
async def show_policy_usage(
    management: Managing,
    usage: Counting,
    policy: FromPath[str],
    hours: Annotated[int, QueryParameter(ge=1, le=MAXIMUM_HOURS)] = 24,
) -> ShownUsage:
    """Return the requests by the hour, including the current one."""
    found = await usage.policy_usage(management.policy(policy).name, hours)
    return ShownUsage(
        hours=_show(found.hours),
        requests=found.requests,
        refusals=found.refusals,
        statuses=found.statuses,
        caches=found.caches,
        hit_ratio=found.hit_ratio,
        upstream_failures=found.upstream_failures,
    )


def _show(points: Iterable[UsagePoint]) -> list[ShownPoint]:
    return [ShownPoint(to_time(point.time), point.requests) for point in points]

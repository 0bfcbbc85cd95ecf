"""Purges of stored exports, in `/api/v1`."""

from litestar import post
from litestar.params import JSONBody

from gateway.admin.access import WRITING, Caller, Exporting, Managing
from gateway.admin.problems import CallRefused, documented
from gateway.admin.schemas import NewPurge, Purged, given_fields
from gateway.core.cache.invalidation import Purge
from gateway.management.purging import purge as end_exports


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
    named = given_fields(data)
    policy = named.pop("policy")
    if len(named) != 1 or named.get("everything") is False:
        raise CallRefused("invalid", "name exactly one of url, group, project, owner, token, everything")
    return Purged(await end_exports(management, exports, actor, policy, Purge(**named)))

"""The history of changes and purges, in `/api/v1`."""

from typing import Annotated

from litestar import get
from litestar.params import FromQuery, QueryParameter

from gateway.admin.access import READING, Managing
from gateway.admin.problems import documented
from gateway.admin.schemas import History, Instant, show_entry, to_seconds
from gateway.admin.tokens import MAXIMUM_PAGE
from gateway.core.tokens.audit import Action, AuditQuery

Binding = Annotated[str | None, QueryParameter(max_length=128)]


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

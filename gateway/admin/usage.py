"""Usage of tokens and policies, in `/api/v1`: of all workers, until a second ago."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import FromPath, QueryParameter

from gateway.admin.access import READING, Counting, Managing
from gateway.admin.problems import documented
from gateway.core.tokens.views import to_time
from gateway.core.usage import DAY_HOURS, MAXIMUM_HOURS, UsagePoint


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

"""`/metrics` for Prometheus, on the admin listener.

The numbers are those of all workers of all nodes, from Redis: every node reports the same. So scrape one, or take one
of several (`max without (instance)`), and never add them up over nodes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from gateway.adapters.admin_ports import Usage
from gateway.core.errors import StoreUnavailable
from gateway.core.metrics import CONTENT_TYPE, gather_metrics, write_metrics


class Versions(Protocol):
    """The versions of policies that processes serve."""

    async def find(self) -> Mapping[str, Mapping[str, Sequence[str]]]:
        """Return the processes by policy and version. Raise StoreUnavailable."""
        ...


def build_metrics(usage: Usage, policy_mistakes: Callable[[], Sequence[str]], versions: Versions) -> HTTPRouteHandler:
    """Build the handler of `/metrics`. It answers 200 even if Redis does not answer: `gateway_redis_up` is 0 then."""

    @get("/metrics", include_in_schema=False)
    async def show_metrics() -> Response[str]:
        """Return all metrics as text."""
        try:
            totals, served = await usage.totals(), await versions.find()
        except StoreUnavailable:
            totals, served = None, {}
        memory = await usage.memory() if totals is not None else None
        numbers = {policy: len(processes) for policy, processes in served.items()}
        text = write_metrics(gather_metrics(totals, memory, len(policy_mistakes()), numbers))
        return Response(text, headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})

    return show_metrics

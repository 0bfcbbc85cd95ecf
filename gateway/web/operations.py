"""The gateway's own addresses under `/-/`: is it alive, can it answer?"""

from typing import Any, Protocol

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler


class Health(Protocol):
    """What the health pages ask."""

    def policy_mistakes(self) -> tuple[str, ...]:
        """Mistakes of the policy files as they are now; empty when the running set is theirs."""
        ...

    async def is_store_ready(self) -> bool:
        """Whether Redis answers."""
        ...


def build_operations(health: Health) -> list[HTTPRouteHandler]:
    """The routes of `/-/`."""

    @get("/-/health", sync_to_thread=False)
    def show_health() -> Response[dict[str, Any]]:
        """The process is alive. `policies` says whether the files' present state is what is served."""
        mistakes = health.policy_mistakes()
        policies = "older than the files" if mistakes else "current"
        return _answer(200, {"status": "ok", "policies": policies, "policy_mistakes": len(mistakes)})

    @get("/-/ready")
    async def show_readiness() -> Response[dict[str, Any]]:
        """Requests can be answered: Redis is there. A load balancer sends no traffic on 503."""
        if await health.is_store_ready():
            return _answer(200, {"status": "ready"})
        return _answer(503, {"status": "not ready", "redis": "no answer"}, {"Retry-After": "1"})

    return [show_health, show_readiness]


def _answer(status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> Response[dict[str, Any]]:
    return Response(content, status_code=status, headers={"Cache-Control": "no-store", **(headers or {})})

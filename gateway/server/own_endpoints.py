"""The gateway's own addresses: is it alive, can it answer, who is this token?"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias, cast

import msgspec
from litestar import Litestar, Response, asgi, route
from litestar.enums import HttpMethod
from litestar.exceptions import MethodNotAllowedException
from litestar.handlers import HTTPRouteHandler
from litestar.plugins.problem_details import ProblemDetailsConfig, ProblemDetailsPlugin
from litestar.types import HTTPScope, Receive, Scope, Send

from gateway.core.durability import Readiness
from gateway.core.http.assertions import PublicKey
from gateway.core.own_addresses import DEFAULT, HEALTH, KEYS, READY, WHOAMI, OwnAddresses

KEYS_FRESH_SECONDS = 300
"""How long a backend may do without asking for keys again."""

Lifespan: TypeAlias = Callable[[Litestar], AbstractAsyncContextManager[None]]

Whoami: TypeAlias = Callable[[HTTPScope, Receive, Send], Awaitable[None]]


class Health(Protocol):
    """What the health pages ask."""

    def policy_mistakes(self) -> tuple[str, ...]:
        """Mistakes of the policy files as they are now; empty when the running set is theirs."""
        ...

    async def check_readiness(self) -> Readiness:
        """What Redis does not do for the gateway, and what should be changed of it."""
        ...


class PublicHealth(Health, Protocol):
    """The same of the public listener."""

    @property
    def public_keys(self) -> tuple[PublicKey, ...]:
        """What verifies assertions; empty where none are made."""
        ...


def health_handlers(health: Health, own: OwnAddresses = DEFAULT) -> list[HTTPRouteHandler]:
    """Is the process alive, and can it answer?"""

    @route(own.path(HEALTH), http_method=["GET", "HEAD"], sync_to_thread=False, include_in_schema=False)
    def show_health() -> Response[dict[str, Any]]:
        """The process is alive. `policies` says whether the files' present state is what is served."""
        mistakes = health.policy_mistakes()
        policies = "older than the files" if mistakes else "current"
        return _answer(200, {"status": "ok", "policies": policies, "policy_mistakes": len(mistakes)})

    @route(own.path(READY), http_method=["GET", "HEAD"], include_in_schema=False)
    async def show_readiness() -> Response[dict[str, Any]]:
        """Return 200 if Redis admits and would revoke, else 503 with what fails. A load balancer then sends nothing."""
        readiness = await health.check_readiness()
        if not readiness.failures:
            return _answer(200, {"status": "ready", "warnings": readiness.warnings})
        return _answer(503, {"status": "not ready", **msgspec.to_builtins(readiness)}, {"Retry-After": "1"})

    return [show_health, show_readiness]


def build_operations(health: PublicHealth, whoami: Whoami, lifespan: Lifespan, own: OwnAddresses) -> Litestar:
    """The application of these addresses, and of the process's lifespan. Errors are problem details (RFC 9457)."""

    @route(own.path(KEYS), http_method=["GET", "HEAD"], sync_to_thread=False)
    def show_keys() -> Response[bytes]:
        """The keys that verify assertions, a JWK Set (RFC 7517 5). The next key is there before it signs."""
        content = msgspec.json.encode({"keys": health.public_keys})
        caching = f"public, max-age={KEYS_FRESH_SECONDS}"
        return Response(content, media_type="application/jwk-set+json", headers={"Cache-Control": caching})

    @asgi(own.path(WHOAMI), copy_scope=False)
    async def show_identity(scope: Scope, receive: Receive, send: Send) -> None:
        """Who the token is, without charging it: by ASGI, as credentials and refusals are those of other requests."""
        asked = cast(HTTPScope, scope)
        if asked["method"] not in (HttpMethod.GET, HttpMethod.HEAD):
            raise MethodNotAllowedException(headers={"Allow": "GET, HEAD"})
        await whoami(asked, receive, send)

    problem_details = ProblemDetailsPlugin(ProblemDetailsConfig(enable_for_all_http_exceptions=True))
    return Litestar(
        [*health_handlers(health, own), show_keys, show_identity],
        lifespan=[lifespan],
        plugins=[problem_details],
        openapi_config=None,
        logging_config=None,
    )


def _answer(status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> Response[dict[str, Any]]:
    return Response(content, status_code=status, headers={"Cache-Control": "no-store", **(headers or {})})

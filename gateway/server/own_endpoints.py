"""The gateway's own addresses: liveness, readiness, the keys of assertions, and whoami."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias, cast

import msgspec
from litestar import Litestar, Response, asgi, route
from litestar.enums import HttpMethod
from litestar.exceptions import MethodNotAllowedException, NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.plugins.problem_details import ProblemDetailsConfig, ProblemDetailsPlugin
from litestar.types import HTTPScope, Receive, Scope, Send

from gateway.core.durability import Readiness
from gateway.core.http.assertions import PublicKey
from gateway.core.own_addresses import DEFAULT, HEALTH, KEYS, LEAKS, READY, TOKEN_EXCHANGE, WHOAMI, OwnAddresses

KEYS_FRESH_SECONDS = 300
"""Seconds for which a backend may cache the keys."""

Lifespan: TypeAlias = Callable[[Litestar], AbstractAsyncContextManager[None]]

Endpoint: TypeAlias = Callable[[HTTPScope, Receive, Send], Awaitable[None]]
"""An address that reads credentials, and refuses them as all requests do: it is plain ASGI."""


class Health(Protocol):
    """The state that the health endpoints report."""

    def policy_mistakes(self) -> tuple[str, ...]:
        """Return the mistakes of the policy files as they are now; empty if the running policies are theirs."""
        ...

    async def check_readiness(self) -> Readiness:
        """Return what Redis fails to do for the gateway, with warnings about its configuration."""
        ...


class PublicHealth(Health, Protocol):
    """The state that the health endpoints of the public listener report."""

    @property
    def public_keys(self) -> tuple[PublicKey, ...]:
        """Return the keys that verify assertions; empty if the gateway signs none."""
        ...


def health_handlers(health: Health, own: OwnAddresses = DEFAULT) -> list[HTTPRouteHandler]:
    """Return the handlers of liveness and readiness."""

    @route(own.path(HEALTH), http_method=["GET", "HEAD"], sync_to_thread=False, include_in_schema=False)
    def show_health() -> Response[dict[str, Any]]:
        """Report that the process is alive. `policies` says if the policies that are served are those of the files."""
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


def build_operations(
    health: PublicHealth,
    whoami: Endpoint,
    token_exchange: Endpoint,
    leaks: Endpoint | None,
    lifespan: Lifespan,
    own: OwnAddresses,
) -> Litestar:
    """Build the application of these addresses and of the process's lifespan. Errors are problem details (RFC 9457)."""

    @route(own.path(KEYS), http_method=["GET", "HEAD"], sync_to_thread=False)
    def show_keys() -> Response[bytes]:
        """Return the keys that verify assertions as a JWK Set (RFC 7517 5). The next key is listed before it signs."""
        content = msgspec.json.encode({"keys": health.public_keys})
        caching = f"public, max-age={KEYS_FRESH_SECONDS}"
        return Response(content, media_type="application/jwk-set+json", headers={"Cache-Control": caching})

    @asgi(own.path(WHOAMI), copy_scope=False)
    async def show_identity(scope: Scope, receive: Receive, send: Send) -> None:
        """Return who the token is, without charging it."""
        await whoami(_check_method(scope, HttpMethod.GET, HttpMethod.HEAD), receive, send)

    @asgi(own.path(TOKEN_EXCHANGE), copy_scope=False)
    async def exchange_token(scope: Scope, receive: Receive, send: Send) -> None:
        """Return a token of some minutes for the ID token of a job (RFC 8693)."""
        await token_exchange(_check_method(scope, HttpMethod.POST), receive, send)

    @asgi(own.path(LEAKS), copy_scope=False)
    async def take_leak_reports(scope: Scope, receive: Receive, send: Send) -> None:
        """Revoke the tokens that GitHub's secret scanning has found, if this is set up."""
        if leaks is None:
            raise NotFoundException("GATEWAY_LEAK_KEYS_URL is not set, so the gateway takes no leak reports.")
        await leaks(_check_method(scope, HttpMethod.POST), receive, send)

    problem_details = ProblemDetailsPlugin(ProblemDetailsConfig(enable_for_all_http_exceptions=True))
    return Litestar(
        [*health_handlers(health, own), show_keys, show_identity, exchange_token, take_leak_reports],
        lifespan=[lifespan],
        plugins=[problem_details],
        openapi_config=None,
        logging_config=None,
    )


def _check_method(scope: Scope, *allowed: HttpMethod) -> HTTPScope:
    """Return the scope of a request by an allowed method. Raise MethodNotAllowedException (RFC 9110 15.5.6)."""
    asked = cast(HTTPScope, scope)
    if asked["method"] not in allowed:
        raise MethodNotAllowedException(headers={"Allow": ", ".join(allowed)})
    return asked


def _answer(status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> Response[dict[str, Any]]:
    return Response(content, status_code=status, headers={"Cache-Control": "no-store", **(headers or {})})

"""Guards: how handlers say who may ask them, and how they get who does.

The guard decides nothing that the gate (gate.py) can decide: the gate has admitted the request before. The guard only
ensures that, so that an app without the gate refuses all requests. The guard decides only whether another
authentication of the app, which runs between the two, knows the client.

An app's OpenAPI document describes tokens: the schemes of the policy, and which handlers need them.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import msgspec
from litestar.connection import ASGIConnection
from litestar.exceptions import ImproperlyConfiguredException, LitestarException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import Scope

from gateway.core.policies.model import CredentialSource, Policy, Scheme
from gateway.core.upstream.forwarding import Principal

STATE_KEY = "gateway_admitted"

Middleware = TypeVar("Middleware", bound=AbstractAuthenticationMiddleware)


class Admitted(msgspec.Struct, frozen=True):
    """The state of a request that the gate has admitted."""

    by: object
    """The gate that admitted it."""
    scopes: tuple[str, ...] = ()
    """The scopes that the rule needs and the token has."""
    principal: Principal | None = None
    """None if no token was needed."""
    refusal: Callable[[], LitestarException] | None = None
    """Builds the refusal if nothing else knows the client: no token was presented, and the handler may accept that."""
    is_excluded: bool = False
    """Whether the handler has opted out."""


class Needs(msgspec.Struct, frozen=True):
    """The needs of all guards of a handler together."""

    scopes: tuple[str, ...] = ()
    is_optional: bool = False
    """Whether the client may be unknown."""
    or_authenticated: bool = False
    """Whether a client that another authentication of the app knows is accepted."""


class Requires:
    """A guard: the request needs a token with these scopes, unless it `needs` less."""

    def __init__(self, needs: Needs) -> None:
        self.needs = needs

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        """Accept what the gate has admitted.

        Raise ImproperlyConfiguredException if there is no gate, or its refusal.
        """
        admitted, needs = admission_of(connection.scope), self.needs
        if admitted is None:
            raise ImproperlyConfiguredException(f"{handler} requires a token, and no GatewayPlugin has seen to it")
        if admitted.is_excluded:
            return
        if admitted.refusal is None:
            if not set(needs.scopes) <= set(admitted.scopes):
                raise ImproperlyConfiguredException(f"{handler} requires {needs.scopes}, which nobody has looked for")
        elif not (needs.is_optional or (needs.or_authenticated and connection.scope.get("user"))):
            raise admitted.refusal()


def requires(*scopes: str, or_authenticated: bool = False) -> Requires:
    """Return a guard for handlers, controllers, routers or the app: a token with these scopes, or any valid one.

    With `or_authenticated`, a request without a token passes too, if another authentication of the app (a session, a
    JWT) has set `user`; the scopes are required of tokens only. Of several guards, the strictest counts.
    """
    return Requires(Needs(scopes, or_authenticated=or_authenticated))


def optional() -> Requires:
    """Return a guard for handlers that answer all clients, and want to know who asks.

    A presented token must be valid, and is charged; without one, `principal` is None.
    """
    return Requires(Needs(is_optional=True))


def needs_of(handler: BaseRouteHandler) -> Needs | None:
    """Return what the guards of a handler and of all layers around it need, or None if none needs a token."""
    guards = [guard.needs for guard in handler.resolve_guards() if isinstance(guard, Requires)]
    if not guards:
        return None
    strict = [needs for needs in guards if not needs.is_optional]
    return Needs(
        scopes=tuple(dict.fromkeys(scope for needs in guards for scope in needs.scopes)),
        is_optional=not strict,
        or_authenticated=bool(strict) and all(needs.or_authenticated for needs in strict),
    )


def admission_of(scope: Scope) -> Admitted | None:
    """Return the gate's result for a request, or None."""
    admitted = (scope.get("state") or {}).get(STATE_KEY)
    return admitted if isinstance(admitted, Admitted) else None


def principal_of(connection: "ASGIConnection[Any, Any, Any, Any] | Scope") -> Principal | None:
    """Return who asks, in guards, middleware, exception handlers and hooks; None if no token was admitted."""
    scope = connection.scope if isinstance(connection, ASGIConnection) else connection
    admitted = admission_of(scope)
    return admitted.principal if admitted else None


def provide_principal(scope: Scope) -> Principal | None:
    """Return who asks: the dependency `principal` of handlers."""
    return principal_of(scope)


def or_token(middleware: type[Middleware]) -> type[Middleware]:
    """Return an authentication middleware of Litestar's that ignores requests which the gate has admitted.

    It is for an app whose handlers take a token or something else: `JWTAuth(authentication_middleware_class=or_token(
    JWTAuthenticationMiddleware))`. `request.user` of such a request is the principal, `request.auth` its scopes.
    """

    class OrToken(cast(Any, middleware)):  # type: ignore[misc]
        async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
            """Return who asks, by token or by the middleware."""
            principal = principal_of(connection)
            if principal is not None:
                return AuthenticationResult(user=principal, auth=principal.scopes)
            return cast(AuthenticationResult, await super().authenticate_request(connection))

    return cast(type[Middleware], OrToken)


REFUSALS = {
    401: "There is no token, or it is not valid.",
    403: "The token lacks a scope, or its plan does.",
    429: "A quota is used up; Retry-After says when to come back.",
}


def describe_credentials(config: OpenAPIConfig, policy: Policy) -> None:
    """Add a security scheme for each way to present a token."""
    schemes = {_name(source): _build_scheme(source, policy) for source in policy.credentials}
    components = config.components if isinstance(config.components, list) else [config.components]
    config.components = [*components, Components(security_schemes={**schemes})]


def describe_guard(handler: HTTPRouteHandler, policy: Policy, needs: Needs) -> None:
    """Describe the scopes that a guarded handler needs, and how requests are refused."""
    ways: list[dict[str, list[str]]] = [{_name(source): list(needs.scopes)} for source in policy.credentials]
    if needs.is_optional:
        ways.append({})  # OpenAPI 3.1: an empty requirement makes security optional
    handler.security = [*(handler.security or ()), *ways]
    refusals: dict[int, ResponseSpec] = {
        status: ResponseSpec(
            data_container=dict[str, Any],
            generate_examples=False,
            description=description,
            media_type="application/json" if str(status) in policy.errors else "application/problem+json",
        )
        for status, description in REFUSALS.items()
    }
    handler.responses = {**refusals, **(handler.responses or {})}


def _name(source: CredentialSource) -> str:
    return f"gateway-{source.field.decode() if source.scheme is Scheme.BARE else source.scheme}"


def _build_scheme(source: CredentialSource, policy: Policy) -> SecurityScheme:
    description = f"A token of {policy.name}, which begins with {policy.token_format.prefixes[0]}"
    if source.scheme is not Scheme.BARE:
        return SecurityScheme(type="http", scheme=str(source.scheme), description=description)
    return SecurityScheme(
        type="apiKey", name=source.field.decode(), security_scheme_in="header", description=description
    )

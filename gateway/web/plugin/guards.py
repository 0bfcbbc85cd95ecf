"""What handlers say of who may ask them, and what they are told of who does.

The guard decides nothing: by then the gate (gate.py) has. It makes sure of that, so an app without the gate answers
nobody.
"""

from typing import Any

import msgspec
from litestar.connection import ASGIConnection
from litestar.exceptions import ImproperlyConfiguredException
from litestar.handlers import BaseRouteHandler
from litestar.types import Scope

from gateway.core.principals import Principal

STATE_KEY = "gateway_admitted"


class Admitted(msgspec.Struct, frozen=True):
    """In the state of a request that may pass."""

    by: object
    """The gate that let it pass."""
    scopes: tuple[str, ...]
    """What the rule needs, and the token was found to have."""
    principal: Principal | None
    """None where a public rule lets anybody pass."""


class Requires:
    """A guard: the request needs a token with these scopes."""

    def __init__(self, *scopes: str) -> None:
        self.scopes = scopes

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        """Lets through what the gate has let pass; raises ImproperlyConfiguredException for all else."""
        admitted = admission_of(connection.scope)
        if admitted is None or not set(self.scopes) <= set(admitted.scopes):
            raise ImproperlyConfiguredException(f"{handler} requires a token, and no GatewayPlugin has seen to it")


def requires(*scopes: str) -> Requires:
    """A guard for handlers, controllers, routers or the app; without scopes any valid token will do."""
    return Requires(*scopes)


def scopes_needed(handler: BaseRouteHandler) -> tuple[str, ...] | None:
    """The scopes that the guards of a handler and of all around it ask for; None where none asks for a token."""
    guards = [guard for guard in handler.resolve_guards() if isinstance(guard, Requires)]
    return tuple(dict.fromkeys(scope for guard in guards for scope in guard.scopes)) if guards else None


def admission_of(scope: Scope) -> Admitted | None:
    """What the gate has said of a request."""
    admitted = scope["state"].get(STATE_KEY)
    return admitted if isinstance(admitted, Admitted) else None


def provide_principal(scope: Scope) -> Principal | None:
    """Who asks: what a handler gets as `principal`."""
    admitted = admission_of(scope)
    return admitted.principal if admitted else None

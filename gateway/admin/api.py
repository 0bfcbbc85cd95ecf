"""The management API, `/api/v1`: tokens, owners, projects, policies, the history, the cache, and OAuth's two calls.

Every handler translates one call of Management; refusals are problem details (problems.py), credentials admin tokens
(access.py). The OpenAPI document is made from the handlers and the structs that they take and return.
"""

from typing import Any

from litestar import Request, Router
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.di import Provide
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Tag

from gateway import __version__
from gateway.adapters.admin_ports import Usage
from gateway.adapters.ports import Exports
from gateway.admin.access import SCOPE, Access, StrictRequest, check_query
from gateway.admin.history import search_history
from gateway.admin.oauth import introspect, revoke
from gateway.admin.policies import change_owner, get_owner, list_exports, list_owners, list_policies, list_projects
from gateway.admin.problems import EXCEPTION_HANDLERS
from gateway.admin.purges import purge
from gateway.admin.tokens import TokenController, import_many, revoke_many
from gateway.admin.usage import show_policy_usage, show_token_usage
from gateway.core.tokens.audit import Actor
from gateway.management import Management

PATH = "/api/v1"
MAXIMUM_CALL_BYTES = 256 * 1024
"""The largest call is an owner with a thousand projects."""


def build_api(management: Management, exports: Exports, usage: Usage, access: Access) -> Router:
    """Build the handlers, for an application whose OpenAPI configuration is `build_openapi`'s."""

    def provide_management() -> Management:
        return management

    def provide_exports() -> Exports:
        return exports

    def provide_usage() -> Usage:
        return usage

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        await access(connection, handler)  # Litestar copies guards, and could not copy the fields of `access`
        if SCOPE in handler.opt:  # else it is Litestar's own, which answers OPTIONS
            check_query(connection, handler)

    return Router(
        PATH,
        route_handlers=[
            TokenController,
            revoke_many,
            import_many,
            list_policies,
            list_exports,
            list_projects,
            list_owners,
            get_owner,
            change_owner,
            search_history,
            purge,
            show_token_usage,
            show_policy_usage,
            introspect,
            revoke,
        ],
        guards=[guard],
        request_class=StrictRequest,
        dependencies={
            "management": Provide(provide_management, sync_to_thread=False),
            "exports": Provide(provide_exports, sync_to_thread=False),
            "usage": Provide(provide_usage, sync_to_thread=False),
            "actor": Provide(_provide_actor, sync_to_thread=False),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=MAXIMUM_CALL_BYTES,
        security=[{"admin": []}],
    )


def build_openapi() -> OpenAPIConfig:
    """Build the configuration of OpenAPI 3.1 for the API, at /api/openapi.json."""
    return OpenAPIConfig(
        title="Token gateway: management",
        version=__version__,
        path="/api",
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        components=Components(
            security_schemes={
                "admin": SecurityScheme(
                    type="http",
                    scheme="bearer",
                    description="An admin token: `gateway token create --admin --name ops`, with the scopes read, "
                    "write (which implies read) and introspect, or some of them.",
                )
            }
        ),
        tags=[
            Tag("tokens", "Make, show, change, rotate and revoke tokens."),
            Tag("owners", "What the owners of tokens may do."),
            Tag("policies", "What there is to choose from."),
            Tag("history", "Who changed or purged what."),
            Tag("cache", "Stored exports."),
            Tag("usage", "What was counted."),
            Tag("oauth", "Introspection and revocation as OAuth knows them."),
        ],
    )


def _provide_actor(request: Request[None, None, State]) -> Actor:
    actor: Actor = request.state.actor
    return actor

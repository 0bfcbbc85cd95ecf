"""The admin listener: pages, the management API and metrics, for people and programs that administer tokens.

Every answer forbids browsers (`FIELDS`) to run a script or load a style of another origin or inside the page, to show
it in a frame, and to read it as another type than it has.
"""

from collections.abc import Callable, Sequence
from typing import Any

from litestar import Litestar, MediaType, Request, Response
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import HttpMethod
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.response import Template
from litestar.template import TemplateConfig
from litestar.types import ControllerRouterHandler, Message, Scope

from gateway.admin.problems import refuse_http
from gateway.admin.schemas import BodySchemas
from gateway.server.own_endpoints import Health, Lifespan, health_handlers

FIELDS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def build_admin(
    health: Health,
    handlers: Sequence[ControllerRouterHandler],
    lifespan: Lifespan,
    tell: Callable[[HTTPException], Template],
    templates: TemplateConfig[Any],
    openapi: OpenAPIConfig | None = None,
) -> Litestar:
    """Build the application. `handlers` are the pages', the API's and whatever else administrators get.

    For an unknown address, browsers get a page (`tell`), all others problem details.
    """

    def refuse(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any] | Template:
        is_browser = MediaType.HTML in request.headers.get("accept", "")
        return tell(error) if is_browser else refuse_http(request, error)

    return Litestar(
        [*health_handlers(health), *handlers],
        exception_handlers={HTTPException: refuse},
        lifespan=[lifespan],
        before_request=answer_options,
        before_send=[_add_fields],
        template_config=templates,
        plugins=[BodySchemas()],
        openapi_config=openapi,
        logging_config=None,
    )


def answer_options(request: Request[Any, Any, Any]) -> Response[None] | None:
    """Answer OPTIONS (RFC 9110 9.3.7) without a token. Litestar's own answer names only the methods of one handler."""
    if request.method != HttpMethod.OPTIONS:
        return None
    path = request.scope["path_template"]
    methods = {method for route in request.app.routes if route.path_format == path for method in route.methods}
    methods |= {HttpMethod.HEAD} if HttpMethod.GET in methods else set()  # listener.py
    return Response(None, status_code=204, headers={"Allow": ", ".join(sorted(methods)), "Cache-Control": "no-store"})


async def _add_fields(message: Message, _: Scope) -> None:
    """Add the fields of all answers, in one place, so that no handler can forget them."""
    if message["type"] == "http.response.start":
        headers = MutableScopeHeaders.from_message(message)
        for name, value in FIELDS.items():
            headers.setdefault(name, value)

"""The router of all pages, with their dependencies and their answers to errors."""

import logging

from litestar import Response, Router
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.response import Redirect, Template

from gateway.core.errors import ChangeRefused, NotKept, StoreUnavailable
from gateway.pages.common import Asking, ForgedForm, Pages, SignInNeeded, find_visitor, read_form, see_other, show_asset
from gateway.pages.exports import ExportBuilder
from gateway.pages.overview import Histories, Overviews
from gateway.pages.sign_in import SigningIn
from gateway.pages.token_list import TokenLists
from gateway.pages.tokens import TokenPages

MAXIMUM_FORM_BYTES = 64 * 1024

logger = logging.getLogger(__name__)


def build_pages(pages: Pages) -> Router:
    """Build the developer page and the operator's overview."""
    open_to_all = Router("", route_handlers=[SigningIn, show_asset])
    for_visitors = Router(
        "",
        route_handlers=[Overviews, TokenLists, TokenPages, ExportBuilder, Histories],
        dependencies={"visitor": Provide(find_visitor), "form": Provide(read_form)},
    )
    return Router(
        "",
        route_handlers=[open_to_all, for_visitors],
        dependencies={"pages": Provide(lambda: pages, sync_to_thread=False)},
        exception_handlers={
            SignInNeeded: _ask_to_sign_in,
            ForgedForm: lambda _, __: _render_problem(pages, 403, "That form is not from here", FORGED),
            NotKept: lambda _, error: _render_problem(pages, 503, "It is done, but may be undone", f"{error}."),
            StoreUnavailable: lambda _, __: _render_problem(pages, 503, "The store does not answer", AWAY),
            ChangeRefused: lambda _, error: _render_problem(pages, 409, "That was not done", f"{error}."),
            HTTPException: lambda _, error: render_http_error(pages, error),
            Exception: lambda request, error: _render_mistake(pages, request, error),
        },
        request_max_body_size=MAXIMUM_FORM_BYTES,
        include_in_schema=False,
    )


FORGED = (
    "It was sent by another site, or by a page from before you signed in. Nothing was changed. "
    "Reload the page and send the form again."
)
AWAY = "Redis does not answer, so tokens cannot be read or changed. Nothing was changed. Try again in a moment."
_TITLES = {
    400: "Invalid request",
    403: "Access denied",
    404: "Page not found",
    405: "Method not allowed",
    413: "Form too large",
}
_DETAILS = {404: "There is no page at this address. Check it, or go to the start page."}


def _ask_to_sign_in(request: Asking, _: Exception) -> Redirect | Response[None]:
    """Redirect to the sign-in page, and from there back to the requested page if it was a GET."""
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    query = {"next": path} if request.method == "GET" and path != "/" else {}
    if "hx-request" in request.headers:  # a part of a page must not be replaced by the sign-in page
        return Response(None, status_code=204, headers={"HX-Redirect": "/sign-in"})
    return see_other("/sign-in", **query)


def render_http_error(pages: Pages, error: HTTPException) -> Template:
    """Return the page for an unknown address, or for a request that an address does not allow."""
    status = error.status_code
    own = error.detail if status in (403, 404) and error.detail.endswith(".") else ""
    detail = own or _DETAILS.get(status, "Nothing was changed.")
    page = _render_problem(pages, status, _TITLES.get(status, "Something went wrong"), detail)
    page.headers |= error.headers or {}
    return page


def _render_mistake(pages: Pages, request: Asking, error: Exception) -> Template:
    """Return the page for an internal error: the log has the details, the page has none."""
    logger.error("%s %s: internal error", request.method, request.url.path, exc_info=error)
    return _render_problem(pages, 500, "Something went wrong", "Internal error. The gateway's log has the details.")


def _render_problem(pages: Pages, status: int, title: str, detail: str) -> Template:
    page = pages.render("problem.html", None, status, title=title, detail=detail)
    if status == 503:
        page.headers["Retry-After"] = "1"
    return page

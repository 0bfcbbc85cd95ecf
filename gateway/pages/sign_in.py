"""Signing in and out."""

from litestar import Controller, Response, get, post
from litestar.datastructures import Cookie
from litestar.response import Redirect, Template

from gateway.admin.access import OPEN, READING
from gateway.core.errors import StoreUnavailable
from gateway.pages.common import (
    COOKIE,
    SECURE_COOKIE,
    Asking,
    ForgedForm,
    GivenPages,
    find_visitor,
    origin_of,
    query_text,
    read_form,
    see_other,
    session_of,
    text_of,
)
from gateway.pages.sessions import TooManySignIns, is_foreign

START = "/"
NOT_OPEN = (
    "That token does not open this page. It may be mistyped, expired or revoked, or lack the scope to sign in: "
    "by default only admin tokens open it."
)


class SigningIn(Controller):
    """The sign-in page."""

    @get("/sign-in", opt=OPEN)
    async def show(self, request: Asking, pages: GivenPages) -> Template:
        """Show the form for a token."""
        return pages.render(
            "sign_in.html", None, following=following(query_text(request.query_params, "next")), problem=""
        )

    @post("/sign-in", opt=OPEN, status_code=200)
    async def sign_in(self, request: Asking, pages: GivenPages) -> Response[None] | Redirect | Template:
        """Open a session. There is no form token before it, so only a form of another site is refused."""
        if is_foreign(request.headers):
            raise ForgedForm
        form = await request.form()
        then = following(text_of(form, "next"))
        problem, status, headers = NOT_OPEN, 401, dict[str, str]()
        try:
            session_id = await pages.visitors.sign_in(text_of(form, "token"), origin_of(request, pages.trusted).client)
        except TooManySignIns as error:
            session_id, status = None, 429
            problem = f"Too many tokens that are not valid came from your address. Wait {error.retry_after} seconds."
            headers = {"Retry-After": str(error.retry_after)}
        except StoreUnavailable:
            session_id, status, headers = None, 503, {"Retry-After": "1"}
            problem = "Tokens cannot be looked up at the moment. Nothing is wrong with yours: try again soon."
        if session_id is None:
            page = pages.render("sign_in.html", None, status, following=then, problem=problem)
            page.headers |= headers
            return page
        answer = see_other(then)
        secure = origin_of(request, pages.trusted).scheme == "https"
        answer.set_cookie(_cookie(SECURE_COOKIE if secure else COOKIE, session_id, secure=secure))
        return answer

    @post("/sign-out", opt=READING, status_code=303)
    async def sign_out(self, request: Asking, pages: GivenPages) -> Redirect:
        """End the session, here and in Redis."""
        await read_form(request, await find_visitor(request, pages))
        await pages.visitors.sign_out(session_of(request))
        answer = see_other("/sign-in")
        for name, secure in ((SECURE_COOKIE, True), (COOKIE, False)):
            answer.set_cookie(_cookie(name, "", secure=secure, max_age=0))
        return answer


def following(path: str | None) -> str:
    """Return where to go after signing in: a path of this listener, or the start."""
    is_ours = path is not None and path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_ours and path is not None and "\\" not in path else START


def _cookie(name: str, value: str, *, secure: bool, max_age: int | None = None) -> Cookie:
    """Build a cookie that ends with the browser's session. Lax: links from the product's own pages keep the session."""
    return Cookie(name, value=value, path="/", httponly=True, secure=secure, samesite="lax", max_age=max_age)

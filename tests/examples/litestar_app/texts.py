"""Texts of projects: an app whose readers and writers are CI jobs with tokens, and people with a JWT."""

from dataclasses import dataclass
from typing import Any

from litestar import Controller, Litestar, Request, Response, get, put
from litestar.background_tasks import BackgroundTask
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.security.jwt import JWTAuth, Token
from litestar.security.jwt.middleware import JWTAuthenticationMiddleware

from gateway.plugin import GatewayPlugin, Principal, Settings, optional, or_token, principal_of, requires

TEXTS: dict[str, dict[str, str]] = {"website": {"greeting": "Hello"}}
CHANGES: list[str] = []
"""Who changed what, written behind the answers."""


@dataclass
class Person:
    """Somebody who has signed in."""

    name: str


class TextsController(Controller):
    """The texts of one project."""

    path = "/projects/{project:str}"

    @get("/export", guards=[requires("texts:read")])
    async def export(self, project: FromPath[str]) -> Response[dict[str, str]]:
        """All texts: made once for all of the project's tokens, and 304 for who has them."""
        return Response(TEXTS.get(project, {}), headers={"Cache-Groups": f'"texts-{project}"'})

    @put("/texts/{key:str}", guards=[requires("texts:write")])
    async def change(
        self,
        project: FromPath[str],
        key: FromPath[str],
        data: JSONBody[str],
        principal: NamedDependency[Principal],
    ) -> Response[None]:
        """A text; what is stored of the project's exports ends with it (RFC 9875)."""
        TEXTS.setdefault(project, {})[key] = data
        return Response(
            None,
            headers={"Cache-Group-Invalidation": f'"texts-{project}"'},
            background=BackgroundTask(note_change, principal.token_name, key),
        )


async def note_change(who: str, key: str) -> None:
    """Runs behind the answer."""
    CHANGES.append(f"{who} changed {key}")


@get("/me", guards=[requires(or_authenticated=True)])
async def show_me(request: Request[Principal | Person, Any, Any]) -> str:
    """A token or a person."""
    user = request.user
    return f"token {user.token_name}" if isinstance(user, Principal) else f"person {user.name}"


@get("/status", guards=[optional()])
async def status(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """For anybody; who has a token is told more."""
    principal = principal_of(request)
    return {"projects": len(TEXTS)} | ({"project": principal.project} if principal else {})


async def find_person(token: Token, _: ASGIConnection[Any, Any, Any, Any]) -> Person:
    """The person of a JWT."""
    return Person(token.sub)


def create_app(settings: Settings | None = None, secret: str = "change-me-change-me-change-me-32") -> Litestar:
    """The app; tests give it settings of their own."""
    people = JWTAuth[Person](
        retrieve_user_handler=find_person,
        token_secret=secret,
        exclude=["^/schema", "^/status", "^/projects"],
        authentication_middleware_class=or_token(JWTAuthenticationMiddleware),
    )
    return Litestar(
        [TextsController, show_me, status],
        plugins=[GatewayPlugin(settings)],
        on_app_init=[people.on_app_init],
    )

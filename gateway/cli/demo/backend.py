"""The example backend: a product with workspaces, tokensets and translations, and no token system.

Rule: it believes the gateway's `X-Gateway-*` fields and checks no credential, so nothing but the gateway may
reach it. What another owner has is answered exactly as what does not exist.

    python -m gateway.cli.demo.backend --listen 127.0.0.1:9001
"""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import sha256
from typing import Annotated, Any, TypeAlias

import msgspec
import uvicorn
from litestar import (
    HttpMethod,
    Litestar,
    MediaType,
    Request,
    Response,
    Router,
    asgi,
    delete,
    patch,
    post,
    route,
)
from litestar import exceptions as refusals
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody, QueryParameter
from litestar.types import Message, Receive, Scope, Send

from gateway.cli.demo import design_tokens
from gateway.cli.demo.design_tokens import MODES, DesignToken, Mode
from gateway.cli.demo.translations import DEFAULT_LANGUAGES, export_translations

# Fixed, so that a restart changes no Last-Modified.
SEEDED_AT = datetime(2025, 6, 2, 9, 0, tzinfo=UTC)
SEED_WORKSPACES = {"brand": "acme", "marketing": "acme", "product": "globex"}
SEED_TOKENSETS = {"acme-core": "brand", "acme-campaign": "marketing", "globex-ui": "product"}
PROJECT_OWNERS = {"website": "acme", "app": "globex"}

MAX_PORT = 65_535
KNOWN_MODES: dict[str, Mode] = {mode: mode for mode in MODES}
EXPORT_MEDIA_TYPES = {"css": "text/css", "json": "application/json"}

Owner: TypeAlias = Annotated[str, HeaderParameter(name="X-Gateway-Owner")]


class WorkspaceContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client says of a workspace."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class Workspace(msgspec.Struct, frozen=True):
    """A place for tokensets; its owner sees all of it, nobody else any of it."""

    id: str
    owner: str
    name: str


class Tokenset(msgspec.Struct, frozen=True, rename="camel"):
    """A set of design tokens; `modified_at` becomes the Last-Modified of its exports."""

    id: str
    workspace: str
    modified_at: datetime
    modes: tuple[str, ...] = MODES


class ReceivedRequest(msgspec.Struct, frozen=True):
    """A request as it arrived; `fields` in their order, repetitions kept, names in lower case."""

    method: str
    target: str
    fields: list[tuple[str, str]]


class Catalog:
    """All workspaces, tokensets and tokens, in memory.

    Every method names the owner who asks; what is absent or another's raises NotFoundException.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._created = Counter[str]()
        self._workspaces = {id_: Workspace(id_, owner, id_.title()) for id_, owner in SEED_WORKSPACES.items()}
        self._tokensets = {id_: Tokenset(id_, place, SEEDED_AT) for id_, place in SEED_TOKENSETS.items()}
        self._tokens = {id_: design_tokens.seed_tokens(id_) for id_ in SEED_TOKENSETS}

    def workspaces_of(self, owner: str) -> list[Workspace]:
        return [workspace for workspace in self._workspaces.values() if workspace.owner == owner]

    def workspace(self, owner: str, id_: str) -> Workspace:
        workspace = self._workspaces.get(id_)
        if workspace is None or workspace.owner != owner:
            raise refusals.NotFoundException("no such workspace")
        return workspace

    def add_workspace(self, owner: str, name: str) -> Workspace:
        # Counted for each owner and hashed: an id tells nobody how many workspaces others have.
        self._created[owner] += 1
        ordinal = f"{owner}/{self._created[owner]}"
        workspace = Workspace(f"ws_{sha256(ordinal.encode()).hexdigest()[:12]}", owner, name)
        self._workspaces[workspace.id] = workspace
        return workspace

    def rename_workspace(self, owner: str, id_: str, name: str) -> Workspace:
        self._workspaces[id_] = msgspec.structs.replace(self.workspace(owner, id_), name=name)
        return self._workspaces[id_]

    def remove_workspace(self, owner: str, id_: str) -> None:
        for tokenset in self.tokensets_in(owner, id_):
            del self._tokensets[tokenset.id], self._tokens[tokenset.id]
        del self._workspaces[id_]

    def tokensets_in(self, owner: str, workspace_id: str) -> list[Tokenset]:
        workspace = self.workspace(owner, workspace_id)
        return [tokenset for tokenset in self._tokensets.values() if tokenset.workspace == workspace.id]

    def tokenset(self, owner: str, id_: str) -> Tokenset:
        tokenset = self._tokensets.get(id_)
        if tokenset is None or self._workspaces[tokenset.workspace].owner != owner:
            raise refusals.NotFoundException("no such tokenset")
        return tokenset

    def tokens(self, owner: str, tokenset_id: str) -> tuple[DesignToken, ...]:
        return self._tokens[self.tokenset(owner, tokenset_id).id]

    def add_token(self, owner: str, tokenset_id: str, token: DesignToken) -> None:
        """ClientException, saying why, if the tokenset could not be exported with it."""
        tokens = (*self.tokens(owner, tokenset_id), token)
        # Nothing else in here: NotFoundException is a ValueError too.
        try:
            design_tokens.validate_tokens(tokens)
        except ValueError as error:
            raise refusals.ClientException(str(error)) from error
        self._tokens[tokenset_id] = tokens
        changed = msgspec.structs.replace(self._tokensets[tokenset_id], modified_at=self._now())
        self._tokensets[tokenset_id] = changed


SharedCatalog: TypeAlias = NamedDependency[Catalog]


def create_backend(now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Litestar:
    """The application with a fresh state; `app.state.request_counts` counts what arrived, by path."""
    counts = Counter[str]()
    catalog = Catalog(now)

    # A hook, not a middleware: Litestar's middlewares do not see what no route matches.
    async def count_request(message: Message, scope: Scope) -> None:
        if message["type"] == "http.response.start":
            counts[scope["path"]] += 1

    async def provide_catalog() -> Catalog:
        return catalog

    app = Litestar(
        [health, API],
        before_send=[count_request],
        dependencies={"catalog": Provide(provide_catalog)},
        exception_handlers={refusals.HTTPException: answer_refusal, Exception: answer_failure},
        logging_config=None,
        openapi_config=None,
    )
    app.state.request_counts = counts
    return app


def readable(path: str) -> route:
    """A route for GET and HEAD: Litestar's `get` answers HEAD with 405."""
    return route(path, http_method=[HttpMethod.GET, HttpMethod.HEAD])


@readable("/healthz")
async def health() -> Response[str]:
    return Response("ok", media_type=MediaType.TEXT)


@readable("/workspaces")
async def list_workspaces(catalog: SharedCatalog, owner: Owner = "") -> list[Workspace]:
    return catalog.workspaces_of(owner)


@post("/workspaces")
async def create_workspace(
    catalog: SharedCatalog, data: JSONBody[WorkspaceContent], owner: Owner = ""
) -> Response[Workspace]:
    if not owner:
        raise refusals.PermissionDeniedException("the request names no owner")
    workspace = catalog.add_workspace(owner, data.name)
    return Response(workspace, headers={"Location": f"/api/v1/workspaces/{workspace.id}"})


@readable("/workspaces/{workspace_id:str}")
async def show_workspace(catalog: SharedCatalog, workspace_id: FromPath[str], owner: Owner = "") -> Workspace:
    return catalog.workspace(owner, workspace_id)


@patch("/workspaces/{workspace_id:str}")
async def rename_workspace(
    catalog: SharedCatalog, workspace_id: FromPath[str], data: JSONBody[WorkspaceContent], owner: Owner = ""
) -> Workspace:
    return catalog.rename_workspace(owner, workspace_id, data.name)


@delete("/workspaces/{workspace_id:str}")
async def remove_workspace(catalog: SharedCatalog, workspace_id: FromPath[str], owner: Owner = "") -> None:
    catalog.remove_workspace(owner, workspace_id)


@readable("/workspaces/{workspace_id:str}/tokensets")
async def list_tokensets(catalog: SharedCatalog, workspace_id: FromPath[str], owner: Owner = "") -> list[Tokenset]:
    return catalog.tokensets_in(owner, workspace_id)


@readable("/tokensets/{tokenset_id:str}")
async def show_tokenset(catalog: SharedCatalog, tokenset_id: FromPath[str], owner: Owner = "") -> Tokenset:
    return catalog.tokenset(owner, tokenset_id)


@readable("/tokensets/{tokenset_id:str}/tokens")
async def list_tokens(catalog: SharedCatalog, tokenset_id: FromPath[str], owner: Owner = "") -> tuple[DesignToken, ...]:
    return catalog.tokens(owner, tokenset_id)


@post("/tokensets/{tokenset_id:str}/tokens")
async def create_token(
    catalog: SharedCatalog, tokenset_id: FromPath[str], data: JSONBody[DesignToken], owner: Owner = ""
) -> DesignToken:
    catalog.add_token(owner, tokenset_id, data)
    return data


@readable("/tokensets/{tokenset_id:str}/modes/{mode:str}/export")
async def export_tokenset(
    catalog: SharedCatalog,
    tokenset_id: FromPath[str],
    mode: FromPath[str],
    owner: Owner = "",
    format_: Annotated[str, QueryParameter(name="format")] = "json",
) -> Response[bytes]:
    tokenset = catalog.tokenset(owner, tokenset_id)
    if format_ not in EXPORT_MEDIA_TYPES:
        raise refusals.ClientException(f"format must be one of: {', '.join(EXPORT_MEDIA_TYPES)}")
    if (known_mode := KNOWN_MODES.get(mode)) is None:
        raise refusals.NotFoundException(f"mode must be one of: {', '.join(MODES)}")
    resolved = design_tokens.resolve_tokens(catalog.tokens(owner, tokenset_id), known_mode)
    css = format_ == "css"
    return Response(
        design_tokens.render_css(resolved, known_mode) if css else design_tokens.render_json(resolved),
        media_type=EXPORT_MEDIA_TYPES[format_],
        headers={"Last-Modified": format_datetime(tokenset.modified_at, usegmt=True)},
    )


@readable("/projects/{project:str}/translations/export")
async def export_project_translations(
    project: FromPath[str],
    owner: Owner = "",
    named_project: Annotated[str, HeaderParameter(name="X-Gateway-Project")] = "",
    lang: FromQuery[list[str] | None] = None,
) -> Response[bytes]:
    if project not in PROJECT_OWNERS or (named_project != project and PROJECT_OWNERS[project] != owner):
        raise refusals.NotFoundException("no such project")
    try:
        content = export_translations(project, lang or DEFAULT_LANGUAGES)
    except ValueError as error:
        raise refusals.ClientException(str(error)) from error
    return Response(content, media_type=MediaType.JSON)


@readable("/whoami")
async def show_request(request: Request[Any, Any, State]) -> ReceivedRequest:
    # Litestar's test client leaves the query in raw_path, uvicorn does not.
    path, query = request.scope["raw_path"].partition(b"?")[0], request.scope["query_string"]
    target = path + (b"?" + query if query else b"")
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.scope["headers"]]
    return ReceivedRequest(request.method, target.decode("latin-1"), fields)


@asgi("/echo", copy_scope=False)
async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Raw ASGI: Litestar's `Stream` waits for a disconnect with the same `receive` and would lose content."""
    if Request[Any, Any, State](scope).method != HttpMethod.POST:
        raise refusals.MethodNotAllowedException(headers={"Allow": "POST"})
    fields = [field for field in scope["headers"] if field[0] in {b"content-type", b"content-length"}]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


API = Router(
    "/api/v1",
    route_handlers=[
        list_workspaces,
        create_workspace,
        show_workspace,
        rename_workspace,
        remove_workspace,
        list_tokensets,
        show_tokenset,
        list_tokens,
        create_token,
        export_tokenset,
        export_project_translations,
        show_request,
        echo,
    ],
)


def answer_refusal(_: Request[Any, Any, State], refusal: refusals.HTTPException) -> Response[dict[str, str]]:
    # Litestar puts what is wrong with a request's content, field by field, beside the sentence.
    mistakes = refusal.extra if isinstance(refusal.extra, list) else []
    sentence = "; ".join([refusal.detail, *(str(mistake["message"]) for mistake in mistakes)])
    return Response({"error": sentence}, status_code=refusal.status_code, headers=refusal.headers)


def answer_failure(_: Request[Any, Any, State], failure: Exception) -> Response[dict[str, str]]:
    return Response({"error": f"internal error: {type(failure).__name__}"}, status_code=500)


def parse_listen(text: str) -> tuple[str, int]:
    """`HOST:PORT`, an IPv6 address in brackets; ArgumentTypeError for anything else."""
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and int(port) <= MAX_PORT):
        raise argparse.ArgumentTypeError(f"not HOST:PORT: {text}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m gateway.cli.demo.backend", description="The example backend.")
    parser.add_argument("--listen", type=parse_listen, default=("127.0.0.1", 9001), metavar="HOST:PORT")
    host, port = parser.parse_args(arguments).listen
    uvicorn.run(create_backend(), host=host, port=port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()

"""The example backend: a product with workspaces, tokensets and translations, and no token system.

Rule: it trusts the gateway's `X-Gateway-*` fields and checks no credential, so only the gateway may reach it. What
another owner has is answered exactly as what does not exist.

    python -m gateway.demo.backend.api --listen 127.0.0.1:9001
"""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import uvicorn
from litestar import Litestar, MediaType, Request, Response, Router, delete, patch, post
from litestar import exceptions as refusals
from litestar.datastructures import State
from litestar.di import Provide
from litestar.params import FromPath, JSONBody
from litestar.types import Message, Scope

from gateway.demo.backend.catalog import Catalog, Tokenset, Workspace, WorkspaceContent
from gateway.demo.backend.design_tokens import DesignToken
from gateway.demo.backend.exports import export_project_translations, export_tokenset, export_tokenset_document
from gateway.demo.backend.mirror import echo, show_request
from gateway.demo.backend.routing import Owner, SharedCatalog, readable

MAX_PORT = 65_535


def create_backend(now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Litestar:
    """Build the application with a fresh state; `app.state.request_counts` counts requests by path."""
    counts = Counter[str]()
    catalog = Catalog(now)

    # A hook, not a middleware: Litestar's middlewares do not see requests without a route.
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
        export_tokenset_document,
        export_project_translations,
        show_request,
        echo,
    ],
)


def answer_refusal(_: Request[Any, Any, State], refusal: refusals.HTTPException) -> Response[dict[str, str]]:
    # Litestar lists the mistakes of a request's content, field by field, beside the sentence.
    mistakes = refusal.extra if isinstance(refusal.extra, list) else []
    sentence = "; ".join([refusal.detail, *(str(mistake["message"]) for mistake in mistakes)])
    return Response({"error": sentence}, status_code=refusal.status_code, headers=refusal.headers)


def answer_failure(_: Request[Any, Any, State], failure: Exception) -> Response[dict[str, str]]:
    return Response({"error": f"internal error: {type(failure).__name__}"}, status_code=500)


def parse_listen(text: str) -> tuple[str, int]:
    """Parse `HOST:PORT`, an IPv6 address in brackets. Raise ArgumentTypeError for anything else."""
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and int(port) <= MAX_PORT):
        raise argparse.ArgumentTypeError(f"not HOST:PORT: {text}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m gateway.demo.backend.api", description="The example backend.")
    parser.add_argument("--listen", type=parse_listen, default=("127.0.0.1", 9001), metavar="HOST:PORT")
    host, port = parser.parse_args(arguments).listen
    uvicorn.run(create_backend(), host=host, port=port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()

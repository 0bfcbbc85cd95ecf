"""The example backend's exports, which clients pull and the gateway stores."""

from email.utils import format_datetime
from typing import Annotated

from litestar import MediaType, Response
from litestar import exceptions as refusals
from litestar.params import FromPath, FromQuery, QueryParameter

from gateway.demo.backend.catalog import may_read_project
from gateway.demo.backend.design_tokens import MODES, Mode, build_document, render_document
from gateway.demo.backend.routing import NamedProject, Owner, SharedCatalog, readable
from gateway.demo.backend.translations import DEFAULT_LANGUAGES, export_translations

KNOWN_MODES: dict[str, Mode] = {mode: mode for mode in MODES}
EXPORT_MEDIA_TYPES = {"css": "text/css", "json": "application/json"}


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
    return Response(
        render_document(catalog.tokens(owner, tokenset_id), format_, known_mode),
        media_type=EXPORT_MEDIA_TYPES[format_],
        headers={"Last-Modified": format_datetime(tokenset.modified_at, usegmt=True)},
    )


@readable("/tokensets/{tokenset_id:str}/document")
async def export_tokenset_document(
    catalog: SharedCatalog, tokenset_id: FromPath[str], owner: Owner = ""
) -> Response[bytes]:
    tokenset = catalog.tokenset(owner, tokenset_id)
    return Response(
        build_document(catalog.tokens(owner, tokenset_id)),
        media_type=MediaType.JSON,
        headers={"Last-Modified": format_datetime(tokenset.modified_at, usegmt=True)},
    )


@readable("/projects/{project:str}/translations/export")
async def export_project_translations(
    project: FromPath[str],
    owner: Owner = "",
    named_project: NamedProject = None,
    lang: FromQuery[list[str] | None] = None,
) -> Response[bytes]:
    if not may_read_project(project, named_project=named_project, owner=owner):
        raise refusals.NotFoundException("no such project")
    try:
        content = export_translations(project, lang or DEFAULT_LANGUAGES)
    except ValueError as error:
        raise refusals.ClientException(str(error)) from error
    return Response(content, media_type=MediaType.JSON)

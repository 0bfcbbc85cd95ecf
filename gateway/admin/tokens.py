"""`/api/v1/tokens` and `/api/v1/revocations`."""

from collections.abc import Sequence
from typing import Annotated, Any

from litestar import Controller, Response, delete, get, patch, post
from litestar.datastructures import ResponseHeader
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter
from msgspec import UnsetType

from gateway.admin.access import READING, WRITING, Caller, Managing
from gateway.admin.problems import CallRefused, documented
from gateway.admin.schemas import (
    ImportOutcomes,
    NewChild,
    NewImport,
    NewRevocation,
    NewRotation,
    NewToken,
    Revoked,
    ShownTokens,
    TokenPage,
    TokenPatch,
    given_fields,
    to_seconds,
)
from gateway.core.errors import ChangeRefused
from gateway.core.moving.rows import ImportRow, RowOutcome, RowResult
from gateway.core.tokens.changes import TokenState
from gateway.core.tokens.views import ShownToken, TokenView, show_created, show_token
from gateway.management import Management

MAXIMUM_PAGE = 500
MAXIMUM_IMPORT_BYTES = 4 << 20
"""Of an import: four kilobytes a row."""
ETAG = [ResponseHeader("ETag", description="The token's version, for If-Match.", documentation_only=True)]
LOCATION = [*ETAG, ResponseHeader("Location", description="Where the new token is.", documentation_only=True)]

Key = Annotated[
    str,
    HeaderParameter(
        name="Idempotency-Key",
        max_length=255,
        description="Of the caller's choice. A repeated call with the same key makes no second token for 24 hours: it "
        "is answered 409 with the token's id. Its text is not kept, so it cannot be given again: rotate that token.",
    ),
]


class TokenController(Controller):
    """Tokens of all policies."""

    path = "/tokens"
    tags = ("tokens",)

    @get(opt=READING, responses=documented(401, 403, 404), summary="List tokens, the newest first")
    async def list_tokens(
        self,
        management: Managing,
        policy: Annotated[str | None, QueryParameter(max_length=63)] = None,
        project: Annotated[str | None, QueryParameter(max_length=128)] = None,
        owner: Annotated[str | None, QueryParameter(max_length=128)] = None,
        token_state: Annotated[TokenState | None, QueryParameter(name="state")] = None,
        name: Annotated[
            str | None, QueryParameter(max_length=255, description="A part of the name, in any case.")
        ] = None,
        made_by: Annotated[
            str | None, QueryParameter(max_length=64, description="Made with this token, or with one of those.")
        ] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=MAXIMUM_PAGE)] = 50,
        cursor: Annotated[str | None, QueryParameter(max_length=64)] = None,
    ) -> TokenPage:
        """List tokens. Without project and owner, all tokens are scanned."""
        views = [
            view
            for view in await management.list_known(policy, project, owner, made_by)
            if token_state in (None, view.state) and (name is None or name.casefold() in view.record.name.casefold())
        ]
        page, following = cut_page(views, limit, cursor)
        return TokenPage([show_token(view) for view in page], len(views), following)

    @post(
        opt=WRITING,
        responses=documented(401, 403, 404, 409, 422),
        response_headers=LOCATION,
        summary="Make a token; its text is in this answer and in no other",
    )
    async def create_token(
        self, management: Managing, actor: Caller, data: JSONBody[NewToken], idempotency_key: Key = ""
    ) -> Response[ShownToken]:
        """Create a token of a policy, bound to a project or an owner. Admin tokens are created at the command line."""
        created = await management.create_token(actor, data.policy, data.request(), idempotency_key)
        return _answer_created(show_created(created))

    @get(
        "/{identity:str}",
        opt=READING,
        responses=documented(401, 403, 404),
        response_headers=ETAG,
        summary="Show a token",
    )
    async def show_token(self, management: Managing, identity: FromPath[str]) -> Response[ShownToken]:
        """Return all that is known of a token."""
        return _answer(show_token(await management.get_token(identity)))

    @patch(
        "/{identity:str}",
        opt=WRITING,
        responses=documented(401, 403, 404, 409, 412, 428),
        response_headers=ETAG,
        summary="Change a token in place",
    )
    async def update_token(
        self,
        management: Managing,
        actor: Caller,
        identity: FromPath[str],
        data: JSONBody[TokenPatch],
        if_match: Annotated[str | None, HeaderParameter(name="If-Match", description="The token's ETag, or *.")] = None,
    ) -> Response[ShownToken]:
        """Change a token. Its text stays valid, and the change acts on the next request. What is not named stays."""
        expected = await _read_match(management, identity, if_match)
        return _answer(show_token(await management.update_token(actor, identity, data.change(), expected)))

    @delete(
        "/{identity:str}",
        opt=WRITING,
        responses=documented(401, 403, 404),
        status_code=204,
        summary="Revoke a token, for good",
    )
    async def revoke_token(self, management: Managing, actor: Caller, identity: FromPath[str]) -> None:
        """Revoke a token: the next request with it is refused. A second call changes nothing."""
        await management.revoke_token(actor, identity)

    @post(
        "/{identity:str}/rotations",
        opt=WRITING,
        responses=documented(401, 403, 404, 409),
        response_headers=LOCATION,
        summary="Make a successor of a token; its text is in this answer and in no other",
    )
    async def rotate_token(
        self, management: Managing, actor: Caller, identity: FromPath[str], data: JSONBody[NewRotation]
    ) -> Response[ShownToken]:
        """Create a successor with the settings and counters of the token, which expires after the overlap."""
        ends = data.expires_at if isinstance(data.expires_at, UnsetType) else to_seconds(data.expires_at)
        overlap_seconds = int(data.overlap_seconds)
        return _answer_created(show_created(await management.rotate_token(actor, identity, overlap_seconds, ends)))

    @get(
        "/{identity:str}/children", opt=READING, responses=documented(401, 403, 404), summary="List a token's children"
    )
    async def list_children(self, management: Managing, identity: FromPath[str]) -> ShownTokens:
        """List the children, the newest first."""
        await management.get_token(identity)
        return ShownTokens([show_token(view) for view in await management.list_children(identity)])

    @post(
        "/{identity:str}/children",
        opt=WRITING,
        responses=documented(401, 403, 404, 409),
        response_headers=LOCATION,
        summary="Make a child of a token; its text is in this answer and in no other",
    )
    async def create_child(
        self, management: Managing, actor: Caller, identity: FromPath[str], data: JSONBody[NewChild]
    ) -> Response[ShownToken]:
        """Create a child. It never holds more than its parent, nor lasts longer, and ends with it."""
        return _answer_created(show_created(await management.create_child(actor, identity, data.request())))


@post(
    "/revocations",
    opt=WRITING,
    status_code=200,
    tags=("tokens",),
    responses=documented(401, 403, 404),
    summary="Revoke many tokens, for good",
)
async def revoke_many(management: Managing, actor: Caller, data: JSONBody[NewRevocation]) -> Revoked:
    """Revoke many tokens.

    These are a token with all that it was rotated from and to, or that it created; or all of a project or an owner.
    """
    named = given_fields(data)
    if named.keys() == {"with_made"}:
        return Revoked(await management.revoke_with_made(actor, named["with_made"]))
    if named.keys() == {"lineage"}:
        return Revoked(await management.revoke_lineage(actor, named["lineage"]))
    if named.keys() not in ({"policy", "project"}, {"policy", "owner"}):
        raise CallRefused("invalid", "name lineage; or with_made; or policy and project; or policy and owner")
    return Revoked(await management.revoke_all(actor, **named))


@post(
    "/imports",
    opt=WRITING,
    status_code=200,
    tags=("tokens",),
    responses=documented(401, 403, 404),
    request_max_body_size=MAXIMUM_IMPORT_BYTES,
    summary="Import many tokens that exist elsewhere",
)
async def import_many(management: Managing, actor: Caller, data: JSONBody[NewImport]) -> ImportOutcomes:
    """Import tokens by their digests or texts; of a text nothing is kept but the digest and the beginning.

    The answer says what came of each. The call may be repeated: a token that is there with the same settings stays.
    """
    rows: list[ImportRow] = []
    outcomes: list[RowOutcome] = []
    for line, row in enumerate(data.rows, start=1):
        try:
            rows.append(row.row(line))
        except ChangeRefused as error:
            outcomes.append(RowOutcome(line, RowResult.REFUSED, reason=str(error)))
    outcomes += await management.import_tokens(actor, data.policy, rows)
    return ImportOutcomes(sorted(outcomes, key=lambda outcome: outcome.line))


def cut_page(views: Sequence[TokenView], limit: int, cursor: str | None) -> tuple[Sequence[TokenView], str | None]:
    """Return the page after the token that the cursor names, and the cursor of the next one. Raise CallRefused."""
    place = -1 if cursor is None else next((at for at, view in enumerate(views) if view.identity == cursor), None)
    if place is None:
        raise CallRefused("invalid", "the cursor is of no token that is listed here")
    start = place + 1
    page = views[start : start + limit]
    return page, page[-1].identity if start + limit < len(views) else None


async def _read_match(management: Management, identity: str, if_match: str | None) -> str | None:
    """Return the version that the token must have (RFC 9110 13.1.1, strong comparison), or None for any.

    Raise CallRefused if there is no If-Match.
    """
    if if_match is None:
        raise CallRefused("precondition_required", "say by If-Match which version is to be changed: its ETag, or *")
    tags = [tag.strip() for tag in if_match.split(",")]
    if tags == ["*"]:
        return None
    versions = [tag[1:-1] for tag in tags if len(tag) > 1 and tag[0] == tag[-1] == '"']
    current = (await management.get_token(identity)).version
    return current if current in versions else "none of these"


def _answer(token: ShownToken, status: int = 200, **headers: str) -> Response[Any]:
    fields = {"ETag": f'"{token.version}"', "Cache-Control": "no-store", **headers}
    return Response(token, status_code=status, headers=fields)


def _answer_created(token: ShownToken) -> Response[Any]:
    return _answer(token, 201, Location=f"/api/v1/tokens/{token.id}")

"""Token introspection (RFC 7662) and revocation (RFC 7009), for programs that know only these standards."""

from typing import Annotated

import msgspec
from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.enums import RequestEncodingType
from litestar.params import Body

from gateway.admin.access import INTROSPECTING, OPEN, Managing
from gateway.admin.problems import documented
from gateway.core.admission.decision import effective_scopes
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.text import MAXIMUM_TEXT_LENGTH

NO_STORE = {"Cache-Control": "no-store"}


class PresentedToken(msgspec.Struct, frozen=True):
    """The form of both calls; other fields are ignored, as the RFCs require."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=MAXIMUM_TEXT_LENGTH)]
    token_type_hint: Annotated[str, msgspec.Meta(max_length=64)] = ""

    def __repr__(self) -> str:
        return "PresentedToken()"


class Introspection(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer of RFC 7662 2.2; for an inactive token it has no other member."""

    active: bool
    scope: str | msgspec.UnsetType = msgspec.UNSET
    """The effective scopes now: what the token, its owner, its parent and its plan all allow."""
    client_id: str | msgspec.UnsetType = msgspec.UNSET
    """The token's name."""
    sub: str | msgspec.UnsetType = msgspec.UNSET
    """Its owner, or its project if it has none."""
    token_type: str | msgspec.UnsetType = msgspec.UNSET
    exp: int | msgspec.UnsetType = msgspec.UNSET
    iat: int | msgspec.UnsetType = msgspec.UNSET
    nbf: int | msgspec.UnsetType = msgspec.UNSET
    jti: str | msgspec.UnsetType = msgspec.UNSET
    """The token's id."""
    iss: str | msgspec.UnsetType = msgspec.UNSET
    """The token's policy."""
    project: str | msgspec.UnsetType = msgspec.UNSET
    plan: str | msgspec.UnsetType = msgspec.UNSET


class Done(msgspec.Struct, frozen=True):
    """An empty answer: clients look only at the status (RFC 7009 2.2)."""


Form = Annotated[PresentedToken, Body(media_type=RequestEncodingType.URL_ENCODED)]


@post(
    "/introspect",
    opt=INTROSPECTING,
    status_code=200,
    tags=("oauth",),
    responses=documented(401, 403),
    summary="Say what is known of a presented token (RFC 7662)",
)
async def introspect(management: Managing, data: Form) -> Response[Introspection]:
    """Return what is known of a token. It is active if a request would be admitted with it, quotas aside.

    Admin tokens are never active here.
    """
    found = await management.identify(data.token)
    if found is None or found.facts.record is None:
        return Response(Introspection(active=False), headers=NO_STORE)
    record = found.facts.record
    described = Introspection(
        active=True,
        scope=effective_scopes(found.rule, found.facts),
        client_id=record.name,
        sub=record.owner or record.project,
        token_type="Bearer",  # noqa: S106 - the name of a kind of token
        exp=msgspec.UNSET if record.expires_at is None else record.expires_at,
        iat=record.created_at,
        nbf=msgspec.UNSET if record.not_before is None else record.not_before,
        jti=record.identity,
        iss=record.policy,
        project=record.project or msgspec.UNSET,
        plan=record.plan or msgspec.UNSET,
    )
    return Response(described, headers=NO_STORE)


@post(
    "/revoke",
    opt=OPEN,
    status_code=200,
    tags=("oauth",),
    responses=documented(),
    security=[{}],
    summary="Revoke the token that is presented, by whoever holds it (RFC 7009)",
)
async def revoke(request: Request[None, None, State], management: Managing, data: Form) -> Response[Done]:
    """Revoke the presented token. The answer is the same if there is none. Its predecessor and successor stay."""
    view = await management.find_presented(data.token)
    if view is not None:
        actor = Actor(view.record.name, "token", view.identity, request.state.address)
        await management.revoke_token(actor, view.identity)
    return Response(Done(), headers=NO_STORE)

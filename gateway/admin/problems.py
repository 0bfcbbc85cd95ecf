"""Refusals of the management API: problem details (RFC 9457), each with a `code` for programs. One table for all."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec
from litestar.types import ExceptionHandlersMap

from gateway.admin.access import AccessRefused
from gateway.core.errors import CallRepeated, ChangeRefused, NotKept, StoreUnavailable
from gateway.core.http.problems import build_refusal
from gateway.core.http.reasons import Reason

JSON_PROBLEM = "application/problem+json"
STATUSES: Mapping[str, int] = {
    "invalid": 400,
    "not_grantable": 403,
    "not_found": 404,
    "name_taken": 409,
    "ended": 409,
    "changed_meanwhile": 412,
    "idempotency_replayed": 409,
    "idempotency_in_progress": 409,
    "idempotency_mismatch": 422,
    "precondition_required": 428,
}
"""The statuses of the codes of refused changes (core/errors.py), and of refused calls."""
CODES: Mapping[int, str] = {
    400: "invalid",
    404: "not_found",
    405: "method_not_allowed",
    413: "content_too_large",
    415: "unsupported_media_type",
}
"""The codes of refusals that have no code of their own."""

logger = logging.getLogger(__name__)


class FieldMistake(msgspec.Struct, frozen=True, omit_defaults=True):
    """A mistake in one field of a call."""

    message: str
    field: str = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Problem details (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    """The kind of refusal, for programs."""
    detail: str = ""
    request_id: str = ""
    id: str = ""
    """The id of the token that the repeated call has created."""
    errors: list[FieldMistake] = []
    required_scopes: list[str] = []


class CallRefused(Exception):
    """A call that cannot be made in this form; `code` is one of STATUSES."""

    def __init__(self, code: str, detail: str, identity: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.identity = identity


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """Return the refusals of a handler for the OpenAPI document, including those that every call can get."""
    return {
        status: ResponseSpec(Problem, description=HTTPStatus(status).phrase, media_type=JSON_PROBLEM)
        for status in sorted({400, 429, 503, *statuses})
    }


def _refuse(
    request: Request[Any, Any, Any], problem: Problem, headers: Mapping[str, str] | None = None
) -> Response[Any]:
    mask = getattr(request.state, "mask", str)  # until the guard has run, nothing that was asked for is repeated
    problem = msgspec.structs.replace(
        problem,
        detail=mask(problem.detail),
        errors=[FieldMistake(mask(one.message), mask(one.field)) for one in problem.errors],
        request_id=getattr(request.state, "request_id", ""),
    )
    fields = {"Cache-Control": "no-store", **(headers or {})}
    content = msgspec.json.encode(problem)
    return Response(content, status_code=problem.status, media_type=JSON_PROBLEM, headers=fields)


def _refuse_code(
    request: Request[Any, Any, Any], code: str, detail: str, identity: str = "", status: int | None = None
) -> Response[Any]:
    status = status or STATUSES[code]
    title = HTTPStatus(status).phrase
    return _refuse(request, Problem(title=title, status=status, code=code, detail=detail, id=identity))


def refuse_change(request: Request[Any, Any, Any], refused: ChangeRefused) -> Response[Any]:
    """Answer a change that core or the store refused. Without an If-Match, a lost race is a conflict."""
    is_race = refused.code == "changed_meanwhile" and "if-match" not in request.headers
    identity = refused.identity if isinstance(refused, CallRepeated) else ""
    return _refuse_code(request, refused.code, str(refused), identity, 409 if is_race else None)


def refuse_call(request: Request[Any, Any, Any], refused: CallRefused) -> Response[Any]:
    """Answer a call that cannot be made in this form."""
    return _refuse_code(request, refused.code, refused.detail, refused.identity)


def refuse_access(_: Request[Any, Any, Any], refused: AccessRefused) -> Response[Any]:
    """Answer a call that is not allowed."""
    head, content = refused.response.head, refused.response.content
    headers = {name.decode(): value.decode() for name, value in head.fields if name != b"content-length"}
    media_type = headers.pop("content-type")
    return Response(content, status_code=head.status, media_type=media_type, headers=headers)


def refuse_store(request: Request[Any, Any, Any], _: StoreUnavailable) -> Response[Any]:
    """Answer a call during which Redis did not answer."""
    built = build_refusal(Reason.STORE_UNAVAILABLE, None, getattr(request.state, "request_id", ""), retry_after=1)
    return refuse_access(request, AccessRefused(built))


def warn_of_loss(request: Request[Any, Any, Any], error: NotKept) -> Response[Any]:
    """Answer a change that was made but may be undone. Repeating the call waits again."""
    problem = Problem(title="Service Unavailable", status=503, code="not_kept", detail=str(error))
    return _refuse(request, problem, {"Retry-After": "1"})


def refuse_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Answer a mistake that Litestar found: invalid content, a missing field, or too much content."""
    status = error.status_code
    if status >= 500:
        return refuse_mistake(request, error)
    extra = error.extra if isinstance(error.extra, list) else []
    errors = [FieldMistake(str(one.get("message", "")), str(one.get("key", ""))) for one in extra]
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        code=CODES.get(status, "invalid"),
        detail="The request is invalid; `errors` names the fields." if status == 400 else HTTPStatus(status).phrase,
        errors=errors,
    )
    return _refuse(request, problem, error.headers)


def refuse_mistake(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Answer an internal error: the log has the details, the answer has none."""
    logger.error("%s %s: internal error", request.method, request.url.path, exc_info=error)
    return _refuse(request, Problem(title="Internal Server Error", status=500, code="internal_error"))


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    AccessRefused: refuse_access,
    CallRefused: refuse_call,
    ChangeRefused: refuse_change,
    NotKept: warn_of_loss,
    StoreUnavailable: refuse_store,
    HTTPException: refuse_http,
    Exception: refuse_mistake,
}

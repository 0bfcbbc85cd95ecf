"""Refusals as exceptions of Litestar, for the app's exception handlers, hooks, logging and CORS.

A handler of the app for one of Litestar's classes, or for the status, is used first. If there is none, the client gets
the policy's answer.
"""

from typing import Any, cast

from litestar import Litestar, Request
from litestar import Response as LitestarResponse
from litestar.exceptions import (
    ClientException,
    HTTPException,
    InternalServerException,
    NotAuthorizedException,
    PermissionDeniedException,
    ServiceUnavailableException,
    TooManyRequestsException,
)
from litestar.response.base import ASGIResponse

from gateway.core.http.messages import Response
from gateway.core.http.problems import PROBLEMS, code_of
from gateway.core.http.reasons import Reason


class GatewayRefusal:
    """The base of the gateway's exceptions.

    It is the last of their bases, so that handlers of the app for any other of these are found before the gateway's
    own.
    """

    reason: Reason
    """Why the request is refused: a code of docs/reference/errors.md. It is for the app: clients learn less."""
    response: Response
    """The policy's answer."""


class TokenNotAuthorized(NotAuthorizedException, GatewayRefusal):
    """401: there is no token, or it is not valid; `headers` have the challenge."""


class TokenPermissionDenied(PermissionDeniedException, GatewayRefusal):
    """403: the token, its plan or its owner is not allowed to."""


class TokenTooManyRequests(TooManyRequestsException, GatewayRefusal):
    """429: a quota is used up; `headers` have Retry-After and the RateLimit fields."""


class GatewayUnavailable(ServiceUnavailableException, GatewayRefusal):
    """503: Redis does not answer, so no request can be admitted."""


class RequestRefused(ClientException, GatewayRefusal):
    """Any other 4xx, such as a path that could be read in two ways, or two credentials in one request."""


class GatewayFailed(InternalServerException, GatewayRefusal):
    """Any other 5xx."""


BY_STATUS: dict[int, type[HTTPException]] = {
    401: TokenNotAuthorized,
    403: TokenPermissionDenied,
    429: TokenTooManyRequests,
    503: GatewayUnavailable,
}


def build_exception(response: Response) -> HTTPException:
    """Build the exception of a refusal. Fields of one name become one header: they are lists (RFC 9110 5.3)."""
    head, reason = response.head, response.refused or Reason.INTERNAL_ERROR
    headers: dict[str, str] = {}
    for name, value in head.fields:
        if name not in (b"content-length", b"content-type", b"date"):
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
    kind = BY_STATUS.get(head.status, RequestRefused if head.status < 500 else GatewayFailed)
    exception = kind(
        detail=PROBLEMS[reason].detail, status_code=head.status, headers=headers, extra={"code": code_of(reason)}
    )
    refusal = cast(GatewayRefusal, exception)
    refusal.reason, refusal.response = reason, response
    return exception


class PolicyAnswer(LitestarResponse[bytes]):
    """The policy's answer, to the byte: several fields of one name stay several."""

    def __init__(self, response: Response) -> None:
        super().__init__(cast(bytes, response.content), status_code=response.head.status)
        self._fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.head.fields]

    def to_asgi_response(self, app: Litestar | None, request: Request[Any, Any, Any], **_: Any) -> ASGIResponse:
        """Return the answer as ASGI messages send it."""
        is_head = request.method == "HEAD"
        body = b"" if is_head else self.content
        return ASGIResponse(body=body, headers=self._fields, status_code=self.status_code, is_head_response=is_head)


def answer_refusal(_: Request[Any, Any, Any], refusal: Any) -> PolicyAnswer:
    """Answer a refusal as the policy does: the exception handler if the app has none."""
    return PolicyAnswer(refusal.response)

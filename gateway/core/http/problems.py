"""Turn reasons into answers: the only place that gives a reason its status, challenge and content.

Content is problem details (RFC 9457), or what the policy's `[errors]` has for the reason or the status. To the client
all token reasons read `invalid_token`: which one it was is in the access log, for the operator. Only the detail can say
more, to the bearer of a token that exists (core/admission/refusals.py).
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.core.http.fields import build_challenge
from gateway.core.http.messages import Field, Response, ResponseHead
from gateway.core.http.reasons import Reason
from gateway.core.policies.model import CredentialSource, Policy, Scheme
from gateway.core.variants.model import OptionMistake

_REGISTRY = "https://iana.org/assignments/http-problem-types#"
_JSON = b"application/json"
DETAIL = b"{detail}"
"""Placeholder in a text of a policy's `[errors]`: the detail of this occurrence replaces it."""
PROBLEM_JSON = b"application/problem+json"


class Problem(msgspec.Struct, frozen=True):
    """The answer to one reason. `challenge` is the error code of RFC 6750 3.1; None means that no challenge is sent."""

    status: int
    title: str
    detail: str
    type: str = "about:blank"
    challenge: str | None = None


_NOT_DESCRIBING = re.compile(r"[^ !#-\[\]-~]")
"""The characters that an `error_description` cannot have (RFC 6750 3)."""
_UNAUTHORIZED = "Unauthorized"
_INVALID_TOKEN = Problem(401, _UNAUTHORIZED, "The token is not valid.", challenge="invalid_token")
_REDUCED_CAPACITY = "Temporarily Reduced Capacity"
_FORBIDDEN = Problem(403, "Forbidden", "The token may not do this.", challenge="insufficient_scope")

PROBLEMS: Mapping[Reason, Problem] = {
    Reason.MALFORMED_REQUEST: Problem(400, "Bad Request", "Malformed HTTP request."),
    Reason.UNKNOWN_VERSION: Problem(505, "HTTP Version Not Supported", "The server supports HTTP/1.1 and HTTP/1.0."),
    Reason.HEAD_TOO_LARGE: Problem(
        431, "Request Header Fields Too Large", "The request's header fields are too large, or there are too many."
    ),
    Reason.REQUEST_TIMEOUT: Problem(408, "Request Timeout", "The request did not arrive in time."),
    Reason.MALFORMED_TARGET: Problem(
        400, "Bad Request", "The path or the Host field is malformed or ambiguous, as a path with an encoded slash is."
    ),
    Reason.TARGET_TOO_LONG: Problem(414, "URI Too Long", "The request target is too long."),
    Reason.CLIENT_GONE: Problem(
        499, "Client Closed Request", "The client closed the connection before it got an answer."
    ),
    Reason.UNSUPPORTED: Problem(501, "Not Implemented", "The gateway does not support this method or transfer coding."),
    Reason.OVERLOADED: Problem(
        503,
        _REDUCED_CAPACITY,
        "The gateway is at capacity; retry later.",
        type=_REGISTRY + "temporary-reduced-capacity",
    ),
    Reason.MISSING_ORIGINAL: Problem(
        400, "Bad Request", "The proxy must name the original request completely, with each field once."
    ),
    Reason.UNTRUSTED_PROXY: Problem(
        403, "Forbidden", "Only proxies that GATEWAY_TRUSTED_PROXIES names may use this address."
    ),
    Reason.EXCHANGE_REFUSED: Problem(400, "Bad Request", "The token exchange was refused."),
    Reason.NO_MATCHING_RULE: Problem(404, "Not Found", "No rule matches this host, method and path."),
    Reason.MISSING_CREDENTIALS: Problem(401, _UNAUTHORIZED, "The request needs a token.", challenge=""),
    Reason.MALFORMED_CREDENTIALS: _INVALID_TOKEN,
    Reason.AMBIGUOUS_CREDENTIALS: Problem(
        400, "Bad Request", "The request has more than one credential; send one.", challenge="invalid_request"
    ),
    Reason.TOO_MANY_FAILURES: Problem(
        429,
        "Abnormal Usage Detected",
        "This address sent too many invalid credentials; retry later.",
        type=_REGISTRY + "abnormal-usage-detected",
    ),
    Reason.UNKNOWN_TOKEN: _INVALID_TOKEN,
    Reason.REVOKED_TOKEN: _INVALID_TOKEN,
    Reason.PARENT_ENDED: _INVALID_TOKEN,
    Reason.DISABLED_TOKEN: _INVALID_TOKEN,
    Reason.NOT_YET_VALID_TOKEN: _INVALID_TOKEN,
    Reason.EXPIRED_TOKEN: _INVALID_TOKEN,
    Reason.OWNER_BLOCKED: msgspec.structs.replace(_FORBIDDEN, detail="The token's owner is not active."),
    Reason.OTHER_PROJECT: msgspec.structs.replace(_FORBIDDEN, detail="The token is not for this project."),
    Reason.INSUFFICIENT_SCOPE: _FORBIDDEN,
    Reason.INSUFFICIENT_PLAN: msgspec.structs.replace(_FORBIDDEN, detail="The token's plan does not include this."),
    Reason.INVALID_OPTION: Problem(400, "Bad Request", "The request has an option that this rule does not offer."),
    Reason.PRECONDITION_FAILED: Problem(
        412, "Precondition Failed", "The current representation does not match If-Match or If-Unmodified-Since."
    ),
    Reason.QUOTA_EXCEEDED: Problem(
        429, "Quota Exceeded", "The quota is exceeded; retry later.", type=_REGISTRY + "quota-exceeded"
    ),
    Reason.STORE_UNAVAILABLE: Problem(
        503,
        _REDUCED_CAPACITY,
        "The gateway cannot check tokens at the moment; retry later.",
        type=_REGISTRY + "temporary-reduced-capacity",
    ),
    Reason.NOT_STORED: Problem(
        504, "Gateway Timeout", "The request allows only a stored response (only-if-cached), and none is stored."
    ),
    Reason.UPSTREAM_UNREACHABLE: Problem(502, "Bad Gateway", "The backend cannot be reached."),
    Reason.UPSTREAM_BUSY: Problem(
        503,
        _REDUCED_CAPACITY,
        "The backend is at capacity; retry later.",
        type=_REGISTRY + "temporary-reduced-capacity",
    ),
    Reason.UPSTREAM_TIMEOUT: Problem(504, "Gateway Timeout", "The backend did not answer in time."),
    Reason.UPSTREAM_BROKEN: Problem(502, "Bad Gateway", "The backend sent an invalid response."),
    Reason.LOOP_DETECTED: Problem(508, "Loop Detected", "The backend of this policy is this gateway itself."),
    Reason.BROKEN_DOCUMENT: Problem(502, "Bad Gateway", "The backend's document is invalid."),
    Reason.STOPPED: Problem(503, "Service Unavailable", "The gateway stopped before it could answer."),
    Reason.INTERNAL_ERROR: Problem(500, "Internal Server Error", "Internal error."),
}


def code_of(reason: Reason) -> str:
    """Return the code that a client gets: the same one for every token that is not valid."""
    return str(reason) if PROBLEMS[reason] is not _INVALID_TOKEN else "invalid_token"


def build_refusal(
    reason: Reason,
    policy: Policy | None,
    request_id: str,
    *,
    required_scopes: tuple[str, ...] = (),
    retry_after: int | None = None,
    violated_policies: tuple[str, ...] = (),
    lacking: str = "",
    detail: str = "",
    mistakes: tuple[OptionMistake, ...] = (),
) -> Response:
    """Build the answer for a reason; `policy` is None if none was matched, `retry_after` is in seconds.

    `lacking` names what a proxy leaves out (core/http/forward_auth.py), `detail` describes this occurrence, and
    `mistakes` are those of the request's options.
    """
    problem = PROBLEMS[reason]
    if detail:
        problem = msgspec.structs.replace(problem, detail=detail)
    fields: list[Field] = [(b"cache-control", b"no-store")]
    if problem.challenge is not None and policy is not None:
        fields += _build_challenges(problem, policy, required_scopes)
    if retry_after is not None:
        fields.append((b"retry-after", b"%d" % retry_after))
    error_format = _find_error_format(reason, problem, policy)
    extensions: dict[str, Any] = {"code": code_of(reason)}
    if required_scopes and problem.status == 403:
        extensions["required_scopes"] = required_scopes
    if violated_policies:
        extensions["violated-policies"] = violated_policies
    if lacking:
        extensions["lacking"] = lacking
    if mistakes:
        extensions["errors"] = mistakes
    content = (
        _fill(error_format, problem.detail, mistakes)
        if error_format
        else _encode_problem(problem, request_id, extensions)
    )
    fields.append((b"content-type", _JSON if error_format else PROBLEM_JSON))
    fields.append((b"content-length", b"%d" % len(content)))
    return Response(ResponseHead(problem.status, fields), content, refused=reason)


def _build_challenges(problem: Problem, policy: Policy, required_scopes: tuple[str, ...]) -> list[Field]:
    """Build one challenge for each way in which the policy takes a credential (RFC 9110 11.6.1 wants one on every 401).

    If there was no credential, there is no error code (RFC 6750 3).
    """
    parameters: dict[str, str] = {}
    if problem.challenge:
        parameters = {"error": problem.challenge, "error_description": _NOT_DESCRIBING.sub("?", problem.detail)}
    if problem.status == 403 and required_scopes:
        parameters["scope"] = " ".join(required_scopes)
    return [(b"www-authenticate", _build_challenge(source, policy.name, parameters)) for source in policy.credentials]


def _build_challenge(source: CredentialSource, realm: str, parameters: Mapping[str, str]) -> bytes:
    match source.scheme:
        case Scheme.BEARER:
            return build_challenge("Bearer", {"realm": realm, **parameters})
        case Scheme.BASIC:  # RFC 7617 2.1; it knows no errors
            return build_challenge("Basic", {"realm": realm, "charset": "UTF-8"})
        case Scheme.BARE:
            return build_challenge("ApiKey", {"realm": realm, "header": source.field.decode(), **parameters})


def _find_error_format(reason: Reason, problem: Problem, policy: Policy | None) -> bytes | None:
    if policy is None:
        return None
    return policy.errors.get(reason) or policy.errors.get(str(problem.status))


def _fill(error_format: bytes, detail: str, mistakes: tuple[OptionMistake, ...]) -> bytes:
    """Return the content of an error format with the detail filled in.

    Without a placeholder, mistakes become a member `errors`. So a client that asks for an option which is not offered
    learns what is, in every format.
    """
    if DETAIL in error_format:
        return error_format.replace(DETAIL, msgspec.json.encode(detail)[1:-1])
    return msgspec.json.encode({**msgspec.json.decode(error_format), "errors": mistakes}) if mistakes else error_format


def _encode_problem(problem: Problem, request_id: str, extensions: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(
        {
            "type": problem.type,
            "title": problem.title,
            "status": problem.status,
            "detail": problem.detail,
            **extensions,
            "request_id": request_id,
        }
    )

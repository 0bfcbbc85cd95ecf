"""The request of a token exchange and its answers (RFC 8693 2, RFC 6749 5.2)."""

from collections.abc import Mapping
from urllib.parse import parse_qsl

import msgspec

from gateway.core.http.messages import Response, ResponseHead

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
SUBJECT_TYPES = frozenset({"urn:ietf:params:oauth:token-type:id_token", "urn:ietf:params:oauth:token-type:jwt"})
FORM = b"application/x-www-form-urlencoded"
MAXIMUM_CONTENT_BYTES = 32 * 1024
"""ID tokens are between 1 and 4 KiB."""
MAXIMUM_FIELDS = 32
PARAMETERS = frozenset(
    {
        "grant_type",
        "subject_token",
        "subject_token_type",
        "requested_token_type",
        "audience",
        "resource",
        "scope",
        "actor_token",
        "actor_token_type",
    }
)
"""Others are ignored (RFC 6749 3.2)."""


class ExchangeRefused(msgspec.Struct, frozen=True):
    """An answer that is no token: the error code of RFC 6749 5.2 or RFC 8693 2.2.2, and a sentence."""

    error: str
    description: str
    status: int = 400
    retry_after: int | None = None
    is_guess: bool = False
    """Whether nobody whom the policies trust has signed the ID token."""


class ExchangeRequest(msgspec.Struct, frozen=True):
    """What a job asks for."""

    subject_token: str
    policy: str = ""
    """The `audience`: the policy whose token it wants; empty for any of the host."""
    scopes: tuple[str, ...] = ()
    """Fewer scopes than the trust grants; empty for all of them."""

    def __repr__(self) -> str:
        return f"ExchangeRequest(policy={self.policy!r}, scopes={self.scopes!r})"


class ExchangeAnswer(msgspec.Struct, frozen=True):
    """The answer of RFC 8693 2.2.1."""

    access_token: str
    expires_in: int
    scope: str
    issued_token_type: str = ACCESS_TOKEN
    token_type: str = "Bearer"

    def __repr__(self) -> str:
        return f"ExchangeAnswer(expires_in={self.expires_in}, scope={self.scope!r})"


def parse_exchange(content_type: bytes, content: bytes) -> ExchangeRequest | ExchangeRefused:
    """Return what is asked for, or what is wrong with the request."""
    if content_type.partition(b";")[0].strip().lower() != FORM:
        return _invalid(f"The content is {FORM.decode()}.")
    try:
        pairs = parse_qsl(content.decode("ascii"), keep_blank_values=True, max_num_fields=MAXIMUM_FIELDS)
    except ValueError:  # also UnicodeDecodeError
        return _invalid("The content is no form that can be read.")
    form = {name: value for name, value in pairs if value and name in PARAMETERS}
    repeated = sorted(name for name in form if len([one for one, _ in pairs if one == name]) > 1)
    if repeated:
        return _invalid(f"{repeated[0]} is there more than once.")
    return _find_mistake(form) or ExchangeRequest(
        form["subject_token"], form.get("audience", ""), tuple(form.get("scope", "").split())
    )


def _find_mistake(form: Mapping[str, str]) -> ExchangeRefused | None:
    if "grant_type" not in form:
        return _invalid("grant_type is missing.")
    if form["grant_type"] != GRANT_TYPE:
        return ExchangeRefused("unsupported_grant_type", f"grant_type is {GRANT_TYPE}.")
    if "subject_token" not in form:
        return _invalid("subject_token is missing: the ID token of the job.")
    if form.get("subject_token_type") not in SUBJECT_TYPES:
        return _invalid(f"subject_token_type is one of {', '.join(sorted(SUBJECT_TYPES))}.")
    if form.get("requested_token_type", ACCESS_TOKEN) != ACCESS_TOKEN:
        return _invalid(f"requested_token_type is {ACCESS_TOKEN}, or absent.")
    if "actor_token" in form or "actor_token_type" in form:
        return _invalid("The gateway takes no actor_token.")
    if "resource" in form:
        return ExchangeRefused(
            "invalid_target", "The gateway knows no resource: leave it out, or name a policy as audience."
        )
    return None


def _invalid(description: str) -> ExchangeRefused:
    return ExchangeRefused("invalid_request", description)


def build_answer(answer: ExchangeAnswer | ExchangeRefused) -> Response:
    """Build the response; no cache may keep it."""
    if isinstance(answer, ExchangeAnswer):
        return _build(200, msgspec.json.encode(answer))
    content = msgspec.json.encode({"error": answer.error, "error_description": answer.description})
    return _build(answer.status, content, answer.retry_after)


def _build(status: int, content: bytes, retry_after: int | None = None) -> Response:
    fields = [
        (b"cache-control", b"no-store"),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(content)),
    ]
    if retry_after is not None:
        fields.append((b"retry-after", b"%d" % retry_after))
    return Response(ResponseHead(status, fields), content)

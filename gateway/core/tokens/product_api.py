"""Tokens under a product's own paths: what a client asks for and gets there, in the product's words.

Rule 1: a token manages tokens of the same policy and the same project (of the same owner, if the policy binds to
owners). Any other token does not exist here.
Rule 2: nobody grants what it does not have: added scopes are among the effective ones of the token that asks, and a new
expiry is not after its own. A new token has the owner and the plan of that token.
Rule 3: a child creates and changes no tokens: they would outlive its parent.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import msgspec

from gateway.core.errors import ChangeRefused, NotGrantable
from gateway.core.http.fields import build_timestamp
from gateway.core.http.messages import Response, ResponseHead
from gateway.core.http.problems import DETAIL, PROBLEM_JSON
from gateway.core.policies.model import CLIENT_FIELDS, STATUSES, Policy, TokenApiMapping
from gateway.core.policies.reading import unknown_name
from gateway.core.tokens.changes import TokenChange, TokenRequest, TokenState
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.scopes import implied_by
from gateway.core.tokens.text import BYTE_ORDER_MARK
from gateway.core.tokens.views import TokenView

MAXIMUM_CONTENT_BYTES = 64 * 1024
"""The most content of a call: a name, a description and some scopes."""
JSON = b"application/json"


def parse_token_fields(mapping: TokenApiMapping, content: bytes) -> dict[str, Any]:
    """Return what the content asks for, under our names. Raise ChangeRefused if it is no such call."""
    try:
        asked = msgspec.json.decode(content.removeprefix(BYTE_ORDER_MARK))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ChangeRefused("the content is not JSON") from error
    if not isinstance(asked, dict):
        raise ChangeRefused("the content is not a JSON object")
    own = {theirs: ours for ours, theirs in mapping.fields.items() if ours in CLIENT_FIELDS}
    for name in asked:
        if name not in own:
            raise ChangeRefused(unknown_name("field", name[:64], own))
    return {own[name]: _read_value(mapping, own[name], value) for name, value in asked.items()}


def build_request(
    policy: Policy, asker: TokenRecord, held: str, project: str, asked: Mapping[str, Any]
) -> TokenRequest:
    """Build the request of a new token. `held` are the effective scopes of the token that asks, and the default.

    Raise NotGrantable for what that token cannot grant, and ChangeRefused for what a new token cannot have.
    """
    refuse_child(asker)
    _check_new(policy, asked)
    scopes = asked.get("scopes", tuple(policy.unasked_scopes(held.split())))
    if not scopes:
        raise NotGrantable("there is no scope to give")
    _check_given(policy, held, scopes)
    ends = asked.get("expires_at", asker.expires_at)
    _check_end(asker, ends)
    return TokenRequest(
        name=asked["name"],
        description=asked.get("description", ""),
        project=project,
        owner=asker.owner,
        plan=asker.plan,
        scopes=scopes,
        not_before=asked.get("not_before"),
        expires_at=ends,
    )


def build_child_request(policy: Policy, asked: Mapping[str, Any]) -> TokenRequest:
    """Build the request of a child of the token that asks; without scopes it gets all that its parent may grant."""
    _check_new(policy, asked)
    return TokenRequest(**asked)


def build_change(
    policy: Policy, asker: TokenRecord, held: str, record: TokenRecord, asked: Mapping[str, Any]
) -> TokenChange:
    """Build a change of a token. Raise NotGrantable if the token that asks does not hold an added scope."""
    refuse_child(asker)
    if "scopes" in asked:
        _check_given(policy, held, [scope for scope in asked["scopes"] if not _holds(policy, record.scopes, scope)])
    if "expires_at" in asked and asked["expires_at"] != record.expires_at:
        _check_end(asker, asked["expires_at"])
    return TokenChange(**asked)


def may_manage(policy: Policy, asker: TokenRecord, project: str, view: TokenView) -> bool:
    """Return whether the token that asks may manage this one (rule 1); a revoked token does not exist here."""
    record = view.record
    if record.policy != policy.name or view.state is TokenState.REVOKED:
        return False
    if policy.bound_to == "project":
        return record.project == project
    return record.owner == asker.owner and asker.project in ("", record.project)


def build_token(mapping: TokenApiMapping, view: TokenView, text: str = "") -> dict[str, Any]:
    """Build the JSON of a token in the product's words, with its `text` if it was just created."""
    told = {theirs: _TELL[ours](view) for ours, theirs in mapping.fields.items() if ours in _TELL}
    for ours in mapping.integers:
        value = told.get(mapping.fields.get(ours, ""))
        if isinstance(value, str) and value.isdecimal() and value.isascii():
            told[mapping.fields[ours]] = int(value)
    if text and "token" in mapping.fields:
        told[mapping.fields["token"]] = text
    return told


def build_answer(status: int, value: object) -> Response:
    """Build an answer that no cache may store; None means no content."""
    content = b"" if value is None else msgspec.json.encode(value)
    fields = [(b"cache-control", b"no-store")]
    if value is not None:
        fields += [(b"content-type", JSON), (b"content-length", b"%d" % len(content))]
    return Response(ResponseHead(status, fields), content)


def refuse(policy: Policy, refused: ChangeRefused, request_id: str) -> Response:
    """Build the answer to a refused change: the product's own, or its `[errors]` for the status, or problem details."""
    refusal = policy.management.refusals.get(refused.code)
    status = refusal.status if refusal else STATUSES.get(refused.code, 400)
    error_format = refusal.content if refusal else policy.errors.get(str(status))
    detail = str(refused)
    if error_format is not None:
        content, kind = error_format.replace(DETAIL, msgspec.json.encode(detail)[1:-1]), JSON
    else:
        problem = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
        content = msgspec.json.encode({**problem, "code": refused.code, "request_id": request_id})
        kind = PROBLEM_JSON
    fields = [
        (b"cache-control", b"no-store"),
        (b"content-type", kind),
        (b"content-length", b"%d" % len(content)),
    ]
    return Response(ResponseHead(status, fields), content)


def _read_value(mapping: TokenApiMapping, field: str, value: object) -> Any:
    if field in ("not_before", "expires_at"):
        return None if value is None else _read_time(mapping.fields[field], value)
    if field == "description" and value is None:
        return ""
    kind = _KINDS[field]
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ChangeRefused(f"{mapping.fields[field]}: {error}") from error


def _read_time(name: str, value: object) -> int:
    """Return Unix seconds of an ISO 8601 time; one without an offset is in UTC, a date means its beginning.

    Raise ChangeRefused for any other value.
    """
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        if time is not None:
            return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        pass
    raise ChangeRefused(f"{name}: write an ISO 8601 time, such as 2027-01-31T00:00:00Z")


def _check_new(policy: Policy, asked: Mapping[str, Any]) -> None:
    if "name" not in asked:
        raise ChangeRefused(f"{policy.management.fields.get('name', 'name')} is missing")
    if "is_active" in asked:
        raise ChangeRefused("a new token is active")
    if asked.get("scopes", ("",)) == ():
        raise ChangeRefused("name a scope, or none of them for all that can be given")


def _check_given(policy: Policy, held: str, scopes: Any) -> None:
    for scope in scopes:
        if scope in policy.scope_names and not _holds(policy, held, scope):
            raise NotGrantable(f"who asks does not hold {scope!r}")


def _check_end(asker: TokenRecord, ends: int | None) -> None:
    latest = asker.expires_at
    if latest is not None and (ends is None or ends > latest):
        raise NotGrantable(f"who asks ends {_time(latest)}: what it makes ends no later")


def _holds(policy: Policy, held: str, scope: str) -> bool:
    """Return whether the scope is among those held, or implied by one; an unknown scope is refused elsewhere."""
    own = policy.scope_names.get(scope, scope)
    return any(own in implied_by(policy.scope_names.get(one, one), policy.scopes) for one in held.split())


def refuse_child(asker: TokenRecord) -> None:
    """Raise NotGrantable if the token that asks is a child (rule 3)."""
    if asker.parent:
        raise NotGrantable("a child token makes and changes no tokens")


def _time(seconds: int | None) -> str | None:
    return None if seconds is None else build_timestamp(seconds).decode()


_KINDS: Mapping[str, Any] = {"name": str, "description": str, "is_active": bool, "scopes": tuple[str, ...]}

_TELL: Mapping[str, Callable[[TokenView], Any]] = {
    "id": lambda view: view.number or view.identity,
    "name": lambda view: view.record.name,
    "description": lambda view: view.record.description or None,
    "shown": lambda view: view.record.shown,
    "state": lambda view: view.state,
    "is_active": lambda view: view.record.is_active,
    "project": lambda view: view.record.project or None,
    "owner": lambda view: view.record.owner or None,
    "plan": lambda view: view.record.plan or None,
    "scopes": lambda view: view.record.scopes.split(),
    "created_at": lambda view: _time(view.record.created_at),
    "updated_at": lambda view: _time(view.record.updated_at or view.record.created_at),
    "last_used_at": lambda view: _time(view.last_use),
    "not_before": lambda view: _time(view.record.not_before),
    "expires_at": lambda view: _time(view.record.expires_at),
}

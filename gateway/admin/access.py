"""Who calls the management API: an admin token, checked as tokens of proxied requests are, in one round trip.

What calls say, read strictly: Litestar would take a number for a time, and pass over what it does not know.

What handlers are given by their name: see api.py, which provides it.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeAlias, cast

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.exceptions import ValidationException
from litestar.handlers.base import BaseRouteHandler
from litestar.params import QueryParameter
from litestar.types import HTTPScope
from litestar.typing import FieldDefinition
from msgspec.structs import replace

from gateway.adapters.admin_ports import Usage
from gateway.adapters.ports import Admissions, Exports, FailedCredentials
from gateway.core.admission.decision import FAILED_CREDENTIALS, Asked, Deny, decide
from gateway.core.http.client_address import TrustedProxies
from gateway.core.http.messages import RequestHead, Response
from gateway.core.http.problems import build_refusal
from gateway.core.http.reasons import Reason
from gateway.core.masking import Masking
from gateway.core.tokens.admin_tokens import ADMIN, INTROSPECT, READ, RULES, WRITE
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.credentials import find_credential
from gateway.core.tokens.text import BYTE_ORDER_MARK, digest
from gateway.management import Management
from gateway.server.asgi import read_scope
from gateway.server.requests import accept

SCOPE = "scope"
"""An option of each handler of the API and of each page: what an admin token must hold for it; "" if it takes none."""
READING, WRITING, INTROSPECTING, OPEN = {SCOPE: READ}, {SCOPE: WRITE}, {SCOPE: INTROSPECT}, {SCOPE: ""}
REALM = replace(ADMIN, name="gateway")
"""What a challenge is for."""


class AccessRefused(Exception):
    """The call may not be made; `response` says why."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.head.status)
        self.response = response


class Access:
    """The guard of all handlers. What it finds is in the connection's state: `request_id`, `actor`, `address`, `mask`.

    `masking` gives that of the policies of the moment: no refusal repeats what looks like a token.
    """

    def __init__(
        self,
        admissions: Admissions,
        failures: FailedCredentials | None,
        pepper: bytes,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        trusted: TrustedProxies,
        masking: Callable[[], Masking],
    ) -> None:
        self._masking = masking
        self._admissions = admissions
        self._failures = failures
        self._pepper = pepper
        self._clock = clock
        self._new_id = new_id
        self._trusted = trusted

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        """AccessRefused where the call may not be made."""
        received, masking = read_scope(cast(HTTPScope, connection.scope)), self._masking()
        request = accept(received, self._clock(), self._new_id(), self._trusted, masking)
        if request.fault is not None:
            raise AccessRefused(build_refusal(request.fault, None, request.id))
        connection.state.mask = masking.mask
        connection.state.request_id, connection.state.address = request.id, request.client
        if request.method == "OPTIONS":  # what a path allows is no secret: the document says it to anybody
            return
        scope: str = handler.opt[SCOPE]
        if scope:
            connection.state.actor = await self._identify(request, scope)

    async def _identify(self, request: RequestHead, scope: str) -> Actor:
        credential = find_credential(request.fields, ADMIN)
        if credential is Reason.MISSING_CREDENTIALS:
            raise self._refuse(request, credential)
        blocked_for = self._failures.retry_after(request.client) if self._failures else None
        if blocked_for is not None:  # before it is known whether the credential would have been good
            raise self._refuse(request, Reason.TOO_MANY_FAILURES, blocked_for)
        if isinstance(credential, Reason):
            self._note_guess(request, credential)
            raise self._refuse(request, credential)
        rule = RULES[scope]
        facts = await self._admissions.admit(Asked(rule, digest(credential, self._pepper)))
        verdict = decide(rule, facts)
        if isinstance(verdict, Deny) or verdict.record is None:
            reason = verdict.reason if isinstance(verdict, Deny) else Reason.UNKNOWN_TOKEN
            if not facts.exists:
                self._note_guess(request, reason)
            raise self._refuse(request, reason, scope=scope)
        return Actor(verdict.record.name, "admin", verdict.record.identity, request.client)

    def _note_guess(self, request: RequestHead, reason: Reason) -> None:
        if self._failures is not None and reason in FAILED_CREDENTIALS:
            self._failures.note(request.client)

    def _refuse(
        self, request: RequestHead, reason: Reason, retry_after: int | None = None, scope: str = ""
    ) -> AccessRefused:
        required = (scope,) if reason is Reason.INSUFFICIENT_SCOPE else ()
        response = build_refusal(reason, REALM, request.id, retry_after=retry_after, required_scopes=required)
        return AccessRefused(response)


_PLACE = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")


def check_query(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """ValidationException where the query has a parameter that is none, or no time where one belongs.

    A slip would widen what is meant.
    """
    declared = {name: field.kwarg_definition for name, field in handler.parsed_fn_signature.parameters.items()}
    known = {one.name or name: name for name, one in declared.items() if isinstance(one, QueryParameter)}
    fields = handler.parsed_fn_signature.parameters
    mistakes = [
        {"message": mistake, "key": name}
        for name, value in connection.query_params.multi_items()
        if (mistake := _mistake_in(fields.get(known.get(name, "")), value))
    ]
    if mistakes:
        raise ValidationException(extra=mistakes)


def _mistake_in(field: FieldDefinition | None, value: str) -> str:
    if field is None:
        return "there is no such parameter"
    if field.has_inner_subclass_of(datetime):
        try:
            msgspec.convert(value, field.annotation)
        except msgspec.ValidationError as error:
            return str(error)
    return ""


class StrictRequest(Request[Any, Any, Any]):
    """A request whose JSON is of the type that its handler declares, or none of any use."""

    async def json(self) -> Any:
        """The handler's `data`; ValidationException says what is wrong with it."""
        kind = self.route_handler.parsed_fn_signature.parameters["data"].annotation
        try:
            return msgspec.json.decode((await self.body()).removeprefix(BYTE_ORDER_MARK), type=kind)
        except msgspec.ValidationError as error:
            place = _PLACE.search(str(error))
            mistake = {"message": _PLACE.sub("", str(error)), "key": place[1] if place else ""}
            raise ValidationException(extra=[mistake]) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValidationException(extra=[{"message": "the content is not JSON"}]) from error


Managing: TypeAlias = NamedDependency[Management]
Exporting: TypeAlias = NamedDependency[Exports]
Counting: TypeAlias = NamedDependency[Usage]
Caller: TypeAlias = NamedDependency[Actor]
"""The admin token that the call presents."""

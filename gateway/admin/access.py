"""Access to the management API: an admin token, checked as tokens of proxied requests are, in one round trip.

Calls are read strictly: Litestar would accept a number as a time, and ignore what it does not know. api.py provides the
named dependencies of handlers.
"""

import re
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
from gateway.adapters.ports import Admissions, Exports
from gateway.core.admission.decision import AdmissionRequest, Refused, decide
from gateway.core.http.messages import RequestHead, Response
from gateway.core.http.problems import build_refusal
from gateway.core.http.reasons import Reason
from gateway.core.tokens.admin_tokens import ADMIN, INTROSPECT, READ, RULES, WRITE
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.text import BYTE_ORDER_MARK
from gateway.management import Management
from gateway.pipeline.authenticator import Authenticator
from gateway.server.asgi import read_scope
from gateway.server.requests import RequestAcceptor

SCOPE = "scope"
"""The option of each handler and page that names the scope which an admin token must have; "" if it needs no token."""
READING, WRITING, INTROSPECTING, OPEN = {SCOPE: READ}, {SCOPE: WRITE}, {SCOPE: INTROSPECT}, {SCOPE: ""}
REALM = replace(ADMIN, name="gateway")
"""The policy whose name is the realm of a challenge."""


class AccessRefused(Exception):
    """The call is not allowed; `response` says why."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.head.status)
        self.response = response


class Access:
    """The guard of all handlers. It sets `request_id`, `actor`, `address` and `mask` in the connection's state."""

    def __init__(self, admissions: Admissions, authenticator: Authenticator, acceptor: RequestAcceptor) -> None:
        self._admissions = admissions
        self._authenticator = authenticator
        self._acceptor = acceptor

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        """Raise AccessRefused if the call is not allowed."""
        request = self._acceptor.accept(read_scope(cast(HTTPScope, connection.scope)))
        if request.fault is not None:
            raise AccessRefused(build_refusal(request.fault, None, request.id))
        connection.state.mask = self._acceptor.policies.current.masking.mask
        connection.state.request_id, connection.state.address = request.id, request.client
        if request.method == "OPTIONS":  # the methods of a path are no secret: the OpenAPI document lists them
            return
        scope: str = handler.opt[SCOPE]
        if scope:
            connection.state.actor = await self._identify(request, scope)

    async def _identify(self, request: RequestHead, scope: str) -> Actor:
        rule = RULES[scope]
        presented = self._authenticator.authenticate(request, rule)
        if isinstance(presented, Refused):
            raise _build_refusal(request, presented)
        facts = await self._admissions.admit(AdmissionRequest(rule, presented))
        verdict, record = decide(facts), facts.record
        if isinstance(verdict, Refused) or record is None:
            refused = Refused(verdict.reason if isinstance(verdict, Refused) else Reason.UNKNOWN_TOKEN, rule)
            raise _build_refusal(request, refused if facts.exists else self._authenticator.refuse(request, refused))
        return Actor(record.name, "admin", record.identity, request.client)


def _build_refusal(request: RequestHead, refused: Refused) -> AccessRefused:
    """Return the exception that ends the call. Only a token without the scope learns which one is needed."""
    required = refused.rule.scopes if refused.rule and refused.reason is Reason.INSUFFICIENT_SCOPE else ()
    lacks = f"The admin token lacks {', '.join(required)}; an operator can create one that has it at the command line."
    refusal = build_refusal(
        refused.reason,
        REALM,
        request.id,
        retry_after=refused.retry_after,
        required_scopes=required,
        detail=lacks if required else "",
    )
    return AccessRefused(refusal)


_PLACE = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")


def check_query(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Raise ValidationException for an unknown parameter in the query, or an invalid time.

    Otherwise a slip would widen what is meant.
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
    """A request whose JSON must have the type that its handler declares."""

    async def json(self) -> Any:
        """Return the handler's `data`. Raise ValidationException that says what is wrong with it."""
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

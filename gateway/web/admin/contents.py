"""What calls say, read strictly: Litestar would take a number for a time, and pass over what it does not know."""

import re
from datetime import datetime
from typing import Any

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.exceptions import ValidationException
from litestar.handlers.base import BaseRouteHandler
from litestar.params import QueryParameter
from litestar.typing import FieldDefinition

from gateway.core.texts import BYTE_ORDER_MARK

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

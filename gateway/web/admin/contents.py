"""What calls say, read strictly: Litestar would take a number for a time, and pass over what it does not know."""

import re
from typing import Any

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.exceptions import ValidationException
from litestar.handlers.base import BaseRouteHandler
from litestar.params import QueryParameter

from gateway.core.texts import BYTE_ORDER_MARK

_PLACE = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")


def check_query(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """ValidationException where the query has a parameter that is none: a slip would widen what is meant."""
    known = _query_names(handler)
    unknown = [name for name in connection.query_params if name not in known]
    if unknown:
        raise ValidationException(extra=[{"message": "there is no such parameter", "key": name} for name in unknown])


def _query_names(handler: BaseRouteHandler) -> set[str]:
    declared = {name: field.kwarg_definition for name, field in handler.parsed_fn_signature.parameters.items()}
    return {one.name or name for name, one in declared.items() if isinstance(one, QueryParameter)}


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

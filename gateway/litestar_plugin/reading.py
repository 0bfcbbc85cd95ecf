"""Find what a handler reads about the client, as far as its signature and code show it.

A stored answer is sent to others, too. If it depends on a cookie, a session or a language, it must say so in Vary, or
must not be in a shared cache.
"""

from collections.abc import Iterator
from typing import Any

from litestar.handlers import HTTPRouteHandler
from litestar.params import CookieParameter, HeaderParameter, ParameterKwarg

ATTRIBUTES = {"cookies": "cookies", "session": "the session"}
"""Attributes of a request that depend on the client, with their names in words."""
LANGUAGE = "accept-language"


def find_reads(handler: HTTPRouteHandler) -> tuple[str, ...]:
    """Return what the handler reads about the client, in words: by its parameters, and by the names in its code."""
    return tuple(dict.fromkeys((*_find_parameters(handler), *_find_in_code(handler))))


def _find_parameters(handler: HTTPRouteHandler) -> Iterator[str]:
    for name, parameter in handler.parsed_fn_signature.parameters.items():
        kwarg = parameter.kwarg_definition
        if isinstance(kwarg, ParameterKwarg):
            own = kwarg.name or name
            cookie = kwarg.cookie or (own if isinstance(kwarg, CookieParameter) else "")
            header = kwarg.header or (own if isinstance(kwarg, HeaderParameter) else "")
            if cookie:
                yield f"the cookie {cookie}"
            if header.lower().replace("_", "-") == LANGUAGE:
                yield "Accept-Language"
        if name == "cookies":
            yield "cookies"


def _find_in_code(handler: HTTPRouteHandler) -> Iterator[str]:
    code: Any = getattr(getattr(handler, "fn", None), "__code__", None)
    if code is None:
        return
    for name in code.co_names:
        if name in ATTRIBUTES:
            yield ATTRIBUTES[name]
    if any(isinstance(one, str) and one.lower() == LANGUAGE for one in code.co_consts):
        yield "Accept-Language"

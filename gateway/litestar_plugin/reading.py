"""What a handler reads of the one who asks, so far as it shows before anybody does.

An answer that is stored is given to others, too. Where it depends on a cookie, a session or a language, it has to say
so in Vary, or belongs under no cache that they share.
"""

from collections.abc import Iterator
from typing import Any

from litestar.handlers import HTTPRouteHandler
from litestar.params import CookieParameter, HeaderParameter, ParameterKwarg

ATTRIBUTES = {"cookies": "cookies", "session": "the session"}
"""Of a request, by what they are."""
LANGUAGE = "accept-language"


def find_reads(handler: HTTPRouteHandler) -> tuple[str, ...]:
    """Return what of the client's own the handler reads, in words: by its parameters, and by the names in its code."""
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

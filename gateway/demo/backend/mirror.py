"""Two routes that show a request as it arrived, and so what a gateway in front of the backend has changed."""

from typing import Any

import msgspec
from litestar import HttpMethod, Request, asgi
from litestar.datastructures import State
from litestar.exceptions import MethodNotAllowedException
from litestar.types import Receive, Scope, Send

from gateway.demo.backend.routing import readable


class ReceivedRequest(msgspec.Struct, frozen=True):
    """A request as it arrived; `fields` in their order, repetitions kept, names in lower case."""

    method: str
    target: str
    fields: list[tuple[str, str]]


@readable("/whoami")
async def show_request(request: Request[Any, Any, State]) -> ReceivedRequest:
    # Litestar's test client leaves the query in raw_path, uvicorn does not.
    path, query = request.scope["raw_path"].partition(b"?")[0], request.scope["query_string"]
    target = path + (b"?" + query if query else b"")
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.scope["headers"]]
    return ReceivedRequest(request.method, target.decode("latin-1"), fields)


@asgi("/echo", copy_scope=False)
async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Echo the content in plain ASGI, because Litestar's `Stream` also calls `receive` and would lose content."""
    if Request[Any, Any, State](scope).method != HttpMethod.POST:
        raise MethodNotAllowedException(headers={"Allow": "POST"})
    fields = [field for field in scope["headers"] if field[0] in {b"content-type", b"content-length"}]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})

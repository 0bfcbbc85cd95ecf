"""A Litestar app of one's own, with the gateway in it: `litestar --app tests.examples.plugin_app:app run`."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

from litestar import Litestar, Request, Response, WebSocket, asgi, get, post, websocket
from litestar.background_tasks import BackgroundTask
from litestar.di import NamedDependency
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath
from litestar.response import ServerSentEvent, Stream
from litestar.types import Receive, Scope, Send

from gateway.plugin import GatewayPlugin, Principal, requires

ENDED: list[int] = []
MADE: Counter[str] = Counter()


@get("/projects/{project:str}/export", guards=[requires("exports:read")])
async def export(project: FromPath[str], principal: NamedDependency[Principal]) -> dict[str, Any]:
    """Asked once a minute, whoever pulls it: the policy's rule has a cache."""
    MADE[project] += 1
    await asyncio.sleep(0.1)
    return {"project": project, "texts": {f"key.{number}": f"text {number}" for number in range(50)}}


@get("/projects/{project:str}/texts", guards=[requires("exports:read")])
async def texts(project: FromPath[str]) -> dict[str, Any]:
    """One document, of which the policy's rule makes every variant."""
    return {"entries": [{"id": "n_1", "key": "greeting", "values": {"de": "Hallo", "en": "Hello"}}]}


@get("/whoami", guards=[requires()])
async def show_principal(principal: NamedDependency[Principal]) -> Principal:
    """Any token will do."""
    return principal


@post("/projects/{project:str}/texts", guards=[requires("texts:write")])
async def change(
    project: FromPath[str], data: dict[str, str], principal: NamedDependency[Principal]
) -> Response[dict[str, Any]]:
    """What is stored of the project ends with it (RFC 9875)."""
    ended = {"Cache-Group-Invalidation": f'"project-{project}"'}
    return Response({"changed": len(data), "by": principal.token_name}, headers=ended)


@get("/ruled")
async def ruled(principal: NamedDependency[Principal]) -> str:
    """Without a guard: a rule of the policy asks for the token."""
    return principal.token_id


@get("/open")
async def open_to_all(principal: NamedDependency[Principal | None], request: Request[Any, Any, Any]) -> str:
    """Neither guard nor rule: the gateway leaves it alone."""
    return request.headers.get("X-Gateway-Owner", "nobody" if principal is None else principal.token_id)


@get("/request", guards=[requires()])
async def show_request(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """What a handler gets to see."""
    return {"url": str(request.url), "fields": [list(field) for field in request.headers.items()]}


@get("/ticks", guards=[requires("exports:read")])
async def ticks() -> Stream:
    """A stream without an end."""

    async def count() -> AsyncIterator[bytes]:
        number = 0
        try:
            while True:
                yield b"tick %d\n" % number
                number += 1
                await asyncio.sleep(0.05)
        finally:
            ENDED.append(number)

    return Stream(count(), media_type="text/plain")


@get("/events", guards=[requires("exports:read")])
async def events() -> ServerSentEvent:
    """One event, and then nothing for ever."""

    async def tell() -> AsyncIterator[str]:
        yield "hello"
        await asyncio.Event().wait()

    return ServerSentEvent(tell())


@get("/projects/{project:str}/events", guards=[requires("exports:read")])
async def project_events(project: FromPath[str]) -> ServerSentEvent:
    """Events without an end, under a rule with a cache."""

    async def tell() -> AsyncIterator[str]:
        try:
            while True:
                yield project
                await asyncio.sleep(0.05)
        finally:
            ENDED.append(0)

    return ServerSentEvent(tell())


@get("/work", guards=[requires()])
async def work() -> Response[str]:
    """Goes on for half a second behind its answer."""

    async def go_on() -> None:
        await asyncio.sleep(0.5)
        logging.getLogger("uvicorn.error").info("the work is done")

    return Response("begun", background=BackgroundTask(go_on))


@get("/made")
async def count_made() -> dict[str, int]:
    """How often each export was made."""
    return MADE


@get("/ended")
async def count_ended() -> int:
    """How many of the streams and WebSockets have ended."""
    return len(ENDED)


@get("/broken", guards=[requires()])
async def broken() -> None:
    """A mistake of the app."""
    raise RuntimeError("the app made a mistake")


@websocket("/talk", guards=[requires("exports:read")])
async def talk(socket: WebSocket[Any, Any, Any], principal: NamedDependency[Principal]) -> None:
    """Authorized when it is opened."""
    await socket.accept()
    await socket.send_text(f"{principal.token_name} {socket.headers.get('Authorization', 'and no credential')}")
    await socket.close()


@websocket("/echo", guards=[requires("exports:read")])
async def echo(socket: WebSocket[Any, Any, Any]) -> None:
    """Sends everything back until its client leaves."""
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect as left:
        ENDED.append(left.code)


@websocket("/ticking", guards=[requires("exports:read")])
async def tick(socket: WebSocket[Any, Any, Any]) -> None:
    """Sends without end, and never looks whether anybody is there."""
    await socket.accept()
    try:
        while True:
            await socket.send_text("tick")
            await asyncio.sleep(0.05)
    finally:
        ENDED.append(0)


@asgi("/mounted", is_mount=True, copy_scope=True)
async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
    """An app in the app: its paths have rules, too."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"7")]})
    await send({"type": "http.response.body", "body": b"mounted", "more_body": False})


app = Litestar(
    [
        export,
        texts,
        show_principal,
        change,
        ruled,
        open_to_all,
        show_request,
        ticks,
        events,
        project_events,
        count_ended,
        count_made,
        work,
        broken,
        talk,
        echo,
        tick,
        mounted,
    ],
    plugins=[GatewayPlugin()],
)

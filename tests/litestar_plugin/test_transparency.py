"""An app with the plugin beside the same app without: what handlers of all kinds answer, call and leave behind."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from litestar import (
    Controller,
    Litestar,
    MediaType,
    Request,
    Response,
    Router,
    asgi,
    delete,
    get,
    head,
    patch,
    post,
    put,
)
from litestar.background_tasks import BackgroundTask, BackgroundTasks
from litestar.config.compression import CompressionConfig
from litestar.config.cors import CORSConfig
from litestar.datastructures import Cookie, ResponseHeader, State, UploadFile
from litestar.di import NamedDependency, Provide
from litestar.dto import DataclassDTO, DTOConfig
from litestar.enums import RequestEncodingType
from litestar.exceptions import HTTPException, NotFoundException
from litestar.middleware.session.client_side import CookieBackendConfig
from litestar.params import Body, FromPath, FromQuery, JSONBody
from litestar.response import File, Redirect, ServerSentEvent, Stream
from litestar.testing import TestClient
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.plugin import GatewayPlugin, Settings, requires

POLICY = """
name = "own"
upstream = "none"
token = { prefixes = ["own_"] }
[scopes]
read = "Read"
[[rules]]
match = "GET /ruled"
"""
ADDED = {"x-request-id"}
"""What answers of guarded handlers have beside the handler's own."""

Make = Callable[["Happened", list[Any]], Any]


class Happened(list[str]):
    """What handlers, hooks and background work did, in order."""


class Kind(msgspec.Struct, frozen=True):
    """One kind of handler, and how it is asked."""

    name: str
    make: Make
    method: str = "GET"
    path: str = "/x"
    send: dict[str, Any] = {}
    app: dict[str, Any] = {}
    """What the app has beside it."""


@dataclass
class Person:
    name: str
    password: str = "secret"


class Item(msgspec.Struct):
    name: str
    count: int = 1


KINDS: list[Kind] = []


def kind(**options: Any) -> Callable[[Make], Make]:
    """Register a kind of handler under the name of the function that makes it."""

    def register(make: Make) -> Make:
        KINDS.append(Kind(make.__name__, make, **options))
        return make

    return register


@kind()
def plain(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards)
    async def handle() -> dict[str, str]:
        happened.append("handled")
        return {"a": "b"}

    return handle


@kind()
def in_a_thread(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards, sync_to_thread=True)
    def handle() -> str:
        return "text"

    return handle


@kind(method="POST", send={"json": {"name": "a", "count": 3}})
def struct(happened: Happened, guards: list[Any]) -> Any:
    @post("/x", guards=guards)
    async def handle(data: JSONBody[Item]) -> Item:
        return Item(data.name, data.count + 1)

    return handle


@kind(method="POST", send={"json": {"name": "a", "count": "many"}})
def invalid_content(happened: Happened, guards: list[Any]) -> Any:
    @post("/x", guards=guards)
    async def handle(data: JSONBody[Item]) -> Item:
        return data

    return handle


@kind(method="POST", send={"json": {"name": "a", "password": "b"}})
def dto(happened: Happened, guards: list[Any]) -> Any:
    class Shown(DataclassDTO[Person]):
        config = DTOConfig(exclude={"password"})

    @post("/x", guards=guards, return_dto=Shown)
    async def handle(data: JSONBody[Person]) -> Person:
        return data

    return handle


@kind(method="PUT", send={"content": b"raw \x00 bytes" * 4000})
def raw_content(happened: Happened, guards: list[Any]) -> Any:
    @put("/x", guards=guards)
    async def handle(request: Request[Any, Any, Any]) -> int:
        return len(await request.body())

    return handle


@kind(method="PATCH", send={"content": b"in pieces" * 9000})
def streamed_content(happened: Happened, guards: list[Any]) -> Any:
    @patch("/x", guards=guards)
    async def handle(request: Request[Any, Any, Any]) -> int:
        return sum([len(piece) async for piece in request.stream()])

    return handle


@kind(method="POST", send={"files": {"data": ("a.txt", b"uploaded")}})
def upload(happened: Happened, guards: list[Any]) -> Any:
    @post("/x", guards=guards)
    async def handle(data: Annotated[UploadFile, Body(media_type=RequestEncodingType.MULTI_PART)]) -> str:
        return f"{data.filename} {(await data.read()).decode()}"

    return handle


@kind(method="POST", send={"data": {"name": "a", "count": "2"}})
def form(happened: Happened, guards: list[Any]) -> Any:
    @post("/x", guards=guards)
    async def handle(data: Annotated[Item, Body(media_type=RequestEncodingType.URL_ENCODED)]) -> Item:
        return data

    return handle


@kind(method="DELETE")
def no_content(happened: Happened, guards: list[Any]) -> Any:
    @delete("/x", guards=guards)
    async def handle() -> None:
        happened.append("deleted")

    return handle


@kind(method="HEAD")
def head_only(happened: Happened, guards: list[Any]) -> Any:
    @head("/x", guards=guards)
    async def handle() -> None:
        happened.append("asked")

    return handle


@kind(path="/x/7?q=a%2Fb&q=c")
def parameters(happened: Happened, guards: list[Any]) -> Any:
    @get("/x/{number:int}", guards=guards)
    async def handle(number: FromPath[int], q: FromQuery[list[str]]) -> list[Any]:
        return [number, *q]

    return handle


@kind(path="/x/caf%C3%A9%20a")
def encoded_path(happened: Happened, guards: list[Any]) -> Any:
    @get("/x/{name:str}", guards=guards)
    async def handle(name: FromPath[str], request: Request[Any, Any, Any]) -> list[str]:
        return [name, str(request.url)]

    return handle


@kind(send={"headers": {"X-Own": "1", "Accept": "text/plain"}})
def fields(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards)
    async def handle(request: Request[Any, Any, Any]) -> dict[str, str]:
        return {name: value for name, value in request.headers.items() if name not in ("authorization", "x-request-id")}

    return handle


@kind(send={"cookies": {"a": "1"}})
def cookies(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards, response_cookies=[Cookie("set", "here")])
    async def handle(request: Request[Any, Any, Any]) -> dict[str, str]:
        return request.cookies

    return handle


@kind(app={"middleware": [CookieBackendConfig(secret=b"0" * 32).middleware]})
def session(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards)
    async def handle(request: Request[Any, Any, Any]) -> bool:
        request.session["seen"] = 1
        return "seen" in request.session

    return handle


@kind()
def response_object(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards, response_headers=[ResponseHeader(name="X-Layer", value="handler")])
    async def handle() -> Response[str]:
        return Response("teapot", status_code=418, headers={"X-Own": "1", "Cache-Control": "no-cache"})

    return handle


@kind()
def html(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards, media_type=MediaType.HTML)
    async def handle() -> str:
        return "<p>"

    return handle


@kind()
def redirect(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards)
    async def handle() -> Redirect:
        return Redirect("/elsewhere")

    return handle


@kind()
def file(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards)
    async def handle() -> File:
        return File(Path(__file__), filename="this.py")

    return handle


@kind()
def stream(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards)
    async def handle() -> Stream:
        async def pieces() -> AsyncIterator[str]:
            for number in range(5):
                await asyncio.sleep(0)
                yield f"{number} "
            happened.append("streamed")

        return Stream(pieces())

    return handle


@kind()
def large_stream(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards)
    async def handle() -> Stream:
        return Stream(iter([b"x" * 100_000] * 10))

    return handle


@kind()
def events(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards)
    async def handle() -> ServerSentEvent:
        async def tell() -> AsyncIterator[str]:
            yield "one"
            yield "two"

        return ServerSentEvent(tell())

    return handle


@kind()
def http_error(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards)
    async def handle() -> None:
        raise NotFoundException("no such thing", extra={"id": 1})

    return handle


@kind()
def error(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards)
    async def handle() -> None:
        raise RuntimeError("a mistake")

    return handle


@kind()
def own_exception_handler(happened: Happened, guards: list[Any]) -> Any:
    def handle_mistake(_: Request[Any, Any, Any], error: Exception) -> Response[str]:
        happened.append(f"handled {error}")
        return Response("mended", status_code=409)

    @get("/x", guards=guards, exception_handlers={RuntimeError: handle_mistake})
    async def handle() -> None:
        raise RuntimeError("a mistake")

    return handle


@kind()
def hooks(happened: Happened, guards: list[Any]) -> Any:
    async def before(request: Request[Any, Any, Any]) -> None:
        happened.append("before_request")

    async def after(response: Response[Any]) -> Response[Any]:
        happened.append("after_request")
        response.headers["X-After"] = "1"
        return response

    async def done(request: Request[Any, Any, Any]) -> None:
        happened.append("after_response")

    @get("/x", guards=guards, before_request=before, after_request=after, after_response=done)
    async def handle() -> str:
        happened.append("handled")
        return "a"

    return handle


@kind()
def answered_before(happened: Happened, guards: list[Any]) -> Any:
    async def before(request: Request[Any, Any, Any]) -> Response[str]:
        return Response("early", status_code=202)

    @get("/x", guards=guards, before_request=before)
    async def handle() -> str:
        return "late"

    return handle


@kind()
def background(happened: Happened, guards: list[Any]) -> Any:
    async def work(number: int) -> None:
        await asyncio.sleep(0)
        happened.append(f"worked {number}")

    @get("/x", guards=guards)
    async def handle() -> Response[str]:
        return Response("a", background=BackgroundTasks([BackgroundTask(work, 1), BackgroundTask(work, 2)]))

    return handle


@kind()
def background_error(happened: Happened, guards: list[Any]) -> Any:
    async def fail() -> None:
        raise RuntimeError("in the background")

    @get("/x", guards=guards)
    async def handle() -> Response[str]:
        return Response("a", background=BackgroundTask(fail))

    return handle


@kind()
def error_in_mid_stream(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards)
    async def handle() -> Stream:
        async def pieces() -> AsyncIterator[str]:
            yield "one"
            raise RuntimeError("in mid-stream")

        return Stream(pieces())

    return handle


@kind()
def dependencies(happened: Happened, guards: list[Any]) -> Any:
    async def connect() -> AsyncIterator[str]:
        happened.append("opened")
        try:
            yield "database"
        finally:
            happened.append("closed")

    @get("/x", guards=guards, dependencies={"database": Provide(connect)})
    async def handle(database: NamedDependency[str]) -> str:
        return database

    return handle


@kind(app={"state": State({"name": "the app's"})})
def state(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards)
    async def handle(state: State) -> str:
        return str(state.name)

    return handle


@kind(path="/c/x")
def controller(happened: Happened, guards: list[Any]) -> Any:
    class Things(Controller):
        path = "/c"

        @get("/x", guards=guards)
        async def handle(self) -> str:
            return "of a controller"

    return Things


@kind(path="/r/c/x/")
def router(happened: Happened, guards: list[Any]) -> Any:
    class Things(Controller):
        path = "/c"

        @get("/x")
        async def handle(self) -> str:
            return "of a router"

    return Router("/r", route_handlers=[Things], guards=guards)


@kind(path="/m/below")
def mounted(happened: Happened, guards: list[Any]) -> Any:
    @asgi("/m", is_mount=True, copy_scope=True, guards=guards)
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        content = scope["path"].encode()
        fields = [(b"X-Upper", b"1"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 203, "headers": fields})
        await send({"type": "http.response.body", "body": content, "more_body": False})

    return handle


@kind(send={"headers": {"Origin": "http://other.example"}}, app={"cors_config": CORSConfig(["http://other.example"])})
def cors(happened: Happened, guards: list[Any]) -> Any:
    return plain(happened, guards)


@kind(
    method="OPTIONS",
    send={"headers": {"Origin": "http://other.example", "Access-Control-Request-Method": "GET"}},
    app={"cors_config": CORSConfig(["http://other.example"])},
)
def preflight(happened: Happened, guards: list[Any]) -> Any:
    return plain(happened, guards)


@kind(send={"headers": {"Accept-Encoding": "gzip"}}, app={"compression_config": CompressionConfig("gzip")})
def compression(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards)
    async def handle() -> str:
        return "again and " * 500

    return handle


@kind(method="DELETE")
def another_method(happened: Happened, guards: list[Any]) -> Any:
    return plain(happened, guards)


@kind(path="/nowhere")
def another_path(happened: Happened, guards: list[Any]) -> Any:
    return plain(happened, guards)


@kind()
def extensions(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards)
    async def handle(scope: Scope) -> list[str]:
        return sorted(scope.get("extensions") or {})

    return handle


@kind()
def cached_by_litestar(happened: Happened, guards: list[Any]) -> Any:
    @get("/x", guards=guards, cache=60)
    async def handle() -> str:
        happened.append("handled")
        return "kept"

    return handle


def hooks_of_app(happened: Happened) -> dict[str, Any]:
    """Hooks of the whole app, which say when they are called."""

    async def before_send(message: Any, scope: Scope) -> None:
        happened.append(f"before_send {message['type']}")

    async def after_exception(error: Exception, scope: Scope) -> None:
        status = error.status_code if isinstance(error, HTTPException) else 500
        happened.append(f"after_exception {type(error).__name__} {status}")

    async def after_response(request: Request[Any, Any, Any]) -> None:
        happened.append("app after_response")

    return {"before_send": [before_send], "after_exception": [after_exception], "after_response": after_response}


def let_pass(app: ASGIApp) -> ASGIApp:
    """A middleware that does nothing: with any at all, Litestar wraps errors once more."""
    return app


def run(one: Kind, plugins: list[GatewayPlugin], guards: list[Any], headers: dict[str, str]) -> dict[str, Any]:
    """What came of two requests."""
    happened = Happened()
    beside = {**one.app, "middleware": [let_pass, *one.app.get("middleware", [])]}
    app = Litestar([one.make(happened, guards)], plugins=plugins, **hooks_of_app(happened), **beside)
    send = {**one.send, "headers": {**headers, **one.send.get("headers", {})}}
    answers: list[Any] = []
    with TestClient(app, raise_server_exceptions=True) as client:
        client.cookies.update(send.pop("cookies", {}))
        for _ in range(2):
            try:
                answer = client.request(one.method, one.path, follow_redirects=False, **send)
            except Exception as error:  # what a server would log
                answers.append(chain_of(error))
                continue
            shown = {name: value for name, value in answer.headers.items() if name not in ADDED}
            if one.name == "session":
                shown.pop("set-cookie")  # encrypted anew each time
            answers.append((answer.status_code, answer.content, shown))
    return {"answers": answers, "happened": list(happened)}


def chain_of(error: BaseException | None) -> list[str]:
    """An exception with its causes: what its traceback shows."""
    named = []
    while error is not None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        named.append(f"{type(error).__name__}: {error}")
        error = error.__cause__ or error.__context__
    return named


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[GatewayPlugin]:
    (tmp_path / "own.toml").write_text(POLICY)
    yield GatewayPlugin(Settings(redis_url="memory://", policies=str(tmp_path)))


@pytest.mark.parametrize("one", KINDS, ids=lambda one: one.name)
def test_a_handler_is_the_same_behind_the_gate(one: Kind, plugin: GatewayPlugin) -> None:
    """The same status, fields and content; the same hooks in the same order; the same errors and background effects."""
    token = asyncio.run(plugin.mint("CI", project="website"))
    expected = run(one, [], [], {"Authorization": f"Bearer {token}"})
    actual = run(one, [plugin], [requires()], {"Authorization": f"Bearer {token}"})
    assert expected["happened"] == actual["happened"]
    assert json.dumps(expected["answers"], default=str) == json.dumps(actual["answers"], default=str)


def test_there_are_forty_kinds() -> None:
    """No two of them have the same name."""
    assert len({one.name for one in KINDS}) == len(KINDS) >= 40

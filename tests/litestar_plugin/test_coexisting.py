"""The gate beside other authentication, other middleware, and handlers that want less of it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, Request, Response, WebSocket, asgi, get, websocket
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.exceptions import WebSocketDisconnect
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.middleware.rate_limit import RateLimitConfig
from litestar.params import FromPath
from litestar.security.jwt import JWTAuth, Token
from litestar.security.jwt.middleware import JWTAuthenticationMiddleware
from litestar.testing import TestClient
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.plugin import GatewayPlugin, Principal, Settings, optional, or_token, principal_of, requires
from gateway.testing import Sandbox

POLICY = """
name = "own"
upstream = "none"
token = { prefixes = ["own_"] }
[scopes]
read = "Read"
write = "Write"
[[rules]]
match = "GET /ruled"
[[rules]]
match = "GET /kept"
cache = { fresh = "5m" }
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[GatewayPlugin]:
    (tmp_path / "own.toml").write_text(POLICY)
    yield GatewayPlugin(Settings(redis_url="memory://", policies=str(tmp_path)))


@pytest.fixture
def token(plugin: GatewayPlugin) -> dict[str, str]:
    """The header of a token that may read."""
    sandbox = Sandbox(plugin)
    return sandbox.bearer(sandbox.mint("CI", scopes=["read"], project="website"))


@get("/who", guards=[requires("read")])
async def who(request: Request[Principal, frozenset[str], Any]) -> list[str]:
    return [request.user.token_name, *sorted(request.auth)]


def test_the_principal_is_where_litestar_has_users(plugin: GatewayPlugin, token: dict[str, str]) -> None:
    """In `user`, `auth`, and for whatever has the scope: guards, middleware, hooks."""
    seen: list[Any] = []

    def inner(app: ASGIApp) -> ASGIApp:
        async def look(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(principal_of(scope))
            await app(scope, receive, send)

        return look

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: Any) -> None:
        seen.append(principal_of(connection))

    @get("/open")
    async def open_to_all(request: Request[Any, Any, Any]) -> bool:
        return principal_of(request) is None

    app = Litestar([who, open_to_all], plugins=[plugin], middleware=[inner], guards=[guard])
    with TestClient(app) as client:
        assert ["CI", "read"] == client.get("/who", headers=token).json()
        assert ["CI", "CI"] == [one.token_name for one in seen]
        assert client.get("/open").json() is True


def test_a_handler_may_want_a_token_only_if_there_is_one(plugin: GatewayPlugin, token: dict[str, str]) -> None:
    """Without one it answers nobody in particular; one that is not valid is refused."""

    @get("/maybe", guards=[optional()])
    async def maybe(principal: NamedDependency[Principal | None]) -> str:
        return principal.token_name if principal else "nobody"

    with TestClient(Litestar([maybe], plugins=[plugin])) as client:
        assert "nobody" == client.get("/maybe").text
        assert "CI" == client.get("/maybe", headers=token).text
        assert 401 == client.get("/maybe", headers={"Authorization": "Bearer own_nonsense"}).status_code


def jwt_auth(**options: Any) -> JWTAuth[str]:
    async def find(token: Token, _: ASGIConnection[Any, Any, Any, Any]) -> str:
        return token.sub

    return JWTAuth[str](retrieve_user_handler=find, token_secret="s" * 32, **options)


@get("/either", guards=[requires("read", or_authenticated=True)])
async def either(request: Request[Any, Any, Any]) -> str:
    return request.user.token_name if isinstance(request.user, Principal) else f"person {request.user}"


def test_a_token_or_a_jwt(plugin: GatewayPlugin, token: dict[str, str]) -> None:
    """Each is enough, neither is 401; the JWT is left in its field, the token is not."""
    auth = jwt_auth(authentication_middleware_class=or_token(JWTAuthenticationMiddleware))
    app = Litestar([either, who], plugins=[plugin], on_app_init=[auth.on_app_init])
    with TestClient(app) as client:
        jwt = {"Authorization": f"Bearer {auth.create_token('ada')}"}
        assert "CI" == client.get("/either", headers=token).text
        assert "person ada" == client.get("/either", headers=jwt).text
        assert 401 == client.get("/either").status_code
        assert 401 == client.get("/who", headers=jwt).status_code
        assert 200 == client.get("/who", headers=token).status_code


def test_a_token_or_a_session_that_is_optional(plugin: GatewayPlugin, token: dict[str, str]) -> None:
    """With a middleware that lets everybody pass, the guard refuses who is neither, as the policy would."""

    class Sessions(AbstractAuthenticationMiddleware):
        async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
            return AuthenticationResult(user=connection.cookies.get("session"), auth=None)

    app = Litestar([either], plugins=[plugin], middleware=[or_token(Sessions)])
    with TestClient(app) as client:
        assert "CI" == client.get("/either", headers=token).text
        refused = client.get("/either")
        assert 401 == refused.status_code
        assert "missing_credentials" == refused.json()["code"]
        client.cookies["session"] = "ada"
        assert "person ada" == client.get("/either").text


def test_another_authentication_keeps_its_credential(plugin: GatewayPlugin) -> None:
    """On handlers without guard and rule the gate takes nothing away."""
    auth = jwt_auth()

    @get("/person")
    async def person(request: Request[str, Token, Any]) -> str:
        return request.user

    with TestClient(Litestar([person], plugins=[plugin], on_app_init=[auth.on_app_init])) as client:
        assert "ada" == client.get("/person", headers={"Authorization": f"Bearer {auth.create_token('ada')}"}).text


def test_handlers_and_paths_can_be_left_out(tmp_path: Path) -> None:
    """By `opt` under a guard of the whole app, and by pattern, as with Litestar's own middleware."""
    (tmp_path / "own.toml").write_text(POLICY)
    settings = Settings(redis_url="memory://", policies=str(tmp_path))
    plugin = GatewayPlugin(settings, exclude=["^/health"], exclude_opt_key="no_token")

    @get("/open", opt={"no_token": True})
    async def left_out() -> str:
        return "open"

    @get("/health/live")
    async def health() -> str:
        return "alive"

    @get("/closed")
    async def closed() -> str:
        return "closed"

    with TestClient(Litestar([left_out, health, closed], plugins=[plugin], guards=[requires()])) as client:
        answers = [client.get(path).status_code for path in ("/open", "/health/live", "/closed")]
    assert [200, 200, 401] == answers


@pytest.mark.parametrize("is_before", [True, False])
@pytest.mark.parametrize("path", ["/who", "/kept"])
def test_no_middleware_runs_twice(plugin: GatewayPlugin, token: dict[str, str], path: str, is_before: bool) -> None:
    """Wherever it stands, and also for answers that are stored."""
    runs: list[str] = []

    def count(app: ASGIApp) -> ASGIApp:
        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            runs.append(scope["path"])
            await app(scope, receive, send)

        return run

    @get("/kept", guards=[requires("read")])
    async def kept() -> str:
        return "kept"

    middleware: list[Any] = [count, plugin.middleware] if is_before else [plugin.middleware, count]
    with TestClient(Litestar([who, kept], plugins=[plugin], middleware=middleware)) as client:
        assert 200 == client.get(path, headers=token).status_code
        assert [path] == runs


def test_rate_limits_of_the_app_can_stand_before_the_gate(plugin: GatewayPlugin) -> None:
    """Then a crowd without tokens is stopped before anybody looks at them."""
    config = RateLimitConfig(rate_limit=("minute", 2))
    app = Litestar([who], plugins=[plugin], middleware=[config.middleware, plugin.middleware])
    with TestClient(app) as client:
        assert [401, 401, 429] == [client.get("/who").status_code for _ in range(3)]


def test_what_was_read_before_the_gate_is_read_anew_behind_it(plugin: GatewayPlugin, token: dict[str, str]) -> None:
    """A middleware that has looked at the headers does not hand the credential on."""

    def look(app: ASGIApp) -> ASGIApp:
        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            assert "authorization" in Request(scope).headers
            await app(scope, receive, send)

        return run

    @get("/fields", guards=[requires()])
    async def show(request: Request[Any, Any, Any]) -> list[str]:
        return list(request.headers)

    with TestClient(Litestar([show], plugins=[plugin], middleware=[look, plugin.middleware])) as client:
        assert "authorization" not in client.get("/fields", headers=token).json()


@pytest.mark.parametrize("path", ["/any/a//b", "/any/a%2Fb", "/any/a/../b", "/any/%2e/b"])
def test_paths_without_guard_and_rule_are_the_apps_own(plugin: GatewayPlugin, path: str) -> None:
    """However they are spelt; those of a guarded handler are refused, as they could be read in two ways."""

    @asgi("/any", is_mount=True, copy_scope=True)
    async def anything(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("any").to_asgi_response(app=None, request=Request(scope))(scope, receive, send)

    @get("/held/{rest:path}", guards=[requires()])
    async def held(rest: FromPath[str]) -> str:
        return rest

    with TestClient(Litestar([anything, held], plugins=[plugin])) as client:
        assert 200 == client.get(path).status_code
        assert client.get(path.replace("/any", "/held")).status_code in (400, 401, 404)


def test_a_stored_answer_has_its_background_work_done(plugin: GatewayPlugin, token: dict[str, str]) -> None:
    """It runs once, is awaited before the request ends, and what goes wrong in it is raised there."""
    from litestar.background_tasks import BackgroundTask

    done: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0)
        done.append("work")
        raise RuntimeError("in the background")

    @get("/kept", guards=[requires("read")])
    async def kept() -> Response[str]:
        return Response("kept", background=BackgroundTask(work))

    with TestClient(Litestar([kept], plugins=[plugin])) as client:
        with pytest.raises(Exception, match="after response started"):
            client.get("/kept", headers=token)
        assert ["work"] == done
        assert "kept" == client.get("/kept", headers=token).text
        assert ["work"] == done


def test_a_websocket_presents_its_token_as_a_subprotocol(plugin: GatewayPlugin, token: dict[str, str]) -> None:
    """As a browser can; the handler does not see it, and what is agreed on is not the token."""
    text = token["Authorization"].removeprefix("Bearer ")

    @websocket("/talk", guards=[requires("read")])
    async def talk(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        await socket.send_json([socket.user.token_name, socket.scope["subprotocols"], *dict(socket.headers)])
        await socket.close()

    with TestClient(Litestar([talk], plugins=[plugin])) as client:
        with client.websocket_connect("/talk", subprotocols=["gateway", f"gateway.token.{text}"]) as socket:
            assert "gateway" == socket.accepted_subprotocol
            name, offered, *fields = socket.receive_json()
            assert ("CI", ["gateway"]) == (name, offered)
            assert "authorization" not in fields
        refused = client.websocket_connect("/talk", subprotocols=["gateway", "gateway.token.own_nonsense"])
        with pytest.raises(WebSocketDisconnect) as closed, refused:
            pass
        assert 1008 == closed.value.code


def test_a_session_cookie_is_told_as_what_keeps_an_answer_from_being_stored(
    plugin: GatewayPlugin, token: dict[str, str]
) -> None:
    """Cache-Status says so; the handler is asked again."""
    asked: list[int] = []

    @get("/kept", guards=[requires("read")], response_cookies=[Cookie("session", "s1")])
    async def kept() -> str:
        asked.append(1)
        return "kept"

    with TestClient(Litestar([kept], plugins=[plugin])) as client:
        for _ in range(2):
            answer = client.get("/kept", headers=token)
            assert "gateway; fwd=uri-miss; detail=set-cookie" == answer.headers["cache-status"]
    assert 2 == len(asked)

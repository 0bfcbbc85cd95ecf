"""GatewayPlugin as an app's author meets it: in the app's own tests, and with mistakes. See system/test_plugin.py."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from litestar import Controller, Litestar, Router, get
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.exceptions.base_exceptions import LitestarDeprecationWarning
from litestar.handlers import BaseRouteHandler
from litestar.params import FromQuery
from litestar.plugins import InitPlugin
from litestar.routes import BaseRoute
from litestar.testing import TestClient

from gateway.core.errors import ConfigurationError
from gateway.plugin import GatewayPlugin, Principal, Settings, requires

POLICY = """
name = "own"
upstream = "none"
token = { prefixes = ["own_"] }
[scopes]
read = "Read"
write = "Write"
[[rules]]
match = "GET /ruled"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "own.toml").write_text(POLICY)
    return Settings(redis_url="memory://", policies=str(tmp_path))


@get("/secret", guards=[requires("read")])
async def secret() -> str:
    return "secret"


@get("/open")
async def open_to_all(q: FromQuery[str]) -> str:
    return q


def test_an_apps_own_tests_go_through_the_gate(settings: Settings) -> None:
    """With Litestar's test client and the embedded store, whose paths have the query in them."""
    with TestClient(Litestar([secret, open_to_all], plugins=[GatewayPlugin(settings)])) as client:
        passed = client.get("/open?q=a/b")
        assert 200 == passed.status_code
        assert "a/b" == passed.text
        refused = client.get("/secret?q=a/b")
        assert 401 == refused.status_code
        assert "missing_credentials" == refused.json()["code"]


def test_guards_of_all_layers_are_needed(settings: Settings) -> None:
    """Of the app, a router, a controller and the handler itself: OpenAPI has the scopes of all."""

    class Things(Controller):
        path = "/things"
        guards = (requires("write"),)

        @get("/", guards=[requires("read", "write")])
        async def list_things(self) -> str:
            return "things"

    app = Litestar([Router("/api", route_handlers=[Things])], guards=[requires()], plugins=[GatewayPlugin(settings)])
    schema: dict[str, Any] = app.openapi_schema.to_schema()
    assert [{"gateway-bearer": ["write", "read"]}] == schema["paths"]["/api/things"]["get"]["security"]
    with TestClient(app) as client:
        assert [401, 401] == [client.get(path).status_code for path in ("/api/things", "/api/things/")]


def test_the_principal_may_be_asked_for_in_short(settings: Settings) -> None:
    """`principal: Principal` will do, though Litestar would have dependencies marked."""

    @get("/me", guards=[requires()])
    async def show_me(principal: Principal) -> str:
        return principal.token_id

    with pytest.warns(LitestarDeprecationWarning, match="Inferred dependency field 'principal'"):
        app = Litestar([show_me], plugins=[GatewayPlugin(settings)])
    assert "parameters" not in app.openapi_schema.to_schema()["paths"]["/me"]["get"]


def test_an_app_without_a_document_needs_none(settings: Settings) -> None:
    """OpenAPI may be switched off."""
    with TestClient(Litestar([secret], plugins=[GatewayPlugin(settings)], openapi_config=None)) as client:
        assert 401 == client.get("/secret").status_code


def test_an_unknown_scope_ends_the_start(settings: Settings) -> None:
    """Where the handler is registered, with what was meant."""

    @get("/", guards=[requires("raed")])
    async def handler() -> None: ...

    with pytest.raises(
        ConfigurationError, match=r"requires\(\) of .*handler: unknown scope 'raed': did you mean 'read'"
    ):
        Litestar([handler], plugins=[GatewayPlugin(settings)])


def test_of_several_policies_one_is_the_apps(settings: Settings, tmp_path: Path) -> None:
    """It has to be named, and to be there."""
    other = POLICY.replace('"own"', '"other"').replace("/ruled", "/other")
    (tmp_path / "other.toml").write_text(other)
    for name in ("", "mine"):
        with pytest.raises(ConfigurationError, match=r"GatewayPlugin: unknown policy"):
            Litestar([], plugins=[GatewayPlugin(settings, policy=name)])
    assert Litestar([], plugins=[GatewayPlugin(settings, policy="other")]).plugins.get(GatewayPlugin)


def test_an_app_may_have_a_principal_of_its_own(settings: Settings) -> None:
    """A dependency of that name is left as it is."""

    @get("/mine")
    async def mine(principal: NamedDependency[str]) -> str:
        return principal

    async def provide() -> str:
        return "me"

    app = Litestar([mine], plugins=[GatewayPlugin(settings)], dependencies={"principal": provide})
    with TestClient(app) as client:
        assert "me" == client.get("/mine").text


def test_the_gate_takes_the_place_of_guards_that_it_alone_decides(settings: Settings) -> None:
    """The app's own guards run as they do in plain Litestar; those of the plugin are not run once more behind it."""
    ran = list[str]()

    async def look(_: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        ran.append(str(handler))

    @get(["/guarded", "/twice"], guards=[requires("read"), look])
    async def guarded() -> str:
        return "guarded"

    @get("/either", guards=[requires("read", or_authenticated=True)])
    async def either() -> str:
        return "either"

    plugin = GatewayPlugin(settings)
    app = Litestar([guarded, either], plugins=[plugin])
    left = {route.path: guards_of(route) for route in app.routes if route.path in ("/guarded", "/twice", "/either")}
    assert {"/guarded": 1, "/twice": 1, "/either": 1} == {path: len(guards) for path, guards in left.items()}
    with TestClient(app) as client:
        assert [401, 401, 401] == [client.get(path).status_code for path in left]
        assert [] == ran
        with client.portal() as portal:
            token = portal.call(partial(plugin.mint, "CI", project="a", scopes=["read"]))
        fields = {"Authorization": f"Bearer {token}"}
        assert [200, 200, 200] == [client.get(path, headers=fields).status_code for path in left]
        assert 2 == len(ran)


def test_guards_stay_where_the_gate_is_not(settings: Settings) -> None:
    """An app whose middleware lost the gate, as another plugin may do, answers 500, never its content."""

    class Clearing(InitPlugin):
        def on_app_init(self, app_config: AppConfig) -> AppConfig:
            app_config.middleware.clear()
            return app_config

    with TestClient(Litestar([secret], plugins=[GatewayPlugin(settings), Clearing()])) as client:
        answer = client.get("/secret")
        assert 500 == answer.status_code
        assert '"secret"' not in answer.text


def guards_of(route: BaseRoute) -> list[Any]:
    """The guards that Litestar runs for the one handler of a route."""
    (handler,) = [one for one in getattr(route, "route_handlers", ()) if "GET" in one.http_methods]
    guards: list[Any] = handler.resolve_guards()
    return guards

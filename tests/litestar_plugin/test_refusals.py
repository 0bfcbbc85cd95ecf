"""Refusals as an app sees them, and as clients do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, Request, Response, get, post, route
from litestar.config.cors import CORSConfig
from litestar.exceptions import HTTPException, NotAuthorizedException, TooManyRequestsException
from litestar.testing import TestClient
from litestar.types import Scope

from gateway.plugin import GatewayPlugin, GatewayRefusal, Settings, requires
from gateway.testing import Sandbox

POLICY = """
name = "own"
upstream = "none"
token = { prefixes = ["own_"], credential = ["bearer", "header:X-Key"] }
[scopes]
read = "Read"
write = "Write"
[quotas]
minute = "2/minute"
[[rules]]
match = "GET /ruled"
[errors]
403 = { error = "forbidden here" }
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "own.toml").write_text(POLICY)
    return Settings(redis_url="memory://", policies=str(tmp_path))


@get("/read", guards=[requires("read")])
async def read() -> str:
    return "read"


@post("/write", guards=[requires("write")])
async def write() -> str:
    return "written"


@pytest.fixture
def plugin(settings: Settings) -> Iterator[GatewayPlugin]:
    yield GatewayPlugin(settings)


def test_without_a_handler_the_answer_is_the_policys(plugin: GatewayPlugin) -> None:
    """Problem details or the policy's error format, one field for each challenge, and the fields of the quotas."""
    with TestClient(Litestar([read, write], plugins=[plugin])) as client:
        refused = client.get("/read")
        assert 401 == refused.status_code
        assert "missing_credentials" == refused.json()["code"]
        assert "application/problem+json" == refused.headers["content-type"]
        challenges = [value for name, value in refused.headers.multi_items() if name == "www-authenticate"]
        assert ['Bearer realm="own"', 'ApiKey realm="own", header="x-key"'] == challenges
        assert refused.headers["x-request-id"]
        sandbox = Sandbox(plugin)
        headers = sandbox.bearer(sandbox.mint(scopes=["read"], project="a"))
        forbidden = client.post("/write", headers=headers)
        assert 403 == forbidden.status_code
        assert {"error": "forbidden here"} == forbidden.json()
        assert [200, 200, 429] == [client.get("/read", headers=headers).status_code for _ in range(3)]
        assert int(client.get("/read", headers=headers).headers["retry-after"]) >= 1


@pytest.mark.parametrize("key", [NotAuthorizedException, HTTPException, Exception, 401])
def test_handlers_of_the_app_are_asked_first(plugin: GatewayPlugin, key: Any) -> None:
    """For Litestar's class, one above it, or the status, at any layer; they see the reason and the fields."""
    seen: list[Any] = []

    def handle(request: Request[Any, Any, Any], error: HTTPException) -> Response[str]:
        seen.append(error)
        return Response("mine", status_code=error.status_code, headers=error.headers)

    with TestClient(Litestar([read], plugins=[plugin], exception_handlers={key: handle})) as client:
        refused = client.get("/read")
    assert (401, "mine") == (refused.status_code, refused.text)
    (error,) = seen
    assert isinstance(error, NotAuthorizedException)
    assert isinstance(error, GatewayRefusal)
    assert "missing_credentials" == error.reason
    assert 'Bearer realm="own", ApiKey realm="own", header="x-key"' == refused.headers["www-authenticate"]


def test_hooks_and_cors_see_refusals(plugin: GatewayPlugin) -> None:
    """after_exception is called, and a page of another origin may read the refusal."""
    seen: list[Exception] = []

    async def note(error: Exception, scope: Scope) -> None:
        seen.append(error)

    app = Litestar([read], plugins=[plugin], after_exception=[note], cors_config=CORSConfig(["http://page.example"]))
    with TestClient(app) as client:
        refused = client.get("/read", headers={"Origin": "http://page.example"})
    assert "http://page.example" == refused.headers["access-control-allow-origin"]
    assert [NotAuthorizedException] == [type(error).__mro__[1] for error in seen]


def test_a_quota_is_a_too_many_requests(plugin: GatewayPlugin) -> None:
    """With Retry-After and the RateLimit fields in the exception's headers."""
    seen: list[Any] = []

    def handle(_: Request[Any, Any, Any], error: Any) -> Response[None]:
        seen.append(error)
        return Response(None, status_code=429)

    app = Litestar([read], plugins=[plugin], exception_handlers={TooManyRequestsException: handle})
    sandbox = Sandbox(plugin)
    with TestClient(app) as client:
        headers = sandbox.bearer(sandbox.mint(scopes=["read"], project="a"))
        assert [200, 200, 429] == [client.get("/read", headers=headers).status_code for _ in range(3)]
    (error,) = seen
    assert {"retry-after", "ratelimit", "ratelimit-policy"} <= error.headers.keys()


def test_refusals_can_be_answered_at_once(settings: Settings) -> None:
    """Then no handler, hook or middleware of the app sees them."""
    seen: list[Exception] = []

    async def note(error: Exception, scope: Scope) -> None:
        seen.append(error)

    plugin = GatewayPlugin(settings, raise_refusals=False)
    with TestClient(Litestar([read], plugins=[plugin], after_exception=[note])) as client:
        refused = client.get("/read")
    assert 401 == refused.status_code
    assert "missing_credentials" == refused.json()["code"]
    assert [] == seen


def test_head_of_a_refusal_has_no_content(plugin: GatewayPlugin) -> None:
    """RFC 9110 9.3.2: the fields that GET would have, and nothing behind them."""

    @route("/both", guards=[requires()], http_method=["GET", "HEAD"])
    async def both() -> None: ...

    with TestClient(Litestar([both], plugins=[plugin])) as client:
        refused, asked = client.get("/both"), client.head("/both")
    assert [401, 401] == [refused.status_code, asked.status_code]
    assert b"" == asked.content
    assert refused.headers["content-length"] == asked.headers["content-length"]

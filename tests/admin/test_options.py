"""OPTIONS on the admin listener: what a path allows, for anybody; and what a browser may do from elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.routes import HTTPRoute
from litestar.testing import TestClient

from gateway.admin_app import Administration, build_application
from gateway.settings import Settings
from tests.admin.conftest import build_app
from tests.support.policies import SMALL

pytestmark = pytest.mark.redis


@pytest.fixture
def listener(redis_url: str, tmp_path: Path) -> Iterator[TestClient[Litestar]]:
    """The whole admin listener: pages, API, metrics."""
    (tmp_path / "small.toml").write_text(SMALL)
    administration = Administration(Settings(redis_url=redis_url, policies=str(tmp_path)))
    with TestClient(build_application(administration)) as running:
        yield running


def test_every_path_says_what_it_allows(listener: TestClient[Litestar]) -> None:
    """204 with exactly its methods, whoever asks, whatever the query."""
    routes = [route for route in listener.app.routes if isinstance(route, HTTPRoute)]
    assert {"/api/v1/tokens", "/tokens", "/metrics", "/-/ready", "/api/openapi.json"} <= {one.path for one in routes}
    for route in routes:
        methods = {method for other in routes if other.path_format == route.path_format for method in other.methods}
        answer = listener.options(route.path_format.replace("{", "").replace("}", "") + "?a=b")
        assert 204 == answer.status_code, route.path
        methods |= {"HEAD"} if "GET" in methods else set()
        assert sorted(methods) == answer.headers["allow"].split(", "), route.path
        assert b"" == answer.content
    assert "DELETE, GET, HEAD, OPTIONS, PATCH" == listener.options("/api/v1/tokens/x").headers["allow"]
    assert 404 == listener.options("/api/v1/nowhere").status_code


def test_a_method_that_is_not_allowed_says_which_are(listener: TestClient[Litestar]) -> None:
    """405 with Allow, and no credential is looked at."""
    answer = listener.put("/api/v1/tokens")
    assert 405 == answer.status_code
    assert {"GET", "OPTIONS", "POST"} == set(answer.headers["allow"].split(", "))


def test_a_browser_is_answered_where_an_origin_is_allowed(redis_url: str) -> None:
    """An app that serves the API with CORS: its preflight is answered for that origin, and for no other."""
    cors = CORSConfig(allow_origins=["https://ops.example"], allow_headers=["authorization"])
    asked = {"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "authorization"}
    with TestClient(build_app(redis_url, cors=cors)) as client:
        allowed = client.options("/api/v1/tokens/x", headers={"Origin": "https://ops.example", **asked})
        assert 204 == allowed.status_code
        assert "https://ops.example" == allowed.headers["access-control-allow-origin"]
        other = client.options("/api/v1/tokens/x", headers={"Origin": "https://elsewhere.example", **asked})
        assert "access-control-allow-origin" not in other.headers
        plain = client.options("/api/v1/tokens/x")
        assert "DELETE, GET, HEAD, OPTIONS, PATCH" == plain.headers["allow"]

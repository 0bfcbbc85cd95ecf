"""What every route of the example backend keeps to."""

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from gateway.demo.backend.api import create_backend
from tests.demo.examples import ACME, EXPORT, TRANSLATIONS

READABLE = [
    "/healthz",
    "/api/v1/workspaces",
    "/api/v1/workspaces/brand",
    "/api/v1/workspaces/brand/tokensets",
    "/api/v1/tokensets/acme-core",
    "/api/v1/tokensets/acme-core/tokens",
    EXPORT,
    EXPORT + "?format=css",
    EXPORT + "?format=xml",
    TRANSLATIONS,
    "/api/v1/nowhere",
]


def test_a_request_without_an_owner_creates_nothing(client: TestClient[Litestar]) -> None:
    """A workspace always has an owner."""
    refused = client.post("/api/v1/workspaces", json={"name": "Nobody's"})

    assert refused.status_code == 403
    assert refused.json() == {"error": "the request names no owner"}


def test_unsound_content_is_refused_with_its_mistake(client: TestClient[Litestar]) -> None:
    """A misspelled member is a 400 that names it."""
    refused = client.post("/api/v1/workspaces", headers=ACME, json={"nmae": "Spring"})

    assert refused.status_code == 400
    assert list(refused.json()) == ["error"]
    assert "nmae" in refused.json()["error"]


@pytest.mark.parametrize("target", READABLE)
def test_head_answers_as_get_without_content(client: TestClient[Litestar], target: str) -> None:
    """HEAD gives the status and fields of GET, the length of GET's content, and no content."""
    get, head = client.get(target, headers=ACME), client.head(target, headers=ACME)

    assert get.status_code == head.status_code
    assert get.headers == head.headers
    assert str(len(get.content)) == head.headers["Content-Length"]
    assert get.content
    assert head.content == b""


@pytest.mark.parametrize(
    ("target", "status", "error"),
    [
        (EXPORT + "?format=xml", 400, "format must be one of: css, json"),
        (EXPORT.replace("light", "sepia"), 404, "mode must be one of: light, dark"),
        ("/api/v1/nowhere", 404, "Not Found"),
    ],
)
def test_errors_are_json(client: TestClient[Litestar], target: str, status: int, error: str) -> None:
    """A refusal is `{"error": ...}`, and where there is a choice it lists what is allowed."""
    answer = client.get(target, headers=ACME)

    assert status == answer.status_code
    assert "application/json" == answer.headers["Content-Type"]
    assert {"error": error} == answer.json()


def test_requests_are_counted_by_path() -> None:
    """A test can see what reached the backend, also what no route matches; each backend counts for itself."""
    app = create_backend()
    with TestClient(app) as client:
        for target in (EXPORT, EXPORT + "?format=css", "/nowhere"):
            client.get(target)
        client.post("/api/v1/echo", content=b"x")

    assert app.state.request_counts == {EXPORT: 2, "/nowhere": 1, "/api/v1/echo": 1}
    assert create_backend().state.request_counts == {}

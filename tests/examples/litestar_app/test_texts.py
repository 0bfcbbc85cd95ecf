"""The app's own tests: no Redis, no server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient
from texts import CHANGES, create_app

from gateway.plugin import Principal, Settings
from gateway.testing import OpenSandbox, Sandbox, gateway_sandbox, override_principal

__all__ = ["gateway_sandbox"]
POLICIES = str(Path(__file__).parent / "policies")
EXPORT = "/projects/website/export"


@pytest.fixture
def app() -> Litestar:
    return create_app(Settings(redis_url="memory://", policies=POLICIES))


@pytest.fixture
def sandbox(app: Litestar, gateway_sandbox: OpenSandbox) -> Sandbox:
    return gateway_sandbox(app)


@pytest.fixture
def client(app: Litestar) -> Iterator[TestClient[Litestar]]:
    with TestClient(app) as client:
        yield client


def test_a_build_pulls_its_export(client: TestClient[Litestar], sandbox: Sandbox) -> None:
    headers = sandbox.bearer(sandbox.mint("CI", scopes=["texts:read"], project="website"))
    first = client.get(EXPORT, headers=headers)
    assert first.json()["greeting"]
    again = client.get(EXPORT, headers={**headers, "If-None-Match": first.headers["etag"]})
    assert again.status_code == 304


def test_a_change_ends_what_is_stored(client: TestClient[Litestar], sandbox: Sandbox) -> None:
    headers = sandbox.bearer(sandbox.mint("editor", scopes=["texts:write"], project="website"))
    before = client.get(EXPORT, headers=headers).json()
    assert client.put("/projects/website/texts/farewell", json="Bye", headers=headers).status_code == 200
    assert CHANGES[-1] == "editor changed farewell"
    sandbox.move_time(1)
    assert client.get(EXPORT, headers=headers).json() == {**before, "farewell": "Bye"}


def test_another_project_is_out_of_reach(client: TestClient[Litestar], sandbox: Sandbox) -> None:
    headers = sandbox.bearer(sandbox.mint(scopes=["texts:read"], project="shop"))
    assert client.get(EXPORT, headers=headers).status_code == 403


def test_somebody_may_ask(app: Litestar, client: TestClient[Litestar]) -> None:
    with override_principal(app, Principal("t1", "ada", project="website")):
        assert client.get("/me").text == "token ada"
        assert client.get("/status").json()["project"] == "website"
    assert client.get("/me").status_code == 401
    assert "project" not in client.get("/status").json()


def test_quotas_are_kept(client: TestClient[Litestar], sandbox: Sandbox) -> None:
    sandbox.set_time(1_800_000_000)
    headers = sandbox.bearer(sandbox.mint(project="website"))
    assert [client.get("/status", headers=headers).status_code for _ in range(601)][-1] == 429
    sandbox.move_time(60)
    assert client.get("/status", headers=headers).status_code == 200

"""What is kept of workspaces and tokensets, and who sees it."""

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from gateway.demo.backend.api import create_backend
from gateway.demo.backend.catalog import may_read_project
from tests.demo.examples import ACME, EXPORT, GLOBEX, css_properties


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("GET", "/api/v1/workspaces/{}", None),
        ("PATCH", "/api/v1/workspaces/{}", {"name": "Taken"}),
        ("DELETE", "/api/v1/workspaces/{}", None),
        ("GET", "/api/v1/workspaces/{}/tokensets", None),
        ("GET", "/api/v1/tokensets/{}", None),
        ("GET", "/api/v1/tokensets/{}/tokens", None),
        ("POST", "/api/v1/tokensets/{}/tokens", {"name": "a.b", "type": "number", "value": "1"}),
        ("GET", "/api/v1/tokensets/{}/document", None),
        ("GET", "/api/v1/tokensets/{}/modes/light/export", None),
    ],
)
def test_what_another_owner_has_looks_absent(
    client: TestClient[Litestar], method: str, path: str, content: dict[str, str] | None
) -> None:
    """Every route answers for another owner's things byte for byte as for things that do not exist."""
    theirs = path.format("product" if "workspaces" in path else "globex-ui")
    answers = [client.request(method, target, headers=ACME, json=content) for target in (theirs, path.format("no"))]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].headers == answers[1].headers
    assert answers[0].content == answers[1].content
    assert client.get(theirs.removesuffix("/modes/light/export"), headers=GLOBEX).status_code == 200


def test_workspaces_are_listed_by_owner(client: TestClient[Litestar]) -> None:
    """An owner sees its own workspaces; an unknown owner, or none, sees an empty list."""
    owners = [ACME, GLOBEX, {"X-Gateway-Owner": "initech"}, {}]
    listed = [client.get("/api/v1/workspaces", headers=fields).json() for fields in owners]

    assert [[place["id"] for place in places] for places in listed] == [
        ["brand", "marketing"],
        ["product"],
        [],
        [],
    ]


def test_a_workspace_can_be_created_renamed_and_deleted(client: TestClient[Litestar]) -> None:
    """Location leads to the new workspace, which lives until it is deleted, in this backend only."""
    created = client.post("/api/v1/workspaces", headers=ACME, json={"name": "Spring"})
    location = created.headers["Location"]
    renamed = client.patch(location, headers=ACME, json={"name": "Summer"})

    assert created.status_code == 201
    assert created.json()["name"] == "Spring"
    assert renamed.status_code == 200
    assert client.get(location, headers=ACME).json()["name"] == "Summer"
    with TestClient(create_backend()) as fresh:
        assert fresh.get(location, headers=ACME).status_code == 404
    deleted = client.delete(location, headers=ACME)
    assert deleted.status_code == 204
    assert deleted.content == b""
    assert client.get(location, headers=ACME).status_code == 404


def test_a_deleted_workspace_takes_its_tokensets_along(client: TestClient[Litestar]) -> None:
    """Nothing of a deleted workspace stays reachable."""
    client.delete("/api/v1/workspaces/brand", headers=ACME)

    assert client.get(EXPORT, headers=ACME).status_code == 404
    assert client.get("/api/v1/tokensets/acme-campaign", headers=ACME).status_code == 200


def test_a_new_token_changes_the_export_and_its_date(client: TestClient[Litestar]) -> None:
    """What is added is exported at once, under its CSS name, with a new Last-Modified."""
    token = {"name": "color.banner", "type": "color", "value": "{color.blue.800}"}
    created = client.post("/api/v1/tokensets/acme-core/tokens", headers=ACME, json=token)
    export = client.get(EXPORT + "?format=css", headers=ACME)

    assert 201 == created.status_code
    assert token == created.json()
    assert css_properties(export.text)["--color-banner"] == "#173f8f"
    assert export.headers["Last-Modified"] == "Wed, 04 Mar 2026 05:06:07 GMT"


@pytest.mark.parametrize(
    ("token", "error"),
    [
        ({"name": "color.x", "type": "color", "value": "{color.x}"}, "alias cycle: color.x -> color.x"),
        (
            {"name": "color.x", "type": "color", "value": "{color.no}"},
            "color.x: alias to unknown token color.no",
        ),
        (
            {"name": "color.x", "type": "color", "value": "red;}"},
            "color.x: not a value of type color: 'red;}'",
        ),
        ({"name": "color.blue", "type": "color", "value": "#000000"}, "color.blue: the name of a group too"),
        ({"name": "space.1.a", "type": "dimension", "value": "1px"}, "space.1: the name of a group too"),
        ({"name": "space.1", "type": "dimension", "value": "1px"}, "space.1: the name of another token too"),
    ],
)
def test_a_token_that_would_break_the_export_is_refused(
    client: TestClient[Litestar], token: dict[str, str], error: str
) -> None:
    """A tokenset can be exported at all times: what would break it is a 400 and changes nothing."""
    before = client.get(EXPORT, headers=ACME)
    refused = client.post("/api/v1/tokensets/acme-core/tokens", headers=ACME, json=token)
    after = client.get(EXPORT, headers=ACME)

    assert 400 == refused.status_code
    assert {"error": error} == refused.json()
    assert before.content == after.content
    assert before.headers == after.headers


@pytest.mark.parametrize(
    ("named_project", "owner", "may"),
    [
        (None, "acme", True),
        (None, "globex", False),
        (None, "", False),
        ("website", "", True),
        ("website", "globex", True),
        ("app", "acme", False),
        ("", "acme", False),
    ],
)
def test_a_named_project_is_the_only_one_that_is_read(named_project: str | None, owner: str, may: bool) -> None:
    """The owner opens a project only to a request that names no project."""
    assert may_read_project("website", named_project=named_project, owner=owner) == may


def test_a_project_that_is_not_there_is_nobodys() -> None:
    """Naming an invented project gives it to nobody."""
    assert not may_read_project("invented", named_project="invented", owner="acme")

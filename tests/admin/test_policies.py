"""Policies, their shaped exports, projects and owners by the management API, over a real Redis."""

from urllib.parse import quote

import httpx
import pytest

from tests.admin.conftest import check_refusal, create

pytestmark = pytest.mark.redis

Api = httpx.Client
OWNERS = "/api/v1/policies/small/owners"


def test_what_an_owner_may_do_is_said_and_shown(api: Api) -> None:
    """Projects are added and taken out one by one; an id may have any character that a path can carry."""
    check_refusal(404, "not_found", api.get(f"{OWNERS}/ada"))
    for owner in ("ada", "team/web", "a b&c"):
        place = f"{OWNERS}/{quote(owner)}"
        made = api.patch(place, json={"permissions": {"website": ["read"], "shop": []}}).json()
        assert owner == made["owner"]
        assert "active" == made["status"]
        assert {"website": ["read"], "shop": []} == made["permissions"]
        assert 1 == made["version"]
        changed = api.patch(place, json={"status": "blocked", "permissions": {"shop": None}}).json()
        assert "blocked" == changed["status"]
        assert {"website": ["read"]} == changed["permissions"]
        assert changed == api.get(place).json()
    assert ["a b&c", "ada", "team/web"] == [owner["owner"] for owner in api.get(OWNERS).json()["owners"]]
    create(api, owner="name only")
    assert None is api.get(f"{OWNERS}/{quote('name only')}").json()["permissions"]


def test_the_plan_of_an_account_is_that_of_its_tokens(api: Api) -> None:
    """Said, shown, taken away; each token of the owner is shown with it, and one that names another is refused."""
    token = create(api, owner="ada")
    place = f"{OWNERS}/ada"
    assert "pro" == api.patch(place, json={"plan": "pro"}).json()["plan"]
    assert ["pro", "pro"] == [api.get(place).json()["plan"], api.get(f"/api/v1/tokens/{token['id']}").json()["plan"]]
    asked = {"policy": "small", "project": "website", "owner": "ada", "name": "other", "plan": "open"}
    check_refusal(400, "invalid", api.post("/api/v1/tokens", json=asked))
    check_refusal(
        400, "invalid", api.patch(f"/api/v1/tokens/{token['id']}", json={"plan": None}, headers={"If-Match": "*"})
    )
    assert "pro" == api.patch(place, json={"status": "active"}).json()["plan"]
    assert None is api.patch(place, json={"plan": None}).json()["plan"]
    assert "free" == api.get(f"/api/v1/tokens/{token['id']}").json()["plan"]


@pytest.mark.parametrize(
    "change",
    [
        {"status": "gone"},
        {"plan": "gold"},
        {"permissions": {"website": ["raed"]}},
        {"permissions": {"website": "read"}},
        {"permissions": {"x" * 129: ["read"]}},
        {"permissions": {"nowhere": None}},
        {"version": 3},
    ],
)
def test_what_an_owner_cannot_be_is_refused(api: Api, change: object) -> None:
    """An unknown status, scope or field, a project that is not there to be taken out."""
    api.patch(f"{OWNERS}/ada", json={"permissions": {"website": ["read"]}})
    check_refusal(400, "invalid", api.patch(f"{OWNERS}/ada", json=change))
    assert {"website": ["read"]} == api.get(f"{OWNERS}/ada").json()["permissions"]


def test_what_there_is_to_choose_from(api: Api) -> None:
    """Policies with their scopes and plans, projects with tokens; 404 for a policy that there is not."""
    (small, *_) = api.get("/api/v1/policies").json()["policies"]
    assert "small" == small["name"]
    assert "project" == small["bound_to"]
    assert ["free", "pro", "open"] == small["plans"]
    assert {"name": "write", "description": "Write", "category": None, "implies": ["read"], "aliases": []} == small[
        "scopes"
    ][1]
    for project in ("a:b%", "website", "website"):
        create(api, project=project)
    listed = api.get("/api/v1/policies/small/projects").json()["projects"]
    assert [{"project": "a:b%", "tokens": 1}, {"project": "website", "tokens": 2}] == listed
    for what in ("projects", "owners", "exports"):
        check_refusal(404, "not_found", api.get(f"/api/v1/policies/none/{what}"))


def test_shaped_exports_are_told_as_data(api: Api) -> None:
    """Of each rule with variants its options, with what is allowed and what is the default; of others nothing."""
    assert [] == api.get("/api/v1/policies/small/exports").json()["exports"]
    (offer,) = api.get("/api/v1/policies/unique/exports").json()["exports"]
    assert "translations" == offer["document"]
    assert "/projects/{project}/export" == offer["path"]
    option = next(one for one in offer["options"] if one["name"] == "format")
    assert ["json", "csv", "xml"] == option["values"]
    assert ["json"] == option["default"]
    assert "query" == option["in"]

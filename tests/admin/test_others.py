"""Owners, policies, projects, the history and purges by the management API, over a real Redis."""

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


def test_the_history_is_searched(api: Api) -> None:
    """By what it is about, by whom and when; page by page; a refused call is in it with its code."""
    ids = [create(api, name=f"n{number}")["id"] for number in range(5)]
    api.delete(f"/api/v1/tokens/{ids[0]}")
    api.post("/api/v1/tokens", json={"policy": "small", "project": "website", "name": "x", "scopes": ["raed"]})
    audit = "/api/v1/audit"
    assert ["token.revoke", "token.create"] == [
        entry["action"] for entry in api.get(audit, params={"token": ids[0]}).json()["entries"]
    ]
    (refusal,) = api.get(audit, params={"refused": True}).json()["entries"]
    assert "invalid" == refusal["outcome"]
    assert "token.create" == refusal["action"]
    assert {} == refusal["changes"]
    first = api.get(audit, params={"policy": "small", "limit": 4}).json()
    rest = api.get(audit, params={"policy": "small", "limit": 4, "cursor": first["next"]}).json()
    assert 4 == len(first["entries"])
    assert 3 == len(rest["entries"])
    assert None is rest["next"]
    assert 7 == len({entry["id"] for entry in first["entries"] + rest["entries"]})
    assert [] == api.get(audit, params={"since": "2099-01-01T00:00:00Z"}).json()["entries"]
    for wrong in ({"cursor": "x"}, {"since": "soon"}, {"action": "token.eat"}, {"limit": 0}, {"limit": 501}):
        check_refusal(400, "invalid", api.get(audit, params=wrong))


def test_stored_exports_are_purged(api: Api) -> None:
    """By one of url, group, project, owner, token, everything; by none or two of them nothing is."""
    token = create(api, owner="ada")
    for named in (
        {"url": "http://app.example/export"},
        {"project": "website"},
        {"owner": "ada"},
        {"token": token["id"]},
        {"everything": True},
    ):
        answer = api.post("/api/v1/cache/purges", json={"policy": "small", **named})
        assert 200 == answer.status_code
        assert {"purged": 0} == answer.json()
    for wrong in ({}, {"group": "a", "owner": "b"}, {"url": "export"}, {"url": "http://[/"}, {"group": "x" * 129}):
        check_refusal(400, "invalid", api.post("/api/v1/cache/purges", json={"policy": "small", **wrong}))


def test_what_was_never_seen_is_not_found(api: Api) -> None:
    """A misspelled name is 404 wherever it is asked for or acted upon, and no empty success."""
    create(api, owner="ada")
    unknown: list[dict[str, object]] = [
        {"policy": "smal", "everything": True},
        {"policy": "small", "project": "websit"},
        {"policy": "small", "owner": "adda"},
        {"policy": "small", "token": "0" * 24},
        {"policy": "small", "group": "tokenset-7"},
        {"policy": "small", "url": "http://app.example/elsewhere/exports"},
    ]
    for named in unknown:
        check_refusal(404, "not_found", api.post("/api/v1/cache/purges", json=named))
    for whose in (("smal", "project", "website"), ("small", "project", "x"), ("small", "owner", "adda")):
        policy, kind, who = whose
        check_refusal(404, "not_found", api.post("/api/v1/revocations", json={"policy": policy, kind: who}))
    for path in ("/api/v1/tokens", "/api/v1/audit"):
        for asked in ({"policy": "smal"}, {"project": "websit"}, {"owner": "adda"}, {"policy": "small", "owner": "x"}):
            check_refusal(404, "not_found", api.get(path, params={**asked}))
        assert 200 == api.get(path, params={"policy": "small", "project": "website", "owner": "ada"}).status_code
    check_refusal(404, "not_found", api.get("/api/v1/audit", params={"token": "0" * 24}))
    for what in ("owners", "projects", "exports", "usage", "owners/ada"):
        check_refusal(404, "not_found", api.get(f"/api/v1/policies/smal/{what}"))
    blocked = api.patch("/api/v1/policies/small/owners/adda", json={"status": "blocked"})
    check_refusal(404, "not_found", blocked)


def test_a_purge_is_in_the_history(api: Api) -> None:
    """With the admin token that was presented, what was named and how many exports ended; so is a refused one."""
    create(api, owner="ada")
    api.post("/api/v1/cache/purges", json={"policy": "small", "owner": "ada"})
    api.post("/api/v1/cache/purges", json={"policy": "none", "group": "secret"})
    refusal, done = api.get("/api/v1/audit", params={"action": "export.purge"}).json()["entries"]
    assert "API key ops" == done["actor"]
    assert "admin" == done["actor_kind"]
    assert "small" == done["policy"]
    assert "ada" == done["owner"]
    assert "done" == done["outcome"]
    assert {"owner": [None, "ada"], "ended": [None, 0]} == done["changes"]
    assert "not_found" == refusal["outcome"]
    assert "" == refusal["policy"]
    assert {} == refusal["changes"]


def test_what_was_counted_is_told(api: Api) -> None:
    """Of a token by the day, of a policy by the hour, also where there is nothing; 404 for what there is not."""
    identity = create(api)["id"]
    days = api.get(f"/api/v1/tokens/{identity}/usage", params={"days": 3}).json()["days"]
    assert [("2027-01-13T00:00:00Z", 0), ("2027-01-14T00:00:00Z", 0), ("2027-01-15T00:00:00Z", 0)] == [
        (day["time"], day["requests"]) for day in days
    ]
    usage = api.get("/api/v1/policies/small/usage").json()
    assert 24 == len(usage["hours"])
    assert 0 == usage["requests"]
    assert {} == usage["refusals"]
    assert None is usage["hit_ratio"]
    check_refusal(404, "not_found", api.get("/api/v1/tokens/x/usage"))
    check_refusal(404, "not_found", api.get("/api/v1/policies/x/usage"))
    check_refusal(400, "invalid", api.get(f"/api/v1/tokens/{identity}/usage", params={"days": 32}))

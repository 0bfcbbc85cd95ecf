"""The history by the management API, over a real Redis."""

import httpx
import pytest

from tests.admin.conftest import check_refusal, create

pytestmark = pytest.mark.redis

Api = httpx.Client


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

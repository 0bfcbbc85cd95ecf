"""Purges by the management API, over a real Redis."""

import httpx
import pytest

from tests.admin.conftest import check_refusal, create

pytestmark = pytest.mark.redis

Api = httpx.Client


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

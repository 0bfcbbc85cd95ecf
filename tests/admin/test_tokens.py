"""Tokens by the management API, over a real Redis."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import RedisConnection, open_client
from gateway.core.admission.decision import AdmissionRequest
from gateway.core.tokens.text import digest
from tests.admin.conftest import Mint, check_refusal, create
from tests.support.app_client import client_of
from tests.support.policies import rule_for

pytestmark = pytest.mark.redis

Api = httpx.Client
TOKENS = "/api/v1/tokens"


def test_a_created_token_is_shown_once_with_its_text(api: Api) -> None:
    """201 with the place and the version of the token; every later answer is the same but for its text."""
    answer = api.post(TOKENS, json={"policy": "small", "project": "website", "name": "CI", "description": "pulls"})
    created = answer.json()
    assert 201 == answer.status_code
    assert f"/api/v1/tokens/{created['id']}" == answer.headers["location"]
    assert f'"{created["version"]}"' == answer.headers["etag"]
    assert "no-store" == answer.headers["cache-control"]
    text = created.pop("token")
    assert text.startswith(created["shown"])
    shown = api.get(answer.headers["location"])
    assert created == shown.json()
    assert answer.headers["etag"] == shown.headers["etag"]
    assert [created] == api.get(TOKENS, params={"policy": "small"}).json()["tokens"]
    assert "pulls" == shown.json()["description"]
    assert ["read", "write"] == created["scopes"]
    assert "active" == created["state"]


def test_a_byte_order_mark_is_no_part_of_a_call(api: Api) -> None:
    """RFC 8259 8.1: readers may pass over it."""
    content = b'\xef\xbb\xbf{"policy": "small", "project": "website", "name": "CI"}'
    assert 201 == api.post(TOKENS, content=content, headers={"Content-Type": "application/json"}).status_code


def test_a_list_is_filtered_and_paged(api: Api) -> None:
    """By policy, project, owner, state and name; each token is on one page, and the last page says so."""
    ids = [create(api, name=f"CI {number}", project=f"p{number % 2}")["id"] for number in range(7)]
    create(api, name="other", owner="ada")
    api.delete(f"{TOKENS}/{ids[0]}")
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = api.get(TOKENS, params={"policy": "small", "name": "ci", "limit": 3, **cursor}).json()
        assert 7 == page["total"]
        seen += [token["id"] for token in page["tokens"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert 7 == len(seen)
    assert set(ids) == set(seen)
    found = api.get(TOKENS, params={"policy": "small", "project": "p0", "state": "revoked"}).json()
    assert [ids[0]] == [token["id"] for token in found["tokens"]]
    assert ["other"] == [token["name"] for token in api.get(TOKENS, params={"owner": "ada"}).json()["tokens"]]
    assert 400 == api.get(TOKENS, params={"cursor": "0" * 24}).status_code


def test_a_change_names_the_version_that_it_is_for(api: Api) -> None:
    """428 without If-Match, 412 for an outdated, a weak or a malformed one; the right one and * change the token."""
    created = create(api, expires_at="2099-01-31T00:00:00Z")
    place, tag = f"{TOKENS}/{created['id']}", f'"{created["version"]}"'
    patch = {"name": "Nightly", "expires_at": None}
    check_refusal(428, "precondition_required", api.patch(place, json=patch))
    for wrong in ('"old"', f"W/{tag}", created["version"], '"'):
        check_refusal(412, "changed_meanwhile", api.patch(place, json=patch, headers={"If-Match": wrong}))
    changed = api.patch(place, json=patch, headers={"If-Match": f'"other", {tag}'})
    assert 200 == changed.status_code
    assert "Nightly" == changed.json()["name"]
    assert None is changed.json()["expires_at"]
    assert tag != changed.headers["etag"]
    check_refusal(412, "changed_meanwhile", api.patch(place, json=patch, headers={"If-Match": tag}))
    disabled = api.patch(place, json={"is_active": False}, headers={"If-Match": "*"}).json()
    assert "disabled" == disabled["state"]
    assert False is disabled["is_active"]
    assert "Nightly" == disabled["name"]
    assert ["read"] == disabled["scopes"]


async def test_a_version_is_the_same_after_a_use(api: Api, redis_url: str) -> None:
    """A change of what was read before the token was used is made, and the answer still has that use."""
    created = create(api)
    place, tag = f"{TOKENS}/{created['id']}", f'"{created["version"]}"'
    connection = RedisConnection(open_client(redis_url, 5), 5)
    facts = await RedisAdmissions(connection).admit(
        AdmissionRequest(rule_for("GET /export"), digest(created["token"], b""))
    )
    await connection.close()
    assert facts.record is not None
    used = api.get(place)
    assert None is created["last_used_at"]
    assert tag == used.headers["etag"]
    assert used.json()["last_used_at"] is not None
    changed = api.patch(place, json={"name": "Nightly"}, headers={"If-Match": tag}).json()
    assert "Nightly" == changed["name"]
    assert used.json()["last_used_at"] == changed["last_used_at"]


def test_rotation_children_and_revocation(api: Api) -> None:
    """A successor and a child with their texts; revoking one, a lineage, a project, an owner; a second time is well."""
    first = create(api, owner="ada")
    rotated = api.post(f"{TOKENS}/{first['id']}/rotations", json={"overlap_seconds": 60})
    assert 201 == rotated.status_code
    assert first["id"] == rotated.json()["predecessor"]
    child = api.post(f"{TOKENS}/{rotated.json()['id']}/children", json={"name": "part", "scopes": ["read"]})
    assert 201 == child.status_code
    assert rotated.json()["id"] == child.json()["parent"]
    listed = api.get(f"{TOKENS}/{rotated.json()['id']}/children").json()["tokens"]
    assert [child.json()["id"]] == [token["id"] for token in listed]
    assert [204, 204] == [api.delete(f"{TOKENS}/{child.json()['id']}").status_code for _ in range(2)]
    ended = api.post("/api/v1/revocations", json={"lineage": first["id"]}).json()["revoked"]
    assert {first["id"], rotated.json()["id"]} == set(ended)
    check_refusal(409, "ended", api.post(f"{TOKENS}/{first['id']}/rotations", json={}))
    place = f"{TOKENS}/{first['id']}"
    check_refusal(409, "ended", api.patch(place, json={"name": "x"}, headers={"If-Match": "*"}))
    second, third = create(api, project="shop")["id"], create(api, owner="ada")["id"]
    assert [second] == api.post("/api/v1/revocations", json={"policy": "small", "project": "shop"}).json()["revoked"]
    assert [third] == api.post("/api/v1/revocations", json={"policy": "small", "owner": "ada"}).json()["revoked"]
    check_refusal(400, "invalid", api.post("/api/v1/revocations", json={"policy": "small"}))


def test_what_a_token_made_is_told_and_ends_with_it(listener: Any, mint_admin: Mint) -> None:
    """An admin token that leaked ends with the tokens that it made, their successors and children, by one call."""
    admin, leaked = mint_admin(), mint_admin("--name", "leaked")
    api, thief = client_of(listener), client_of(listener)
    api.headers["Authorization"], thief.headers["Authorization"] = (f"Bearer {one['token']}" for one in (admin, leaked))
    own, first = create(api, name="own"), create(thief, name="first")
    second = thief.post(f"/api/v1/tokens/{own['id']}/rotations", json={"overlap_seconds": 60}).json()
    assert [admin["id"], leaked["id"], leaked["id"]] == [one["made_by"] for one in (own, first, second)]
    listed = api.get("/api/v1/tokens", params={"made_by": leaked["id"], "policy": "small"}).json()["tokens"]
    assert {first["id"], second["id"]} == {one["id"] for one in listed}
    check_refusal(404, "not_found", api.get("/api/v1/tokens", params={"made_by": "0" * 24}))
    for wrong in ({"with_made": leaked["id"], "policy": "small"}, {"with_made": leaked["id"], "lineage": own["id"]}):
        check_refusal(400, "invalid", api.post("/api/v1/revocations", json=wrong))
    answer = api.post("/api/v1/revocations", json={"with_made": leaked["id"]})
    assert {leaked["id"], first["id"], second["id"]} == set(answer.json()["revoked"])
    assert 401 == thief.get("/api/v1/tokens").status_code
    check_refusal(404, "not_found", api.post("/api/v1/revocations", json={"with_made": "0" * 24}))


def test_a_call_that_is_repeated_with_its_key_makes_one_token(api: Api) -> None:
    """409 with the id of the token that there is; the key for another call is 422; a refused call leaves it free."""
    asked = {"policy": "small", "project": "website", "name": "CI"}
    key = {"Idempotency-Key": "a-key"}
    check_refusal(400, "invalid", api.post(TOKENS, json={**asked, "scopes": ["raed"]}, headers=key))
    created = api.post(TOKENS, json=asked, headers=key)
    assert 201 == created.status_code
    repeated = api.post(TOKENS, json=asked, headers=key)
    check_refusal(409, "idempotency_replayed", repeated)
    assert created.json()["id"] == repeated.json()["id"]
    assert "token" not in repeated.json()
    check_refusal(422, "idempotency_mismatch", api.post(TOKENS, json={**asked, "name": "x"}, headers=key))
    assert 1 == api.get(TOKENS, params={"policy": "small"}).json()["total"]
    assert 201 == api.post(TOKENS, json=asked, headers={"Idempotency-Key": "another"}).status_code


YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).isoformat()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": ""}, (400, "invalid")),
        ({"name": "x" * 256}, (400, "invalid")),
        ({"name": 7}, (400, "invalid")),
        ({"name": None}, (400, "invalid")),
        ({"name": "a\nb"}, (400, "invalid")),
        ({"name": "a\x00b"}, (400, "invalid")),
        ({"description": "x" * 2001}, (400, "invalid")),
        ({"description": "a\x1bb"}, (400, "invalid")),
        ({"project": "x" * 129}, (400, "invalid")),
        ({"project": "a\tb"}, (400, "invalid")),
        ({"project": ""}, (400, "invalid")),
        ({"owner": "x" * 129}, (400, "invalid")),
        ({"scopes": ["raed"]}, (400, "invalid")),
        ({"scopes": "read"}, (400, "invalid")),
        ({"scopes": ["read"] * 257}, (400, "invalid")),
        ({"scopes": [""]}, (400, "invalid")),
        ({"plan": "fre"}, (400, "invalid")),
        ({"expires_at": YESTERDAY}, (400, "invalid")),
        ({"expires_at": "2099-01-31T00:00:00"}, (400, "invalid")),
        ({"expires_at": "soon"}, (400, "invalid")),
        ({"expires_at": 4_000_000_000}, (400, "invalid")),
        ({"expires_at": "0001-01-01T00:00:00Z"}, (400, "invalid")),
        ({"not_before": "2099-01-01T00:00:00Z", "expires_at": "2098-01-01T00:00:00Z"}, (400, "invalid")),
        ({"policy": "smal"}, (404, "not_found")),
        ({"policy": "x" * 64}, (400, "invalid")),
        ({"plan": True}, (400, "invalid")),
        ({"is_admin": True}, (400, "invalid")),
        ({"digest": "00"}, (400, "invalid")),
    ],
)
def test_what_cannot_be_asked_for_is_refused(api: Api, changes: dict[str, Any], expected: tuple[int, str]) -> None:
    """A field over its bound, unknown or of another type, an unknown scope, an end in the past: nothing is made."""
    asked = {"policy": "small", "project": "website", "name": "CI", **changes}
    check_refusal(*expected, api.post(TOKENS, json=asked))
    assert 0 == api.get(TOKENS, params={"policy": "small"}).json()["total"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"name": "\xff"}', b"[" * 100_000, b'{"name": "\\ud83d"}']
)
def test_content_that_is_no_call_is_refused(api: Api, content: bytes) -> None:
    """Nothing, no JSON, no object, no UTF-8, brackets without end."""
    answer = api.post(TOKENS, content=content, headers={"Content-Type": "application/json"})
    check_refusal(400, "invalid", answer)


def test_too_much_content_is_refused(api: Api) -> None:
    """413, without an answer to what it says."""
    answer = api.post(TOKENS, content=b" " * 300_000, headers={"Content-Type": "application/json"})
    check_refusal(413, "content_too_large", answer)


def test_more_than_the_owner_has_cannot_be_given(api: Api) -> None:
    """403 for a scope beyond the owner's, also by a change."""
    owner = "/api/v1/policies/small/owners/ada"
    assert 200 == api.patch(owner, json={"permissions": {"website": ["read"]}}).status_code
    asked = {"policy": "small", "project": "website", "name": "CI", "owner": "ada", "scopes": ["write"]}
    check_refusal(403, "not_grantable", api.post(TOKENS, json=asked))
    place = f"{TOKENS}/{create(api, owner='ada')['id']}"
    changed = api.patch(place, json={"scopes": ["write"]}, headers={"If-Match": "*"})
    check_refusal(403, "not_grantable", changed)


def test_a_name_that_is_taken_is_a_conflict(api: Api) -> None:
    """409, where the policy wants unique names; tokens have numbers where it counts them."""
    assert 1 == create(api, policy="unique")["number"]
    again = {"policy": "unique", "project": "website", "name": "CI", "scopes": ["read"]}
    check_refusal(409, "name_taken", api.post(TOKENS, json=again))


def test_admin_tokens_are_made_at_the_command_line(api: Api, mint_admin: Mint) -> None:
    """With one, none is made, changed or given another end; it is rotated by itself alone, and ended by any."""
    other, own = mint_admin("--scope", "read")["id"], mint_admin("--expires", "30d")
    with_own = {"Authorization": f"Bearer {own['token']}"}
    for answer in (
        api.post(TOKENS, json={"policy": "", "name": "x"}),
        api.patch(f"{TOKENS}/{other}", json={"scopes": ["write"]}, headers={"If-Match": "*"}),
        api.patch(f"{TOKENS}/{own['id']}", json={"expires_at": None}, headers={"If-Match": "*", **with_own}),
        api.post(f"{TOKENS}/{other}/rotations", json={}),
        api.post(f"{TOKENS}/{own['id']}/rotations", json={"expires_at": None}, headers=with_own),
        api.post(f"{TOKENS}/{own['id']}/children", json={"name": "x"}, headers=with_own),
    ):
        check_refusal(403, "not_grantable", answer)
    rotated = api.post(f"{TOKENS}/{own['id']}/rotations", json={"overlap_seconds": 0}, headers=with_own)
    assert 201 == rotated.status_code
    assert own["expires_at"] == rotated.json()["expires_at"]
    assert 401 == api.get(TOKENS, headers=with_own).status_code
    assert 204 == api.delete(f"{TOKENS}/{other}").status_code


@pytest.mark.parametrize("identity", ["0" * 24, "x", "%2e%2e", "gwa_secret", "é"])
def test_an_unknown_id_is_not_found(api: Api, identity: str) -> None:
    """Whatever is done with it."""
    place = f"{TOKENS}/{identity}"
    answers = [
        api.get(place),
        api.delete(place),
        api.patch(place, json={}, headers={"If-Match": "*"}),
        api.post(f"{place}/rotations", json={}),
        api.post(f"{place}/children", json={"name": "x"}),
        api.get(f"{place}/children"),
    ]
    assert {404} == {answer.status_code for answer in answers}


IMPORTS = "/api/v1/imports"


def row(number: int, **settings: Any) -> dict[str, Any]:
    """A token that exists elsewhere."""
    return {"digest": digest(f"old {number}", b""), "name": f"CI {number}", "project": "website", **settings}


def test_many_tokens_are_imported_in_one_call(api: Api) -> None:
    """Each row has its outcome; the call may be repeated, and a row that is refused hinders no other one."""
    rows = [row(1, scopes=["read"]), row(2, scopes=["raed"]), row(3, is_active=False), {"name": "nothing"}]
    first = api.post(IMPORTS, json={"policy": "small", "rows": rows}).json()["outcomes"]
    assert [("imported", 1), ("refused", 2), ("imported", 3), ("refused", 4)] == [
        (one["result"], one["line"]) for one in first
    ]
    assert "unknown scope 'raed'" in first[1]["reason"]
    assert "one of `digest` and `text`" in first[3]["reason"]
    again = api.post(IMPORTS, json={"policy": "small", "rows": rows}).json()["outcomes"]
    assert ["present", "refused", "present", "refused"] == [one["result"] for one in again]
    states = [api.get(f"{TOKENS}/{first[number]['id']}").json()["state"] for number in (0, 2)]
    assert ["active", "disabled"] == states


def test_an_import_of_another_policy_or_too_many_rows_is_refused(api: Api) -> None:
    """404 and 400; a text that is no token of the policy is a row's refusal, and is not repeated."""
    check_refusal(404, "not_found", api.post(IMPORTS, json={"policy": "other", "rows": [row(1)]}))
    assert 400 == api.post(IMPORTS, json={"policy": "small", "rows": [row(1)] * 1001}).status_code
    secret = "zzz_0123456789abcdefghijklmnopqrstuvwxyz0123"
    answer = api.post(IMPORTS, json={"policy": "small", "rows": [{"text": secret, "name": "CI", "project": "website"}]})
    assert "refused" == answer.json()["outcomes"][0]["result"]
    assert secret not in answer.text


def test_what_was_imported_ends_with_the_token_that_imported_it(listener: Any, mint_admin: Mint) -> None:
    """As all that it made: somebody who has it could import digests of texts that only he knows."""
    admin, leaked = mint_admin(), mint_admin("--name", "leaked")
    api, thief = client_of(listener), client_of(listener)
    api.headers["Authorization"], thief.headers["Authorization"] = (f"Bearer {one['token']}" for one in (admin, leaked))
    (imported,) = thief.post(IMPORTS, json={"policy": "small", "rows": [row(1)]}).json()["outcomes"]
    answer = api.post("/api/v1/revocations", json={"with_made": leaked["id"]})
    assert {leaked["id"], imported["id"]} == set(answer.json()["revoked"])
    (again,) = api.post(IMPORTS, json={"policy": "small", "rows": [row(1)]}).json()["outcomes"]
    assert "was revoked, for good" in again["reason"]

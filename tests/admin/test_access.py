"""Who may call the management API, and what it tells of tokens to programs that know OAuth."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar.testing import TestClient

from tests.admin.conftest import Mint, build_app, create
from tests.support.command_line import run_json

pytestmark = pytest.mark.redis

Api = httpx.Client
TOKENS = "/api/v1/tokens"


def test_without_an_admin_token_there_is_no_answer(redis_url: str, mint_admin: Mint, tmp_path: Path) -> None:
    """401 with a challenge for none, a malformed, unknown, revoked one, and for the token of a policy."""
    revoked = mint_admin()
    run_json("token", "revoke", revoked["id"], "--redis", redis_url)
    with TestClient(build_app(redis_url)) as api:
        api.headers["Authorization"] = f"Bearer {mint_admin()['token']}"
        texts = [None, "x", create(api)["token"], revoked["token"], mint_admin()["token"][:-6] + "zzzzzz"]
        del api.headers["Authorization"]
        for text in texts:
            answer = api.get(TOKENS, headers={"Authorization": f"Bearer {text}"} if text else {})
            assert 401 == answer.status_code
            assert ("missing_credentials" if text is None else "invalid_token") == answer.json()["code"]
            assert answer.headers["www-authenticate"].startswith('Bearer realm="gateway"')
            assert "application/problem+json" == answer.headers["content-type"]
        assert 200 == api.get(TOKENS, headers={"Authorization": f"Bearer {mint_admin()['token']}"}).status_code


def test_a_padded_token_is_the_token(redis_url: str, mint_admin: Mint) -> None:
    """White space behind a value is no part of it (RFC 9110 5.5), also where the server leaves it there."""
    with TestClient(build_app(redis_url)) as api:
        assert 200 == api.get(TOKENS, headers={"Authorization": f"Bearer {mint_admin()['token']} \t"}).status_code


def test_a_call_needs_its_scope(redis_url: str, mint_admin: Mint) -> None:
    """Reading is not writing, and introspection is neither; 403 names what is needed."""
    with TestClient(build_app(redis_url)) as api:

        def ask(scope: str, method: str, path: str) -> Any:
            token = mint_admin("--scope", scope)["token"]
            form = {"data": {"token": "x"}} if path.endswith("introspect") else {}
            return api.request(method, path, headers={"Authorization": f"Bearer {token}"}, **form)  # type: ignore[arg-type]

        for scope, method, path in (
            ("read", "GET", TOKENS),
            ("write", "GET", TOKENS),
            ("introspect", "POST", "/api/v1/introspect"),
        ):
            answer = ask(scope, method, path)
            assert 200 == answer.status_code
            assert "www-authenticate" not in answer.headers
        for scope, method, path, needed in (
            ("read", "DELETE", f"{TOKENS}/x", "write"),
            ("introspect", "GET", TOKENS, "read"),
            ("write", "POST", "/api/v1/introspect", "introspect"),
        ):
            answer = ask(scope, method, path)
            assert 403 == answer.status_code
            assert answer.headers["www-authenticate"].endswith(f' scope="{needed}"')


def test_the_use_of_an_admin_token_is_noted_and_its_doing_is_its_own(api: Api, redis_url: str) -> None:
    """Its last use is shown, and the history says by which token something was done."""
    created = create(api)
    (entry, *_) = api.get("/api/v1/audit", params={"token": created["id"]}).json()["entries"]
    assert "API key ops" == entry["actor"]
    assert "admin" == entry["actor_kind"]
    assert "token.create" == entry["action"]
    admin = api.get(f"{TOKENS}/{entry['actor_token']}").json()
    assert "" == admin["policy"]
    assert "ops" == admin["name"]
    assert admin["last_used_at"] is not None


def test_wrong_credentials_are_limited(redis_url: str, mint_admin: Mint) -> None:
    """After so many from one address even a good one is 429 for a while."""
    good = {"Authorization": f"Bearer {mint_admin()['token']}"}
    with TestClient(build_app(redis_url, failed_credentials="3/minute")) as api:
        for _ in range(3):
            assert 401 == api.get(TOKENS, headers={"Authorization": "Bearer gwa_x"}).status_code
        answer = api.get(TOKENS, headers=good)
        assert 429 == answer.status_code
        assert "too_many_failures" == answer.json()["code"]
        assert int(answer.headers["retry-after"]) > 0


def test_an_admin_token_that_is_there_is_no_guess(redis_url: str, mint_admin: Mint, api: Api) -> None:
    """Revoked, it is 401 however often it comes, and another one is let in from the same address."""
    good, bad = mint_admin(), mint_admin()
    assert 204 == api.delete(f"{TOKENS}/{bad['id']}").status_code
    with TestClient(build_app(redis_url, failed_credentials="3/minute")) as other:
        for _ in range(5):
            assert 401 == other.get(TOKENS, headers={"Authorization": f"Bearer {bad['token']}"}).status_code
        assert 200 == other.get(TOKENS, headers={"Authorization": f"Bearer {good['token']}"}).status_code


def test_introspection_says_what_a_request_would_meet(api: Api) -> None:
    """RFC 7662: active with all there is to know; else, of whatever it is, that it is not and nothing more."""
    api.patch("/api/v1/policies/small/owners/ada", json={"permissions": {"website": ["read"]}})
    token = create(api, owner="ada", plan="pro", expires_at="2099-01-31T00:00:00Z")
    known = api.post("/api/v1/introspect", data={"token": token["token"], "token_type_hint": "access_token"})
    assert {
        "active": True,
        "scope": "read",
        "client_id": "CI",
        "sub": "ada",
        "token_type": "Bearer",
        "exp": 4073500800,
        "jti": token["id"],
        "iss": "small",
        "project": "website",
        "plan": "pro",
    } == {name: value for name, value in known.json().items() if name != "iat"}
    assert "no-store" == known.headers["cache-control"]

    def is_active() -> object:
        answer = api.post("/api/v1/introspect", data={"token": token["token"]}).json()
        assert answer["active"] or {"active": False} == answer
        return answer["active"]

    for status, expected in (("blocked", False), ("active", True), ("removed", False), ("active", True)):
        api.patch("/api/v1/policies/small/owners/ada", json={"status": status})
        assert expected == is_active(), status
    api.delete(f"{TOKENS}/{token['id']}")
    assert not is_active()
    admin = api.headers["authorization"].removeprefix("Bearer ")
    for text in ("sml_unknown", admin, "\x00", "ä"):
        assert {"active": False} == api.post("/api/v1/introspect", data={"token": text}).json()


def test_whoever_holds_a_token_can_revoke_it(api: Api) -> None:
    """RFC 7009: 200 without other credentials, also for what is none; the history says that the token did it."""
    token = create(api)
    del api.headers["authorization"]
    for text in (token["token"], token["token"], "sml_unknown", "ä"):
        answer = api.post("/api/v1/revoke", data={"token": text, "token_type_hint": "refresh_token"})
        assert 200 == answer.status_code
        assert b"{}" == answer.content
    assert 400 == api.post("/api/v1/revoke", data={}).status_code
    assert 400 == api.post("/api/v1/revoke", data={"token": "x" * 600}).status_code


def test_no_answer_but_the_first_has_the_text_of_a_token(api: Api, redis_url: str) -> None:
    """Nor has the history, nor Redis."""
    token = create(api)
    secret = token["token"][14:]
    paths = [TOKENS, f"{TOKENS}/{token['id']}", "/api/v1/audit", "/api/v1/policies", "/api/openapi.json"]
    assert not any(secret in api.get(path).text for path in paths)


def test_a_store_that_is_away_makes_no_promise(api: Api) -> None:
    """503 with Retry-After, for every call."""
    with TestClient(build_app("redis://127.0.0.1:1/0")) as away:
        answer = away.get(TOKENS, headers=dict(api.headers))
        assert 503 == answer.status_code
        assert "1" == answer.headers["retry-after"]
        assert "store_unavailable" == answer.json()["code"]


def test_no_refusal_repeats_a_token(api: httpx.Client) -> None:
    """Given as an id, as a name, as a field or as a parameter, it stays out of the answer."""
    body = "0123456789abcdefghijABCDEFGHIJ0123456789"
    token = f"sml_{body}"
    answers = [
        api.get(f"/api/v1/tokens/{token}"),
        api.delete(f"/api/v1/tokens/{token}"),
        api.post("/api/v1/tokens", json={"policy": "small", "name": token, "project": "website"}),
        api.post("/api/v1/tokens", json={"policy": token, "name": "CI", "project": "website"}),
        api.post("/api/v1/tokens", json={"policy": "small", "name": "CI", "project": "website", token: 1}),
        api.post("/api/v1/tokens", json={"policy": "small", "name": "CI", "project": "website", "scopes": [token]}),
        api.get(f"/api/v1/tokens?{token}=1"),
        api.get(f"/api/v1/owners/small/{token}"),
    ]
    assert [404, 404, 400, 404, 400, 400, 400, 404] == [answer.status_code for answer in answers]
    assert [] == [answer.text for answer in answers if body in answer.text]

"""Comvi's published promises, kept by policies/comvi.toml alone: contract rows C1 to C13, as requests meet them."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.contracts.product import Operator, Product, User
from tests.support.expiring import expire
from tests.support.processes import GatewayServer, wait_until

SCOPES = ("project:read", "translations:read", "translations:write", "schema:read")
TRANSLATIONS = "GET /api/v1/projects/5/translations"
EVERYTHING = f"5={','.join(SCOPES)}"
UNAUTHORIZED = (401, "UNAUTHORIZED")
FORBIDDEN = (403, "FORBIDDEN")


@pytest.fixture
def user(gateway: GatewayServer) -> User:
    """Who has a key."""
    return User(gateway.port, "api.comvi.io", "X-API-Key")


@pytest.fixture
def operator(redis_url: str) -> Operator:
    """Who makes keys, on an empty Redis."""
    return Operator("comvi", redis_url)


def code(user: User, text: str | None, request: str = TRANSLATIONS) -> tuple[int, str | None]:
    """Status and error code; None for what passes."""
    answer = user.ask(request, text)
    return answer.status, answer.json().get("code")


def scopes(*names: str) -> list[str]:
    return [word for name in names for word in ("--scope", name)]


def test_C1_the_credential_is_x_api_key_and_nothing_else(product: Product, user: User, operator: Operator) -> None:
    """Neither a Bearer header nor a place in the URL; and the product never sees a key."""
    text = operator.create("--project", "5")["token"]
    assert 200 == user.status(TRANSLATIONS, text)
    assert "x-api-key" not in product.received[0].fields
    bearer = user.ask(TRANSLATIONS, None, ("Authorization", f"Bearer {text}"))
    assert UNAUTHORIZED == (bearer.status, bearer.json()["code"])
    assert 'ApiKey realm="comvi", header="x-api-key"' == bearer.field("www-authenticate")
    for place in ("api_key", "x-api-key", "access_token"):
        assert 401 == user.status(f"{TRANSLATIONS}?{place}={text}", None)
    assert 400 == user.ask(TRANSLATIONS, text, ("X-API-Key", text)).status
    assert 401 == user.status(TRANSLATIONS, f"Bearer {text}")
    assert 1 == len(product.received)


def test_C2_a_key_is_a_prefix_and_a_random_part(user: User, operator: Operator) -> None:
    """The first prefix is minted, with 32 letters and digits behind it; four of them are shown."""
    keys = [operator.create("--project", "5") for _ in range(3)]
    assert all(re.fullmatch(r"comvi_[0-9A-Za-z]{32}", key["token"]) for key in keys)
    assert [key["token"][:10] for key in keys] == [key["shown"] for key in keys]
    assert 3 == len({key["token"] for key in keys})


@pytest.mark.parametrize("text", ["tlk_x9y8z7w6v5u4t3s2r1q0p9o8n7m6l5k4", "comvi_x9y8z7w6v5u4t3s2r1q0p9o8n7m6l5k4"])
def test_C2_keys_that_exist_already_stay_valid(product: Product, user: User, operator: Operator, text: str) -> None:
    """With either prefix: imported by its text, a key works, and is shown as its prefix and four characters."""
    where = ("--policy", "comvi", "--project", "5", "--name", "release", "--text-stdin")
    imported = operator.run("token", "import", *where, stdin=text.encode())
    assert text[: text.index("_") + 5] == imported["shown"]
    assert 200 == user.status(TRANSLATIONS, text)
    assert UNAUTHORIZED == code(user, text[:-1] + "5")


@pytest.mark.parametrize(
    ("request_line", "scope"),
    [
        ("GET /api/v1/projects/5", "project:read"),
        ("GET /api/v1/projects/5/locales", "project:read"),
        ("GET /api/v1/projects/5/namespaces/2", "project:read"),
        (TRANSLATIONS, "translations:read"),
        ("GET /api/v1/projects/5/keys", "translations:read"),
        ("POST /api/v1/projects/5/exports", "translations:read"),
        ("GET /api/v1/projects/5/schema", "schema:read"),
        ("POST /api/v1/projects/5/translations", "translations:write"),
        ("PUT /api/v1/projects/5/keys/17", "translations:write"),
        ("DELETE /api/v1/projects/5/namespaces/2", "translations:write"),
        ("POST /api/v1/projects/5/imports", "translations:write"),
    ],
)
def test_C3_an_endpoint_requires_its_scope(
    product: Product, user: User, operator: Operator, request_line: str, scope: str
) -> None:
    """It is enough, and all the others together are not: 403, and the product is not asked."""
    holder = operator.create("--project", "5", *scopes(scope))["token"]
    others = operator.create("--project", "5", *scopes(*(one for one in SCOPES if one != scope)))["token"]
    assert 200 == user.status(request_line, holder)
    assert FORBIDDEN == code(user, others, request_line)
    assert [request_line] == product.asked


def test_C3_a_key_that_does_not_exist_is_not_active_or_has_expired_is_401(
    product: Product, user: User, operator: Operator
) -> None:
    """All with the same answer; enabled again, a key works again."""
    disabled, ends = operator.create("--project", "5"), operator.create("--project", "5", "--expires", "1h")
    operator.run("token", "update", disabled["id"], "--disable")
    unknown = disabled["token"][:-1] + ("x" if disabled["token"][-1] != "x" else "y")
    expire(operator.redis_url, ends["id"])
    answers = [user.ask(TRANSLATIONS, text) for text in (disabled["token"], ends["token"], unknown, "comvi_", None)]
    assert {UNAUTHORIZED} == {(answer.status, answer.json()["code"]) for answer in answers}
    assert 1 == len({answer.content for answer in answers})
    operator.run("token", "update", disabled["id"], "--enable")
    assert 200 == user.status(TRANSLATIONS, disabled["token"])


def test_C3_a_key_is_for_one_project(product: Product, user: User, operator: Operator) -> None:
    """Another project's endpoints are 403, also what is in the cache."""
    own, other = operator.create("--project", "5"), operator.create("--project", "6")
    assert 200 == user.status(TRANSLATIONS, own["token"])
    assert FORBIDDEN == code(user, other["token"])
    assert 1 == len(product.asked)


LOSSES: dict[str, Callable[[Operator], Any]] = {
    "deleted": lambda operator: operator.run("owner", "remove", "u_17", "--policy", "comvi"),
    "blocked": lambda operator: operator.set_owner("u_17", "--status", "blocked"),
    "removed from the project": lambda operator: operator.set_owner("u_17", "--without", "5"),
    "without the permission": lambda operator: operator.set_owner("u_17", "--permission", "5=project:read,schema:read"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_C4_what_a_creator_loses_his_keys_lose_with_the_next_request(
    product: Product, user: User, operator: Operator, loss: str
) -> None:
    """On either worker, also for what is in the cache; what he gets back they have again."""
    operator.set_owner("u_17", "--permission", EVERYTHING, "--permission", "6=schema:read")
    text = operator.create("--project", "5", "--owner", "u_17")["token"]
    assert {200} == {user.status(TRANSLATIONS, text) for _ in range(4)}
    LOSSES[loss](operator)
    assert {FORBIDDEN} == {code(user, text) for _ in range(8)}
    operator.set_owner("u_17", "--status", "active", "--permission", EVERYTHING)
    assert {200} == {user.status(TRANSLATIONS, text) for _ in range(4)}


def test_C4_effective_scopes_are_the_keys_and_the_creators_both(
    product: Product, user: User, operator: Operator
) -> None:
    """A permission that the creator has and the key has not is of no use to it, nor the other way round."""
    operator.set_owner("u_17", "--permission", EVERYTHING)
    text = operator.create("--project", "5", "--owner", "u_17", *scopes("translations:read", "schema:read"))["token"]
    operator.set_owner("u_17", "--permission", "5=translations:read,translations:write")
    assert [200, 403, 403] == [
        user.status(request, text)
        for request in (TRANSLATIONS, "GET /api/v1/projects/5/schema", "POST /api/v1/projects/5/translations")
    ]
    assert "translations:read" == product.received[0].fields["x-gateway-scopes"]


def test_C4_a_creator_grants_what_he_has_and_no_more(operator: Operator) -> None:
    """Nothing named is all that he has in the project; more than that is refused."""
    operator.set_owner("u_17", "--permission", "5=project:read,schema:read", "--permission", f"6={SCOPES[2]}")
    assert ["project:read", "schema:read"] == operator.create("--project", "5", "--owner", "u_17")["scopes"]
    where = ("token", "create", "--policy", "comvi", "--name", "CI", "--owner", "u_17", "--project")
    assert "may not grant 'translations:write'" in operator.refused(*where, "5", *scopes("translations:write"))
    assert "has no part in 7" in operator.refused(*where, "7")


def test_C9_errors_are_a_code_and_a_sentence(product: Product, user: User, operator: Operator) -> None:
    """400, 401, 403, 404 and 429 in one shape, with the headers that say the rest."""
    key = operator.create("--project", "5", *scopes("translations:read"))
    operator.run("token", "override", key["id"], "minute", "2", "--until", "1h", "--reason", "to see its end")
    refusals = {
        "INVALID_INPUT": user.ask(TRANSLATIONS, key["token"], ("X-API-Key", key["token"])),
        "UNAUTHORIZED": user.ask(TRANSLATIONS, None),
        "FORBIDDEN": user.ask("POST /api/v1/projects/5/translations", key["token"]),
        "NOT_FOUND": user.ask("DELETE /api/v1/projects/5", key["token"]),
        "RATE_LIMIT_EXCEEDED": [user.ask(TRANSLATIONS, key["token"]) for _ in range(3)][-1],
    }
    assert [400, 401, 403, 404, 429] == [answer.status for answer in refusals.values()]
    for name, answer in refusals.items():
        assert "application/json" == answer.field("content-type")
        assert "no-store" == answer.field("cache-control")
        assert {"code", "message"} == set(answer.json())
        assert name == answer.json()["code"]
    limited = refusals["RATE_LIMIT_EXCEEDED"]
    assert int(limited.field("retry-after") or 0) > 0
    assert '"minute";q=2;w=60' == limited.field("ratelimit-policy")


def test_C11_last_use_is_recorded_and_the_name_is_in_the_log(
    gateway: GatewayServer, product: Product, user: User, operator: Operator
) -> None:
    """The product is told the key's name too, so that its history can say who it was."""
    key = operator.create("--project", "5", name="github-actions-release")
    assert None is operator.show(key["id"])["last_used_at"]
    answer = user.ask(TRANSLATIONS, key["token"])
    assert operator.show(key["id"])["last_used_at"] >= key["created_at"]
    fields = product.received[0].fields
    assert key["id"] == fields["x-gateway-token-id"]
    assert "github-actions-release" == fields["x-gateway-token-name"]
    assert "5" == fields["x-gateway-project"]
    identity = answer.field("x-request-id") or "none"
    wait_until(lambda: identity in gateway.access_log.read_text(), "the access log has the request")
    assert '"token_name":"github-actions-release"' in gateway.access_log.read_text()


def test_C12_a_request_with_a_key_needs_no_csrf_token(product: Product, user: User, operator: Operator) -> None:
    """Neither a token nor a cookie nor an origin: a write passes with the key alone, and a cookie is no credential."""
    text = operator.create("--project", "5")["token"]
    assert 200 == user.ask("POST /api/v1/projects/5/translations", text, content=b"{}").status
    assert 401 == user.ask("POST /api/v1/projects/5/translations", None, ("Cookie", f"session={text}")).status


def test_C13_published_content_needs_no_key(product: Product, user: User, operator: Operator) -> None:
    """Nobody is asked who he is, and it is kept for all; a key, even a revoked one, changes nothing."""
    product.content = {"greeting": "Hallo"}
    first = user.ask("GET /published/5/de.json", None)
    assert 200 == first.status
    assert {"greeting": "Hallo"} == first.json()
    key = operator.create("--project", "6")
    operator.run("token", "revoke", key["id"])
    assert {200} == {user.status("GET /published/5/de.json", text) for text in (None, key["token"], "comvi_nonsense")}
    assert 304 == user.ask("GET /published/5/de.json", None, ("If-None-Match", first.field("etag") or "")).status
    assert ["GET /published/5/de.json"] == product.asked
    assert "x-api-key" not in product.received[0].fields
    assert [401, 404] == [user.status(TRANSLATIONS, None), user.status("POST /published/5/de.json", None)]


def test_a_pull_after_a_push_has_what_was_pushed(product: Product, user: User, operator: Operator) -> None:
    """The product is asked each time; while nothing changes a build that sends its tag gets 304."""
    text = operator.create("--project", "5")["token"]
    product.content = {"greeting": "Hallo"}
    first = user.ask(TRANSLATIONS, text)
    tag = first.field("etag") or ""
    assert tag.startswith('W/"')
    assert 304 == user.ask(TRANSLATIONS, text, ("If-None-Match", tag)).status
    product.content = {"greeting": "Guten Tag"}
    assert {"greeting": "Guten Tag"} == user.ask(TRANSLATIONS, text, ("If-None-Match", tag)).json()

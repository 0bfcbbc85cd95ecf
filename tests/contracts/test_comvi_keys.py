"""Comvi's REST API for keys, served by the gateway from policies/comvi.toml alone: contract rows C5 to C12."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contracts.product import Operator, Product, User, dump
from tests.support.client import Answer
from tests.support.processes import GatewayServer

KEYS = "/api/v1/projects/5/api-keys"
SCOPES = ["project:read", "schema:read", "translations:read", "translations:write"]
READING = ["project:read", "schema:read", "translations:read"]
FIELDS = [
    "id",
    "projectId",
    "name",
    "description",
    "keyPrefix",
    "lastUsedAt",
    "expiresAt",
    "isActive",
    "permissions",
    "createdAt",
    "updatedAt",
]
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture(autouse=True)
def product(product: Product) -> Iterator[Product]:
    """The product behind the gateway, which answers these requests by itself."""
    yield product
    assert [] == [request for request in product.asked if "api-keys" in request]


@pytest.fixture
def operator(redis_url: str) -> Operator:
    """Who makes the first key of a project, on an empty Redis."""
    return Operator("comvi", redis_url)


class Keyholder:
    """Who administers keys with a key."""

    def __init__(self, user: User, text: str) -> None:
        self.user = user
        self.text = text

    def call(self, request: str, body: object = None) -> Answer:
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        return self.user.ask(request, self.text, ("Content-Type", "application/json"), content=content)

    def create(self, **body: Any) -> Any:
        answer = self.call(f"POST {KEYS}", {"name": "CI/CD Pipeline", **body})
        assert 201 == answer.status, answer.content
        return answer.json()

    def list(self) -> Any:
        answer = self.call(f"GET {KEYS}")
        assert 200 == answer.status, answer.content
        return answer.json()


@pytest.fixture
def user(gateway: GatewayServer) -> User:
    """Somebody without a key."""
    return User(gateway.port, "api.comvi.io", "X-API-Key")


@pytest.fixture
def admin(user: User, operator: Operator) -> Keyholder:
    """Who holds a key of project 5 with every scope."""
    return Keyholder(user, operator.create("--project", "5", "--owner", "u_17", name="admin")["token"])


def assert_refused(status: int, code: str, answer: Answer) -> None:
    """The answer has the status, and the error code of the page."""
    assert "application/json" == answer.field("content-type")
    assert status == answer.status
    assert code == answer.json()["code"]


def test_C5_a_list_has_exactly_the_fields_of_the_page(admin: Keyholder) -> None:
    """Of each key of the project, in their order and types; the text of none, and none of another project."""
    created = admin.create(description="Used by GitHub Actions", permissions=READING)
    answer = admin.call(f"GET {KEYS}")
    listed = answer.json()
    assert 200 == answer.status
    assert "application/json" == answer.field("content-type")
    assert "no-store" == answer.field("cache-control")
    assert [FIELDS, FIELDS] == [list(key) for key in listed]
    assert {"CI/CD Pipeline", "admin"} == {key["name"] for key in listed}
    assert created["token"] not in answer.content.decode()
    assert {5} == {key["projectId"] for key in listed}
    assert 200 == admin.call(f"HEAD {KEYS}").status


def test_C6_a_key_is_created_and_its_text_is_in_that_reply_alone(admin: Keyholder, redis_url: str) -> None:
    """With all that the page can ask for; the text works at once, and is in no other answer, nor in Redis."""
    created = admin.create(description="d" * 2000, expiresAt="2099-01-31T00:00:00Z", permissions=READING)
    assert [*FIELDS, "token"] == list(created)
    assert READING == created["permissions"]
    assert "2099-01-31T00:00:00Z" == created["expiresAt"]
    assert created["isActive"] is True
    assert created["lastUsedAt"] is None
    text = created.pop("token")
    assert text.startswith(created["keyPrefix"])
    assert 200 == admin.user.status("GET /api/v1/projects/5", text)
    listed = next(key for key in admin.list() if key["id"] == created["id"])
    assert {**created, "lastUsedAt": listed["lastUsedAt"]} == listed
    changed = admin.call(f"PUT /api/v1/api-keys/{created['id']}", {"name": "x"})
    assert text not in changed.content.decode()
    assert not [one for one in dump(redis_url) if text[12:] in one]


def test_C6_omitted_permissions_are_all_that_the_creator_may_grant(admin: Keyholder, operator: Operator) -> None:
    """Those that the presented key effectively has: its own, bounded by its creator's at the moment."""
    assert SCOPES == admin.create()["permissions"]
    operator.set_owner("u_17", "--permission", "5=project:read,translations:write")
    assert ["project:read", "translations:write"] == admin.create(name="bounded")["permissions"]


def test_C6_C7_permissions_come_back_in_the_order_given(admin: Keyholder) -> None:
    """In the answer to creating and changing a key, and in lists."""
    given, changed = ["translations:write", "project:read", "schema:read"], ["schema:read", "project:read"]
    key = admin.create(permissions=given)
    assert given == key["permissions"]
    assert given == next(one for one in admin.list() if one["id"] == key["id"])["permissions"]
    answer = admin.call(f"PUT /api/v1/api-keys/{key['id']}", {"permissions": changed})
    assert changed == answer.json()["permissions"]


def test_C7_a_key_does_not_enable_what_an_operator_disabled(admin: Keyholder, operator: Operator) -> None:
    """403; what a key disabled, a key enables."""
    key = admin.create(permissions=READING)
    place = f"PUT /api/v1/api-keys/{key['id']}"
    assert 200 == admin.call(place, {"isActive": False}).status
    assert 200 == admin.call(place, {"isActive": True}).status
    identity = next(one["id"] for one in operator.run("token", "list") if one["number"] == key["id"])
    operator.run("token", "update", identity, "--disable")
    for is_active in (True, False, True):
        answer = admin.call(place, {"isActive": is_active})
        if is_active:
            assert_refused(403, "FORBIDDEN", answer)
    operator.run("token", "update", identity, "--enable")
    assert 200 == admin.user.status("GET /api/v1/projects/5", key["token"])


def test_a_leaked_key_ends_with_the_keys_that_it_made(admin: Keyholder, operator: Operator) -> None:
    """By one command: `token revoke ID --with-made`; keys that others made go on."""
    leaked = Keyholder(admin.user, admin.create(name="leaked")["token"])
    made = [leaked.create(name=name)["token"] for name in ("second", "third")]
    identity = next(one["id"] for one in operator.run("token", "list") if one["name"] == "leaked")
    operator.run("token", "revoke", identity, "--with-made")
    statuses = [admin.user.status("GET /api/v1/projects/5", text) for text in (leaked.text, *made, admin.text)]
    assert [401, 401, 401, 200] == statuses


def test_C7_a_key_is_changed_in_place(admin: Keyholder) -> None:
    """Name, description, activity, end and permissions, each alone; what is not named stays, and so does the text."""
    key = admin.create(permissions=READING, description="first", expiresAt="2099-01-31T00:00:00Z")
    place = f"PUT /api/v1/api-keys/{key['id']}"

    def change(**body: object) -> Any:
        answer = admin.call(place, body)
        assert 200 == answer.status, answer.content
        assert FIELDS == list(answer.json()), answer.content
        return answer.json()

    known = {name: key[name] for name in ("name", "description", "expiresAt", "isActive", "permissions")}
    for body in (
        {"name": "Production Sync Key"},
        {"description": None},
        {"expiresAt": "2098-01-31T01:30:00+01:30"},
        {"expiresAt": None},
        {"isActive": False},
        {"isActive": True},
        {"permissions": SCOPES},
        {},
    ):
        known |= body | ({"expiresAt": "2098-01-31T00:00:00Z"} if body.get("expiresAt") else {})
        changed = change(**body)
        assert known == {name: changed[name] for name in known}
        expected = 200 if known["isActive"] else 401
        assert expected == admin.user.status("GET /api/v1/projects/5", key["token"])
    assert key["id"] == changed["id"]
    assert key["createdAt"] == changed["createdAt"]
    assert key["keyPrefix"] == changed["keyPrefix"]
    assert changed["updatedAt"] >= key["updatedAt"]


def test_C8_a_deleted_key_is_refused_at_once(admin: Keyholder) -> None:
    """204 without content; the next request gets 401, on every worker, and the key is in no list and not there."""
    key = admin.create()
    assert 200 == admin.user.status("GET /api/v1/projects/5", key["token"])
    deleted = admin.call(f"DELETE /api/v1/api-keys/{key['id']}")
    assert 204 == deleted.status
    assert b"" == deleted.content
    assert deleted.field("content-type") is None
    assert {401} == {admin.user.status("GET /api/v1/projects/5", key["token"]) for _ in range(10)}
    assert ["admin"] == [one["name"] for one in admin.list()]
    for request, body in (("DELETE", None), ("PUT", {"name": "x"})):
        assert_refused(404, "API_KEY_NOT_FOUND", admin.call(f"{request} /api/v1/api-keys/{key['id']}", body))


def test_C9_a_name_is_taken_once_in_a_project(admin: Keyholder, operator: Operator) -> None:
    """400 UNIQUE_CONSTRAINT, for a new key and for a changed one; free again when its key is deleted."""
    key = admin.create(name="release")
    assert_refused(400, "UNIQUE_CONSTRAINT", admin.call(f"POST {KEYS}", {"name": "release"}))
    other = admin.create(name="other")
    place = f"PUT /api/v1/api-keys/{other['id']}"
    assert_refused(400, "UNIQUE_CONSTRAINT", admin.call(place, {"name": "release"}))
    operator.create("--project", "6", name="release")
    admin.call(f"DELETE /api/v1/api-keys/{key['id']}")
    assert 200 == admin.call(place, {"name": "release"}).status


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x" * 256},
        {"name": None},
        {"name": 7},
        {"name": "a\nb"},
        {"name": "x", "description": "d" * 2001},
        {"name": "x", "description": 7},
        {"name": "x", "description": "a\x00b"},
        {"name": "x", "expiresAt": "2001-01-01T00:00:00Z"},
        {"name": "x", "expiresAt": "soon"},
        {"name": "x", "expiresAt": 4_000_000_000},
        {"name": "x", "expiresAt": "0001-01-01T00:00:00+14:00"},
        {"name": "x", "permissions": ["project:raed"]},
        {"name": "x", "permissions": []},
        {"name": "x", "permissions": "project:read"},
        {"name": "x", "permissions": None},
        {"name": "x", "isActive": True},
        {"name": "x", "projectId": 6},
        {"name": "x", "plan": "pro"},
        {"name": "x", "token": "comvi_mine"},
        [],
        "x",
        b"",
        b"{",
        b'{"name": "\xff"}',
        b"[" * 60_000,
        b'{"name": "' + b"x" * 70_000 + b'"}',
    ],
)
def test_C9_a_bad_scope_or_payload_is_invalid_input(admin: Keyholder, body: object) -> None:
    """400 INVALID_INPUT for a field over its bound, unknown or of another type; no key is made."""
    assert_refused(400, "INVALID_INPUT", admin.call(f"POST {KEYS}", body))
    assert ["admin"] == [key["name"] for key in admin.list()]


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"isActive": None},
        {"isActive": "false"},
        {"expiresAt": "2001-01-01T00:00:00Z"},
        {"permissions": ["project:raed"]},
        {"permissions": [7]},
        {"createdAt": "2099-01-01T00:00:00Z"},
        [],
    ],
)
def test_C9_a_bad_change_is_invalid_input_and_changes_nothing(admin: Keyholder, body: object) -> None:
    """400 INVALID_INPUT, and the key is as it was."""
    key = admin.create()
    assert_refused(400, "INVALID_INPUT", admin.call(f"PUT /api/v1/api-keys/{key['id']}", body))
    del key["token"]
    assert key == next(one for one in admin.list() if one["id"] == key["id"])


def test_C9_nobody_grants_a_scope_that_it_does_not_have(admin: Keyholder, operator: Operator) -> None:
    """403 FORBIDDEN, for a new key and for more of an old one; what a key has already it may keep."""
    writing = ["project:read", "translations:write"]
    lesser = Keyholder(admin.user, admin.create(name="lesser", permissions=writing)["token"])
    asked = {"name": "x", "permissions": [*writing, "schema:read"]}
    assert_refused(403, "FORBIDDEN", lesser.call(f"POST {KEYS}", asked))
    strong = admin.create(name="strong")
    place = f"PUT /api/v1/api-keys/{strong['id']}"
    assert 200 == lesser.call(place, {"permissions": SCOPES}).status
    assert 200 == lesser.call(place, {"permissions": writing}).status
    assert_refused(403, "FORBIDDEN", lesser.call(place, {"permissions": SCOPES}))
    operator.set_owner("u_17", "--permission", "5=project:read,translations:write")
    assert_refused(403, "FORBIDDEN", admin.call(f"POST {KEYS}", {"name": "y", "permissions": SCOPES}))


def test_C9_nobody_makes_a_key_that_outlives_its_own(admin: Keyholder) -> None:
    """A key with an end gives its end to the keys it makes; for a later one, or none, it is 403 FORBIDDEN."""
    end, later = "2099-01-31T00:00:00Z", "2099-02-01T00:00:00Z"
    brief = Keyholder(admin.user, admin.create(name="brief", expiresAt=end)["token"])
    assert end == brief.create(name="as brief")["expiresAt"]
    assert_refused(403, "FORBIDDEN", brief.call(f"POST {KEYS}", {"name": "x", "expiresAt": later}))
    assert_refused(403, "FORBIDDEN", brief.call(f"POST {KEYS}", {"name": "x", "expiresAt": None}))
    lasting = admin.create(name="lasting")["id"]
    assert 200 == brief.call(f"PUT /api/v1/api-keys/{lasting}", {"expiresAt": None}).status, "as it is already"
    assert 200 == brief.call(f"PUT /api/v1/api-keys/{lasting}", {"expiresAt": end}).status
    assert_refused(403, "FORBIDDEN", brief.call(f"PUT /api/v1/api-keys/{lasting}", {"expiresAt": later}))


def test_C9_who_may_not_manage_keys_is_forbidden(admin: Keyholder) -> None:
    """403 for a key that only reads, and for one of another project; 401 without a key."""
    reader = Keyholder(admin.user, admin.create(name="reader", permissions=READING)["token"])
    assert 2 == len(reader.list())
    assert_refused(403, "FORBIDDEN", reader.call(f"POST {KEYS}", {"name": "x"}))
    other = "/api/v1/projects/6/api-keys"
    assert_refused(403, "FORBIDDEN", admin.call(f"GET {other}"))
    assert_refused(403, "FORBIDDEN", admin.call(f"POST {other}", {"name": "x"}))
    assert 401 == admin.user.status(f"GET {KEYS}", None)


@pytest.mark.parametrize("identity", ["999", "0", "-1", "1.0", "abc", "9" * 40, "%C2%B2", "f" * 24])
def test_C9_a_key_that_is_not_there_is_not_found(admin: Keyholder, identity: str) -> None:
    """404 API_KEY_NOT_FOUND, whatever the id looks like."""
    for request, body in (("PUT", {"name": "x"}), ("DELETE", None)):
        assert_refused(404, "API_KEY_NOT_FOUND", admin.call(f"{request} /api/v1/api-keys/{identity}", body))


def test_C9_a_key_of_another_project_is_not_found(admin: Keyholder, operator: Operator) -> None:
    """A key of project 5 cannot even tell that project 6 has one; nothing becomes of it."""
    other = operator.create("--project", "6", name="theirs")
    for request, body in (("PUT", {"name": "x"}), ("DELETE", None)):
        assert_refused(404, "API_KEY_NOT_FOUND", admin.call(f"{request} /api/v1/api-keys/{other['number']}", body))
    shown = operator.show(other["id"])
    assert "theirs" == shown["name"]
    assert "active" == shown["state"]


def test_C10_ids_are_integers_and_times_are_iso_8601(admin: Keyholder) -> None:
    """Field names camelCase, times in UTC, absent values null."""
    keys = [admin.create(name=f"key {number}") for number in range(3)]
    assert sorted({key["id"] for key in keys}) == [key["id"] for key in keys]
    assert all(type(key["id"]) is int and type(key["projectId"]) is int for key in keys)
    for key in admin.list():
        assert all(re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", name) for name in key)
        assert all(re.fullmatch(TIME, key[name]) for name in ("createdAt", "updatedAt"))
        assert key["description"] is None
        assert key["expiresAt"] is None


def test_C11_last_use_is_recorded_and_changes_are_the_keys(admin: Keyholder, operator: Operator) -> None:
    """The list shows the use; the history says "API key admin" of what the key did, also of what it was refused."""
    key = admin.create(name="ci")
    admin.call(f"POST {KEYS}", {"name": "ci"})
    assert 200 == admin.user.status("GET /api/v1/projects/5", key["token"])
    uses = {one["name"]: one["lastUsedAt"] for one in admin.list()}
    assert all(re.fullmatch(TIME, use) for use in uses.values())
    refused, made, first = operator.run("audit", "search")
    assert "API key admin" == refused["actor"]
    assert "name_taken" == refused["outcome"]
    assert "API key admin" == made["actor"]
    assert "token.create" == made["action"]
    assert "ci" == made["name"]
    assert "operator" == first["actor_kind"]
    assert "admin" == first["name"]


def test_C12_a_key_needs_no_csrf_token(admin: Keyholder) -> None:
    """Neither a cookie nor a token beside the key, whatever page a browser says that it is on."""
    answer = admin.user.ask(
        f"POST {KEYS}", admin.text, ("Origin", "https://elsewhere.example"), content=b'{"name": "x"}'
    )
    assert 201 == answer.status


def test_C2_keys_that_exist_already_are_imported(user: User, operator: Operator) -> None:
    """Of both prefixes and the pages' length, which have no checksum: they work, are listed by prefix, and end."""
    for text in ("tlk_x9y8z7w6v5u4t3s2r1q0p9o8n7m6l5k4", "comvi_x9y8z7w6v5u4t3s2r1q0p9o8n7m6l5k4"):
        asked = ("token", "import", "--policy", "comvi", "--project", "5", "--owner", "u_17", "--name", text[:4])
        assert 401 == user.status("GET /api/v1/projects/5", text)
        imported = operator.run(*asked, "--text-stdin", stdin=text.encode())
        assert 200 == user.status("GET /api/v1/projects/5", text)
        assert f"{text.partition('_')[0]}_x9y8" == imported["shown"] == operator.show(imported["id"])["shown"]
        operator.run("token", "revoke", imported["id"])
        assert 401 == user.status("GET /api/v1/projects/5", text)

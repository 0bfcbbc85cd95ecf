"""Tokens Studio's published promises, kept by policies/tokens-studio.toml alone: contract rows S1 to S6."""

import json
import time
from datetime import datetime
from http.client import HTTPException

import pytest
import redis

from gateway.adapters.redis import keys
from gateway.core.policies.loading import load_policies
from tests.conftest import POLICIES
from tests.contracts.product import Operator, Product, User, dump
from tests.support.processes import GatewayServer, wait_until

ACME, BRAND = "GET /api/v1/organizations/acme", "GET /api/v1/projects/brand/tokens"
NEEDED = {
    "me:read": "GET /api/v1/me",
    "organizations:read": ACME,
    "organizations:write": "PATCH /api/v1/organizations/acme",
    "organizations:admin": "DELETE /api/v1/organizations/acme",
    "organizations:user:read": "GET /api/v1/organizations/acme/users",
    "organizations:user:invite": "POST /api/v1/organizations/acme/users/invitations",
    "organizations:user:write": "PATCH /api/v1/organizations/acme/users/u_8",
    "projects:read": BRAND,
    "projects:write": "PUT /api/v1/projects/brand/tokens",
    "projects:admin": "DELETE /api/v1/projects/brand",
}
"""A request for each scope of the page but `actor_tokens:create`."""
ALL = (*NEEDED, "actor_tokens:create")
MEMBER = ("--permission", "=me:read,actor_tokens:create", "--permission", "acme=organizations:read")
IN_BRAND = ("--permission", "brand=projects:read,projects:write")


@pytest.fixture
def user(gateway: GatewayServer) -> User:
    """Who has a key."""
    return User(gateway.port, "api.tokens.studio", "Authorization Bearer")


@pytest.fixture
def operator(redis_url: str) -> Operator:
    """Who makes keys, on an empty Redis, where the user u_7 is in an organization and a project."""
    operator = Operator("tokens-studio", redis_url)
    operator.set_owner("u_7", *MEMBER, *IN_BRAND)
    return operator


def scopes(*names: str) -> list[str]:
    return [word for name in names for word in ("--scope", name)]


def statuses(user: User, text: str, *requests: str) -> list[int]:
    return [user.status(request, text) for request in requests]


def test_S1_a_key_has_a_name_scopes_and_perhaps_an_end_and_is_shown_once(operator: Operator) -> None:
    """Without a name there is none; its text is in the answer to its making and nowhere afterwards."""
    where = ("token", "create", "--policy", "tokens-studio", "--owner", "u_7")
    assert "Missing option '--name'" in operator.refused(*where)
    key = operator.create("--owner", "u_7", "--expires", "30d", *scopes("project:read"), name="Figma")
    assert "Figma" == key["name"]
    assert ["projects:read"] == key["scopes"]
    assert key["expires_at"] > key["created_at"]
    assert None is operator.create("--owner", "u_7")["expires_at"]
    shown = operator.show(key["id"])
    assert "token" in key
    assert "token" not in shown
    secret = key["token"].removeprefix(key["shown"])
    assert secret not in f"{shown}{operator.run('token', 'list')}{dump(operator.redis_url)}"


def test_S2_the_eleven_scopes_of_the_page_exist() -> None:
    """Each with a description and a category, and no other; the plugins' bundle has what they are told to take."""
    policies = load_policies({"policy.toml": (POLICIES / "tokens-studio.toml").read_text(encoding="utf-8")})
    policy = policies.policies["tokens-studio"]
    assert sorted(ALL) == sorted(policy.scopes)
    assert all(scope.description and scope.category for scope in policy.scopes.values())
    assert ["projects:read", "projects:write", "actor_tokens:create"] == list(policy.bundles["figma"].scopes)


@pytest.mark.parametrize("scope", NEEDED)
def test_S2_each_scope_opens_what_is_its_own(product: Product, user: User, operator: Operator, scope: str) -> None:
    """It is enough, and all the others together are not: 403, and the product is not asked."""
    operator.set_owner("u_8", "--permission", f"*={','.join(ALL)}")
    holder = operator.create("--owner", "u_8", *scopes(scope))["token"]
    others = operator.create("--owner", "u_8", *scopes(*(one for one in ALL if one != scope)))["token"]
    assert [200] == statuses(user, holder, NEEDED[scope])
    refused = user.ask(NEEDED[scope], others)
    assert 403 == refused.status
    assert [scope] == refused.json()["required_scopes"]
    assert [NEEDED[scope]] == product.asked


def test_S2_the_pages_other_spelling_is_accepted_and_stored_under_the_scopes_own_name(
    product: Product, user: User, operator: Operator
) -> None:
    """For keys made and changed, and for what users hold; what the product is told is the scope's own name."""
    operator.set_owner("u_8", "--permission", "brand=project:read,project:write")
    record = operator.run("owner", "show", "u_8", "--policy", "tokens-studio")
    assert {"brand": ["projects:read", "projects:write"]} == record["permissions"]
    key = operator.create("--owner", "u_8", *scopes("project:write", "projects:write"))
    assert ["projects:write"] == key["scopes"]
    assert [403] == statuses(user, key["token"], BRAND)
    changed = operator.run("token", "update", key["id"], *scopes("project:read"))
    assert ["projects:read"] == changed["scopes"]
    assert [200, 403] == statuses(user, key["token"], BRAND, NEEDED["projects:write"])
    assert "projects:read" == product.received[0].fields["x-gateway-scopes"]
    where = ("token", "create", "--policy", "tokens-studio", "--owner", "u_8", "--name", "CI")
    assert "unknown scope 'project:raed': did you mean 'project:read'?" in operator.refused(
        *where, "--scope", "project:raed"
    )


def test_S2_a_key_from_when_a_scope_had_its_other_name_goes_on(
    product: Product, user: User, operator: Operator
) -> None:
    """As it stands in Redis, of user and key alike: the scope may be renamed, and nothing has to be rewritten."""
    key = operator.create("--owner", "u_7", *scopes("projects:read"))
    with redis.Redis.from_url(operator.redis_url) as client:
        record = keys.token(key["id"])
        client.set(record, client.get(record).replace(b"projects:read", b"project:read"))
        for owner in client.scan_iter("gw1:*owner:*:u_7"):
            if client.type(owner) == b"hash" and client.hexists(owner, "in:brand"):
                client.hset(owner, "in:brand", "project:read project:write")
    assert ["project:read"] == operator.show(key["id"])["scopes"]
    assert [200, 403] == statuses(user, key["token"], BRAND, NEEDED["projects:write"])
    assert "projects:read" == product.received[0].fields["x-gateway-scopes"]


def test_S3_a_key_reaches_what_its_user_belongs_to_now_and_no_others(
    product: Product, user: User, operator: Operator
) -> None:
    """Who joins reaches it with the next request of an old key, who leaves does not, on either worker."""
    text = operator.create("--owner", "u_7", *scopes("organizations:read", "projects:read"))["token"]
    globex, site = "GET /api/v1/organizations/globex", "GET /api/v1/projects/site/tokens"
    assert [200, 200, 403, 403] == statuses(user, text, ACME, BRAND, globex, site)
    operator.set_owner("u_7", "--permission", "globex=organizations:read", "--without", "brand")
    assert {(200, 403, 200, 403)} == {tuple(statuses(user, text, ACME, BRAND, globex, site)) for _ in range(4)}
    assert {"u_7"} == {one.fields["x-gateway-owner"] for one in product.received}


def test_S3_keys_are_their_users_own(product: Product, user: User, operator: Operator) -> None:
    """What another user belongs to changes nothing; a blocked or removed user reaches nothing at all."""
    operator.set_owner("u_8", "--permission", "site=projects:read")
    text, other = (operator.create("--owner", owner)["token"] for owner in ("u_7", "u_8"))
    assert [200, 403] == statuses(user, text, BRAND, "GET /api/v1/projects/site")
    assert [403, 200] == statuses(user, other, BRAND, "GET /api/v1/projects/site")
    operator.set_owner("u_7", "--status", "blocked")
    assert [403, 403, 403] == statuses(user, text, "GET /api/v1/me", ACME, BRAND)
    operator.run("owner", "remove", "u_8", "--policy", "tokens-studio")
    assert [403] == statuses(user, other, "GET /api/v1/projects/site")


def test_S3_nobody_has_a_key_whose_organizations_and_projects_are_not_told(operator: Operator) -> None:
    """A key without bounds would reach everybody's: none is made, nor imported, nor for no user at all."""
    for command in ("create", "import"):
        how = ("--digest", "0" * 64) if command == "import" else ()
        where = ("token", command, "--policy", "tokens-studio", "--name", "CI", *how)
        for named in ((), scopes("projects:read")):
            assert "has tokens of known owners only: tell of u_9 with `gateway owner set`" in operator.refused(
                *where, "--owner", "u_9", *named
            )
    assert [] == operator.run("token", "list")


def test_S4_an_expired_key_stops_at_its_expiry_to_the_second(product: Product, user: User, operator: Operator) -> None:
    """Whatever was let in had left before that second began, and whatever was refused came back after it.

    An answer that is under way in that very second is cut off, as all that is open for the key is.
    """
    key = operator.create("--owner", "u_7", "--expires", "3s")
    expires = datetime.fromisoformat(key["expires_at"]).timestamp()
    let_in: list[float] = []
    refused: list[float] = []

    def ask() -> bool:
        sent_at = time.time()
        try:
            status = user.status("GET /api/v1/me", key["token"])
        except (HTTPException, ConnectionError, ValueError):
            assert time.time() >= expires
            return False
        assert status in (200, 401)
        if status == 200:
            let_in.append(sent_at)
        else:
            refused.append(time.time())
        return len(refused) == 4

    wait_until(ask, "the key has expired")
    assert let_in
    assert max(let_in) < expires <= min(refused)
    assert "expired" == operator.show(key["id"])["state"]


def test_S5_a_key_with_the_scope_has_actor_tokens_for_the_same_user(
    product: Product, user: User, operator: Operator
) -> None:
    """Narrower ones that act for the user; a key without the scope has none, and neither has an actor token."""
    parent = operator.create("--owner", "u_7", "--expires", "30d", *scopes("projects:read", "actor_tokens:create"))
    actor = operator.run("token", "create", "--parent", parent["id"], "--name", "Figma")
    assert ["projects:read"] == actor["scopes"]
    assert "u_7" == actor["owner"]
    assert parent["expires_at"] == actor["expires_at"]
    assert parent["id"] == actor["parent"]
    assert [200] == statuses(user, actor["token"], BRAND)
    assert actor["id"] == product.received[0].fields["x-gateway-token-id"]
    assert "u_7" == product.received[0].fields["x-gateway-owner"]
    plain = operator.create("--owner", "u_7", *scopes("projects:read"))
    for identity, message in (
        (plain["id"], "it lacks 'actor_tokens:create'"),
        (actor["id"], "a child has no children"),
    ):
        assert message in operator.refused("token", "create", "--parent", identity, "--name", "Figma")
    operator.set_owner("u_7", "--permission", "=me:read", "--permission", "acme=organizations:read")
    refused = operator.refused("token", "create", "--parent", parent["id"], "--name", "Figma")
    assert "it lacks 'actor_tokens:create' at the moment" in refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (scopes("projects:write"), "may not grant 'projects:write'"),
        (scopes("project:read", "me:read"), "may not grant 'me:read'"),
        (["--expires", "31d"], "a child ends with its parent"),
        (["--owner", "u_8"], "a child has the owner of its parent, u_7"),
    ],
)
def test_S5_an_actor_token_never_has_more_than_its_parent(operator: Operator, options: list[str], message: str) -> None:
    """Neither more scopes nor a later end nor another user, and then none is made."""
    parent = operator.create("--owner", "u_7", "--expires", "30d", *scopes("projects:read", "actor_tokens:create"))
    assert message in operator.refused("token", "create", "--parent", parent["id"], "--name", "Figma", *options)
    assert "-" == operator.show_lines(parent["id"])["children"]


def test_S5_a_key_makes_actor_tokens_over_http(product: Product, user: User, operator: Operator) -> None:
    """With the key itself as the credential: the actor token in the answer works, has no more, and makes none."""
    path = "POST /api/v1/me/actor-tokens"
    parent = operator.create("--owner", "u_7", "--expires", "30d", *scopes("projects:read", "actor_tokens:create"))

    def make(text: str, body: dict[str, object]) -> tuple[int, dict[str, object]]:
        answer = user.ask(path, text, content=json.dumps(body).encode())
        return answer.status, answer.json()

    status, actor = make(parent["token"], {"name": "Figma", "scopes": ["project:read"]})
    assert 201 == status
    assert ["projects:read"] == actor["scopes"]
    assert "u_7" == actor["owner"]
    assert parent["expires_at"] == actor["expires_at"]
    assert [200] == statuses(user, str(actor["token"]), BRAND)
    assert 403 == make(parent["token"], {"name": "x", "scopes": ["projects:write"]})[0]
    assert 403 == make(parent["token"], {"name": "x", "expires_at": "2099-01-31T00:00:00Z"})[0]
    assert 400 == make(parent["token"], {"name": "x", "owner": "u_8"})[0]
    assert 403 == make(str(actor["token"]), {"name": "x"})[0]
    plain = operator.create("--owner", "u_7", *scopes("projects:read"))
    assert 403 == make(plain["token"], {"name": "x"})[0]
    assert actor["id"] == operator.show_lines(parent["id"])["children"]
    assert path not in product.asked


@pytest.mark.parametrize("end", ["revoked", "disabled", "expired", "narrowed"])
def test_S5_actor_tokens_die_with_the_parent(product: Product, user: User, operator: Operator, end: str) -> None:
    """With the next request, on either worker; what the parent loses they lose too."""
    parent = operator.create("--owner", "u_7", *scopes("projects:read", "me:read", "actor_tokens:create"))
    actor = operator.run("token", "create", "--parent", parent["id"], "--name", "Figma")
    assert [200, 200] == statuses(user, actor["token"], BRAND, "GET /api/v1/me")
    commands = {
        "revoked": ("revoke", parent["id"]),
        "disabled": ("update", parent["id"], "--disable"),
        "expired": ("rotate", parent["id"], "--overlap", "0s"),
        "narrowed": ("update", parent["id"], *scopes("me:read", "actor_tokens:create")),
    }
    operator.run("token", *commands[end])
    expected = (403, 200) if end == "narrowed" else (401, 401)
    assert {expected} == {tuple(statuses(user, actor["token"], BRAND, "GET /api/v1/me")) for _ in range(4)}


def test_S6_keys_are_listed_and_can_be_deleted_and_none_is_shown_again(
    product: Product, user: User, operator: Operator
) -> None:
    """By name and first characters; a deleted one is refused at once, and stays in the list as revoked."""
    first, second = (operator.create("--owner", "u_7", name=name) for name in ("Figma", "Nightly"))
    operator.set_owner("u_8")
    operator.create("--owner", "u_8", name="another user's")
    mine = ("token", "list", "--policy", "tokens-studio", "--owner", "u_7")
    assert {("Figma", first["token"][:12]), ("Nightly", second["token"][:12])} == {
        (one["name"], one["shown"]) for one in operator.run(*mine)
    }
    operator.run("token", "revoke", first["id"])
    assert [401, 200] == [user.status("GET /api/v1/me", one["token"]) for one in (first, second)]
    assert {"Figma": "revoked", "Nightly": "active"} == {one["name"]: one["state"] for one in operator.run(*mine)}
    for key in (first, second):
        assert key["token"].removeprefix(key["shown"]) not in f"{operator.run(*mine)}{operator.show(key['id'])}"

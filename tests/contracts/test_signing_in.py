"""Which tokens of the products open the developer page: those that were given the power by name, and no others."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.contracts.conftest import Commands
from tests.support.client import ask
from tests.support.command_line import run_json
from tests.support.processes import GatewayServer

FORM = [("Content-Type", "application/x-www-form-urlencoded")]
PRODUCTS = {
    "kopimark": ("--project", "website"),
    "tokencraft": ("--owner", "ada"),
    "tokens-studio": ("--owner", "ada"),
    "comvi": ("--project", "5"),
}

Create = Callable[..., dict[str, Any]]


@pytest.fixture
def create(tokens: Commands) -> Create:
    """Makes a token of a product. Of Tokens Studio's user all is known that it needs."""
    where = (*tokens.options, *tokens.policies)
    held = "*=me:read,projects:read,actor_tokens:create"
    run_json("owner", "set", "ada", "--policy", "tokens-studio", "--permission", held, *where)

    def run(policy: str, *scopes: str) -> dict[str, Any]:
        options = [option for scope in scopes for option in ("--scope", scope)]
        bound = PRODUCTS[policy] if policy else ("--admin",)
        named = ("--policy", policy) if policy else ()
        created: dict[str, Any] = run_json("token", "create", *named, *bound, "--name", "CI", *options, *where)
        return created

    return run


def sign_in(gateway: GatewayServer, text: str) -> int:
    return ask(gateway.admin_port, "POST", "/sign-in", fields=FORM, content=f"token={text}".encode()).status


@pytest.mark.parametrize("policy", PRODUCTS)
def test_a_token_that_leaked_from_a_build_does_not_sign_in(gateway: GatewayServer, create: Create, policy: str) -> None:
    """As it is made if nobody names scopes: it holds all others."""
    assert [401, 303] == [sign_in(gateway, create(name)["token"]) for name in (policy, "")]


@pytest.mark.parametrize(
    ("policy", "scope"), [("kopimark", "tokens"), ("tokencraft", "tokens"), ("tokens-studio", "actor_tokens:create")]
)
def test_a_token_that_was_given_the_scope_signs_in(
    gateway: GatewayServer, create: Create, policy: str, scope: str
) -> None:
    """Rows K12, T5 and S6: who uses the product manages tokens there; in Tokencraft under every plan."""
    assert 303 == sign_in(gateway, create(policy, scope)["token"])


def test_K6_a_token_that_signs_in_still_writes_nothing(gateway: GatewayServer, create: Create) -> None:
    """The scope is for the page: at the product's API it lets through nothing, neither reading nor writing."""
    text = create("kopimark", "tokens")["token"]
    for method in ("GET", "POST"):
        path = "/api/v1/projects/website/export"
        assert 403 == ask(gateway.port, method, path, token=text, host="api.kopimark.com").status

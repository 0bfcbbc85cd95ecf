"""What all four products promise of their tokens: contract rows A1 to A3, with each of the shipped policies."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contracts.product import Operator, User, dump
from tests.support.curl import find_curl
from tests.support.processes import GatewayServer


@dataclass(frozen=True)
class Contract:
    """One product: where its tokens go, whose they are, and a request that they open."""

    policy: str
    host: str
    credential: str
    binding: tuple[str, ...]
    request: str


CONTRACTS = {
    "comvi": Contract(
        "comvi",
        "api.comvi.io",
        "X-API-Key",
        ("--project", "5", "--owner", "u_17"),
        "GET /api/v1/projects/5/translations",
    ),
    "kopimark": Contract(
        "kopimark",
        "api.kopimark.com",
        "Authorization Bearer",
        ("--project", "website"),
        "GET /api/v1/projects/website/texts",
    ),
    "tokencraft": Contract(
        "tokencraft", "app.tokencraft.dev", "Authorization Bearer", ("--owner", "acme"), "GET /api/v1/workspaces"
    ),
    "tokens-studio": Contract(
        "tokens-studio",
        "api.tokens.studio",
        "Authorization Bearer",
        ("--owner", "u_7"),
        "GET /api/v1/projects/brand/tokens",
    ),
}


@pytest.fixture(params=CONTRACTS)
def contract(request: pytest.FixtureRequest) -> Contract:
    """Each product in turn."""
    return CONTRACTS[request.param]


@pytest.fixture
def user(gateway: GatewayServer, contract: Contract) -> User:
    """Who has a token."""
    return User(gateway.port, contract.host, contract.credential)


@pytest.fixture
def operator(redis_url: str, contract: Contract) -> Operator:
    """Who makes tokens, on an empty Redis."""
    operator = Operator(contract.policy, redis_url)
    if contract.policy == "tokens-studio":
        operator.set_owner("u_7")
    return operator


def test_A1_a_dump_of_redis_opens_nothing(user: User, operator: Operator, contract: Contract) -> None:
    """No text of a token is in it, nor anything that is accepted in a token's place, as it is or behind the prefix."""
    first = operator.create(*contract.binding)
    rotated = operator.run("token", "rotate", first["id"], "--overlap", "1h")
    texts = [first["token"], rotated["token"]]
    assert [200, 200] == [user.status(contract.request, text) for text in texts]
    stolen = dump(operator.redis_url)
    for token in (first, rotated):
        assert token["token"].removeprefix(token["shown"]) not in "".join(stolen)
        assert token["id"] in "".join(stolen)
    prefix = re.match(r"[a-z]+_", first["token"])
    assert prefix is not None
    candidates = {word for one in stolen for word in (one, *re.findall(r"[!-~]+", one), *re.findall(r"[\w-]{8,}", one))}
    sendable = [one for one in candidates if one.isascii() and one.isprintable() and len(one) <= 512]
    assert len(sendable) > 10
    answers = {user.status(contract.request, f"{before}{one}") for one in sendable for before in ("", prefix[0])}
    assert answers == {401}


def test_A2_a_token_is_copied_once_used_from_a_variable_rotated_by_overlap_and_revoked_at_once(
    user: User, operator: Operator, contract: Contract, tmp_path: Path
) -> None:
    """The successor works beside the old token, which ends without taking it along."""
    created = operator.create(*contract.binding, name="nightly build")
    field, _, scheme = contract.credential.partition(" ")
    _, _, target = contract.request.partition(" ")
    script = (
        f'"$CURL" --silent --fail -H "{field}: {scheme + " " if scheme else ""}$TOKEN" -H "Host: {contract.host}" '
        f'-o pulled.json "http://127.0.0.1:{user.port}{target}"'
    )
    environment = {**os.environ, "TOKEN": created["token"], "CURL": find_curl("gzip")}
    subprocess.run(["/bin/sh", "-c", script], env=environment, cwd=tmp_path, check=True)
    assert user.ask(contract.request, created["token"]).content == (tmp_path / "pulled.json").read_bytes()
    rotated = operator.run("token", "rotate", created["id"], "--overlap", "1h")
    assert [200, 200] == [user.status(contract.request, one["token"]) for one in (created, rotated)]
    listed = operator.run("token", "list", "--policy", contract.policy)
    assert {(one["shown"], "nightly build") for one in (created, rotated)} == {
        (one["shown"], one["name"]) for one in listed
    }
    assert all(one["token"].startswith(one["shown"]) for one in (created, rotated))
    operator.run("token", "revoke", created["id"])
    assert {(401, 200)} == {
        tuple(user.status(contract.request, one["token"]) for one in (created, rotated)) for _ in range(4)
    }


def test_A3_all_there_is_to_know_of_a_token_is_shown_and_none_of_it_is_secret(
    user: User, operator: Operator, contract: Contract
) -> None:
    """Expiry, scopes, name, owner, project, creation and last use; the text is in none of it, nor in the log."""
    created = operator.create(*contract.binding, "--expires", "30d", name="nightly build")
    assert 200 == user.status(contract.request, created["token"])
    shown = operator.show(created["id"])
    bound = dict(zip(contract.binding[::2], contract.binding[1::2], strict=True))
    assert "nightly build" == shown["name"]
    assert bound.get("--owner") == shown["owner"]
    assert bound.get("--project") == shown["project"]
    assert created["scopes"] == shown["scopes"]
    assert created["expires_at"] == shown["expires_at"]
    assert shown["scopes"]
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shown[name])
        for name in ("created_at", "last_used_at", "expires_at")
    )
    assert created["expires_at"] > shown["last_used_at"] >= shown["created_at"]
    listed = operator.run("token", "list")
    assert shown["id"] in [one["id"] for one in listed]
    assert created["token"].removeprefix(created["shown"]) not in f"{shown}{listed}"


def test_the_policy_to_start_from_stands_beside_the_others(user: User, operator: Operator, contract: Contract) -> None:
    """policies/example.toml names no host: it is for those that no product names, and catches nothing of theirs."""
    starter = Operator("example", operator.redis_url).create("--project", "website")["token"]
    elsewhere = User(user.port, "api.example.com", "Authorization Bearer")
    assert 200 == elsewhere.status("GET /api/v1/workspaces", starter)
    own = operator.create(*contract.binding)["token"]
    for request in ("GET /api/v1/workspaces", contract.request, "GET /api/v1/anything/else", "DELETE /api/v1/x"):
        answer = User(user.port, contract.host, "Authorization Bearer").ask(request, starter)
        assert answer.status in (401, 404), request
    assert 200 == user.status(contract.request, own)
    assert 401 == elsewhere.status("GET /api/v1/workspaces", own)

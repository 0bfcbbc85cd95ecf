"""The management API on its own listener, beside the requests that it is about: real processes, a real Redis."""

import asyncio
import json
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

from tests.support.client import Answer, ask
from tests.support.command_line import run_json
from tests.support.crowd import send_crowd
from tests.support.processes import GatewayServer
from tests.system.conftest import Serve, Share, mint

EXPORT = "/api/v1/projects/website/translations/export?lang=de"


def call(gateway: GatewayServer, token: str, request: str, body: Any = None, **fields: str) -> Answer:
    """One call of the API."""
    method, _, path = request.partition(" ")
    content = None if body is None else json.dumps(body).encode()
    lines = [("Content-Type", "application/json"), *((name.replace("_", "-"), value) for name, value in fields.items())]
    return ask(gateway.admin_port, method, path, token=token, host="127.0.0.1", fields=lines, content=content)


def test_what_the_api_changes_acts_on_the_next_request(serve: Serve, redis_url: str, policies: Path) -> None:
    """A token is made, disabled, enabled and revoked; each is seen by the next request on either worker."""
    where = ("--policies", str(policies), "--redis", redis_url)
    admin = run_json("token", "create", "--admin", "--name", "ops", *where)["token"]
    gateway = serve(redis_url, "--workers", "2", admin=True)
    made = call(gateway, admin, "POST /api/v1/tokens", {"policy": "system", "project": "website", "name": "CI"})
    token = made.json()
    place = made.field("location")

    def statuses() -> set[int]:
        return {ask(gateway.port, "GET", EXPORT, token=token["token"]).status for _ in range(6)}

    assert {200} == statuses()
    tag = made.field("etag") or ""
    disabled = call(gateway, admin, f"PATCH {place}", {"is_active": False}, If_Match=tag)
    assert 200 == disabled.status
    assert {401} == statuses()
    assert 412 == call(gateway, admin, f"PATCH {place}", {"is_active": True}, If_Match=tag).status
    assert 200 == call(gateway, admin, f"PATCH {place}", {"is_active": True}, If_Match="*").status
    assert {200} == statuses()
    assert 204 == call(gateway, admin, f"DELETE {place}").status
    assert {401} == statuses()
    assert 401 == ask(gateway.admin_port, "GET", "/api/v1/tokens", token=token["token"], host="127.0.0.1").status
    assert 401 == ask(gateway.port, "GET", "/-/api/v1/tokens", token=admin).status  # a path of the backend's
    document = call(gateway, admin, "GET /api/openapi.json").json()
    assert all(path.startswith("/api/v1/") for path in document["paths"])


def test_a_token_is_the_same_json_everywhere(serve: Serve, redis_url: str, policies: Path) -> None:
    """What `gateway token` prints with --json is what the API answers: made, shown, listed, changed and rotated."""
    where = ("--policies", str(policies), "--redis", redis_url)
    admin = run_json("token", "create", "--admin", "--name", "ops", *where)
    gateway = serve(redis_url, admin=True)

    def shown(identity: str) -> Any:
        return call(gateway, admin["token"], f"GET /api/v1/tokens/{identity}").json()

    made = mint(redis_url, policies, "--expires", "30d", "--not-before", "now")
    child = run_json("token", "create", "--parent", made["id"], "--name", "child", *where)
    reason = ("--until", "1d", "--reason", "a launch", "--by", "ada")
    run_json("token", "override", made["id"], "minute", "2000", *reason, *where)
    rotated = run_json("token", "rotate", made["id"], "--overlap", "1h", *where)
    changed = run_json("token", "update", child["id"], "--disable", "--description", "x", *where)
    assert changed == shown(child["id"])
    for identity in (admin["id"], made["id"], child["id"], rotated["id"]):
        assert shown(identity) == run_json("token", "show", identity, *where)
    listed = call(gateway, admin["token"], "GET /api/v1/tokens?policy=system").json()["tokens"]
    assert listed == run_json("token", "list", "--policy", "system", *where)
    body = {"policy": "system", "project": "website", "name": "CI"}
    answer = call(gateway, admin["token"], "POST /api/v1/tokens", body).json()
    assert list(answer) == list(made)
    again = call(gateway, admin["token"], f"POST /api/v1/tokens/{answer['id']}/rotations", {}).json()
    assert list(again) == list(rotated)
    assert again["predecessor_expires_at"] == shown(answer["id"])["expires_at"]


async def test_a_crowd_that_manages_tokens_is_in_nobodys_way(share: Share, redis_url: str, policies: Path) -> None:
    """More than Redis has connections for list tokens at once: all are answered, and so are the others meanwhile."""
    file = policies / "system.toml"
    file.write_text(file.read_text() + '[[rules]]\nmatch = "GET /keys"\nmanage = "list"\ncost = 0\n')
    token = (await asyncio.to_thread(mint, redis_url, policies))["token"]
    gateway = share()

    async def crowd(target: str, clients: int, requests: int) -> set[int]:
        tokens: Iterator[str] = repeat(token, requests)
        return {one.status for one in await send_crowd([gateway.port], target, lambda: next(tokens, None), clients)}

    managing, others = await asyncio.gather(crowd("/keys", 250, 1000), crowd("/api/v1/whoami", 8, 300))
    assert {200} == managing
    assert {200} == others

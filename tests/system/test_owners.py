"""Owners and child tokens as clients meet them: over HTTP, on every worker, also for what is in the cache."""

from pathlib import Path
from typing import Any

from tests.support.client import Answer, ask
from tests.support.command_line import run_json
from tests.system.conftest import Share, mint

EXPORT = "/api/v1/projects/website/translations/export?lang=de"
ANSWERS = 6
"""Requests after a change, each on a connection of its own: more than there are workers."""


def owner(redis_url: str, policies: Path, command: str, *options: str) -> Any:
    where = ("--policies", str(policies), "--redis", redis_url)
    return run_json("owner", command, "ada", "--policy", "system", *options, *where)


def pull(port: int, text: str) -> set[tuple[int, str | None]]:
    """The different statuses and codes of several answers."""
    answers = [ask(port, "GET", EXPORT, token=text) for _ in range(ANSWERS)]
    return {(answer.status, code_of(answer)) for answer in answers}


def code_of(answer: Answer) -> str | None:
    return None if answer.status == 200 else str(answer.json()["code"])


def test_what_an_owner_loses_its_tokens_lose_on_the_next_request(share: Share, redis_url: str, policies: Path) -> None:
    """A permission, the project, everything, by a block or a removal: 403 on every worker, and back again."""
    text = mint(redis_url, policies, "--owner", "ada")["token"]
    gateway = share("node 1")
    assert {(200, None)} == pull(gateway.port, text)
    for options, expected in (
        (("--permission", "website="), (403, "insufficient_scope")),
        (("--permission", "website=read"), (200, None)),
        (("--permission", "shop=read", "--without", "website"), (403, "other_project")),
        (("--permission", "*=read"), (200, None)),
        (("--status", "blocked"), (403, "owner_blocked")),
        (("--status", "active"), (200, None)),
    ):
        owner(redis_url, policies, "set", *options)
        assert {expected} == pull(gateway.port, text), options
    owner(redis_url, policies, "remove")
    assert {(403, "owner_blocked")} == pull(gateway.port, text)
    owner(redis_url, policies, "set")
    assert {(200, None)} == pull(gateway.port, text)


def test_a_child_dies_with_its_parent(share: Share, redis_url: str, policies: Path) -> None:
    """401 on every worker, also for the export that is in the cache."""
    parent = mint(redis_url, policies)
    where = ("--policies", str(policies), "--redis", redis_url)
    child = run_json("token", "create", "--parent", parent["id"], "--name", "actor", *where)
    gateway = share("node 1")
    assert {(200, None)} == pull(gateway.port, child["token"])
    run_json("token", "revoke", parent["id"], "--redis", redis_url)
    assert {(401, "invalid_token")} == pull(gateway.port, child["token"])

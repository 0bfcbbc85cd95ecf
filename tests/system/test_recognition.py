"""A change is true on the next request at both workers, also of a token whose requests they recognise."""

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from gateway.adapters.redis import keys
from gateway.core.usage import RECOGNITION
from tests.support.client import ask
from tests.support.command_line import run_command
from tests.support.processes import wait_until
from tests.system.conftest import NODES, POLICY, Share, mint

EXPORT = "/api/v1/projects/website/translations/export?lang=de"
PASSED_ON = "/api/v1/workspaces"
"""Without a cache: the backend answers each time."""
REQUESTS = 24
"""So many that each of two workers has seen the same bytes often enough, whichever takes a connection."""

Change = Callable[[str, Path, str], object]


def command(*arguments: str) -> Change:
    """A change by the command line; `ID` stands for the token's id."""

    def run(redis_url: str, policies: Path, identity: str) -> None:
        named = [identity if argument == "ID" else argument for argument in arguments]
        result = run_command(*named, "--policies", str(policies), "--redis", redis_url)
        assert result.exit_code == 0, result.output

    return run


CHANGES: dict[str, tuple[Change, int]] = {
    "revoked": (command("token", "revoke", "ID"), 401),
    "disabled": (command("token", "update", "ID", "--disable"), 401),
    "over its own limit": (
        command("token", "override", "ID", "minute", "1", "--until", "1h", "--reason", "test"),
        429,
    ),
    "owner blocked": (command("owner", "set", "acme", "--policy", "system", "--status", "blocked"), 403),
    "owner without the scope": (
        command("owner", "set", "acme", "--policy", "system", "--permission", "website="),
        403,
    ),
}


@pytest.mark.parametrize("target", [EXPORT, PASSED_ON])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_true_on_the_next_request_of_both_workers(
    redis_url: str, policies: Path, share: Share, change: str, target: str
) -> None:
    make, expected = CHANGES[change]
    in_the_file = policies / "system.toml"
    in_the_file.write_text(in_the_file.read_text() + 'scopes = ["read"]\n')  # the last rule is that of all else
    port = share(NODES[0]).port
    made = mint(redis_url, policies, "--owner", "acme")
    assert {200} == {ask(port, "GET", target, token=made["token"]).status for _ in range(REQUESTS)}
    make(redis_url, policies, made["id"])
    assert {expected} == {ask(port, "GET", target, token=made["token"]).status for _ in range(REQUESTS)}
    with redis.Redis.from_url(redis_url) as store:

        def recognised() -> int:
            return int(store.hget(keys.all_events(), RECOGNITION + "recognised") or 0)

        wait_until(lambda: recognised() > REQUESTS, "most requests were recognised, before and after the change")


def test_another_policy_file_is_true_on_the_next_request_of_both_workers(
    redis_url: str, policies: Path, backend_port: int, share: Share
) -> None:
    """As soon as a worker has loaded it."""
    port = share(NODES[0]).port
    token = mint(redis_url, policies)["token"]
    assert {200} == {ask(port, "GET", EXPORT, token=token).status for _ in range(REQUESTS)}
    text = POLICY.format(backend=backend_port).replace('read = "Read"', 'read = "Read"\nadmin = "Admin"')
    (policies / "system.toml").write_text(text.replace('scopes = ["read"]', 'scopes = ["admin"]'))
    share(NODES[0])
    assert {403} == {ask(port, "GET", EXPORT, token=token).status for _ in range(REQUESTS)}


def test_a_purge_is_true_on_the_next_request_of_both_workers(redis_url: str, policies: Path, share: Share) -> None:
    port = share(NODES[0]).port
    token = mint(redis_url, policies)["token"]
    for _ in range(REQUESTS):
        assert 200 == ask(port, "GET", EXPORT, token=token).status
    command("cache", "purge", "--policy", "system", "--project", "website")(redis_url, policies, "")
    first = ask(port, "GET", EXPORT, token=token)
    assert "fwd=uri-miss" in (first.field("cache-status") or "")

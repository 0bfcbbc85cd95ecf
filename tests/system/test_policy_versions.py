"""Two gateways with different policy files on one Redis, as in a rolling deploy: who serves which version is known."""

import json
import shutil
from pathlib import Path

from tests.support.client import ask
from tests.support.command_line import run_command
from tests.support.processes import GatewayServer, RedisServer, wait_until
from tests.system.conftest import Serve


def versions(redis_url: str) -> tuple[int, dict[str, dict[str, list[str]]]]:
    """Exit code and answer of `gateway policy versions`."""
    result = run_command("policy", "versions", "--json", "--redis", redis_url)
    return result.exit_code, json.loads(result.stdout)


def test_versions_of_policies_are_told_while_they_differ(
    own_redis: RedisServer, serve: Serve, policies: Path, tmp_path: Path
) -> None:
    """By command, which fails while there are two, and in metrics; a gateway that stops is forgotten at once."""

    redis_url = own_redis.url

    def numbers() -> list[int]:
        return [len(processes) for processes in versions(redis_url)[1].get("system", {}).values()]

    serve(redis_url, "--workers", "2")
    wait_until(lambda: [2] == numbers(), "both workers are known")
    assert 0 == versions(redis_url)[0]
    changed = tmp_path / "changed"
    shutil.copytree(policies, changed)
    text = (changed / "system.toml").read_text()
    (changed / "system.toml").write_text(
        text.replace('"1000/minute"', '{ limit = "1000/minute", algorithm = "token-bucket" }')
    )
    folder = tmp_path / "other"
    folder.mkdir()
    other = GatewayServer(folder, "--policies", str(changed), "--redis", redis_url, admin=True)
    try:
        other.wait()
        wait_until(lambda: [2, 2] == sorted(numbers()), "those of the other gateway are known, its admin listener too")
        code, served = versions(redis_url)
        assert 1 == code
        told = ask(other.admin_port, "GET", "/metrics").content.decode()
        assert 'gateway_policy_versions{policy="system"} 2\n' in told
        shown = run_command("policy", "versions", "--redis", redis_url).stdout.splitlines()
        assert [f"system  {version}  {', '.join(those)}" for version, those in served["system"].items()] == shown
    finally:
        other.stop()
    assert [2] == numbers()
    assert 0 == versions(redis_url)[0]

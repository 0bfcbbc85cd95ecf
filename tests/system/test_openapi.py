"""The management API, held to its OpenAPI document by `schemathesis run` with all its checks, as anybody may run it."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.command_line import run_json
from tests.support.policies import SMALL
from tests.support.processes import GatewayServer
from tests.system.conftest import Serve

MORE_THAN_A_SCHEMA_SAYS = {
    "GET /api/v1/tokens": "400",  # a cursor is of a token that is listed
    "POST /api/v1/tokens": "400 422",  # scopes, plans and dates are the policy's to know, keys their first call's
    "PATCH /api/v1/tokens/{identity}": "400 412 428",  # the same; and which version it is for
    "POST /api/v1/tokens/{identity}/rotations": "400",  # dates
    "POST /api/v1/tokens/{identity}/children": "400",  # scopes and dates
    "PATCH /api/v1/policies/{policy}/owners/{owner}": "400",  # scopes
    "POST /api/v1/cache/purges": "400",  # what is a URL
}
"""Operations that may refuse what has the right shape, and by which statuses; all others may not."""
ACCEPTED = ("2xx", "401", "403", "404", "409", "429")
CONFIGURATION = """
[checks.positive_data_acceptance]
expected-statuses = {accepted}
[dictionaries.ids]
values = {ids}
[headers]
Authorization = "Bearer ${{TOKEN}}"
[parameters]
policy = "small"
owner = "ada"
identity = {{ dictionary = "ids" }}
"""
OPERATION = """
[[operations]]
include-name = "{name}"
[operations.checks.positive_data_acceptance]
expected-statuses = {accepted}
"""


def write_configuration(file: Path, ids: list[str]) -> Path:
    """What schemathesis cannot know: names that there are, and what a schema cannot say."""
    text = CONFIGURATION.format(accepted=list(ACCEPTED), ids=ids)
    for name, statuses in MORE_THAN_A_SCHEMA_SAYS.items():
        text += OPERATION.format(name=name, accepted=[*ACCEPTED, *statuses.split()])
    file.write_text(text)
    return file


def mint(gateway: GatewayServer, *options: str, where: tuple[str, ...]) -> dict[str, str]:
    created: dict[str, str] = run_json("token", "create", "--name", "CI", *options, *where)
    return created


def test_schemathesis_finds_nothing(serve: Serve, redis_url: str, policies: Path, tmp_path: Path) -> None:
    """No generated call, good or bad, alone or after another, meets a mistake, or what the document does not say.

    Every check is on: also that nothing is accepted without a credential, that OPTIONS and refused methods tell what is
    allowed, and that what is valid is taken.
    """
    (policies / "system.toml").write_text(SMALL)
    where = ("--redis", redis_url, "--policies", str(policies))
    gateway = serve(redis_url, admin=True)
    admin = mint(gateway, "--admin", where=where)
    own = ("--policy", "small", "--project", "website", "--owner", "ada", "--plan", "open")
    ids = [mint(gateway, *own, where=where)["id"] for _ in range(5)]
    run_json("owner", "set", "ada", "--policy", "small", *where)
    command = [
        *(sys.executable, "-m", "schemathesis.cli"),
        *("--config-file", str(write_configuration(tmp_path / "schemathesis.toml", ids))),
        *("run", f"http://127.0.0.1:{gateway.admin_port}/api/openapi.json"),
        *("--checks", "all", "--max-examples", "20", "--seed", "1", "--generation-deterministic"),
        *("--continue-on-failure", "--no-color"),
    ]
    environment = {**os.environ, "TOKEN": admin["token"]}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert 0 == ended.returncode, f"{ended.stdout[-20_000:]}{ended.stderr}"
    assert re.search(r"Tested: (\d+)", ended.stdout)[1] == "22"  # type: ignore[index]  # no match is a failed test
    assert "Traceback" not in gateway.text()
    assert "internal error" not in gateway.text()

"""Real processes: the gateway, its Redis and its backends, each of which a test may stop."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import run_json
from tests.support.processes import GatewayServer

POLICY = """
name = "system"
upstream = "http://127.0.0.1:{backend}"
[token]
prefixes = ["sys_"]
[scopes]
read = "Read"
[quotas]
minute = "1000/minute"
[[rules]]
match = "GET /api/v1/projects/{{project}}/translations/export"
scopes = ["read"]
cache = {{ fresh = "1h" }}
[[rules]]
match = "* /**"
"""

Serve = Callable[..., GatewayServer]


@pytest.fixture
def policies(tmp_path: Path, backend_port: int) -> Path:
    """A folder with one policy file, in front of the example backend."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "system.toml").write_text(POLICY.format(backend=backend_port))
    return folder


@pytest.fixture
def serve(tmp_path: Path, policies: Path) -> Iterator[Serve]:
    """Starts gateways; each is ended with the test, and must have ended by itself if it was asked to."""
    servers: list[GatewayServer] = []

    def start(redis_url: str, *options: str, **how: Any) -> GatewayServer:
        server = GatewayServer(tmp_path, "--policies", str(policies), "--redis", redis_url, *options, **how)
        servers.append(server)
        return server.wait()

    yield start
    for server in servers:
        server.stop()


def mint(redis_url: str, policies: Path, *options: str) -> dict[str, str]:
    """A token of the system policy, of the project `website`."""
    where = ("--policies", str(policies), "--redis", redis_url, "--policy", "system", "--project", "website")
    created: dict[str, str] = run_json("token", "create", "--name", "CI", *where, *options)
    return created

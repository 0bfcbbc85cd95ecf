"""Real processes: gateways that many tests share, and gateways, Redis and backends that a test may stop."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.test_assertions import RFC_8037_KEY
from tests.support.command_line import run_json
from tests.support.processes import GatewayServer, RedisServer
from tests.support.shared_gateway import SharedGateway

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

NODES = ("node 1", "node 2")
"""Two shared gateways with two workers each."""

Serve = Callable[..., GatewayServer]
Share = Callable[..., SharedGateway]


@pytest.fixture(scope="session")
def redis_server(gateways_redis: RedisServer) -> RedisServer:
    return gateways_redis


@pytest.fixture
def policies(tmp_path: Path, backend_port: int) -> Path:
    """A folder with one policy file, in front of the example backend."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "system.toml").write_text(POLICY.format(backend=backend_port))
    return folder


@pytest.fixture
def serve(tmp_path: Path, policies: Path) -> Iterator[Serve]:
    """Start gateways of the test's own, which it may stop. Each is stopped with the test."""
    servers: list[GatewayServer] = []

    def start(redis_url: str, *options: str, **how: Any) -> GatewayServer:
        server = GatewayServer(tmp_path, "--policies", str(policies), "--redis", redis_url, *options, **how)
        servers.append(server)
        return server.wait()

    yield start
    for server in servers:
        server.stop()


SHARED: dict[str, dict[str, Any]] = {
    "plain": {},
    "trusting": {"environment": {"GATEWAY_TRUSTED_PROXIES": "127.0.0.0/8", "GATEWAY_ASSERTION_KEY": RFC_8037_KEY}},
    **{name: {"workers": 2} for name in NODES},
}
"""The gateways that tests share. What changes how a gateway runs is no test's business, but in its policies."""


@pytest.fixture(scope="session")
def shared(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, SharedGateway]]:
    """The shared gateways that were asked for."""
    running: dict[str, SharedGateway] = {}
    yield running
    codes = {name: gateway.stop() for name, gateway in running.items()}
    assert dict.fromkeys(running, 0) == codes


@pytest.fixture
def share(
    shared: dict[str, SharedGateway], redis_url: str, policies: Path, tmp_path_factory: pytest.TempPathFactory
) -> Share:
    """Serve the test's policies by a gateway that other tests use before and after it, with an empty Redis."""

    def find(name: str = "plain") -> SharedGateway:
        if name not in shared:
            shared[name] = SharedGateway(tmp_path_factory.mktemp("gateway"), redis_url, **SHARED[name]).wait()
        return shared[name].serve(policies)

    return find


def mint(redis_url: str, policies: Path, *options: str) -> dict[str, str]:
    """A token of the system policy, of the project `website`."""
    where = ("--policies", str(policies), "--redis", redis_url, "--policy", "system", "--project", "website")
    created: dict[str, str] = run_json("token", "create", "--name", "CI", *where, *options)
    return created

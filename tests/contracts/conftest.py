"""The running gateway with the shipped policies, in front of the example backend."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import POLICIES
from tests.contracts.product import Product, gateway_before
from tests.support.command_line import run_json
from tests.support.processes import GatewayServer, RedisServer


@pytest.fixture(scope="session")
def redis_server(gateways_redis: RedisServer) -> RedisServer:
    return gateways_redis


@pytest.fixture(scope="session")
def running() -> Iterator[Product]:
    """The product, as long as the gateway in front of it runs."""
    product = Product()
    yield product
    product.close()


@pytest.fixture
def product(running: Product) -> Product:
    """The product, asked for nothing yet."""
    return running.forget()


@pytest.fixture(scope="session")
def gateway(
    redis_server: RedisServer, running: Product, backend_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayServer]:
    """The gateway in front of all products: Tokencraft is the example backend, the others are the one that notes.

    The policy to start from stands beside theirs: it names no host.
    """
    noting = ("comvi", "kopimark", "tokens-studio", "example")
    ports = {"tokencraft": backend_port, **dict.fromkeys(noting, running.port)}
    folder = tmp_path_factory.mktemp("gateway")
    with gateway_before(ports, redis_server.url, folder, admin=True) as server:
        yield server


class Commands:
    """`gateway token ...` against the Redis of the running gateway."""

    def __init__(self, redis_url: str) -> None:
        self.redis_url = redis_url
        self.options = ("--redis", redis_url)
        self.policies = ("--policies", str(POLICIES))

    def create(self, owner: str, *options: str, name: str = "CI pull") -> dict[str, Any]:
        """A new Tokencraft token, as `--json` prints it."""
        where = ("--policy", "tokencraft", "--owner", owner, "--name", name)
        created: dict[str, Any] = run_json("token", "create", *where, *options, *self.options, *self.policies)
        return created

    def show(self, identity: str) -> dict[str, Any]:
        """What is known of a token."""
        shown: dict[str, Any] = run_json("token", "show", identity, *self.options)
        return shown

    def list(self, owner: str) -> list[dict[str, Any]]:
        """An owner's tokens."""
        listed: list[dict[str, Any]] = run_json(
            "token", "list", "--policy", "tokencraft", "--owner", owner, *self.options
        )
        return listed

    def update(self, identity: str, *options: str) -> dict[str, Any]:
        """A change in place."""
        updated: dict[str, Any] = run_json("token", "update", identity, *options, *self.options, *self.policies)
        return updated

    def set_owner(self, owner: str, *options: str) -> dict[str, Any]:
        """What an account has from now on."""
        where = ("--policy", "tokencraft", *self.options, *self.policies)
        told: dict[str, Any] = run_json("owner", "set", owner, *options, *where)
        return told

    def revoke(self, identity: str) -> None:
        """The end of a token."""
        run_json("token", "revoke", identity, *self.options)


@pytest.fixture
def tokens(redis_url: str) -> Commands:
    """The token commands, on an empty Redis."""
    return Commands(redis_url)

"""The demo's stage: the example backend, a store and the gateway, in one event loop but over real sockets."""

import logging
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import uvicorn

from gateway.adapters.policy_files import read_policies
from gateway.adapters.redis.connection import Client, RedisConnection, open_client
from gateway.cli.connecting import PolicyFolder
from gateway.cli.process.server import build_admin_config, build_config, serving
from gateway.core.tokens.admin_tokens import NAME, READ, WRITE
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenRequest
from gateway.demo.backend.api import create_backend
from gateway.demo.servers import listen, url_of
from gateway.demo.store import Store, open_store
from gateway.management.building import build_management
from gateway.settings import Settings

POLICY = Path(__file__).with_name("policy.toml")
REDIS_TIMEOUT_SECONDS = 5.0
"""Generous: the backend works in the same event loop, and a demo on a busy machine should not end with a 503."""
STOP_TIMEOUT_SECONDS = 2
ACTOR = Actor("demo", "operator")
ADMIN_ADDRESS = "127.0.0.1:8081"
"""The default of `gateway serve`; a free port if this one is in use."""


class Stage(msgspec.Struct, frozen=True):
    """The running parts of the demo."""

    gateway_url: str
    admin_url: str
    """The URL of the developer page and the management API."""
    backend_url: str
    store: Store
    policies: Path
    """The folder with the policy file that the gateway serves."""
    policy: str
    """The policy's name."""
    admin_token: str
    """The text of an admin token."""
    in_use: dict[str, str]
    """Each URL above that could not have the preferred address, with that address."""

    def __repr__(self) -> str:
        return f"Stage({self.gateway_url})"


@asynccontextmanager
async def open_stage(address: str, store: str) -> AsyncIterator[Stage]:
    """Start all that the demo needs; `store` is auto, redis or memory. It stops when the context is left."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-demo-")))
        # A copy, to be edited while the demo runs: the gateway reloads it.
        policies = folder / "policies"
        policies.mkdir()
        shutil.copy(POLICY, policies / POLICY.name)
        (policy,) = read_policies(policies, {}).policies
        (listener, is_moved), (admin, is_admin_moved), (backend, _) = (
            open_listener(stack, wanted) for wanted in (address, ADMIN_ADDRESS, "127.0.0.1:0")
        )
        chosen = await open_store(stack, store, folder)
        settings = Settings(
            redis_url=chosen.url,
            policies=str(policies),
            listen=url_of(listener).removeprefix("http://"),
            upstreams=f"{policy}={url_of(backend)}",
            redis_timeout=REDIS_TIMEOUT_SECONDS,
            stop_timeout=STOP_TIMEOUT_SECONDS,
        )
        client = open_client(chosen.url, REDIS_TIMEOUT_SECONDS)
        await stack.enter_async_context(serving(build_backend_config(), backend))
        await start_gateway(stack, settings, client, listener, admin)
        moved = {url_of(listener): address} if is_moved else {}
        moved |= {url_of(admin): ADMIN_ADDRESS} if is_admin_moved else {}
        urls = url_of(listener), url_of(admin), url_of(backend)
        yield Stage(*urls, chosen, policies, policy, await mint_admin_token(client, policies), moved)


def open_listener(stack: AsyncExitStack, address: str) -> tuple[socket.socket, bool]:
    """Return a socket as `listen` does; it is closed with the stack."""
    listener, is_moved = listen(address)
    stack.callback(listener.close)
    return listener, is_moved


def build_backend_config() -> uvicorn.Config:
    """Build uvicorn's configuration for the example backend."""
    return uvicorn.Config(
        create_backend(),
        ws="none",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=STOP_TIMEOUT_SECONDS,
    )


async def start_gateway(
    stack: AsyncExitStack, settings: Settings, client: Client, listener: socket.socket, admin: socket.socket
) -> None:
    """Start both listeners as `gateway serve` runs them, on a store that they share."""
    config, admin_config = build_config(settings, client), build_admin_config(settings, client)
    logging.getLogger().setLevel(logging.WARNING)  # uvicorn has set up its log: only warnings join the story
    await stack.enter_async_context(serving(config, listener))
    await stack.enter_async_context(serving(admin_config, admin))


async def mint_admin_token(client: Client, policies: Path) -> str:
    """Mint an admin token that may read and write, and return its text."""
    management = build_management(RedisConnection(client, REDIS_TIMEOUT_SECONDS), PolicyFolder(str(policies)), "")
    request = TokenRequest(name="you", scopes=(READ, WRITE))
    return (await management.create_token(ACTOR, NAME, request)).text

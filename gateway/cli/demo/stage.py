"""The demo's stage: the example backend, a store and the gateway, in one event loop but over real sockets."""

import logging
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import uvicorn

from gateway.adapters.policy_files import read_policies
from gateway.adapters.redis_connection import EMBEDDED, RedisConnection, open_client
from gateway.admin import create_admin
from gateway.app import create_app
from gateway.cli.demo.backend import create_backend
from gateway.cli.demo.servers import listen, url_of
from gateway.cli.demo.temporary_redis import run_redis
from gateway.cli.managing import PolicyFolder
from gateway.cli.serve import build_config
from gateway.cli.serving import build_admin_config, serving
from gateway.core.admin_tokens import NAME, READ, WRITE
from gateway.core.administration import TokenRequest, TokenState
from gateway.core.audit import Actor
from gateway.core.errors import ConfigurationError
from gateway.core.policies.rules import Policy
from gateway.core.records import TokenRecord
from gateway.management import Management
from gateway.management.building import build_management
from gateway.settings import Settings

POLICY = Path(__file__).with_name("policy.toml")
REDIS_TIMEOUT_SECONDS = 5.0
"""Ample: the backend works in the same event loop, and a demo on a busy machine should not end with a 503."""
STOP_TIMEOUT_SECONDS = 2
ACTOR = Actor("demo", "operator")
ADMIN_ADDRESS = "127.0.0.1:8081"
"""As `gateway serve` has it; another port where this one is taken."""


class Stage(msgspec.Struct, frozen=True):
    """What is running, and the way to its tokens."""

    gateway_url: str
    backend_url: str
    redis_url: str
    """`memory://` for the embedded store, which no other process can reach."""
    page_url: str
    """Of the developer page."""
    moved_from: str | None
    """The address that was asked for, where it was taken."""
    policies: Path
    """The folder with the policy file that is served."""
    policy: Policy
    management: Management

    @property
    def has_redis(self) -> bool:
        """Whether other commands can reach the store."""
        return self.redis_url != EMBEDDED

    async def mint(self, request: TokenRequest) -> tuple[str, TokenRecord]:
        """A new token's text and record."""
        created = await self.management.create_token(ACTOR, self.policy.name, request)
        return created.text, created.view.record

    async def revoke(self, record: TokenRecord) -> None:
        """The token's end."""
        await self.management.revoke_token(ACTOR, record.identity)

    async def mint_admin(self) -> str:
        """The text of an admin token, for the developer page."""
        request = TokenRequest(name="you", scopes=(READ, WRITE))
        return (await self.management.create_token(ACTOR, NAME, request)).text

    async def state(self, record: TokenRecord) -> TokenState:
        """What the token is now."""
        return (await self.management.get_token(record.identity)).state


@asynccontextmanager
async def open_stage(address: str, store: str) -> AsyncIterator[Stage]:
    """All that the demo needs, running; `store` is auto, redis or memory. What was started ends with the context."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-demo-")))
        # A copy, to be edited while the demo runs: the gateway follows its changes.
        policies = folder / "policies"
        policies.mkdir()
        shutil.copy(POLICY, policies / POLICY.name)
        (policy,) = read_policies(policies, {}).policies.values()
        listener, was_taken = listen(address)
        stack.callback(listener.close)
        executable = find_redis(store)
        redis_url = await stack.enter_async_context(run_redis(executable, folder)) if executable else EMBEDDED
        backend, _ = listen("127.0.0.1:0")
        backend_config = uvicorn.Config(create_backend(), ws="none", access_log=False, log_config=None)
        await stack.enter_async_context(serving(backend_config, backend))
        settings = Settings(
            redis_url=redis_url,
            policies=str(policies),
            listen=url_of(listener).removeprefix("http://"),
            upstreams=f"{policy.name}={url_of(backend)}",
            redis_timeout=REDIS_TIMEOUT_SECONDS,
            stop_timeout=STOP_TIMEOUT_SECONDS,
        )
        client = open_client(redis_url, REDIS_TIMEOUT_SECONDS)
        config, admin_config = build_config(settings), build_admin_config(settings)
        logging.getLogger().setLevel(logging.WARNING)  # uvicorn has set up its log: only what is wrong joins the story
        config.app = partial(create_app, settings, client)  # as `gateway serve` runs it, with a store we share
        await stack.enter_async_context(serving(config, listener))
        admin, _ = listen(ADMIN_ADDRESS)
        stack.callback(admin.close)
        admin_config.app = partial(create_admin, settings, client)
        await stack.enter_async_context(serving(admin_config, admin))
        connection = RedisConnection(client, REDIS_TIMEOUT_SECONDS)
        management = build_management(connection, PolicyFolder(str(policies)), "")
        moved_from = address if was_taken else None
        urls = url_of(listener), url_of(backend), redis_url, url_of(admin)
        yield Stage(*urls, moved_from, policies, policy, management)


def find_redis(store: str) -> str | None:
    """The redis-server to start; None for the embedded store. ConfigurationError where one is asked for in vain."""
    executable = shutil.which("redis-server") if store != "memory" else None
    if store == "redis" and executable is None:
        raise ConfigurationError("demo: there is no redis-server on the PATH: install one, or use --store memory")
    return executable

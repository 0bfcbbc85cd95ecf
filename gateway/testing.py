"""Tests of apps that have GatewayPlugin: without Redis, with tokens in a line, and with time that can be moved.

pytest_plugins = ["gateway.testing"]

def test_an_export_needs_a_token(gateway_sandbox: OpenSandbox) -> None:
    sandbox = gateway_sandbox(app)  # whose plugin has redis_url="memory://"
    token = sandbox.mint("CI", scopes=["exports:read"], project="website")
    with TestClient(app) as client:
        assert client.get("/export", headers=sandbox.bearer(token)).status_code == 200
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeAlias

import pytest
from litestar import Litestar

from gateway.core.errors import ConfigurationError
from gateway.core.upstream.forwarding import Principal
from gateway.plugin import GatewayPlugin


class Sandbox:
    """The control of an app's gateway in a test, or of a plugin that no app has yet."""

    def __init__(self, app: Litestar | GatewayPlugin) -> None:
        self.plugin = app if isinstance(app, GatewayPlugin) else app.plugins.get(GatewayPlugin)
        if self.plugin.settings.redis_url != "memory://":
            raise ConfigurationError(
                "gateway.testing: this app's store is a Redis, which a test would fill and empty; "
                'give its plugin Settings(redis_url="memory://") in tests'
            )

    def mint(
        self,
        name: str = "test",
        *,
        scopes: Iterable[str] = (),
        project: str = "",
        owner: str = "",
        plan: str | None = None,
        expires_at: int | None = None,
    ) -> str:
        """Create a token of the app's policy and return its text; without scopes, it has all that its plan allows.

        It works in tests with and without an event loop. Raise ChangeRefused for what the policy does not allow.
        """
        making = self.plugin.mint(name, scopes=scopes, project=project, owner=owner, plan=plan, expires_at=expires_at)
        with ThreadPoolExecutor(1) as pool:  # this thread may have an event loop that is running
            return pool.submit(asyncio.run, making).result()

    def revoke(self, token: str) -> None:
        """Revoke a token by its text: the next request with it is refused."""
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, self.plugin.revoke(token)).result()

    def bearer(self, token: str) -> dict[str, str]:
        """Return the header that presents a token."""
        return {"Authorization": f"Bearer {token}"}

    @contextmanager
    def principal(self, principal: Principal) -> Iterator[None]:
        """Make every guarded request come from a principal, without a token, quotas and caches, until the block ends.

        Scopes are checked: a scope that the principal lacks gives 403.
        """
        with override_principal(self.plugin, principal):
            yield

    def set_time(self, seconds: float) -> None:
        """Set the time, in Unix seconds, for tokens, quotas and caches; it does not advance from now on."""
        self.plugin.set_time(int(seconds * 1000))

    def move_time(self, seconds: float) -> None:
        """Move the time by seconds at once; the first call begins with the time of the machine's clock."""
        self.plugin.set_time(int((self.plugin.now() + seconds) * 1000))

    def reset(self) -> None:
        """Delete all tokens, counters and stored exports, and the principal; time follows the machine's clock again."""
        self.plugin.override = None
        self.plugin.set_time(None)
        self.plugin.forget()


OpenSandbox: TypeAlias = Callable[[Litestar | GatewayPlugin], Sandbox]


@contextmanager
def override_principal(app: Litestar | GatewayPlugin, principal: Principal) -> Iterator[None]:
    """Make every guarded request of an app come from a principal; see Sandbox.principal. Any store will do."""
    plugin = app if isinstance(app, GatewayPlugin) else app.plugins.get(GatewayPlugin)
    before, plugin.override = plugin.override, principal
    try:
        yield
    finally:
        plugin.override = before


@pytest.fixture
def gateway_sandbox() -> Iterator[OpenSandbox]:
    """Open the sandbox of an app; each begins empty, and is emptied after the test."""
    opened: list[Sandbox] = []

    def open_sandbox(app: Litestar | GatewayPlugin) -> Sandbox:
        sandbox = Sandbox(app)
        sandbox.reset()
        opened.append(sandbox)
        return sandbox

    yield open_sandbox
    for sandbox in opened:
        sandbox.reset()

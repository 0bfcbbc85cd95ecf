"""`GatewayPlugin`: tokens, scopes, quotas and cached exports for the handlers of a Litestar app of your own.

The composition root of this role, as app.py is of the proxy.
"""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click
from litestar import Litestar
from litestar.config.app import AppConfig
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.plugins import CLIPlugin, InitPlugin, ReceiveRoutePlugin
from litestar.routes import BaseRoute, HTTPRoute

from gateway.adapters.failed_credentials import announce_guard
from gateway.app import Gateway, request_ids
from gateway.cli.owner.group import owner
from gateway.cli.token.group import token
from gateway.core.errors import ConfigurationError, GatewayError
from gateway.core.policies.reading import unknown_name
from gateway.core.policies.rules import Policy
from gateway.core.principals import Principal
from gateway.settings import Settings, parse_trusted_proxies, read_settings
from gateway.web.plugin.gate import Gate
from gateway.web.plugin.guards import provide_principal, requires, scopes_needed
from gateway.web.plugin.handlers import AppUpstreams
from gateway.web.plugin.openapi import describe_credentials, describe_guard

logger = logging.getLogger(__name__)

__all__ = ["GatewayPlugin", "Principal", "Settings", "requires"]


class GatewayPlugin(InitPlugin, ReceiveRoutePlugin, CLIPlugin):
    """Checks the tokens of a Litestar app's requests against the policies, with Redis as the gateway has it.

    `settings` are those of the gateway, from the environment where none are given. `policy` is the one whose quotas
    guarded handlers have that no rule matches; it need not be named where there is only one. Raises ConfigurationError.
    """

    def __init__(self, settings: Settings | None = None, policy: str = "") -> None:
        self._settings = settings or read_settings()
        self._policy_name = policy
        self._policy: Policy

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Puts the gate before all other middleware, and `principal` among the dependencies."""
        gateway = Gateway(self._settings, upstreams=AppUpstreams())
        self._policy = _choose(gateway, self._policy_name)
        if self._settings.failed_credentials:
            logger.warning(announce_guard(self._settings.failed_credentials))
        trusted = parse_trusted_proxies(self._settings)
        new_id = request_ids().__next__
        gate = Gate(gateway.exchange, gateway.policies, self._policy.name, time.time, new_id, trusted)
        app_config.middleware.insert(0, gate.wrap)
        app_config.dependencies.setdefault("principal", Provide(provide_principal, sync_to_thread=False))

        @asynccontextmanager
        async def run(_: Litestar) -> AsyncIterator[None]:
            async with gateway.running():
                yield

        app_config.lifespan.append(run)
        if app_config.openapi_config is not None:
            describe_credentials(app_config.openapi_config, self._policy)
        return app_config

    def receive_route(self, route: BaseRoute) -> None:
        """Looks at the guards of a route's handlers; ConfigurationError where one asks for an unknown scope."""
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            scopes = scopes_needed(handler)
            for scope in scopes or ():
                if scope not in self._policy.scopes:
                    message = unknown_name("scope", scope, self._policy.scopes)
                    raise ConfigurationError(f"requires() of {handler}: {message}")
            if scopes is not None and isinstance(handler, HTTPRouteHandler):
                describe_guard(handler, self._policy, scopes)

    def on_cli_init(self, cli: click.Group) -> None:
        """Adds `token` and `owner` to the app's own commands, with this app's Redis, policies and pepper."""
        defaults = {
            "redis_url": self._settings.redis_url,
            "policies": self._settings.policies,
            "pepper": self._settings.token_pepper,
        }
        for group in (token, owner):
            commands = group.commands
            settings = {"default_map": dict.fromkeys(commands, defaults)}
            cli.add_command(Commands(group.name, commands=commands, help=group.help, context_settings=settings))


class Commands(click.Group):
    """Commands whose mistakes are said in words, also under a command line that knows none of them."""

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command that was asked for."""
        try:
            return super().invoke(ctx)
        except GatewayError as error:
            raise click.ClickException(str(error)) from error


def _choose(gateway: Gateway, name: str) -> Policy:
    """The policy of the app."""
    policies = gateway.policies.current.policies
    if not name and len(policies) == 1:
        return next(iter(policies.values()))
    if name not in policies:
        raise ConfigurationError(f"GatewayPlugin: {unknown_name('policy', name, policies)}")
    return policies[name]

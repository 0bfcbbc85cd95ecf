"""`GatewayPlugin`: tokens, scopes, quotas and cached exports for the handlers of a Litestar app of your own.

The composition root of this role, as app.py is of the proxy.
"""

import asyncio
import logging
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast
from weakref import WeakKeyDictionary

import click
import msgspec
from litestar import Litestar
from litestar.config.app import AppConfig
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.plugins import CLIPlugin, InitPlugin, ReceiveRoutePlugin
from litestar.routes import BaseRoute, HTTPRoute, WebSocketRoute
from litestar.types import ASGIApp

from gateway.adapters.failed_credentials import announce_guard
from gateway.adapters.policy_files import PolicyFiles
from gateway.adapters.redis.connection import EMBEDDED, EmbeddedStore
from gateway.app import Gateway, open_policies, request_ids
from gateway.cli.audit import audit
from gateway.cli.cache import cache
from gateway.cli.main import owner, token
from gateway.cli.main import policy as policy_group
from gateway.core.errors import ConfigurationError, GatewayError
from gateway.core.policies.model import Policy, PolicySet
from gateway.core.policies.reading import unknown_name
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenRequest
from gateway.core.tokens.text import digest, token_id
from gateway.core.upstream.forwarding import Principal
from gateway.litestar_plugin.gate import Gate, GateOptions
from gateway.litestar_plugin.guards import (
    describe_credentials,
    describe_guard,
    optional,
    or_token,
    principal_of,
    provide_principal,
    requires,
)
from gateway.litestar_plugin.handlers import AppUpstreams
from gateway.litestar_plugin.reading import find_reads
from gateway.litestar_plugin.refusals import GatewayRefusal, answer_refusal
from gateway.litestar_plugin.websockets import QuietDenials
from gateway.pipeline.exchange import Exchange
from gateway.server.requests import RequestAcceptor
from gateway.settings import NO_REDIS, Settings, parse_trusted_proxies, read_settings

logger = logging.getLogger(__name__)

QUIET_DENIALS = QuietDenials()

APP = Actor("the app", "operator")
"""The actor in the history for tokens that the plugin's own methods create and revoke."""

__all__ = [
    "GatewayPlugin",
    "GatewayRefusal",
    "Principal",
    "Settings",
    "optional",
    "or_token",
    "principal_of",
    "requires",
]


class GatewayPlugin(InitPlugin, ReceiveRoutePlugin, CLIPlugin):
    """Checks the tokens of a Litestar app's requests against the policies, with Redis as the gateway has it.

    `settings` are those of the gateway, by default from the environment. `policy` is the one whose quotas apply to
    guarded handlers without a matching rule; it need not be named if there is only one.

    Refusals are exceptions of Litestar (litestar_plugin/refusals.py), unless `raise_refusals` is False: then they are
    answered at once, and the app does not see them. Paths that match one of the `exclude` patterns, and handlers whose
    `opt` has `exclude_opt_key`, are ignored, as by Litestar's own middleware. The gate stands before all other
    middleware; an app that wants some before it puts `middleware` into its own list. Raises ConfigurationError.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        policy: str = "",
        *,
        raise_refusals: bool = True,
        exclude: str | Sequence[str] = (),
        exclude_opt_key: str = "exclude_from_gateway",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or _read_settings()
        self.override: Principal | None = None
        """Who asks, whatever a request says; see gateway/testing.py."""
        _check_settings(self.settings)
        self.policies: PolicyFiles = open_policies(self.settings)
        self._policy = _choose(self.policies.current, policy)
        self._clock = clock
        self._time: int | None = None
        self._store = EmbeddedStore() if self.settings.redis_url == EMBEDDED else None
        self._gateways: WeakKeyDictionary[asyncio.AbstractEventLoop, Gateway] = WeakKeyDictionary()
        self._here: tuple[weakref.ref[asyncio.AbstractEventLoop], Gateway] | None = None
        """The last event loop and its gateway, nearly always the only ones."""
        self._handlers: WeakKeyDictionary[Gateway, AppUpstreams] = WeakKeyDictionary()
        self._needed: dict[str, str] = {}
        """The scopes that guards name, each with a handler that needs it."""
        self.policies.object = self._check_policies
        patterns = (exclude,) if isinstance(exclude, str) else tuple(exclude)
        trusted = parse_trusted_proxies(self.settings)
        acceptor = RequestAcceptor(self.policies, self.now, request_ids().__next__, trusted)
        options = GateOptions(
            policy=self._policy.name,
            raises=raise_refusals,
            exclude=patterns,
            exclude_opt_key=exclude_opt_key,
            remembers=self.settings.recognition != "off",
            verifies=self.settings.recognition == "verify",
        )
        self._gate = Gate(self, options, acceptor)

    @property
    def middleware(self) -> Callable[[ASGIApp], ASGIApp]:
        """The gate, for an app that wants other middleware before it."""
        return self._gate.wrap

    @property
    def gateway(self) -> Gateway:
        """The gateway of the current event loop: connections belong to the loop that has opened them."""
        loop = asyncio.get_running_loop()
        if self._here is not None and self._here[0]() is loop:
            return self._here[1]
        gateway = self._gateways.get(loop)
        if gateway is None:
            client = self._store.open_client() if self._store is not None else None
            handlers = AppUpstreams()
            gateway = self._gateways[loop] = Gateway(self.settings, client, handlers, self.policies)
            self._handlers[gateway] = handlers
            gateway.set_time(self._time)
        self._here = weakref.ref(loop), gateway
        return gateway

    @property
    def exchange(self) -> Exchange:
        """The exchange of the current event loop."""
        return self.gateway.exchange

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Put the gate before all other middleware, and `principal` among the dependencies."""
        if self.settings.failed_credentials:
            logger.warning(announce_guard(self.settings.failed_credentials))
        if self.middleware not in app_config.middleware:
            app_config.middleware.insert(0, self.middleware)
        # The class is the last base of the exceptions, so that any handler of the app is found before.
        app_config.exception_handlers.setdefault(cast(Any, GatewayRefusal), answer_refusal)
        app_config.dependencies.setdefault("principal", Provide(provide_principal, sync_to_thread=False))
        app_config.lifespan.append(self._run)
        logging.getLogger("uvicorn.error").addFilter(QUIET_DENIALS)
        if app_config.openapi_config is not None:
            describe_credentials(app_config.openapi_config, self._policy)
        return app_config

    def receive_route(self, route: BaseRoute) -> None:
        """Read the guards of a route's handlers. Raise ConfigurationError if one needs an unknown scope."""
        handlers: Sequence[Any] = ()
        if isinstance(route, HTTPRoute):
            handlers = route.route_handlers
        elif isinstance(route, WebSocketRoute):
            handlers = [route.route_handler]
        for handler in handlers:
            needs = self._gate.take_guards(handler)
            for scope in needs.scopes if needs else ():
                self._needed.setdefault(scope, str(handler))
            if isinstance(handler, HTTPRouteHandler):
                if needs is not None:
                    describe_guard(handler, self._policy, needs)
                self._warn_of_reads(handler, route.path)
        self._check_policies(self.policies.current)

    def on_cli_init(self, cli: click.Group) -> None:
        """Add the gateway's commands to the app's own, with this app's Redis, policies and pepper."""
        defaults = {
            "redis_url": self.settings.redis_url,
            "policies": self.settings.policies,
            "pepper": self.settings.token_pepper,
        }
        for group in (token, owner, policy_group, cache, audit):
            commands = group.commands
            settings = {"default_map": dict.fromkeys(commands, defaults)}
            cli.add_command(Commands(group.name, commands=commands, help=group.help, context_settings=settings))

    async def mint(
        self,
        name: str,
        *,
        scopes: Iterable[str] = (),
        project: str = "",
        owner: str = "",
        plan: str | None = None,
        expires_at: int | None = None,
    ) -> str:
        """Create a token of the app's policy and return its text, which is stored nowhere; the history names the app.

        Without scopes it has all that its plan allows. Raise ChangeRefused for what the policy does not allow, and
        StoreUnavailable.
        """
        request = TokenRequest(
            name=name, project=project, owner=owner, scopes=tuple(scopes), plan=plan, expires_at=expires_at
        )
        now = None if self._time is None else self._time // 1000
        made = await self.gateway.management.create_token(APP, self._policy.name, request, now=now)
        return made.text

    async def revoke(self, token: str) -> None:
        """Revoke a token by its text; the next request with it is refused. Raise NotFound and StoreUnavailable."""
        identity = token_id(digest(token, self.settings.token_pepper.encode()))
        await self.gateway.management.revoke_token(APP, identity)

    def forget(self) -> None:
        """Delete all tokens, counters and exports of the embedded store; a Redis is not touched."""
        if self._store is not None:
            self._store.clear()
            self._gateways.clear()
            self._here = None

    def now(self) -> float:
        """Return Unix seconds, by the clock or as `set_time` has set them."""
        return self._clock() if self._time is None else self._time / 1000

    def set_time(self, milliseconds: int | None) -> None:
        """Set the time of all gateways of this plugin, in Unix milliseconds; None lets clocks tell it."""
        self._time = milliseconds
        for gateway in self._gateways.values():
            gateway.set_time(milliseconds)

    @asynccontextmanager
    async def _run(self, _: Litestar) -> AsyncIterator[None]:
        gateway = self.gateway
        try:
            async with gateway.running():
                yield
                await self._handlers[gateway].drain()
        finally:
            self._gateways.pop(asyncio.get_running_loop(), None)
            self._here = None

    def _warn_of_reads(self, handler: HTTPRouteHandler, path: str) -> None:
        """Warn of a handler whose answer is stored for others, but depends on the client."""
        segments = tuple(segment.split(":")[0].strip("{}") for segment in path.split("/")[1:])
        host = self._policy.hosts[0] if self._policy.hosts else ""
        rule = self.policies.current.match(host, "GET", segments) if "GET" in handler.http_methods else None
        reads = find_reads(handler) if rule is not None and rule.cache is not None else ()
        if reads:
            logger.warning(
                "GatewayPlugin: %s reads %s, and the rule %r stores its answer for others: it has to send Vary, "
                "or that rule needs no cache",
                handler,
                " and ".join(reads),
                rule.pattern.text if rule else "",
            )

    def _check_policies(self, policies: PolicySet) -> None:
        """Raise ConfigurationError for a set of policies with which this app would not start."""
        policy = policies.policies.get(self._policy.name)
        if policy is None:
            message = unknown_name("policy", self._policy.name, policies.policies)
            raise ConfigurationError(f"GatewayPlugin: the policy of this app is gone: {message}")
        mistakes = [
            f"requires() of {handler}: {unknown_name('scope', scope, policy.scopes)}"
            for scope, handler in self._needed.items()
            if scope not in policy.scopes
        ]
        if mistakes:
            raise ConfigurationError(*mistakes)


class Commands(click.Group):
    """A group that prints the gateway's errors in words, also under a command line that does not know them."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the requested command. Raise click.ClickException for the gateway's errors."""
        try:
            return super().invoke(ctx)
        except GatewayError as error:
            raise click.ClickException(str(error)) from error


NOT_OBEYED = (
    "listen",
    "admin_listen",
    "own_prefix",
    "sign_in",
    "workers",
    "max_requests",
    "log_format",
    "log_level",
)
"""Settings that the app's server decides instead of the plugin."""
NO_STORE = (
    "GatewayPlugin: no store is named. Set GATEWAY_REDIS_URL, or write GatewayPlugin(Settings(redis_url=...)): "
    "redis://127.0.0.1:6379/0, or memory:// to try it with one process and nothing kept"
)


def _read_settings() -> Settings:
    """Return the settings of the environment. Raise ConfigurationError in the plugin's own words."""
    try:
        return read_settings()
    except ConfigurationError as error:
        raise ConfigurationError(*(NO_STORE if one == NO_REDIS else one for one in error.mistakes)) from None


def _check_settings(settings: Settings) -> None:
    """Raise ConfigurationError for settings that are out of range, or that an app's server decides."""
    mistakes = []
    try:
        msgspec.convert(msgspec.to_builtins(settings), Settings)
    except msgspec.ValidationError as error:
        mistakes.append(f"GatewayPlugin: {error}")
    for field in msgspec.structs.fields(Settings):
        if field.name in NOT_OBEYED and getattr(settings, field.name) != field.default:
            mistakes.append(
                f"GatewayPlugin: {field.name} is the app's server's to decide; leave it out of the settings"
            )
    if mistakes:
        raise ConfigurationError(*mistakes)


def _choose(policies: PolicySet, name: str) -> Policy:
    """Return the policy of the app. Raise ConfigurationError if it is not determined."""
    found = policies.policies
    if not name and len(found) == 1:
        return next(iter(found.values()))
    if name not in found:
        raise ConfigurationError(f"GatewayPlugin: {unknown_name('policy', name, found)}")
    return found[name]

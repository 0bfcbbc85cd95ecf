"""Composition root of the admin listener: as app.py, for a process that answers people."""

import asyncio
import gc
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from litestar import Litestar

from gateway.adapters.failed_credentials import FailedCredentials
from gateway.adapters.logs.error_log import mask_logs
from gateway.adapters.logs.hangups import HANGUPS
from gateway.adapters.policy_files import PolicyFiles
from gateway.adapters.policy_versions import RedisVersions
from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.audit import RedisAudit
from gateway.adapters.redis.connection import BoundedConnection, Client, open_client
from gateway.adapters.redis.exports import RedisExports
from gateway.adapters.redis.readiness import RedisReadiness
from gateway.adapters.redis.sessions import RedisSessions
from gateway.adapters.redis.tokens import RedisTokens
from gateway.adapters.redis.usage import RedisUsage
from gateway.adapters.upstream.probe import UpstreamProbe
from gateway.admin.access import Access
from gateway.admin.api import build_api, build_openapi
from gateway.admin.app import build_admin
from gateway.admin.listener import AdminListener
from gateway.admin.metrics import build_metrics
from gateway.app import end_tasks, process_name, request_ids
from gateway.core.durability import Readiness
from gateway.core.masking import Masking
from gateway.management.building import build_management
from gateway.pages.common import Pages, build_templates
from gateway.pages.router import build_pages, render_http_error
from gateway.pages.sessions import WRONG_SIGN_INS, Visitors
from gateway.pipeline.authenticator import Authenticator
from gateway.server.connection import Listener
from gateway.server.requests import RequestAcceptor
from gateway.settings import (
    Settings,
    authority_of,
    parse_own_addresses,
    parse_sign_in,
    parse_trusted_proxies,
    parse_upstreams,
    read_settings,
)

ADMIN_TIMEOUT_SECONDS = 5.0
"""The timeout for people, who wait longer for Redis than a request may: one call lists ten thousand tokens."""


class Administration:
    """The parts of the admin listener: connections and policies of its own, as it may be a process of its own."""

    def __init__(
        self, settings: Settings, client: "Client | None" = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._owns_client = client is None
        client = client or open_client(settings.redis_url, ADMIN_TIMEOUT_SECONDS, settings.sentinel_password)
        self.redis = BoundedConnection(client, ADMIN_TIMEOUT_SECONDS)
        self.readiness = RedisReadiness(self.redis, allows_eviction=settings.allow_eviction)
        can_assert = bool(settings.assertion_key)
        folder, own = Path(settings.policies), parse_own_addresses(settings)
        self.policies = PolicyFiles(folder, parse_upstreams(settings.upstreams), can_assert=can_assert, own=own)
        self.tokens = RedisTokens(self.redis)
        self.management = build_management(self.redis, self.policies, settings.token_pepper)
        self.usage = RedisUsage(self.redis, clock)
        self.versions = RedisVersions(self.redis, process_name(), self.policies)
        url, self.exports_redis = settings.exports_redis_url, self.redis
        if url:
            self.exports_redis = BoundedConnection(
                open_client(url, ADMIN_TIMEOUT_SECONDS, settings.sentinel_password), ADMIN_TIMEOUT_SECONDS
            )
        self.exports = RedisExports(self.exports_redis, 0, history=RedisAudit(self.redis) if url else None)
        trusted = parse_trusted_proxies(settings)
        self.acceptor = RequestAcceptor(self.policies, clock, request_ids().__next__, trusted)
        failures = FailedCredentials(settings.failed_credentials) if settings.failed_credentials else None
        self.access = Access(
            admissions=RedisAdmissions(self.redis),
            authenticator=Authenticator(failures, settings.token_pepper.encode()),
            acceptor=self.acceptor,
        )
        sessions, wrong_sign_ins = RedisSessions(self.redis), FailedCredentials(WRONG_SIGN_INS)
        kinds = parse_sign_in(settings.sign_in)
        self.pages = Pages(
            visitors=Visitors(
                sessions, self.management, self.policies, kinds, wrong_sign_ins, clock, secrets.token_bytes
            ),
            management=self.management,
            tokens=self.tokens,
            usage=self.usage,
            policies=self.policies,
            policy_mistakes=self.policy_mistakes,
            check_readiness=self.check_readiness,
            clock=clock,
            random_text=lambda: secrets.token_urlsafe(16),
            trusted=trusted,
            listen=authority_of(settings.listen),
            probe=UpstreamProbe(),
        )

    def policy_mistakes(self) -> tuple[str, ...]:
        """Return the mistakes of the policy files, if the running set is older than they."""
        return self.policies.mistakes

    def masking(self) -> Masking:
        """Return the masking of what looks like a token of the current policies."""
        return self.policies.current.masking

    async def check_readiness(self) -> Readiness:
        """Return what Redis fails to do for the gateway, with warnings about its configuration."""
        return await self.readiness.check()

    async def close(self) -> None:
        """Close the connections, except one that others use."""
        if self.exports_redis is not self.redis:
            await self.exports_redis.close()
        if self._owns_client:
            await self.redis.close()


def create_admin_listener(settings: Settings | None = None, client: "Client | None" = None) -> Listener:
    """Build the admin listener as `gateway serve` runs it: behind a server with the limits of the public listener's."""
    settings = settings or read_settings()
    administration = Administration(settings, client)
    return AdminListener(build_application(administration), administration.acceptor)


def build_application(administration: Administration) -> Litestar:
    """Build the application of the admin listener from its parts."""
    mask_logs(administration.masking, Counter())

    @asynccontextmanager
    async def run(_: Litestar) -> AsyncIterator[None]:
        gc.freeze()  # as in app.py: the objects that exist now stay
        reload = partial(administration.policies.reload_beside, is_asked_for=True)
        tasks = (
            asyncio.create_task(administration.policies.watch(lambda: None)),
            asyncio.create_task(HANGUPS.follow(reload)),
        )
        administration.versions.start()
        try:
            yield
        finally:
            await end_tasks(tasks)
            await administration.versions.close()
            await administration.close()

    metrics = build_metrics(administration.usage, administration.policy_mistakes, administration.versions)
    api = build_api(administration.management, administration.exports, administration.usage, administration.access)
    pages, tell = build_pages(administration.pages), partial(render_http_error, administration.pages)
    return build_admin(administration, [pages, api, metrics], run, tell, build_templates(), build_openapi())

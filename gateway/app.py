"""Composition root: the only place that constructs adapters, and knows the real clock and environment."""

import asyncio
import itertools
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from litestar import Litestar

from gateway.adapters.access_log import FileAccessLog
from gateway.adapters.encodings.encoder import ContentEncoder
from gateway.adapters.failed_credentials import FailedCredentials
from gateway.adapters.policy_files import PolicyFiles
from gateway.adapters.redis_admissions import RedisAdmissions
from gateway.adapters.redis_audit import RedisAudit
from gateway.adapters.redis_bounded import BoundedConnection
from gateway.adapters.redis_claims import RedisClaims
from gateway.adapters.redis_connection import Client, RedisConnection, open_client
from gateway.adapters.redis_counting import RedisCounting
from gateway.adapters.redis_exports import RedisExports
from gateway.adapters.redis_fetches import RedisFetches
from gateway.adapters.redis_sessions import RedisSessions
from gateway.adapters.redis_settlements import RedisSettlements
from gateway.adapters.redis_tokens import RedisTokens
from gateway.adapters.redis_usage import RedisUsage
from gateway.adapters.rendering import ProcessRenderer
from gateway.adapters.stream_watch import StreamWatch
from gateway.adapters.upstreams import HttpUpstreams
from gateway.contents import Contents
from gateway.exchange import Exchange
from gateway.fetching import Fetching
from gateway.management import Management
from gateway.retrieval import Retrieval
from gateway.settings import Settings, parse_sign_in, parse_trusted_proxies, parse_upstreams, read_settings
from gateway.shaping import Shaping
from gateway.web.admin.app import build_admin
from gateway.web.authorize import ForwardAuth
from gateway.web.metrics import build_metrics
from gateway.web.operations import build_operations
from gateway.web.pages.parts import Pages
from gateway.web.pages.router import build_pages
from gateway.web.pages.visitors import WRONG_SIGN_INS, Visitors
from gateway.web.proxy import Proxy, PublicListener
from gateway.web.whoami import Whoami

ADMIN_TIMEOUT_SECONDS = 5.0
"""A person waits longer for Redis than a request may: ten thousand tokens are listed in one question."""
EXPORT_TIMEOUT_SECONDS = 5.0
"""For whole exports to and from Redis: megabytes may take longer than an admission, and break no circuit for it."""

USAGE_TIMEOUT_SECONDS = 2.0
"""For what was counted in a second, off every request's path; a stop waits for it no longer."""


class Gateway:
    """One worker's parts, put together from the settings. A `client` that is given is used and closed as its own."""

    def __init__(self, settings: Settings, client: "Client | None" = None) -> None:
        if client is None:
            client = open_client(settings.redis_url, settings.redis_timeout)
        self.redis = RedisConnection(client, settings.redis_timeout)
        self.policies = PolicyFiles(Path(settings.policies), parse_upstreams(settings.upstreams))
        self.upstreams = HttpUpstreams()
        self.tokens = RedisTokens(self.redis)
        self.management = build_management(self.redis, self.tokens, self.policies, settings)
        self.streams = StreamWatch(self.tokens.are_revoked)
        self.settlements = RedisSettlements(self.redis, request_ids().__next__)
        self.access_log = FileAccessLog(settings.access_log) if settings.access_log else None
        self.exports_redis = BoundedConnection(client, EXPORT_TIMEOUT_SECONDS)
        self.cache_counts: Counter[str] = Counter()
        exports = RedisExports(self.exports_redis, settings.export_memory, self.cache_counts)
        self.encoder = ContentEncoder()
        contents = Contents(exports, self.encoder)
        self.fetches = RedisFetches(self.exports_redis)
        self.renderer = ProcessRenderer()
        parts = (exports, contents, self.fetches, self.upstreams, self.streams, self.cache_counts)
        documents = Retrieval(contents, Fetching(*parts), self.fetches, Counter())
        self.fetching = Fetching(*parts, Shaping(documents, exports, self.renderer))
        self.retrieval = Retrieval(contents, self.fetching, self.fetches, self.cache_counts)
        self.counting_redis = RedisConnection(client, USAGE_TIMEOUT_SECONDS)
        self.counting = RedisCounting(self.counting_redis, self.cache_counts, time.time)
        self.exchange = Exchange(
            policies=self.policies,
            admissions=RedisAdmissions(self.redis),
            retrieval=self.retrieval,
            settlements=self.settlements,
            failures=FailedCredentials(settings.failed_credentials) if settings.failed_credentials else None,
            access_log=self.access_log,
            pepper=settings.token_pepper.encode(),
            counting=self.counting,
        )

    def policy_mistakes(self) -> tuple[str, ...]:
        """Mistakes of the policy files, where an older set is served."""
        return self.policies.mistakes

    async def is_store_ready(self) -> bool:
        """Whether Redis answers."""
        return await self.redis.is_ready()

    def keep_upstreams(self) -> None:
        """Makes the backends those of the present policies."""
        self.upstreams.keep(policy.upstream for policy in self.policies.current.policies.values())

    async def close(self) -> None:
        """Ends connections and writes what is left of the access log."""
        self.streams.close()
        await self.retrieval.close()
        await self.fetching.close()
        self.renderer.close()
        self.encoder.close()
        await self.fetches.close()
        await self.exports_redis.close()
        await self.upstreams.close()
        await self.settlements.close()
        await self.counting.close()
        await self.counting_redis.close()
        await self.redis.close()
        if self.access_log is not None:
            self.access_log.close()


def build_management(
    redis: RedisConnection, tokens: RedisTokens, policies: PolicyFiles, settings: Settings
) -> Management:
    """What changes tokens, by whichever door."""
    return Management(
        policies=policies,
        tokens=tokens,
        owners=tokens.owners,
        audit=RedisAudit(redis),
        claims=RedisClaims(redis, tokens),
        random_bytes=secrets.token_bytes,
        pepper=settings.token_pepper.encode(),
    )


def request_ids() -> Iterator[str]:
    """Ids that no other worker or restart gives: 64 random bits of this process and a count."""
    prefix = secrets.token_hex(8)
    return (f"{prefix}{number:08x}" for number in itertools.count(1))


def create_app(settings: Settings | None = None, client: "Client | None" = None) -> PublicListener:
    """The public listener's application, from the environment where no settings are given.

    `client` is a Redis client that others in this process use as well: the embedded store is in it.
    """
    settings = settings or read_settings()
    gateway = Gateway(settings, client)

    @asynccontextmanager
    async def run(_: Litestar) -> AsyncIterator[None]:
        gateway.keep_upstreams()
        watching = asyncio.create_task(gateway.policies.watch(gateway.keep_upstreams))
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await gateway.close()

    trusted = parse_trusted_proxies(settings.trusted_proxies)
    new_id = request_ids().__next__
    proxy = Proxy(gateway.exchange, time.time, new_id, trusted)
    forward_auth = ForwardAuth(gateway.exchange, time.time, new_id, trusted)
    whoami = Whoami(gateway.exchange, gateway.policies, gateway.tokens, time.time, new_id, trusted)
    return PublicListener(proxy, forward_auth, build_operations(gateway, whoami, lifespan=run), new_id)


class Administration:
    """What the admin listener works with: connections and policies of its own, as it may be a process of its own."""

    def __init__(
        self, settings: Settings, client: "Client | None" = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._owns_client = client is None
        client = client or open_client(settings.redis_url, ADMIN_TIMEOUT_SECONDS)
        self.redis = RedisConnection(client, ADMIN_TIMEOUT_SECONDS)
        self.policies = PolicyFiles(Path(settings.policies), parse_upstreams(settings.upstreams))
        self.tokens = RedisTokens(self.redis)
        self.management = build_management(self.redis, self.tokens, self.policies, settings)
        self.usage = RedisUsage(self.redis, clock)
        sessions, failures = RedisSessions(self.redis), FailedCredentials(WRONG_SIGN_INS)
        kinds = parse_sign_in(settings.sign_in)
        self.pages = Pages(
            visitors=Visitors(sessions, self.management, self.policies, kinds, failures, clock, secrets.token_bytes),
            management=self.management,
            tokens=self.tokens,
            usage=self.usage,
            policies=self.policies,
            policy_mistakes=self.policy_mistakes,
            clock=clock,
            random_text=lambda: secrets.token_urlsafe(16),
            trusted=parse_trusted_proxies(settings.trusted_proxies),
            listen=settings.listen,
        )

    def policy_mistakes(self) -> tuple[str, ...]:
        """Mistakes of the policy files, where an older set is served."""
        return self.policies.mistakes

    async def is_store_ready(self) -> bool:
        """Whether Redis answers."""
        return await self.redis.is_ready()

    async def close(self) -> None:
        """Ends the connection, where it is nobody else's."""
        if self._owns_client:
            await self.redis.close()


def create_admin(
    settings: Settings | None = None, client: "Client | None" = None, clock: Callable[[], float] = time.time
) -> Litestar:
    """The admin listener's application; as in `create_app`, a `client` is one that others use as well."""
    administration = Administration(settings or read_settings(), client, clock)

    @asynccontextmanager
    async def run(_: Litestar) -> AsyncIterator[None]:
        watching = asyncio.create_task(administration.policies.watch(lambda: None))
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await administration.close()

    metrics = build_metrics(administration.usage, administration.policy_mistakes)
    return build_admin(administration, [build_pages(administration.pages), metrics], run)

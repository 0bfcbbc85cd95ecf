"""Composition root: the only place that constructs adapters, and knows the real clock and environment."""

import asyncio
import gc
import itertools
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from litestar import Litestar

from gateway.adapters.encodings.encoder import ContentEncoder
from gateway.adapters.failed_credentials import FailedCredentials
from gateway.adapters.logs.access_log import FileAccessLog
from gateway.adapters.logs.error_log import mask_logs
from gateway.adapters.logs.hangups import HANGUPS
from gateway.adapters.outside.documents import fetch_document
from gateway.adapters.outside.id_tokens import IdTokens
from gateway.adapters.outside.key_sets import KeySets, read_issuer, read_leak_keys
from gateway.adapters.outside.leak_signatures import LeakSignatures
from gateway.adapters.outside.webhook import Webhook
from gateway.adapters.policy_files import PolicyFiles
from gateway.adapters.policy_versions import RedisVersions
from gateway.adapters.ports import Closeable, Upstreams
from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.audit import RedisAlertMarks
from gateway.adapters.redis.connection import BoundedConnection, Client, Meaning, RedisConnection, open_client
from gateway.adapters.redis.exports import ApartHeads, Limits, RedisExports
from gateway.adapters.redis.fetch_leases import RedisFetches
from gateway.adapters.redis.quota_refunds import RedisQuotaRefunds
from gateway.adapters.redis.readiness import RedisReadiness
from gateway.adapters.redis.tokens import RedisTokens
from gateway.adapters.redis.usage import RedisUsageCounter
from gateway.adapters.renderer import ProcessRenderer
from gateway.adapters.revocation_watch import StreamWatch
from gateway.adapters.signing_keys import SigningKeys
from gateway.adapters.streams import HeldBytes
from gateway.adapters.upstream.pool import HttpUpstreams
from gateway.core.durability import Readiness
from gateway.core.http.assertions import Issuer
from gateway.management.alerting import WATCHED, Alerting
from gateway.management.building import build_management
from gateway.management.exchanging import TokenExchange
from gateway.management.leaks import LeakReports
from gateway.management.product_api import ProductApi
from gateway.pipeline.authenticator import Authenticator
from gateway.pipeline.cache import ExportCache
from gateway.pipeline.exchange import Exchange
from gateway.pipeline.fetch import ContentStore, UpstreamFetcher
from gateway.pipeline.recognition import Recognition
from gateway.pipeline.variants import VariantBuilder
from gateway.server.arrival import Arrivals
from gateway.server.forward_auth import ForwardAuth
from gateway.server.leak_reports import LeakReportEndpoint
from gateway.server.listener import Capacity, Proxy, PublicListener
from gateway.server.listener_tls import TlsFiles, open_tls
from gateway.server.own_endpoints import build_operations
from gateway.server.requests import RequestAcceptor
from gateway.server.token_exchange import TokenExchangeEndpoint
from gateway.server.whoami import Whoami
from gateway.settings import (
    Settings,
    parse_alerts,
    parse_leak_keys,
    parse_own_addresses,
    parse_proxy_protocol,
    parse_trusted_proxies,
    parse_upstreams,
    read_settings,
)

EXPORT_TIMEOUT_SECONDS = 5.0
"""The timeout for whole exports to and from Redis: megabytes may take longer, and must not open a circuit."""

EXPORTS = Meaning("The Redis of the exports", "backends are asked for exports, and none are stored,")
"""The log's words about the exports' Redis while it is away."""

USAGE_TIMEOUT_SECONDS = 2.0
"""The timeout for usage of one second, off every request's path; a stop waits no longer for it."""


class Gateway:
    """The parts of one worker, built from the settings. A given `client` is used and closed as its own.

    `upstreams` replace the policies' backends. `policies` are shared by several gateways of one process. `clock` gives
    Unix seconds; `new_id` gives names that no other worker gives.
    """

    def __init__(
        self,
        settings: Settings,
        client: "Client | None" = None,
        upstreams: "Upstreams | None" = None,
        policies: PolicyFiles | None = None,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        client = client or open_client(settings.redis_url, settings.redis_timeout, settings.sentinel_password)
        self.cache_counts: Counter[str] = Counter()
        redis = self.redis = RedisConnection(client, settings.redis_timeout, self.cache_counts)
        self.readiness = RedisReadiness(redis, allows_eviction=settings.allow_eviction)
        issuer, self._clock = self._open_issuer(settings), clock
        self.own, self.policies = parse_own_addresses(settings), policies or open_policies(settings)
        self.upstreams, self.tokens = HttpUpstreams(), RedisTokens(redis)
        self.managing = BoundedConnection(client, settings.redis_timeout, self.cache_counts)  # not admissions' own
        self.management = build_management(self.managing, self.policies, settings.token_pepper)
        self.streams = StreamWatch(self.tokens.find_facts)
        self.admissions = RedisAdmissions(redis)
        self.refunds = RedisQuotaRefunds(redis, self.admissions, new_id or request_ids().__next__)
        self.access_log = FileAccessLog(settings.access_log, self.cache_counts) if settings.access_log else None
        exports = self.exports = self._open_exports(settings, client)
        self.encoder, self.renderer = ContentEncoder(), ProcessRenderer()
        content_store = ContentStore(exports, self.encoder, HeldBytes(settings.unsent_memory), self.cache_counts)
        parts = (exports, content_store, self.fetches, upstreams or self.upstreams, self.cache_counts)
        instance = "" if upstreams else settings.instance or secrets.token_hex(8)
        documents = ExportCache(content_store, UpstreamFetcher(*parts, None, issuer, instance), self.fetches, Counter())
        self.fetcher = UpstreamFetcher(*parts, VariantBuilder(documents, exports, self.renderer), issuer, instance)
        self.export_cache = ExportCache(content_store, self.fetcher, self.fetches, self.cache_counts, self.heads)
        counting = self.counting_redis = RedisConnection(client, USAGE_TIMEOUT_SECONDS)
        self.usage_counter = RedisUsageCounter(counting, self.cache_counts, clock)
        self.versions = RedisVersions(counting, process_name(), self.policies)
        self.failures = FailedCredentials(settings.failed_credentials) if settings.failed_credentials else None
        self.authenticator = Authenticator(self.failures, settings.token_pepper.encode())
        self._open_outside(settings)
        self.exchange = Exchange(
            policies=self.policies,
            admissions=self.admissions,
            export_cache=self.export_cache,
            refunds=self.refunds,
            streams=self.streams,
            authenticator=self.authenticator,
            access_log=self.access_log,
            clock=clock,
            usage_counter=self.usage_counter,
            issuer=issuer,
            product_api=ProductApi(self.management),
            watch=self.alerting,
        )

    def build_recognition(
        self, new_id: Callable[[], str], may_take: Callable[[int], bool], *, verifies: bool
    ) -> Recognition:
        """Return what answers requests whose bytes were seen before; see settings.Settings.recognition."""
        return Recognition(
            policies=self.policies,
            admissions=self.admissions,
            releases=self.refunds,
            recall=self.exports.recall,
            passages=self.upstreams,
            offered=self.encoder.offered,
            access_log=self.access_log,
            usage_counter=self.usage_counter,
            failures=self.failures,
            counts=self.cache_counts,
            clock=self._clock,
            new_id=new_id,
            may_take=may_take,
            verifies=verifies,
            watched=WATCHED if self.alerting is not None else frozenset(),
        )

    def set_time(self, milliseconds: int | None) -> None:
        """Set the time of all further decisions, in Unix milliseconds; None lets Redis tell the time."""
        self.admissions.now = self.refunds.now = self.exports.now = self.fetches.now = milliseconds
        if self.heads is not None:
            self.heads.now = milliseconds

    def _open_issuer(self, settings: Settings) -> Issuer | None:
        """Return who signs assertions, if there is a key, and take in the keys that are published."""
        keys = SigningKeys(settings.assertion_key) if settings.assertion_key else None
        self.public_keys = keys.published if keys else ()
        return Issuer(settings.assertion_issuer, keys.sign) if keys else None

    def _open_exports(self, settings: Settings, client: Client) -> RedisExports:
        """Open the exports, in the Redis of the tokens or in one of their own, and the connections for them."""
        counts, url, limits = self.cache_counts, settings.exports_redis_url, Limits(settings.export_limit)
        self.exports_redis = self.waited_for = BoundedConnection(client, EXPORT_TIMEOUT_SECONDS, counts)
        self.heads: ApartHeads | None = None
        if url:
            own = open_client(url, settings.redis_timeout, settings.sentinel_password)
            limits = Limits(settings.export_limit, share=0)
            quick = self.waited_for = BoundedConnection(own, settings.redis_timeout, counts, meaning=EXPORTS)
            self.exports_redis = BoundedConnection(own, EXPORT_TIMEOUT_SECONDS, counts, meaning=EXPORTS, follow=quick)
            self.heads = ApartHeads(quick)
        self.fetches = RedisFetches(self.waited_for)
        return RedisExports(self.exports_redis, settings.export_memory, counts, limits=limits)

    def _open_outside(self, settings: Settings) -> None:
        """Open what speaks to others than clients and backends: issuers, GitHub, the operators' webhook."""
        self.issuers = HttpUpstreams()
        fetch, marks = partial(fetch_document, self.issuers), RedisAlertMarks(self.managing)
        self.key_sets = KeySets(partial(read_issuer, fetch), time.monotonic)
        self.leak_keys = KeySets(partial(read_leak_keys, fetch), time.monotonic)
        self.token_exchange = TokenExchange(self.policies, IdTokens(self.key_sets), self.management)
        self.webhook: Webhook | None = None
        self.alerting: Alerting | None = None
        if (receiver := parse_alerts(settings)) is not None:
            self.webhook = Webhook(*receiver, self.issuers, self.cache_counts, time.time)
            mistakes = self.policy_mistakes
            self.alerting = Alerting(self.management, self.policies, marks, self.webhook, mistakes, time.time)
        self.leak_signatures: LeakSignatures | None = None
        if url := parse_leak_keys(settings):
            self.leak_signatures = LeakSignatures(self.leak_keys, url)
        self.leak_reports = LeakReports(self.management, self.policies, marks, self.alerting)

    def policy_mistakes(self) -> tuple[str, ...]:
        """Return the mistakes of the policy files, if the running set is older than they."""
        return self.policies.mistakes

    async def check_readiness(self) -> Readiness:
        """Return what Redis fails to do for the gateway, with warnings about its configuration."""
        return await self.readiness.check()

    def keep_upstreams(self) -> None:
        """Update the backends to those of the current policies."""
        self.upstreams.keep(policy.upstream for policy in self.policies.current.policies.values())

    @asynccontextmanager
    async def running(self, on_reload: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
        """Follow changes of the policy files, and hangups, until the end, and then close everything."""
        tasks = [
            asyncio.create_task(self.policies.watch(on_reload)),
            asyncio.create_task(HANGUPS.follow(partial(self._reload, on_reload))),
            asyncio.create_task(self.readiness.warn_of_missing_commands()),
        ]
        if self.webhook is not None and self.alerting is not None:
            tasks.append(asyncio.create_task(self.webhook.deliver_alerts()))
            tasks.append(asyncio.create_task(self.alerting.watch_events(asyncio.sleep)))
        self.versions.start()
        try:
            yield
        finally:
            await end_tasks(tasks)
            await self.versions.close()
            await self.close()

    async def _reload(self, then: Callable[[], None]) -> None:
        """Reload as SIGHUP requests: requests in progress do not notice it."""
        if self.access_log is not None:
            self.access_log.reopen()
        await self.policies.reload_beside(is_asked_for=True)
        then()

    async def close(self) -> None:
        """Close connections and write what is left of the access log."""
        self.streams.stop()
        parts: tuple[Closeable, ...] = (
            self.export_cache,
            self.fetcher,
            self.fetches,
            self.waited_for,
            self.exports_redis,
            self.upstreams,
            self.key_sets,
            self.leak_keys,
            self.issuers,
            self.refunds,
            self.managing,
            self.usage_counter,
            self.counting_redis,
            self.redis,
        )
        for part in parts:
            await part.close()
        self.renderer.close()
        self.encoder.close()
        if self.access_log is not None:
            await self.access_log.close()


def open_policies(settings: Settings) -> PolicyFiles:
    """Read the policy files of the settings. Raise ConfigurationError with every mistake."""
    folder, replacements = Path(settings.policies), parse_upstreams(settings.upstreams)
    return PolicyFiles(folder, replacements, can_assert=bool(settings.assertion_key), own=parse_own_addresses(settings))


def process_name() -> str:
    """Return the name of this process among those that share a Redis.

    Others may have its host's name and its number, so it ends at random.
    """
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(2)}"


async def end_tasks(tasks: "Iterable[asyncio.Task[None]]") -> None:
    """Cancel background tasks, and wait for their end."""
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def request_ids() -> Iterator[str]:
    """Return an iterator of ids that no other worker or restart gives: 64 random bits of this process and a count."""
    prefix = secrets.token_hex(8)
    return map(f"{prefix}%08x".__mod__, itertools.count(1))


def create_app(settings: Settings | None = None, client: "Client | None" = None) -> PublicListener:
    """Build the public listener's application, by default with the settings of the environment.

    `client` is a Redis client that others in this process use as well: the embedded store is in it.
    """
    settings = settings or read_settings()
    gateway = Gateway(settings, client)
    mask_logs(lambda: gateway.policies.current.masking, gateway.cache_counts)
    return build_listener(gateway, settings)


def build_listener(gateway: Gateway, settings: Settings) -> PublicListener:
    """Return the public listener of a gateway."""

    @asynccontextmanager
    async def run(_: Litestar) -> AsyncIterator[None]:
        gateway.keep_upstreams()
        gc.freeze()  # the objects that exist now stay: a collection of them would block the loop for 20 ms
        async with gateway.running(gateway.keep_upstreams):
            yield

    new_id = request_ids().__next__
    acceptor = RequestAcceptor(gateway.policies, time.time, new_id, parse_trusted_proxies(settings))
    proxy = Proxy(gateway.exchange, acceptor)
    forward_auth = ForwardAuth(gateway.exchange, acceptor, gateway.own)
    whoami = Whoami(gateway.exchange, gateway.authenticator, gateway.policies, gateway.tokens, acceptor)
    token_exchange = TokenExchangeEndpoint(gateway.exchange, gateway.authenticator, gateway.token_exchange, acceptor)
    signatures = gateway.leak_signatures
    leaks = None if signatures is None else LeakReportEndpoint(signatures, gateway.leak_reports, acceptor)
    operations = build_operations(gateway, whoami, token_exchange, leaks, run, gateway.own)
    mode, capacity = settings.recognition, Capacity(settings.max_requests)
    recognition = None
    if mode != "off":
        recognition = gateway.build_recognition(new_id, capacity.may_take, verifies=mode == "verify")
    files = TlsFiles(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    arrivals = Arrivals(open_tls(files), parse_proxy_protocol(settings))
    return PublicListener(proxy, forward_auth, operations, gateway.own, capacity, recognition, arrivals)

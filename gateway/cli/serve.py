"""`gateway serve`: the public listener, in one process or several, and the admin listener beside it."""

import logging
import os
import resource
import secrets
import socket
from collections import Counter
from functools import partial
from pathlib import Path

import click

from gateway.adapters.failed_credentials import FailedCredentials, announce_guard
from gateway.adapters.logs.access_log import check_path
from gateway.adapters.logs.error_log import START, mask_logs
from gateway.adapters.logs.hangups import HANGUPS
from gateway.adapters.policy_files import read_policies
from gateway.adapters.redis.connection import EMBEDDED, open_client
from gateway.adapters.redis.readiness import read_store_facts
from gateway.adapters.signing_keys import SigningKeys
from gateway.cli.connecting import awaited, open_connection
from gateway.cli.process.first_process import leave_first_process
from gateway.cli.process.listening import open_listeners, url_of
from gateway.cli.process.workers import admin_beside, begin_process, exit_when_told, keep_workers, refuse_to_renew
from gateway.cli.setting_options import SettingsCommand, setting_options, write_variables
from gateway.core.durability import StoreFacts, check_store
from gateway.core.errors import ConfigurationError, StoreUnavailable
from gateway.core.policies.model import PolicySet
from gateway.server.listener_tls import TlsFiles, open_tls
from gateway.settings import (
    PREFIX,
    Settings,
    describe_store,
    parse_alerts,
    parse_leak_keys,
    parse_own_addresses,
    parse_proxy_protocol,
    parse_sign_in,
    parse_trusted_proxies,
    parse_upstreams,
    read_settings,
)

MAXIMUM_DESCRIPTORS = 65536
"""Open files and connections of a worker, if the system allows it.

A request in progress has two connections, so the 1,024 of most systems would be used up long before
GATEWAY_MAX_REQUESTS is.
"""

SPARE_DESCRIPTORS = 256
"""Descriptors for everything else: connections to Redis and of health checks, idle ones, files, the log."""

logger = logging.getLogger(START)


@click.command(cls=SettingsCommand)
@setting_options
def serve(**options: object) -> None:
    """Serve requests until stopped (SIGTERM, Ctrl+C), then let those under way end.

    Each setting is also a variable of the environment, which its option overrides.
    """
    HANGUPS.take()
    leave_first_process()
    # The workers are processes of their own: they read the options from the environment.
    os.environ |= write_variables(options)
    os.environ.setdefault(f"{PREFIX}INSTANCE", secrets.token_hex(8))  # the same for all workers
    with begin_process():
        settings = read_settings()
        policies = check_settings(settings)
        mask_logs(lambda: policies.masking, Counter())
        check_redis(settings)
        listener, admin = open_listeners(settings, os.environ)
        settings = read_settings()  # again: the port may be known only now
        raise_descriptor_limit(settings.max_requests)
        if settings.failed_credentials:
            logger.info("%s", announce_guard(settings.failed_credentials))
        exit_when_told()
        line = describe_ready(settings, listener, admin)
        if settings.workers > 1:
            with admin_beside(admin, settings.stop_timeout):
                keep_workers(listener, settings.workers, settings.stop_timeout, partial(logger.info, "%s", line))
        else:
            refuse_to_renew()
            serve_here(settings, listener, admin, line)


def serve_here(settings: Settings, listener: socket.socket, admin: socket.socket | None, ready: str) -> None:
    """Serve the public listener in this process, and log the line `ready` when it answers."""
    # Imported here: if workers serve, their parent process needs no server.
    from gateway.cli.process.server import AnnouncedServer, SharedServer, build_config  # noqa: PLC0415 - see above

    async def announce() -> None:
        logger.info("%s", ready)

    if settings.redis_url == EMBEDDED and admin is not None:
        client = open_client(EMBEDDED, settings.redis_timeout)
        SharedServer(settings, admin, client, announce).run(sockets=[listener])
        return
    with admin_beside(admin, settings.stop_timeout):
        AnnouncedServer(build_config(settings), announce).run(sockets=[listener])


def describe_ready(settings: Settings, listener: socket.socket, admin: socket.socket | None) -> str:
    """Return the line that says what is ready, and where; it has no secret."""
    workers = f"{settings.workers} worker{'s' * (settings.workers > 1)}"
    policies = settings.policies.rstrip("/") + "/" if Path(settings.policies).is_dir() else settings.policies
    about = f"{workers}, policies: {policies}, {describe_store(settings.redis_url)}"
    page = f"; developer page on {url_of(admin)}" if admin is not None else ""
    where = url_of(listener).replace("http:", "https:" if settings.tls_cert else "http:", 1)
    return f"ready on {where} ({about}){page}"


def raise_descriptor_limit(max_requests: int) -> None:
    """Raise the limit of descriptors as far as useful and allowed, and warn if it is too low for the requests.

    Workers inherit the limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * max_requests + SPARE_DESCRIPTORS
    useful = max(MAXIMUM_DESCRIPTORS, needed)
    allowed = useful if hard == resource.RLIM_INFINITY else min(hard, useful)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        fitting = max(1, (allowed - SPARE_DESCRIPTORS) // 2)
        logger.warning(
            "few descriptors: a process may open %d files and connections, and %d requests need %d; raise the hard "
            "limit (LimitNOFILE= of systemd, ulimit -Hn), or set %sMAX_REQUESTS=%d",
            allowed,
            max_requests,
            needed,
            PREFIX,
            fitting,
        )


def check_settings(settings: Settings) -> PolicySet:
    """Check before the start what would fail in every worker, and return the policies.

    Raise ConfigurationError with all mistakes.
    """
    open_client(settings.redis_url, settings.redis_timeout)  # connects with its first command, which is not sent
    if settings.exports_redis_url == EMBEDDED:
        raise ConfigurationError("exports redis: the embedded store is in each process alone: name a real Redis")
    if settings.exports_redis_url:
        open_client(settings.exports_redis_url, settings.redis_timeout)  # as above
    if settings.redis_url == EMBEDDED and settings.workers > 1:
        raise ConfigurationError("workers: the embedded store lives in one process: use --workers 1, or a real Redis")
    if settings.access_log:
        try:
            check_path(settings.access_log)
        except OSError as error:
            raise ConfigurationError(f"access log: {settings.access_log}: {error.strerror or error}") from error
    if settings.failed_credentials:
        FailedCredentials(settings.failed_credentials)
    parse_trusted_proxies(settings)
    parse_proxy_protocol(settings)
    open_tls(TlsFiles(settings.tls_cert, settings.tls_key, settings.tls_client_ca))
    parse_sign_in(settings.sign_in)
    parse_alerts(settings)
    parse_leak_keys(settings)
    upstreams = parse_upstreams(settings.upstreams)
    if settings.assertion_key:
        SigningKeys(settings.assertion_key)
    own, can_assert = parse_own_addresses(settings), bool(settings.assertion_key)
    found = read_policies(Path(settings.policies), upstreams, can_assert=can_assert, own=own)
    for name in upstreams:
        if name not in found.policies:
            names = ", ".join(sorted(found.policies))
            raise ConfigurationError(f"upstream: no policy is named {name!r}: there are {names}")
    return found


@awaited
async def _read_store_facts(redis_url: str) -> StoreFacts | None:
    async with open_connection(redis_url) as connection:
        return await read_store_facts(connection)


def check_redis(settings: Settings) -> None:
    """Warn about Redis' settings that can lose data. Raise ConfigurationError if it may evict tokens unintentionally.

    A Redis that does not answer yet prevents no start: `/-/ready` makes the same check again.
    """
    if settings.redis_url == EMBEDDED:
        return
    try:
        facts = _read_store_facts(settings.redis_url)
    except StoreUnavailable as error:
        logger.warning("%s; requests get 503 until it answers", error)
        return
    for finding in check_store(facts) if facts else ():
        if finding.kind == "eviction" and not settings.allow_eviction:
            raise ConfigurationError(f"redis: {finding}; or set {PREFIX}ALLOW_EVICTION=true if that is meant")
        logger.warning("%s", finding)

"""`gateway serve`: the public listener on uvicorn, one process or several."""

import logging
import os
import resource
import secrets
import signal
import socket
import sys
from pathlib import Path

import click
import uvicorn
from uvicorn.supervisors import Multiprocess

from gateway.adapters.access_log import check_path
from gateway.adapters.assertions import SigningKeys
from gateway.adapters.failed_credentials import FailedCredentials
from gateway.adapters.policy_files import read_policies
from gateway.adapters.redis_connection import EMBEDDED, open_client
from gateway.cli.serving import SharedServer, admin_beside, build_logging
from gateway.core.errors import ConfigurationError
from gateway.settings import (
    PREFIX,
    Settings,
    parse_listen,
    parse_sign_in,
    parse_trusted_proxies,
    parse_upstreams,
    read_settings,
)

MAXIMUM_DESCRIPTORS = 65536
"""Open files and connections of a worker, where the system lets us. A request in progress has two connections, so the
1,024 that most systems begin with would be used up long before GATEWAY_MAX_REQUESTS is."""
BACKLOG = 2048
"""Connections that wait while all workers are busy: what the kernel's default limit allows and half more."""

logger = logging.getLogger(__name__)


@click.command()
@click.option("--policies", help="Folder of the policy files.  [default: policies]")
@click.option("--redis", "redis_url", help="URL of the store; memory:// for the embedded one.")
@click.option("--listen", help="HOST:PORT of the public listener.  [default: 127.0.0.1:8080]")
@click.option("--admin-listen", help="HOST:PORT of the admin listener; empty: none.  [default: 127.0.0.1:8081]")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes that answer requests.  [default: 1]")
@click.option("--upstream", "upstreams", multiple=True, help="NAME=URL: a backend in the place of the policy's own.")
@click.option("--access-log", help="Where access records go: a file, or - for standard output.")
def serve(**options: str | int | tuple[str, ...] | None) -> None:
    """Serve requests until stopped (SIGTERM, Ctrl+C), then let those under way end.

    Each option is also a variable: --redis is GATEWAY_REDIS_URL, --listen is GATEWAY_LISTEN, and so on.
    """
    options["upstreams"] = " ".join(str(item) for item in options["upstreams"] or ())  # type: ignore[union-attr]  # a tuple, as it is `multiple`
    # The workers are processes of their own: they read what they are told from the environment.
    said = {name: value for name, value in options.items() if value or (name == "admin_listen" and value is not None)}
    os.environ |= {PREFIX + name.upper(): str(value) for name, value in said.items()}
    os.environ.setdefault(f"{PREFIX}INSTANCE", secrets.token_hex(8))  # the same for all workers
    settings = read_settings()
    check_settings(settings)
    config = build_config(settings)  # from here on the log is set up
    listener = bind(settings.listen)
    admin = bind_admin(settings.admin_listen, is_asked_for=f"{PREFIX}ADMIN_LISTEN" in os.environ)
    raise_descriptor_limit()
    logger.info("listening on http://%s with %d worker(s)", settings.listen, settings.workers)
    if admin is not None:
        logger.info("developer page on http://%s", settings.admin_listen)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # uvicorn raises again what stopped it, after a graceful stop
    if settings.redis_url == EMBEDDED and admin is not None:
        SharedServer(config, settings, admin, open_client(EMBEDDED, settings.redis_timeout)).run(sockets=[listener])
        return
    with admin_beside(admin, settings):
        if settings.workers == 1:
            uvicorn.Server(config).run(sockets=[listener])
        else:
            Workers(config, sockets=[listener]).run()


class Workers(Multiprocess):
    """uvicorn's. Their parent holds the listening socket too, and would go on taking in what nobody answers."""

    def terminate_all(self) -> None:
        """Stops all workers."""
        super().terminate_all()
        for listener in self.sockets:
            listener.close()


def raise_descriptor_limit() -> None:
    """Takes what the system allows of MAXIMUM_DESCRIPTORS; workers inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAXIMUM_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAXIMUM_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def check_settings(settings: Settings) -> None:
    """Finds before the start what would fail in every worker; raises ConfigurationError with all of it."""
    open_client(settings.redis_url, settings.redis_timeout)  # connects with its first command, which is not sent
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
    parse_sign_in(settings.sign_in)
    upstreams = parse_upstreams(settings.upstreams)
    if settings.assertion_key:
        SigningKeys(settings.assertion_key)
    policies = read_policies(Path(settings.policies), upstreams, can_assert=bool(settings.assertion_key)).policies
    for name in upstreams:
        if name not in policies:
            raise ConfigurationError(f"upstream: no policy is named {name!r}: there are {', '.join(sorted(policies))}")


def bind_admin(listen: str, *, is_asked_for: bool) -> socket.socket | None:
    """The admin listener's socket; None without an address, and where another gateway has the one by default."""
    if not listen:
        return None
    try:
        return bind(listen)
    except ConfigurationError as error:
        if is_asked_for:
            raise
        logger.warning("no developer page: %s; --admin-listen names another address", error)
        return None


def bind(listen: str) -> socket.socket:
    """A listening socket, shared by all workers; ConfigurationError where the address is taken or not ours."""
    host, port = parse_listen(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"listen: cannot listen on {listen}: {error.strerror or error}") from error
    listener.set_inheritable(True)
    return listener


def build_config(settings: Settings) -> uvicorn.Config:
    """How uvicorn runs the application of gateway/app.py."""
    return uvicorn.Config(
        "gateway.app:create_app",
        factory=True,
        workers=settings.workers,
        http="gateway.web.connections:Connection",
        ws="none",
        loop="uvloop",
        lifespan="on",
        access_log=False,
        log_config=build_logging(settings),
        server_header=False,
        date_header=False,  # a stored answer carries the Date of its backend; exchange.py dates all others
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=settings.stop_timeout,
    )

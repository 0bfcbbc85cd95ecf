"""Settings: one struct, read once. Each is an option of `gateway serve` and a variable of the environment."""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from gateway.core.addresses import ForwardingField, TrustedProxies, parse_networks
from gateway.core.errors import ConfigurationError

PREFIX = "GATEWAY_"
SECRETS = {"token_pepper", "assertion_key"}
"""Settings that are never shown."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How this gateway runs. The variable of a setting is its name in capitals behind GATEWAY_."""

    redis_url: str
    """redis://, rediss:// or unix:// of the store, or memory:// for the embedded one."""
    policies: str = "policies"
    """The folder of the policy files."""
    listen: str = "127.0.0.1:8080"
    """Host and port of the public listener."""
    admin_listen: str = "127.0.0.1:8081"
    """Host and port of the admin listener: developer page, management API. Empty: there is none."""
    sign_in: str = "admin owner project"
    """Whose tokens open the developer page: of `admin`, `owner` and `project`, separated by spaces."""
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    """Processes that answer requests."""
    upstreams: str = ""
    """Backends in the place of the policies' own: NAME=URL, several separated by spaces."""
    token_pepper: str = ""
    """Key of the HMAC under which tokens are stored; kept out of reprs, logs and Redis. Changing it ends all tokens."""
    redis_timeout: Annotated[float, Meta(gt=0, le=60)] = 0.25
    """Seconds until Redis counts as silent."""
    allow_eviction: bool = False
    """Whether a Redis that may evict tokens and revocations (any `maxmemory-policy` but noeviction) is meant."""
    export_memory: Annotated[int, Meta(ge=0)] = 64 * 1024 * 1024
    """Bytes of export content that each worker keeps in memory."""
    max_requests: Annotated[int, Meta(ge=1)] = 2000
    """Requests that a worker has in progress at once; more are 503 before Redis is asked. About what it answers in the
    quarter of a second that Redis is given: what waits for longer would be refused too, but after the work."""
    stop_timeout: Annotated[int, Meta(ge=0)] = 30
    """Seconds that requests under way are given to end when the gateway stops."""
    failed_credentials: str = "100/minute"
    """How many credentials that are not valid one address may present; empty: any number."""
    trusted_proxies: str = ""
    """Networks of the proxies in front: CIDR, separated by spaces."""
    forwarding_field: ForwardingField = "x-forwarded-for"
    """Where they say whose request it is; `forwarded` is RFC 7239."""
    assertion_key: str = ""
    """Private Ed25519 keys in PEM form, or the file that has them: the first signs assertions, all are published."""
    assertion_issuer: str = "gateway"
    """Who asserts (`iss`)."""
    instance: str = ""
    """What tells this gateway from others in CDN-Loop; empty: made up at each start. Nodes behind one address may share
    it, so that a loop through that address is seen at once."""
    access_log: str = ""
    """Where access records go, JSON lines: a file, `-` for standard output, empty for nowhere."""
    log_format: Literal["text", "json"] = "text"
    """How the log on standard error is written."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is least of what it says."""

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__ if name not in SECRETS}
        return f"Settings({', '.join(f'{name}={_mask(value)!r}' for name, value in shown.items())})"


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in the environment; ConfigurationError names each variable that is missing or wrong."""
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for field in msgspec.structs.fields(Settings):
        variable = PREFIX + field.name.upper()
        text = environment.get(variable)
        if text is not None and (text or field.type is str):
            try:
                values[field.name] = msgspec.convert(text, field.type, strict=False)
            except msgspec.ValidationError as error:
                choices = ", ".join(get_args(field.type)) if get_origin(field.type) is Literal else ""
                mistakes.append(f"{variable}: {text!r} is none of {choices}" if choices else f"{variable}: {error}")
    if not values.get("redis_url"):
        mistakes.append(NO_REDIS)
    if mistakes:
        raise ConfigurationError(*mistakes)
    return Settings(**values)


def parse_listen(listen: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, [IPv6]:PORT or :PORT."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or not port.isascii() or int(port) > 65535:
        raise ConfigurationError(f"listen: {listen!r} is not HOST:PORT, such as 127.0.0.1:8080")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - `:8080` asks for all interfaces


def parse_upstreams(text: str) -> dict[str, str]:
    """The backends of `NAME=URL NAME=URL`, by policy."""
    pairs: dict[str, str] = {}
    for item in text.split():
        name, equals, url = item.partition("=")
        if not name or not equals or not url.startswith(("http://", "https://", "unix:/")):
            raise ConfigurationError(f"upstream: {item!r} is not NAME=URL, such as tokencraft=http://127.0.0.1:9001")
        pairs[name] = url.rstrip("/")
    return pairs


SIGN_IN_KINDS = ("admin", "owner", "project")


def parse_sign_in(text: str) -> frozenset[str]:
    """Whose tokens open the developer page; ConfigurationError names what is no kind of token."""
    kinds = frozenset(text.split())
    for kind in sorted(kinds - set(SIGN_IN_KINDS)):
        raise ConfigurationError(f"sign in: {kind!r} is none of {', '.join(SIGN_IN_KINDS)}")
    return kinds


def parse_trusted_proxies(settings: Settings) -> TrustedProxies:
    """The trusted proxies; ConfigurationError names what is no network."""
    try:
        return TrustedProxies(parse_networks(settings.trusted_proxies), settings.forwarding_field)
    except ValueError as error:
        raise ConfigurationError(f"trusted proxies: {error}") from error


NO_REDIS = (
    "redis: no store is named. Choose one: --redis redis://127.0.0.1:6379/0 (or the variable GATEWAY_REDIS_URL), "
    "or --redis memory:// to try the gateway with one worker and nothing kept"
)


def _mask(value: object) -> object:
    """A URL without the parts that can hold a password."""
    if isinstance(value, str) and "://" in value:
        scheme, _, rest = value.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
    return value

"""Settings: one struct, read once. Each is an option of `gateway serve` and a variable of the environment."""

import ast
import inspect
import itertools
import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from gateway.core.alerts import parse_secret
from gateway.core.errors import ConfigurationError
from gateway.core.http.client_address import ForwardingField, Networks, TrustedProxies, parse_networks
from gateway.core.http.targets import is_protected
from gateway.core.own_addresses import DEFAULT_PREFIX, OwnAddresses, parse_prefix
from gateway.core.store_url import is_behind_sentinels, parse_sentinel_url

PREFIX = "GATEWAY_"
NO_SETTINGS = ("GATEWAY_DEMO_", "GATEWAY_FUZZ_", "GATEWAY_TEST_")
"""Prefixes of variables of `gateway demo` and of the tests: a gateway that is started beside them ignores them."""
SECRETS = {"token_pepper", "assertion_key", "sentinel_password", "alerts_secret"}
"""Settings that are never shown."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How this gateway runs. The variable of a setting is its name in capitals after GATEWAY_."""

    redis_url: str
    """redis://, rediss:// or unix:// of the store, redis+sentinel://HOST1,HOST2,HOST3/SERVICE/0 of one behind Sentinels
    (rediss+sentinel:// with TLS), or memory:// for the embedded one."""
    sentinel_password: str = ""
    """Password of the Sentinels, if they have one; that of Redis is in its URL."""
    exports_redis_url: str = ""
    """redis://, rediss:// or unix:// of a Redis for exports alone, which may evict; empty: that of the tokens."""
    policies: str = "policies"
    """The folder of the policy files."""
    listen: str = "127.0.0.1:8080"
    """Address of the public listener: HOST:PORT, :PORT of all interfaces (IPv4 and IPv6), or unix:/PATH of a socket.
    Port 0 is a free one, which the ready line names."""
    tls_cert: str = ""
    """File of the certificate chain of the public listener, in PEM form, which is taken up when it is renewed. Empty:
    the listener speaks plain HTTP."""
    tls_key: str = ""
    """File of the certificate's private key, in PEM form; empty: it is in the file of the certificate."""
    tls_client_ca: str = ""
    """File of authorities, in PEM form: only clients with a certificate of one of them get in. Empty: clients need
    none."""
    proxy_protocol_from: str = ""
    """Networks of load balancers that begin each connection with a header of the PROXY protocol, version 2: CIDR,
    separated by spaces; `unix` is every process that may open the Unix socket."""
    admin_listen: str = "127.0.0.1:8081"
    """Host and port of the admin listener: developer page, management API. Empty: there is none."""
    own_prefix: str = DEFAULT_PREFIX
    """Path of the gateway's own addresses on the public listener, such as /-/health; all others are the backends'."""
    sign_in: str = "admin owner project"
    """Whose tokens may open the developer page: of `admin`, `owner` and `project`, separated by spaces. A policy's
    tokens need the `sign_in_scope` of their policy, too."""
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    """Processes that answer requests."""
    upstreams: str = ""
    """Backends to use instead of the policies' own: NAME=URL, several separated by spaces."""
    token_pepper: str = ""
    """Key of the HMAC under which tokens are stored; kept out of reprs, logs and Redis. A change ends all tokens."""
    redis_timeout: Annotated[float, Meta(gt=0, le=60)] = 0.25
    """Seconds until Redis counts as silent."""
    allow_eviction: bool = False
    """Whether a Redis that may evict tokens and revocations (any `maxmemory-policy` but noeviction) is intended."""
    export_memory: Annotated[int, Meta(ge=0)] = 64 * 1024 * 1024
    """Bytes of export content that each worker keeps in memory."""
    unsent_memory: Annotated[int, Meta(ge=0)] = 64 * 1024 * 1024
    """Bytes of long content that each worker holds while it is collected or sent. Beyond it, stored content is read
    from Redis as clients take it."""
    export_limit: Annotated[int, Meta(ge=0)] = 64 * 1024 * 1024
    """Bytes of exports that Redis keeps for one project, owner or token; the oldest go first. 0: any number."""
    max_requests: Annotated[int, Meta(ge=1)] = 2000
    """Requests that a worker has in progress at once; more are 503 before Redis is asked. The default is about what it
    answers in 0.25 seconds, the timeout of Redis: those that wait longer would be refused too, but after the work."""
    recognition: Literal["on", "off", "verify"] = "on"
    """Whether a request whose bytes were seen before is answered without parsing it again; Redis is asked all the same.
    `verify` also answers it the long way, compares both answers, and logs each difference. With the plugin,
    it is about how a request is read."""
    stop_timeout: Annotated[int, Meta(ge=0)] = 30
    """Seconds that requests in progress may take to end when the gateway stops."""
    failed_credentials: str = ""
    """How many unknown credentials one address may present, such as 100/minute; empty: any number."""
    trusted_proxies: str = ""
    """Networks of trusted proxies: CIDR, separated by spaces; `unix` is every process that may open the Unix socket."""
    forwarding_field: ForwardingField = "x-forwarded-for"
    """The field in which trusted proxies name the client; `forwarded` is RFC 7239."""
    assertion_key: str = ""
    """Private Ed25519 keys in PEM form, or the file that has them: the first signs assertions, all are published."""
    assertion_issuer: str = "gateway"
    """The issuer of assertions (`iss`)."""
    instance: str = ""
    """The name of this gateway in CDN-Loop; empty: a new one at each start. Nodes behind one address may share it, so
    that a loop through that address is detected at once."""
    alerts_url: str = ""
    """https:// address of the operators' webhook, which gets signed alerts; empty: there is none."""
    alerts_secret: str = ""
    """Key that signs alerts: `whsec_` and base64 of 24 to 64 bytes."""
    leak_keys_url: str = ""
    """https:// address of the keys that sign leak reports: https://api.github.com/meta/public_keys/secret_scanning.
    Empty: no leak reports are taken."""
    access_log: str = ""
    """Where access records go, as JSON lines: a file, `-` for standard output, empty for none."""
    log_format: Literal["text", "json"] = "text"
    """Format of the log on standard error."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that the log has."""

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__ if name not in SECRETS}
        return f"Settings({', '.join(f'{name}={_mask(value)!r}' for name, value in shown.items())})"


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings in the environment.

    Raise ConfigurationError with each variable that is missing, wrong, or unknown under GATEWAY_.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    mistakes = list(_find_unknown(environment))
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


def read_sentinel_password(environment: Mapping[str, str] | None = None) -> str:
    """Return the password of the Sentinels for a command, which has no other settings; empty if they have none."""
    environment = os.environ if environment is None else environment
    return environment.get(f"{PREFIX}SENTINEL_PASSWORD", "")


def read_log_settings(environment: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Return format and level of the log; a wrong one becomes the default, so that its mistake can be logged."""
    environment = os.environ if environment is None else environment
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}

    def read(name: str) -> str:
        text = environment.get(PREFIX + name.upper(), "")
        return str(text if text in get_args(fields[name].type) else fields[name].default)

    return read("log_format"), read("log_level")


def describe_settings() -> dict[str, str]:
    """Return the meaning of each setting, by its name: the docstrings of the struct above, in one line each.

    Python has them in the source only. Without the source, the texts are empty.
    """
    try:
        (struct,) = ast.parse(inspect.getsource(Settings)).body
    except OSError:
        return dict.fromkeys(Settings.__struct_fields__, "")
    body = struct.body if isinstance(struct, ast.ClassDef) else []
    texts: dict[str, str] = {}
    for line, below in itertools.pairwise(body):
        match line, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = " ".join(text.split())
    return texts


def _find_unknown(environment: Mapping[str, str]) -> Iterator[str]:
    """Find variables that look like settings but are none: otherwise a setting with a typo would be ignored."""
    known = [name.upper() for name in Settings.__struct_fields__]
    # Kubernetes sets variables for other services: for one named gateway-x, GATEWAY_X_SERVICE_HOST and more.
    services = [name.removesuffix("SERVICE_HOST") for name in environment if name.endswith("_SERVICE_HOST")]
    others = (*NO_SETTINGS, *(f"{service}{kind}" for service in services for kind in ("SERVICE_", "PORT")))
    for variable in sorted(environment):
        name = variable.removeprefix(PREFIX)
        if variable.startswith(PREFIX) and name not in known and not variable.startswith(others):
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {PREFIX}{near[0]}?" if near else "`gateway serve --help` lists the settings"
            yield f"{variable}: no setting has this variable; {hint}"


def parse_listen(listen: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT, [IPv6]:PORT or :PORT; the host of all interfaces is empty."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or not port.isascii() or int(port) > 65535:
        raise ConfigurationError(
            f"listen: {listen!r} is not HOST:PORT, such as 127.0.0.1:8080, :PORT or unix:/PATH of a socket"
        )
    return host.strip("[]"), int(port)


def authority_of(listen: str) -> str:
    """Return the address of a listener as a URL on this machine has it."""
    if listen.startswith("unix:"):  # behind a proxy, whose name is unknown here
        return "localhost"
    return f"localhost{listen}" if listen.startswith(":") else listen


def parse_upstreams(text: str) -> dict[str, str]:
    """Return the backends of `NAME=URL NAME=URL`, by policy. Raise ConfigurationError."""
    pairs: dict[str, str] = {}
    for item in text.split():
        name, equals, url = item.partition("=")
        if not name or not equals or not url.startswith(("http://", "https://", "unix:/")):
            raise ConfigurationError(f"upstream: {item!r} is not NAME=URL, such as tokencraft=http://127.0.0.1:9001")
        pairs[name] = url.rstrip("/")
    return pairs


SIGN_IN_KINDS = ("admin", "owner", "project")


def parse_sign_in(text: str) -> frozenset[str]:
    """Return the kinds of tokens that open the developer page. Raise ConfigurationError for an unknown kind."""
    kinds = frozenset(text.split())
    for kind in sorted(kinds - set(SIGN_IN_KINDS)):
        raise ConfigurationError(f"sign in: {kind!r} is none of {', '.join(SIGN_IN_KINDS)}")
    return kinds


def parse_alerts(settings: Settings) -> tuple[str, bytes] | None:
    """Return the URL of the operators' webhook and its key, or None. Raise ConfigurationError."""
    url = settings.alerts_url
    if not url and not settings.alerts_secret:
        return None
    if not is_protected(url):
        raise ConfigurationError(f"alerts url: {_mask(url)!r} is no https:// URL, nor one of this machine")
    try:
        return url, parse_secret(settings.alerts_secret)
    except ValueError as error:
        raise ConfigurationError(f"alerts secret: {error}") from error


def parse_leak_keys(settings: Settings) -> str:
    """Return the URL of the keys of leak reports, empty for none. Raise ConfigurationError."""
    url = settings.leak_keys_url
    if url and not is_protected(url):
        raise ConfigurationError(f"leak keys url: {_mask(url)!r} is no https:// URL, nor one of this machine")
    return url


def parse_own_addresses(settings: Settings) -> OwnAddresses:
    """Return the public listener's own addresses. Raise ConfigurationError if their prefix is invalid."""
    try:
        return parse_prefix(settings.own_prefix)
    except ValueError as error:
        raise ConfigurationError(f"own prefix: {error}") from error


def parse_proxy_protocol(settings: Settings) -> Networks:
    """Return the networks that speak the PROXY protocol. Raise ConfigurationError for what is no network."""
    try:
        return parse_networks(settings.proxy_protocol_from)
    except ValueError as error:
        raise ConfigurationError(f"proxy protocol: {error}") from error


def parse_trusted_proxies(settings: Settings) -> TrustedProxies:
    """Return the trusted proxies. Raise ConfigurationError for what is no network."""
    try:
        return TrustedProxies(parse_networks(settings.trusted_proxies), settings.forwarding_field)
    except ValueError as error:
        raise ConfigurationError(f"trusted proxies: {error}") from error


NO_REDIS = (
    "redis: no store is named. Choose one: --redis redis://127.0.0.1:6379/0 (or the variable GATEWAY_REDIS_URL), "
    "or --redis memory:// to try the gateway with one worker and nothing kept"
)


def describe_store(redis_url: str) -> str:
    """Return where the store is, in words, without user, password or options."""
    if redis_url.startswith("memory:"):
        return "embedded store"
    if is_behind_sentinels(redis_url):
        return f"Redis {parse_sentinel_url(redis_url).describe()}"
    url = urlsplit(redis_url)
    if url.scheme == "unix":
        return f"Redis {url.path}"
    host = url.hostname or "localhost"
    return f"Redis {f'[{host}]' if ':' in host else host}:{url.port or 6379}"


def _mask(value: object) -> object:
    """Return a URL without the parts that can have a password."""
    if isinstance(value, str) and "://" in value:
        scheme, _, rest = value.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"
    return value

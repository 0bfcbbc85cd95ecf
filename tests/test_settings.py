"""Settings: read once from the environment, each mistake named, no secret shown."""

import base64
import re
from pathlib import Path
from typing import Literal, get_args

import msgspec
import pytest

from gateway.core.errors import ConfigurationError
from gateway.settings import (
    NO_REDIS,
    PREFIX,
    Settings,
    authority_of,
    describe_store,
    parse_alerts,
    parse_leak_keys,
    parse_listen,
    parse_upstreams,
    read_settings,
)

ROOT = Path(__file__).parents[1]
SECRET = f"whsec_{base64.b64encode(b'k' * 32).decode()}"
REDIS = {"GATEWAY_REDIS_URL": "redis://127.0.0.1:6379/0"}


def mistakes_in(environment: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as refused:
        read_settings(environment)
    return refused.value.mistakes


def test_only_the_store_must_be_named() -> None:
    """With a store named, everything else has a default, and variables without the prefix mean nothing."""
    assert Settings(redis_url="redis://127.0.0.1:6379/0") == read_settings(REDIS | {"HOME": "/", "OTHER_WORKERS": "x"})


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("GATEWAY_STOP_TIMOUT", "did you mean GATEWAY_STOP_TIMEOUT?"),
        ("GATEWAY_REDIS", "did you mean GATEWAY_REDIS_URL?"),
        ("GATEWAY_SERVICE_HOSTS", "`gateway serve --help` lists the settings"),
        ("GATEWAY_PORT", "`gateway serve --help` lists the settings"),
    ],
)
def test_an_unknown_variable_is_refused(variable: str, hint: str) -> None:
    """A setting with a typo is named with the nearest one that exists: it would be ignored, and nobody would know."""
    assert (f"{variable}: no setting has this variable; {hint}",) == mistakes_in(REDIS | {variable: "5"})


def test_all_unknown_variables_are_named() -> None:
    """In the order of their names, together with what else is wrong, and without their values."""
    found = mistakes_in(REDIS | {"GATEWAY_WORKERS": "0", "GATEWAY_TOKEN_PEPER": "s3cret", "GATEWAY_LISTENS": "s3cret"})
    assert ["GATEWAY_LISTENS", "GATEWAY_TOKEN_PEPER", "GATEWAY_WORKERS"] == [text.partition(":")[0] for text in found]
    assert "s3cret" not in str(found)


def test_variables_of_the_demo_and_the_tests_are_known() -> None:
    """Each that the repository reads may be set where a gateway starts."""
    files = [*ROOT.glob("gateway/**/*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("tests/**/*.sh"), ROOT / "Makefile"]
    texts = [file.read_text(encoding="utf-8") for file in files if file != Path(__file__)]
    found = set(re.findall(r"\bGATEWAY_(?:DEMO|FUZZ|TEST)_[A-Z_]+[A-Z]\b", "\n".join(texts)))
    assert {"GATEWAY_DEMO_STORE", "GATEWAY_FUZZ_EXAMPLES", "GATEWAY_TEST_WITHOUT"} <= found
    assert Settings(redis_url=REDIS["GATEWAY_REDIS_URL"]) == read_settings(REDIS | dict.fromkeys(found, "1"))


@pytest.mark.parametrize("service", ["GATEWAY", "GATEWAY_ADMIN"])
def test_variables_of_kubernetes_are_no_settings(service: str) -> None:
    """Beside a Service named `gateway` each container gets these, whether anybody reads them or not."""
    names = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_8080_TCP", "PORT_8080_TCP_ADDR")
    told = {f"{service}_{name}": "tcp://10.0.0.7:8080" for name in names}
    assert Settings(redis_url=REDIS["GATEWAY_REDIS_URL"]) == read_settings(REDIS | told)


def test_without_a_store_the_choices_are_named() -> None:
    """A gateway without a store does not start and says what to choose from."""
    assert (NO_REDIS,) == mistakes_in({})
    assert (NO_REDIS,) == mistakes_in({"GATEWAY_REDIS_URL": ""})


@pytest.mark.parametrize("field", msgspec.structs.fields(Settings), ids=lambda field: field.name)
def test_each_setting_has_its_variable(field: msgspec.structs.FieldInfo) -> None:
    """The variable of a setting is its name in capitals behind the prefix."""
    kind = getattr(field.type, "__origin__", field.type)
    if kind is Literal:
        text = value = get_args(field.type)[-1]
    else:
        text, value = {str: ("a", "a"), int: ("7", 7), float: ("0.5", 0.5), bool: ("true", True)}[kind]
    settings = read_settings(REDIS | {PREFIX + field.name.upper(): text})
    assert value == getattr(settings, field.name)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("GATEWAY_WORKERS", "0"),
        ("GATEWAY_REDIS_TIMEOUT", "0"),
        ("GATEWAY_REDIS_TIMEOUT", "nan"),
        ("GATEWAY_EXPORT_MEMORY", "-1"),
        ("GATEWAY_STOP_TIMEOUT", "-1"),
    ],
)
def test_a_number_out_of_its_bounds_is_refused(variable: str, text: str) -> None:
    """A value that the gateway could not run with is named with its variable."""
    (mistake,) = mistakes_in(REDIS | {variable: text})
    assert mistake.startswith(f"{variable}: Expected")


def test_a_word_that_is_no_choice_is_refused() -> None:
    """The message has the choices."""
    (mistake,) = mistakes_in(REDIS | {"GATEWAY_LOG_FORMAT": "xml"})
    assert "GATEWAY_LOG_FORMAT: 'xml' is none of text, json" == mistake


def test_an_empty_variable_leaves_numbers_as_they_are() -> None:
    """An empty variable is no number: the default stays. As a text it is the empty text."""
    settings = read_settings(REDIS | {"GATEWAY_WORKERS": "", "GATEWAY_POLICIES": ""})
    assert 1 == settings.workers
    assert "" == settings.policies


def test_every_mistake_is_named_at_once() -> None:
    """All wrong variables are in one error, each by its name."""
    found = mistakes_in({"GATEWAY_WORKERS": "two", "GATEWAY_REDIS_TIMEOUT": "soon"})
    assert (
        "GATEWAY_WORKERS: Expected `int`, got `str`",
        "GATEWAY_REDIS_TIMEOUT: Expected `float`, got `str`",
        NO_REDIS,
    ) == found


def test_no_secret_is_shown() -> None:
    """Neither the pepper nor a password in a URL is in what settings print."""
    settings = Settings(
        redis_url="rediss://user:hunter2@redis.example:6379/0",
        token_pepper="hunter2",
        assertion_key="-----BEGIN PRIVATE KEY-----hunter2",
        upstreams="a=http://u:hunter2@a.example b=http://u:hunter2@b.example",
    )
    assert "hunter2" not in repr(settings)
    assert "rediss://redis.example:6379/0" in repr(settings)


@pytest.mark.parametrize(
    ("listen", "parsed"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:65535", ("::1", 65535)),
        (":8080", ("", 8080)),
    ],
)
def test_an_address_is_host_and_port(listen: str, parsed: tuple[str, int]) -> None:
    """An address has a host, brackets around one with colons; without a host it stands for all interfaces."""
    assert parsed == parse_listen(listen)


@pytest.mark.parametrize(
    ("listen", "authority"),
    [("127.0.0.1:8080", "127.0.0.1:8080"), (":8080", "localhost:8080"), ("unix:/run/gateway.sock", "localhost")],
)
def test_pages_name_an_address_that_a_url_can_have(listen: str, authority: str) -> None:
    """A listener without a host, or without a port, is reached at localhost."""
    assert authority == authority_of(listen)


@pytest.mark.parametrize("listen", ["", "8080", "localhost", "localhost:", "localhost:http", "localhost:65536", "a:-1"])
def test_what_is_no_address_is_told(listen: str) -> None:
    """Anything else is refused with an example."""
    with pytest.raises(ConfigurationError) as refused:
        parse_listen(listen)
    forms = "HOST:PORT, such as 127.0.0.1:8080, :PORT or unix:/PATH of a socket"
    assert f"listen: {listen!r} is not {forms}" == str(refused.value)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("", {}),
        ("a=http://a:1/", {"a": "http://a:1"}),
        (" a=http://a  b=https://b/x?y=z ", {"a": "http://a", "b": "https://b/x?y=z"}),
    ],
)
def test_backends_are_named_pairs(text: str, parsed: dict[str, str]) -> None:
    """Several backends are separated by spaces, each NAME=URL, kept without a slash at the end."""
    assert parsed == parse_upstreams(text)


@pytest.mark.parametrize("text", ["a", "http://a", "a=ftp://a", "a=", "a=http://a b"])
def test_what_is_no_backend_is_told(text: str) -> None:
    """The pair that is wrong is refused with an example."""
    with pytest.raises(ConfigurationError, match=r"^upstream: '.*' is not NAME=URL, such as tokencraft=http://"):
        parse_upstreams(text)


@pytest.mark.parametrize(
    ("url", "described"),
    [
        ("memory://", "embedded store"),
        ("redis://127.0.0.1:6380/3", "Redis 127.0.0.1:6380"),
        ("redis://user:s3cret@redis.example", "Redis redis.example:6379"),
        ("rediss://:s3cret@[2001:db8::1]:6379/0?password=s3cret", "Redis [2001:db8::1]:6379"),
        ("redis://", "Redis localhost:6379"),
        ("unix://user:s3cret@/run/redis.sock?db=1", "Redis /run/redis.sock"),
    ],
)
def test_a_store_is_described_without_its_secrets(url: str, described: str) -> None:
    """Where it is, and no user, password or option."""
    assert described == describe_store(url)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"alerts_url": "http://ops.example/hook", "alerts_secret": SECRET}, "alerts url: 'http://ops.example/hook'"),
        ({"alerts_url": "ops.example", "alerts_secret": SECRET}, "alerts url: 'ops.example'"),
        ({"alerts_secret": SECRET}, "alerts url: ''"),
        ({"alerts_url": "https://ops.example"}, "alerts secret: not whsec_"),
        ({"alerts_url": "https://ops.example", "alerts_secret": "whsec_hunter2"}, "alerts secret: not whsec_"),
        ({"alerts_url": "https://ada:hunter2@[", "alerts_secret": SECRET}, "alerts url: "),
    ],
)
def test_a_webhook_has_an_address_and_a_secret(settings: dict[str, str], told: str) -> None:
    """By https or on this machine; neither a secret nor a password is in the message."""
    with pytest.raises(ConfigurationError) as raised:
        parse_alerts(Settings(redis_url="memory://", **settings))  # type: ignore[arg-type]
    assert told in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert SECRET not in str(raised.value)


def test_the_webhook_of_operators_is_found() -> None:
    """There is none by default."""
    assert None is parse_alerts(Settings(redis_url="memory://"))
    found = parse_alerts(Settings(redis_url="memory://", alerts_url="https://ops.example", alerts_secret=SECRET))
    assert ("https://ops.example", b"k" * 32) == found
    assert SECRET not in repr(Settings(redis_url="memory://", alerts_secret=SECRET))


@pytest.mark.parametrize("url", ["http://api.github.com/keys", "file:///etc/passwd", "github"])
def test_keys_of_leak_reports_come_by_https(url: str) -> None:
    """Whoever could change them on the way could revoke tokens."""
    with pytest.raises(ConfigurationError, match="leak keys url"):
        parse_leak_keys(Settings(redis_url="memory://", leak_keys_url=url))
    assert "" == parse_leak_keys(Settings(redis_url="memory://"))

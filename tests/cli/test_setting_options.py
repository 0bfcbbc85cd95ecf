"""The options of `gateway serve` are the settings."""

import msgspec
import pytest
from click.testing import CliRunner

from gateway.cli.serve import serve
from gateway.cli.setting_options import write_variables
from gateway.settings import PREFIX, SECRETS, Settings, describe_settings, read_settings

FIELDS = msgspec.structs.fields(Settings)


def read_options(*arguments: str) -> Settings:
    """Return the settings that a start with these arguments has."""
    with serve.make_context("serve", ["--redis", "redis://a", *arguments]) as context:
        return read_settings(write_variables(context.params))


@pytest.fixture(scope="module")
def help_text() -> str:
    """What `gateway serve --help` prints, as one line."""
    return " ".join(CliRunner().invoke(serve, ["--help"]).output.split())


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_the_help_shows_each_setting(help_text: str, field: msgspec.structs.FieldInfo) -> None:
    """Its variable, what it means, and its default."""
    default = f"; default: {field.default}" if field.default not in (msgspec.NODEFAULT, "", False) else ""
    assert f"{PREFIX}{field.name.upper()}{default}" in help_text
    assert describe_settings()[field.name].partition(" ")[0] in help_text


def test_each_setting_but_secrets_has_an_option() -> None:
    """A secret is no option: everybody on the machine could read it in the list of processes."""
    assert {field.name for field in FIELDS} - SECRETS == {option.name for option in serve.params}


def test_each_setting_is_described() -> None:
    """A setting without a docstring would have an empty line in the help."""
    assert {field.name for field in FIELDS} == {name for name, text in describe_settings().items() if text}


def test_options_are_the_settings_of_their_names() -> None:
    """Numbers, texts and flags; an empty text is said, and what is not said is as by default."""
    expected = Settings(
        redis_url="redis://a",
        admin_listen="",
        stop_timeout=5,
        redis_timeout=0.5,
        allow_eviction=True,
        forwarding_field="forwarded",
        upstreams="a=http://a b=http://b",
    )
    numbers = ("--stop-timeout", "5", "--redis-timeout", "0.5")
    texts = ("--admin-listen", "", "--forwarding-field", "forwarded", "--upstream", "a=http://a")
    assert expected == read_options(*numbers, *texts, "--upstream", "b=http://b", "--allow-eviction")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--workers", "0"),
        ("--workers", "65"),
        ("--redis-timeout", "0"),
        ("--forwarding-field", "via"),
        ("--max-requests", "x"),
    ],
)
def test_an_option_out_of_bounds_is_refused(arguments: tuple[str, str]) -> None:
    """The message names the option, as the person typed it."""
    refused = CliRunner().invoke(serve, [*arguments])
    assert 2 == refused.exit_code
    assert f"Invalid value for '{arguments[0]}'" in refused.output

"""Options that several commands share, each also an environment variable; and times on the command line."""

import re
from datetime import UTC, datetime
from typing import Any

import click
from click.core import ParameterSource

from gateway.core.errors import ConfigurationError
from gateway.core.quotas.model import parse_duration

_PASSWORD = re.compile(r"://[^ ]*:[^ ]*@|[?&]\w*password=")
"""A password in a URL: before the host, or among the options of redis-py."""


def refuse_secret(context: click.Context, option: click.Parameter, value: Any) -> Any:
    """Refuse a secret on the command line, as a callback of click: the option's variable must be used."""
    is_typed = context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
    texts = value if isinstance(value, tuple) else (value,)
    if is_typed and (option.name == "pepper" or any(_PASSWORD.search(text) for text in texts)):
        variable = VARIABLES[option.name or ""]
        raise ConfigurationError(
            f"{option.opts[0]}: everybody on this machine can read the arguments of a process, so no secret may stand "
            f"there: set the variable {variable} in its place"
        )
    return value


VARIABLES = {
    "redis_url": "GATEWAY_REDIS_URL",
    "exports_redis_url": "GATEWAY_EXPORTS_REDIS_URL",
    "upstreams": "GATEWAY_UPSTREAMS",
    "pepper": "GATEWAY_TOKEN_PEPPER",
}
"""The variables of options whose values can be secrets."""

redis_option = click.option(
    "--redis",
    "redis_url",
    envvar=VARIABLES["redis_url"],
    callback=refuse_secret,
    help=f"URL of the store; one with a password only as {VARIABLES['redis_url']}.",
)
exports_redis_option = click.option(
    "--exports-redis",
    "exports_redis_url",
    envvar=VARIABLES["exports_redis_url"],
    callback=refuse_secret,
    default="",
    help=f"URL of the exports' own Redis, if they have one; with a password only as {VARIABLES['exports_redis_url']}.",
)
policies_option = click.option(
    "--policies", envvar="GATEWAY_POLICIES", default="policies", show_default=True, help="Folder of the policy files."
)
pepper_option = click.option("--pepper", envvar=VARIABLES["pepper"], callback=refuse_secret, default="", hidden=True)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def parse_when(text: str, now: int) -> int:
    """Return Unix seconds of a duration from `now` (90d) or of an ISO 8601 time with zone. Raise click.BadParameter."""
    try:
        return now + parse_duration(text)
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise click.BadParameter(
            f"{text!r} is neither a duration, such as 90d, nor a time, such as 2027-01-31T00:00:00Z"
        )
    return int(when.timestamp())


def parse_end(text: str, now: int) -> int | None:
    """Return the expiry of a token in Unix seconds, or None for `never`."""
    return None if text == "never" else parse_when(text, now)


def parse_start(text: str, now: int) -> int | None:
    """Return the start of a token's validity; None, no bound, for `now` and for `never`."""
    return None if text in ("now", "never") else parse_when(text, now)


def read_duration(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """Return the seconds of an option that is a duration, or None if it is not given. Raise click.BadParameter."""
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def format_time(seconds: int | None) -> str | None:
    """Return a Unix time as ISO 8601 in UTC, or None for None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_day(seconds: int) -> str:
    """Return the day of a Unix time in UTC, as ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")

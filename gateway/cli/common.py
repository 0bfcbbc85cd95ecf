"""Options that several commands share, each also a variable of the environment.

Times as people write and read them on the command line.

What commands say on standard error, without what looks like a token: one is easily typed where an id belongs.

It holds for all of it, errors of click and tracebacks too. Little is imported before there is something to mask.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from click.core import ParameterSource

from gateway.core.errors import ConfigurationError
from gateway.core.quotas.model import parse_duration

if TYPE_CHECKING:
    from gateway.core.masking import Masking
import functools
import os
import re
import sys

import click

_PASSWORD = re.compile(r"://[^ ]*:[^ ]*@|[?&]\w*password=")
"""In a URL: before the host, or among the options of redis-py."""


def refuse_secret(context: click.Context, option: click.Parameter, value: Any) -> Any:
    """Refuse a secret on the command line, as a callback of click: the variable of the option is to be used."""
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
"""Of options whose values can be secrets."""

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
    """Unix seconds of a duration from `now` (90d) or of an ISO 8601 time with zone; click.BadParameter otherwise."""
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
    """The end of a token; None for `never`."""
    return None if text == "never" else parse_when(text, now)


def parse_start(text: str, now: int) -> int | None:
    """The beginning of a token; None, no bound, for `now` and for `never`."""
    return None if text in ("now", "never") else parse_when(text, now)


def read_duration(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """The seconds of an option that is a duration, None where it is not given; click.BadParameter for what is none."""
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def format_time(seconds: int | None) -> str | None:
    """ISO 8601 in UTC of a Unix time; None for none."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_day(seconds: int) -> str:
    """The day of a Unix time in UTC, ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


OPTION, VARIABLE, DEFAULT = "--policies", "GATEWAY_POLICIES", "policies"
"""What says where the policy files are; their prefixes tell tokens that were minted elsewhere."""
_MAY_BE_TOKEN = re.compile("[0-9A-Za-z._~+=%-]{16}")


class MaskedText:
    """A text stream that masks what is written to it; else it is the one that it was made of."""

    def __init__(self, stream: TextIO, mask: Callable[[str], str]) -> None:
        self._stream = stream
        self._mask = mask

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text without what looks like a token in it."""
        return self._stream.write(self._mask(text) if _MAY_BE_TOKEN.search(text) else text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write them one by one."""
        for line in lines:
            self.write(line)


def mask_errors() -> None:
    """Mask from now on what this process writes to standard error."""
    if not isinstance(sys.stderr, MaskedText):
        sys.stderr = cast(TextIO, MaskedText(sys.stderr, mask))


def mask(text: str) -> str:
    """Return the text without what looks like a token of the policies that the command is told of, or of ours."""
    from gateway.core.masking import NO_POLICIES  # noqa: PLC0415 - see above

    masked = NO_POLICIES.mask(text)
    return _read_masking().mask(masked) if _MAY_BE_TOKEN.search(masked) else masked


def find_folder(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return where the policies are: click knows it only after it has understood all of the command."""
    for name, value in pairwise((*arguments, "")):
        if name == OPTION or name.startswith(f"{OPTION}="):
            return value if name == OPTION else name.removeprefix(f"{OPTION}=")
    return environment.get(VARIABLE) or DEFAULT


@functools.cache
def _read_masking() -> "Masking":
    from gateway.adapters.policy_files import read_policies  # noqa: PLC0415 - see above
    from gateway.core.errors import ConfigurationError  # noqa: PLC0415
    from gateway.core.masking import NO_POLICIES  # noqa: PLC0415

    try:
        return read_policies(Path(find_folder(sys.argv[1:], os.environ)), {}).masking
    except ConfigurationError:
        return NO_POLICIES

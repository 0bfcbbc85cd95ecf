"""Options that several commands share, each also a variable of the environment."""

import re
from typing import Any

import click
from click.core import ParameterSource

from gateway.core.errors import ConfigurationError

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

"""The options of `gateway serve`: one for each setting, except secrets, which are variables only."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin

import click
import msgspec

from gateway.cli.common import VARIABLES, refuse_secret
from gateway.settings import PREFIX, SECRETS, Settings, describe_settings

FLAGS = {"redis_url": "--redis", "exports_redis_url": "--exports-redis", "upstreams": "--upstream"}
"""Options that are not named after their setting."""
SEVERAL = {"upstreams"}
"""Settings whose option may be repeated: the variable has the values separated by spaces."""

Command = Callable[..., None]


class SettingsCommand(click.Command):
    """A command whose help ends with the settings that have no option."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write them as click writes options."""
        texts = describe_settings()
        with formatter.section("Variables only, as everybody can read the arguments of a process"):
            formatter.write_dl([(PREFIX + name.upper(), texts[name]) for name in sorted(SECRETS)])


def setting_options(command: Command) -> Command:
    """Give a command the options of all settings, in their order. A value that is not given is None."""
    texts = describe_settings()
    for field in reversed(msgspec.structs.fields(Settings)):
        if field.name not in SECRETS:
            command = _build_option(field, texts[field.name])(command)
    return command


def write_variables(options: Mapping[str, object]) -> dict[str, str]:
    """Return the variables that correspond to the given options."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    return {
        PREFIX + name.upper(): " ".join(value) if isinstance(value, tuple) else str(value)
        for name, value in given.items()
    }


def _build_option(field: msgspec.structs.FieldInfo, text: str) -> Callable[[Command], Command]:
    default = "" if field.default in (msgspec.NODEFAULT, "", False) else f"; default: {field.default}"
    flag = FLAGS.get(field.name, f"--{field.name.replace('_', '-')}")
    help_text = f"{text}  [{PREFIX}{field.name.upper()}{default}]"
    if field.type is bool:
        return click.option(flag, field.name, is_flag=True, default=None, help=help_text)
    return click.option(
        flag,
        field.name,
        type=_find_kind(field.type),
        multiple=field.name in SEVERAL,
        default=None,
        callback=refuse_secret if field.name in VARIABLES else None,
        help=help_text,
    )


def _find_kind(kind: Any) -> Any:
    """Return click's type for that of a setting, with its bounds."""
    base = getattr(kind, "__origin__", kind)
    bounds: Any = next(iter(getattr(kind, "__metadata__", ())), msgspec.Meta())
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    if base is int:
        return click.IntRange(bounds.ge, bounds.le)
    if base is float:
        return click.FloatRange(bounds.gt, bounds.le, min_open=True)
    return click.STRING

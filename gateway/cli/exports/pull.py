"""`gateway pull` as a command of the gateway: its library is an extra, because a server does not need it."""

from gateway.core.errors import ConfigurationError

try:
    from gateway.pull.command import pull
except ModuleNotFoundError as error:
    if error.name != "pycurl":
        raise
    raise ConfigurationError(
        "gateway pull needs pycurl: run `pip install 'token-gateway[pull]'`; or, where no server is needed, "
        "`pip install token-gateway-pull`, which has the same command as `gateway-pull`"
    ) from error

__all__ = ["pull"]

"""The packages that only the demo needs: its extra, `token-gateway[demo]`."""

from importlib.util import find_spec

from gateway.core.errors import ConfigurationError

INSTALL = "pip install 'token-gateway[demo]'"


def require(what: str, *modules: str) -> None:
    """Raise ConfigurationError, with the command that helps, if a module that `what` needs is not installed."""
    missing = " and ".join(module for module in modules if find_spec(module) is None)
    if missing:
        raise ConfigurationError(f"demo: not installed: {missing}. {what} needs it; run: {INSTALL}")

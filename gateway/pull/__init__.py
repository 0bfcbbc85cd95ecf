"""`gateway pull`: exports into files, only what has changed.

This package imports nothing of the rest of the gateway, and its modules import each other relatively, because it is
published twice: as `gateway.pull`, and as `gateway_pull` in a distribution without the server's dependencies
(deploy/pull/pyproject.toml). Tests hold it to both.
"""

__version__ = "0.1.0"
